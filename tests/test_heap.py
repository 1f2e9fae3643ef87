"""What training asks of the C library's allocator."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mobilenets.train import heap

# Page faults while 64 MB are taken, written and given back ten times, before, within and after.
_PROGRAM = """
import resource, torch
from mobilenets.train.heap import kept_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(64 << 20, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

with kept_memory():
    faults()
    kept = faults()
print(kept, faults())
"""


@pytest.mark.skipif(heap._glibc() is None, reason="needs glibc")
def test_memory_comes_back_without_page_faults_within_and_with_them_after():
    run = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True)

    assert run.stderr == ""
    kept, after = map(int, run.stdout.split())
    assert kept * 10 < after


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda name: object())

    with heap.kept_memory():
        assert heap._glibc() is None

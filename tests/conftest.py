"""What one test leaves must not reach the next."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mobilenets.data import remembered

os.environ["MOBILENETS_OFFLINE"] = "1"  # `--weights auto` looks for no weights on the network
THREADS = torch.get_num_threads()


@pytest.fixture(autouse=True)
def torch_threads_stay() -> Iterator[None]:
    """A torch session sets the threads of its whole process, and sums depend on their number."""
    yield
    torch.set_num_threads(THREADS)


@pytest.fixture(autouse=True)
def the_same_random_numbers() -> None:
    """Another library's network is made of torch's own: which they are must not depend on the tests
    before."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def remembered_images(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """What was read of images is not looked for in the user's cache, nor put there."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(remembered, "cache_folder", lambda: folder)
    return folder

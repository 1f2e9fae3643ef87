"""Our peak activation memory against what LiteRT and onnxruntime really take, in bytes.

    taskset -c 0 python benchmarks/memory.py

fp32, batch 1, one thread, each measurement in a process of its own; docs/explanation/memory.md
says what the figures mean. The heap is counted by a library that is compiled here and loaded before
libc's: needs Linux, glibc and `cc`. Prints progress on stderr and one JSON line last.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mobilenets.archs import Arch, at_resolution, cost, get_arch
from mobilenets.measuring.machine import device_name

_ARCHS = (
    get_arch("mobilenet_v1"),
    get_arch("mobilenet_v2"),
    get_arch("mobilenet_v3_large"),
    get_arch("mobilenet_v3_small"),
    get_arch("mobilenet_v2", width=0.35, resolution=96),
    get_arch("mobilenet_v2", width=0.35, resolution=160),
    get_arch("mobilenet_v3_large_1.0_64_os8"),  # peaks where a block's input waits
    replace(get_arch("mobilenet_v2"), padding="same"),  # shows what LiteRT's padding takes
)
_SMALL_RESOLUTION = 32  # same weights, next to no activations
_VERSIONS = ("ai-edge-litert", "litert-torch", "onnxruntime", "torch")
_RUNS = 3
# The default reserves one block from the second run on. EXTENDED leaves out the last step of
# optimization, the layout NCHWc, which fills the channels up to the width of a vector.
_ARENAS: dict[str, dict[str, Any]] = {
    "default": {},
    "plain": {"enable_mem_pattern": False},
    "nchw": {"enable_mem_pattern": False, "level": "EXTENDED"},
}
# Counts the bytes in use in the process's heap, their peak, and every block of a page or more.
_HEAP_C = """
#include <errno.h>
#include <malloc.h>
#include <stddef.h>
void *__libc_malloc(size_t); void *__libc_calloc(size_t, size_t); void __libc_free(void *);
void *__libc_realloc(void *, size_t); void *__libc_memalign(size_t, size_t);
static long now, most; static int count; static long sizes[65536];
static void *in(void *block, size_t asked) {
  if (!block) return block;
  long all = __atomic_add_fetch(&now, malloc_usable_size(block), __ATOMIC_SEQ_CST);
  if (all > most) most = all;
  if (asked >= 4096 && count < 65536) sizes[count++] = asked;
  return block;
}
static void out(void *block) {
  if (block) __atomic_sub_fetch(&now, malloc_usable_size(block), __ATOMIC_SEQ_CST);
}
void *malloc(size_t n) { return in(__libc_malloc(n), n); }
void *calloc(size_t n, size_t size) { return in(__libc_calloc(n, size), n * size); }
void free(void *block) { out(block); __libc_free(block); }
void *realloc(void *block, size_t n) { out(block); return in(__libc_realloc(block, n), n); }
void *memalign(size_t to, size_t n) { return in(__libc_memalign(to, n), n); }
void *aligned_alloc(size_t to, size_t n) { return in(__libc_memalign(to, n), n); }
int posix_memalign(void **block, size_t to, size_t n) {
  *block = in(__libc_memalign(to, n), n);
  return *block ? 0 : ENOMEM;
}
long heap_now(void) { return now; }
long heap_most(void) { return most; }
void heap_reset(void) { most = now; count = 0; }
int heap_count(void) { return count; }
long heap_size(int index) { return sizes[index]; }
"""


class Heap:
    """The counters of the library above, where it is loaded."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        for name in ("heap_now", "heap_most", "heap_size"):
            getattr(self._library, name).restype = ctypes.c_long

    def spent(self, action: Callable[[], object]) -> dict[str, Any]:
        """Bytes that `action` keeps, that it needs at most, and the sizes of its large blocks."""
        before = self._library.heap_now()
        self._library.heap_reset()
        action()
        count = self._library.heap_count()
        most = self._library.heap_most() - before
        kept = self._library.heap_now() - before
        sizes = [self._library.heap_size(index) for index in range(count)]
        return {"kept": kept, "most": most, "sizes": sizes}


# ------------------------------------------------------------------------- inside a child process


def measure_litert(path: Path) -> dict[str, Any]:
    """The arena's extent by its tensors' addresses, and the most that its tensors ever need."""
    interpreter = litert(path, xnnpack=False)
    heap = Heap()
    allocated = heap.spent(interpreter.allocate_tensors)
    run = heap.spent(lambda: invoke(interpreter))
    layers = interpreter._get_ops_details()
    image = int(interpreter.get_input_details()[0]["index"])
    written = {image} | {int(tensor) for layer in layers for tensor in layer["outputs"]}
    ends = {}
    for tensor in written:
        array = interpreter.tensor(tensor)()
        address = array.__array_interface__["data"][0]
        ends[tensor] = address, address + array.nbytes
    extent = max(end for _, end in ends.values()) - min(begin for begin, _ in ends.values())
    live, layer = most_alive(layers, image, {key: end - at for key, (at, end) in ends.items()})
    return {
        "arena": extent, "live": live, "at": layer, "allocated": allocated["kept"],
        "largest_block": max(allocated["sizes"]), "run_most": run["most"],
    }  # fmt: skip


def most_alive(layers: list[Any], image: int, size: dict[int, int]) -> tuple[int, str]:
    """The most bytes alive while a layer runs, and that layer; LiteRT keeps the image to the end,
    every other tensor to its last reader, and writes over nothing."""
    last = {
        int(tensor): index for index, layer in enumerate(layers) for tensor in layer["inputs"]
    } | {image: len(layers)}
    alive, found = {image}, []
    for index, layer in enumerate(layers):
        alive |= {int(tensor) for tensor in layer["outputs"]}
        found.append((sum(size[tensor] for tensor in alive), f"{layer['op_name']} {index}"))
        alive = {tensor for tensor in alive if last.get(tensor, len(layers)) > index}
    return max(found)


def measure_xnnpack(path: Path) -> dict[str, Any]:
    interpreter = litert(path, xnnpack=True)
    heap = Heap()
    allocated = heap.spent(interpreter.allocate_tensors)
    run = heap.spent(lambda: invoke(interpreter))
    return {**allocated, "run_most": run["most"]}


def measure_onnxruntime(path: Path) -> dict[str, Any]:
    """What onnxruntime's arena says of itself after each layer, by its profile."""
    found = {}
    for name, options in _ARENAS.items():
        session = onnxruntime_session(path, **options, enable_profiling=True)
        for _ in range(_RUNS):
            run_session(session)
        profile = Path(session.end_profiling())
        events = [one for one in json.loads(profile.read_text()) if one["cat"] == "Node"]
        profile.unlink()
        found[name] = arena_figures(events)
    heap = Heap()
    session = onnxruntime_session(path, enable_cpu_mem_arena=False, enable_mem_pattern=False)
    run_session(session)
    return found | {"no_arena_most": heap.spent(lambda: run_session(session))["most"]}


def arena_figures(events: list[Any]) -> dict[str, Any]:
    """Bytes of the first run's tensors at most, of the block reserved for later runs, and held."""

    def figure(event: Any, name: str) -> int:
        return int(event["args"][f"mem_{name}"])

    runs = [
        events[at : at + len(events) // _RUNS] for at in range(0, len(events), len(events) // _RUNS)
    ]
    before = [
        figure(run[0], "bytes_requested_in_use") - figure(run[0], "requested_in_use_delta")
        for run in runs
    ]
    top = max(runs[0], key=lambda event: figure(event, "bytes_requested_in_use"))
    return {
        "constants": before[0],
        "tensors": figure(top, "bytes_requested_in_use") - before[0],
        "at": f"{top['args']['op_name']} {runs[0].index(top)}",
        "reserved": before[-1] - before[0],
        "held": figure(runs[-1][-1], "arena_held"),
    }


def measure_rss(path: Path, kind: str) -> int:
    """Bytes of resident memory at most, above those before the file is loaded: weights, graph,
    pages of the kernels that ran, activations."""
    if kind == "onnxruntime":
        import onnxruntime  # noqa: F401

        before = resident("VmRSS")
        run_session(onnxruntime_session(path))
    else:
        import ai_edge_litert.interpreter  # type: ignore[import-untyped]  # noqa: F401

        before = resident("VmRSS")
        interpreter = litert(path, xnnpack=kind == "xnnpack")
        interpreter.allocate_tensors()
        invoke(interpreter)
    return resident("VmHWM") - before


def resident(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key))


def litert(path: Path, *, xnnpack: bool) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    return Interpreter(
        str(path), num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN if xnnpack else kernels,
    )  # fmt: skip


def invoke(interpreter: Any) -> None:
    for _ in range(_RUNS):
        interpreter.invoke()


def onnxruntime_session(path: Path, **settings: Any) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.profile_file_prefix = str(path.with_suffix(""))
    level = settings.pop("level", "ALL")
    options.graph_optimization_level = getattr(
        onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level}"
    )
    for name, value in settings.items():
        setattr(options, name, value)
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run_session(session: Any) -> None:
    import numpy

    image = session.get_inputs()[0]
    session.run(None, {image.name: numpy.zeros(image.shape, numpy.float32)})


_CHILDREN: dict[str, Callable[[Path], Any]] = {
    "litert": measure_litert,
    "xnnpack": measure_xnnpack,
    "onnxruntime": measure_onnxruntime,
    "rss-litert": lambda path: measure_rss(path, "litert"),
    "rss-xnnpack": lambda path: measure_rss(path, "xnnpack"),
    "rss-onnxruntime": lambda path: measure_rss(path, "onnxruntime"),
}


# ----------------------------------------------------------------------------------- the parent


def child(kind: str, path: Path, heap: Path) -> Any:
    counted = {} if kind.startswith("rss") else {"LD_PRELOAD": str(heap)}
    done = subprocess.run(
        [sys.executable, __file__, kind, path],
        env=os.environ | counted, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def build_heap(folder: Path) -> Path:
    source, library = folder / "heap.c", folder / "heap.so"
    source.write_text(_HEAP_C)
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", source, "-o", library], check=True)
    return library


def export(arch: Arch, runtime: str, path: Path) -> Path:
    from mobilenets.nn import Checkpoint
    from mobilenets.runtimes import artifact

    artifact.export(Checkpoint.fresh(arch), runtime, path)
    return path


def workspace(large: dict[str, Any], small: dict[str, Any]) -> dict[str, Any]:
    """XNNPACK's memory that depends on the image: its blocks that the same network at a small
    resolution does not have, largest first, and all that it keeps more than that one."""
    own = Counter(large["sizes"]) - Counter(small["sizes"])
    return {
        "blocks": sorted(own.elements(), reverse=True)[:4],
        "more_than_small": large["kept"] - small["kept"],
        "run_most": large["run_most"],
    }


def measure(arch: Arch, folder: Path, heap: Path) -> dict[str, Any]:
    name = f"{arch.full_name}_{arch.padding}"
    print(name, file=sys.stderr)
    onnx = export(arch, "onnxruntime", folder / f"{name}.onnx")
    tflite = export(arch, "litert", folder / f"{name}.tflite")
    tiny = export(at_resolution(arch, _SMALL_RESOLUTION), "litert", folder / f"{name}_tiny.tflite")
    return {
        "arch": name,
        "image": 4 * arch.in_channels * arch.resolution**2,
        "ours": cost(arch).peak_activation_bytes.fp32,
        "litert": child("litert", tflite, heap),
        "xnnpack": workspace(child("xnnpack", tflite, heap), child("xnnpack", tiny, heap)),
        "onnxruntime": child("onnxruntime", onnx, heap),
        "rss": {
            kind: [child(f"rss-{kind}", path, heap) for _ in range(_RUNS)]
            for kind, path in (("litert", tflite), ("xnnpack", tflite), ("onnxruntime", onnx))
        },
        "file_bytes": {"onnx": onnx.stat().st_size, "tflite": tflite.stat().st_size},
    }


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(_CHILDREN[sys.argv[1]](Path(sys.argv[2]))))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        heap = build_heap(folder)
        networks = [measure(arch, folder, heap) for arch in _ARCHS]
    versions = {package: version(package) for package in _VERSIONS}
    result = {"device": device_name(), "versions": versions, "networks": networks}
    print(json.dumps(result))


if __name__ == "__main__":
    main()

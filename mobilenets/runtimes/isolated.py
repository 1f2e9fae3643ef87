"""Converting in a process of its own: converters change what they touch (threads, loggers,
warnings, the compiler's state), take gigabytes, and some crash."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

from mobilenets.archs import Arch, from_json, to_json
from mobilenets.errors import ConversionError, lacks_memory
from mobilenets.files import scratch
from mobilenets.processes.child import Child, ChildDied, Request, serve, usable_cores
from mobilenets.progress import staged
from mobilenets.runtimes import Engine, check_runtime
from mobilenets.runtimes.artifact import export, export_int8, move

_ADVICE = "; choose another runtime, or report it to its makers"
TIMEOUT = 600.0  # seconds for one network
_WORTH_A_CHILD = 16  # conversions: a child takes seconds to start, and gigabytes


class Job(NamedTuple):
    """A network to convert: an arch, which gets random weights, or a checkpoint's file, which can
    be converted in float only: 8-bit numbers take images."""

    network: Arch | Path
    path: Path

    @property
    def name(self) -> str:
        return str(self.network) if isinstance(self.network, Path) else self.network.full_name


def export_isolated(jobs: Sequence[Job], runtime: str | Engine) -> None:
    """Write each artifact; raises ConversionError at the first that fails."""
    with closing(try_exports(jobs, Engine.parse(runtime))) as failures:
        for failure in filter(None, failures):
            raise failure


def try_exports(
    jobs: Sequence[Job], engine: Engine, *, cores: Sequence[int] | None = None
) -> Generator[ConversionError | None, None, None]:
    """Write each artifact and yield None for it, or what went wrong: the others go on. Of many as
    many at a time as there are `cores`, each on one of them (None: as many as are usable, on any),
    and none but while the next answer is waited for."""
    check_runtime(engine)
    places = [None] * len(usable_cores()) if cores is None else list(cores)
    children = max(1, min(len(places), len(jobs) // _WORTH_A_CHILD))
    with ExitStack() as stack:
        # The first in and so the last out: what waits for a process is done once that has ended.
        pool = stack.enter_context(ThreadPoolExecutor(children))
        exporters = [stack.enter_context(Exporter(core)) for core in places[:children]]

        def export_one(exporter: Exporter, job: Job) -> ConversionError | None:
            return exporter.try_export(job, engine)

        told = stack.enter_context(staged("exporting", len(jobs)))
        for start in range(0, len(jobs), children):
            some = jobs[start : start + children]
            failures = list(pool.map(export_one, exporters[: len(some)], some))
            told(start + len(some))
            yield from failures


class Exporter:
    """A process that converts one network after another, those of a structure it has met in no
    time; started when first asked, and again after a failure or for another runtime. A context
    manager."""

    def __init__(self, core: int | None = None):
        self._core = core
        self._engine: Engine | None = None
        self._child: Child | None = None

    def export(self, jobs: Sequence[Job], engine: Engine) -> None:
        """`export_isolated`, in the process that lives."""
        check_runtime(engine)
        with staged("exporting", len(jobs)) as told:
            for done, job in enumerate(jobs, start=1):
                failure = self.try_export(job, engine)
                if failure:
                    raise failure
                told(done)

    def try_export(self, job: Job, engine: Engine) -> ConversionError | None:
        """Write the artifact and return None, or what went wrong."""
        if isinstance(job.network, Path) and engine.is_int8:
            return ConversionError(
                f"{job.network} gets its 8-bit numbers from images; run: mobilenets quantize"
            )
        if engine != self._engine:
            self.close()
        self._engine = engine
        self._child = self._child or Child(__name__, core=self._core)
        failure = _ask(self._child, job, engine)
        if failure:
            self.close()  # the child is gone, or its state may be spoilt
        return failure

    def close(self) -> None:
        """End the process."""
        if self._child:
            self._child.close()
        self._child = None

    def __enter__(self) -> Exporter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _ask(child: Child, job: Job, engine: Engine) -> ConversionError | None:
    network = job.network
    source = (
        {"checkpoint": str(network)} if isinstance(network, Path) else {"arch": to_json(network)}
    )
    folder = job.path.parent
    try:
        # Ours, so that a child that crashes leaves nothing behind.
        with scratch(folder, prefix=".export-") as drafts:
            draft = drafts / job.path.name
            child.ask({**source, "engine": str(engine), "path": str(draft)}, timeout=TIMEOUT)
            move(draft, folder)
    except (ChildDied, ConversionError) as error:
        return ConversionError(
            f"{engine} could not convert {job.name}: its converter {error}"
            + ("" if lacks_memory(error) else _ADVICE)
        )
    return None


def _answer(request: Request) -> None:
    from mobilenets.nn import Checkpoint

    if "arch" in request:
        checkpoint = Checkpoint.fresh(from_json(request["arch"]))
    else:
        checkpoint = Checkpoint.load(Path(request["checkpoint"]))
    engine, path = Engine.parse(request["engine"]), Path(request["path"])
    if not engine.is_int8:
        return export(checkpoint, engine.runtime, path)
    from mobilenets.runtimes.graphs.integers import HSWISH_APART
    from mobilenets.runtimes.graphs.onnx_file import onnx_model
    from mobilenets.runtimes.graphs.qdq import for_timing

    model = for_timing(onnx_model(checkpoint), hswish=engine.runtime in HSWISH_APART)
    return export_int8(model, checkpoint.about(), engine.runtime, path)


if __name__ == "__main__":
    serve(_answer)

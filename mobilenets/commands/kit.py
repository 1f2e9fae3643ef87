"""`kit`: networks, and a program that times them on a device which cannot be reached."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mobilenets.archs import to_json
from mobilenets.choosing.kit_items import kit_items
from mobilenets.choosing.table_build import Item, export_references
from mobilenets.devices.kit_folder import FILES, check_runs_in_a_kit, empty_kit, finish_kit
from mobilenets.errors import MeasureError
from mobilenets.files import cannot, sha256_of
from mobilenets.measuring.results import Item as Planned
from mobilenets.measuring.results import Plan
from mobilenets.progress import staged
from mobilenets.runtimes import DEFAULT, Engine, check_runtime
from mobilenets.runtimes.artifact import files_of
from mobilenets.runtimes.isolated import Job, try_exports
from mobilenets.text import counted

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kitting:
    """Where to write which kit: "small" has some blocks and networks, "full" has those of
    `mobilenets table`. `image_size` is the images' short side (None: large ones)."""

    out: Path = Path("kit")
    engine: Engine = DEFAULT
    threads: int = 1
    image_size: int | None = None
    budget: Literal["small", "full"] = "small"


def kit(job: Kitting) -> dict[str, Any]:
    """Write the kit; the JSON of `mobilenets kit`. A block that the runtime cannot convert is left
    out with a warning. Raises `FileError` where `out` is not empty."""
    _check(job)
    items = kit_items(job.image_size, small=job.budget == "small")
    folder = empty_kit(job.out)
    references = export_references(folder / "references", job.engine)
    plan: Plan = {
        "mobilenets_kit": 1,
        "runtime": job.engine.runtime,
        "threads": job.threads,
        "references": [str(path.relative_to(job.out)) for path in references],
        "items": _export(items, folder, job.engine),
        "artifacts": [],
    }
    number = finish_kit(job.out, plan, "device import results.json --as NAME")
    networks = sum(one["kind"] == "network" for one in plan["items"])
    return {
        "out": str(job.out),
        "kit": number,
        "runtime": job.engine.runtime,
        "threads": job.threads,
        "blocks": len(plan["items"]) - networks,
        "networks": networks,
        "timings": sum(one["times"] for one in plan["items"]),
        "size_bytes": sum(one.stat().st_size for one in job.out.rglob("*") if one.is_file()),
    }


def artifact_kit(
    folder: Path, artifact: Path, engine: Engine, *, threads: int, limit_ms: float | None
) -> None:
    """Write a kit of a finished artifact, to decide on its latency limit; one that lies there is
    replaced."""
    shutil.rmtree(folder, ignore_errors=True)
    place = empty_kit(folder)
    try:
        for file in files_of(artifact):
            shutil.copyfile(file, place / file.name)
    except OSError as error:
        raise cannot("write", place / artifact.name, error) from error
    plan: Plan = {
        "mobilenets_kit": 1,
        "runtime": engine.runtime,
        "threads": threads,
        "references": [],
        "items": [],
        "artifacts": [
            {
                "file": f"{FILES}/{artifact.name}",
                "sha256": sha256_of(artifact),
                "latency_ms": None if limit_ms is None else float(limit_ms),
            }
        ],
    }
    finish_kit(folder, plan, f"verify {folder.parent} --results results.json")


def _check(job: Kitting) -> None:
    check_runs_in_a_kit(job.engine)
    check_runtime(job.engine)
    if job.engine.is_int8:
        raise MeasureError(
            f"latency tables are of fp32 networks, and so are kits, got {job.engine}; give "
            f"--runtime {job.engine.runtime}"
        )
    if job.threads < 1:
        raise MeasureError(f"threads must be 1 or more, got {job.threads}")


def _export(items: Sequence[Item], folder: Path, engine: Engine) -> list[Planned]:
    """Each as it stands in the plan, its files written to `folder`."""
    suffix = check_runtime(engine).suffix
    jobs = [Job(one.as_measured, folder / f"{at:05}{suffix}") for at, one in enumerate(items)]
    log.info(f"exporting {counted(len(jobs), 'network')} for {engine}")
    planned: list[Planned] = []
    with staged("kit", len(jobs)) as told, closing(try_exports(jobs, engine)) as failures:
        for item, job, failure in zip(items, jobs, failures, strict=True):
            if failure:
                log.warning(f"{failure}; the kit goes on without it")
                continue
            planned.append({
                "file": f"{FILES}/{job.path.name}", "kind": item.kind,  # type: ignore[typeddict-item]
                "arch": to_json(item.arch), "times": item.times,
            })  # fmt: skip
            told(len(planned))
    return planned

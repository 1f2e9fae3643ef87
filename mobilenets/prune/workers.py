"""Where proposals are evaluated: in this process, or as Ray tasks. The same function runs in both,
so that the outcome is the same, whatever the number of workers and whichever of them dies."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mobilenets.errors import MobileNetsError, RuntimeMissing
from mobilenets.progress import staged
from mobilenets.prune.evaluation import Job, Outcome, Parent, Shared, evaluate

# How often a proposal whose worker died is done again before the run gives up.
RETRIES = 3
_PLACE = re.compile(r"(?:ray://)?(?P<host>.+):(?P<port>\d+)")
_ANSWER_SECONDS = 10
Run = Callable[[Parent, Sequence[Job]], list[Outcome]]


@dataclass(frozen=True, slots=True)
class Workers:
    """`count` worker processes on this machine (0: none, in this process), or those of the Ray
    cluster at `address`."""

    count: int = 0
    address: str | None = None

    def __post_init__(self) -> None:
        if type(self.count) is not int or self.count < 0:
            raise MobileNetsError(
                f"workers must be a whole number of at least 0, got {self.count!r}"
            )
        if self.count and self.address:
            raise MobileNetsError(
                "workers are started here, and a Ray cluster has its own; give --workers or --ray"
            )


def pool(shared: Shared, workers: Workers) -> contextlib.AbstractContextManager[Run]:
    """What evaluates jobs, in their order; a context manager that ends the processes it started."""
    return _on_ray(shared, workers) if workers.count or workers.address else _here(shared)


@contextlib.contextmanager
def _here(shared: Shared) -> Iterator[Run]:
    def run(parent: Parent, jobs: Sequence[Job]) -> list[Outcome]:
        with staged("proposals", len(jobs)) as told:
            outcomes = []
            for job in jobs:
                outcomes.append(evaluate(shared, parent, job))
                told(len(outcomes))
            return outcomes

    yield run


@contextlib.contextmanager
def _on_ray(shared: Shared, workers: Workers) -> Iterator[Run]:
    ray = _ray()
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        _start(ray, shared, workers, folder)
        try:
            task = ray.remote(num_cpus=1, max_retries=RETRIES)(evaluate)
            everything = ray.put(shared)

            def run(parent: Parent, jobs: Sequence[Job]) -> list[Outcome]:
                origin = ray.put(parent)
                try:
                    return ray.get([task.remote(everything, origin, job) for job in jobs])
                except ray.exceptions.WorkerCrashedError as error:
                    raise MobileNetsError(
                        f"the workers of a proposal died {RETRIES + 1} times, as for want of "
                        "memory; the same command goes on after the last step, with fewer --workers"
                    ) from error

            yield run
        finally:
            ray.shutdown()


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise RuntimeMissing(
            "--workers and --ray need Ray, which is not installed; install it with: "
            "pip install 'mobilenets[ray]'"
        ) from error
    return ray


def _start(ray: Any, shared: Shared, workers: Workers, folder: str) -> None:
    """Start workers here, with their files in `folder`, or connect to a cluster."""
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if workers.address:
        _connect(ray, workers.address, quiet)
        return
    images = shared.pixels.nbytes + shared.held.nbytes + shared.statistics.nbytes
    ray.init(
        num_cpus=workers.count, include_dashboard=False, _temp_dir=folder,
        object_store_memory=2 * images + 2**28, **quiet,
    )  # fmt: skip


def _connect(ray: Any, address: str, quiet: dict[str, Any]) -> None:
    # Ray itself asks for a quarter of an hour where nothing listens.
    if (place := _PLACE.fullmatch(address)) and not _listens(place["host"], int(place["port"])):
        raise MobileNetsError(
            f"nothing listens at {address!r}; start a Ray cluster with: ray start --head"
        )
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise MobileNetsError(_refusal(address, error)) from error


def _listens(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host.strip("[]"), port), timeout=_ANSWER_SECONDS):
            return True
    except (OSError, OverflowError):  # OverflowError: no such port
        return False


def _refusal(address: str, error: Exception) -> str:
    # The last try's reason is only in the text of the cause.
    if "AuthenticationError" in f"{error} {error.__cause__}":
        return (
            f"the Ray cluster at {address!r} asks for its token; set RAY_AUTH_MODE=token, and "
            "RAY_AUTH_TOKEN where the token is not in ~/.ray/auth_token"
        )
    reason = str(error).strip().partition("\n")[0].rstrip(".")
    return f"Ray does not connect to {address!r}: {reason}"

"""A device that is not reached from here: what was measured there was imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NoReturn

from mobilenets.errors import MeasureError, RuntimeMissing
from mobilenets.measuring.device import current, device_words
from mobilenets.measuring.latency import Predicted
from mobilenets.measuring.machine import Machine
from mobilenets.runtimes import Engine


@dataclass(frozen=True)
class Imported:
    """It has latency tables of its own and measures nothing."""

    name: str
    kind: Literal["kit", "browser"]
    known: Machine
    versions: Mapping[str, str]

    def machine(self) -> Machine:
        return self.known

    def version(self, engine: Engine) -> str:
        if engine.runtime not in self.versions:
            raise RuntimeMissing(
                f"nothing was measured on {self.name} in {engine.runtime}, but in "
                f"{', '.join(self.versions)}; give one of these as --runtime, or run a kit for it: "
                f"mobilenets kit --runtime {engine.runtime}"
            )
        return self.versions[engine.runtime]

    def start(self, engine: Engine, environment: Mapping[str, str]) -> NoReturn:
        raise MeasureError(
            f"{self.name} cannot be reached from here; write what is to be measured there with: "
            "mobilenets kit"
        )


def not_yet_measured(engine: Engine, ms: float, threads: int) -> Predicted | None:
    """What stands for the latency of a network that is predicted to take `ms` on the current
    device; None where that can be measured."""
    device = current()
    if not isinstance(device, Imported):
        return None
    return Predicted(
        ms, device.name, engine.runtime, device.version(engine), threads, engine.precision,
        device_words(device),
    )  # fmt: skip

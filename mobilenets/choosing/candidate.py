"""Every network worth considering: families x widths x resolutions, priced by arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

from mobilenets.archs import (
    Arch,
    Budget,
    Cost,
    at_resolution,
    cost,
    expected_top1,
    get_arch,
    keep_resolution,
    widen,
    with_head,
)
from mobilenets.archs.attach import HEADS
from mobilenets.archs.budget import Use
from mobilenets.archs.checks import check_choice
from mobilenets.archs.published import FAMILIES, INT8_LOSS, WIDTHS, Expected
from mobilenets.archs.published_coco import expected_map
from mobilenets.choosing.regress import features
from mobilenets.errors import ArchError
from mobilenets.measuring.latency import Latency
from mobilenets.runtimes import DEFAULT, Engine

# fmt: off
RESOLUTIONS = (
    16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256,
)
# fmt: on
# Heads that something is expected of, of `archs.attach.HEADS`.
CHOSEN_HEADS = ("classify", "ssdlite")
_SMALL, _FULL, _LARGEST = 96, 224, 256  # the papers' smallest, usual and largest
# Of networks that look for several things in an image: the papers' detectors see 320 pixels.
_MORE_RESOLUTIONS, _LARGEST_OF_SEVERAL = (288, 320, 352, 384, 448, 512), 512
_MAP_4X4 = 128  # pixels at output stride 32 whose last feature map is 4 x 4
# What a runtime's file has beside the weights, at most: bytes a layer, and bytes an output channel
# (batch norm in ours, the other scales and zeros in int8).
_BYTES = {
    Engine("torch"): (700, 12),
    Engine("torch-compile"): (700, 12),
    Engine("onnxruntime"): (400, 0),
    Engine("onnxruntime", "int8"): (1800, 9),
    Engine("openvino"): (9000, 0),
    Engine("openvino", "int8"): (20_500, 9),
    Engine("litert"): (1600, 0),
    Engine("executorch"): (700, 0),
    Engine("ncnn"): (400, 0),
}


class Stated(NamedTuple):
    """What the table of a device that cannot be reached says: a latency, and how far its
    predictions are from what is measured, usually and at worst, in percent; None of a network that
    was measured in the kit itself."""

    ms: float
    device: str
    error_pct: float | None = None
    worst_pct: float = 0.0

    def words(self) -> str:
        """Where it comes from: "predicted from phone7's table (error 3.1 %), not yet measured"."""
        if self.error_pct is None:
            return f"measured on {self.device} in its kit"
        error = f"{self.error_pct:.1f} %"
        return f"predicted from {self.device}'s table (error {error}), not yet measured"


@dataclass(frozen=True)
class Candidate:
    """A network that may be chosen, in an engine, and what is known of it so far.

    `features` are what its latency depends on (`regress.features`); `latency` is measured,
    `predicted_ms` guessed from the networks that were; `stated` is of a device that cannot be
    reached. `prior` is the percentage expected of it where it does not classify.
    """

    arch: Arch
    expected: Expected
    costs: Cost
    features: tuple[float, ...]
    engine: Engine = DEFAULT
    latency: Latency | None = None
    predicted_ms: float | None = None
    stated: Stated | None = None
    prior: float | None = None

    @property
    def rank(self) -> float:
        """The accuracy by which it is chosen."""
        return self.expected.top1 if self.prior is None else self.prior

    @property
    def macs(self) -> int:
        return self.costs.macs

    @property
    def params(self) -> int:
        return self.costs.params

    @property
    def memory_bytes(self) -> int:
        """Peak activations in fp32: in int8 no more, for the stem stays in float."""
        return self.costs.peak_activation_bytes.fp32

    @property
    def file_bytes(self) -> int:
        """An upper estimate of the artifact's file."""
        return file_bytes(self.costs, self.engine)

    def in_engine(self, engine: Engine) -> Candidate:
        """The same float network in another engine; in int8 less is expected of it."""
        if not engine.is_int8:
            return replace(self, engine=engine)
        return replace(self.less(INT8_LOSS[self.arch.name]), engine=engine)

    def less(self, points: float) -> Candidate:
        """With so much less expected of it."""
        if not points:
            return self
        top1 = self.expected.top1 - points
        prior = self.prior and self.prior * top1 / self.expected.top1
        return replace(self, expected=self.expected._replace(top1=top1), prior=prior)

    def spent(self) -> dict[str, float]:
        """What it spends on each limit of a `Budget`; latency only where it was measured, or
        stated."""
        spent: dict[str, float] = {
            "macs": self.macs,
            "params": self.params,
            "size_bytes": self.file_bytes,
            "memory_bytes": self.memory_bytes,
        }
        if self.latency is None and self.stated is None:
            return spent
        return spent | {"latency_ms": self.about_ms}

    def worst(self, budget: Budget) -> Use:
        """The limit it comes nearest to, or misses by most."""
        return max(budget.uses(**self.spent()), key=lambda use: use.fraction)

    @property
    def about_ms(self) -> float:
        """Its latency as far as it is known: measured, predicted, or else 0."""
        return self.latency.p50_ms if self.latency else self.predicted_ms or 0.0

    def to_json(self) -> dict[str, Any]:
        latency = self.latency
        stated = {} if self.stated is None else {"stated": self.stated.words()}
        return {
            **describe_arch(self.arch),
            "runtime": str(self.engine),
            "expected_imagenet_top1": round(self.expected.top1, 2),
            "expected_source": self.expected.source,
            **({"expected_on_coco": round(self.prior, 2)} if self.prior else {}),
            "macs": self.macs,
            "params": self.params,
            "size_bytes": self.file_bytes,
            "peak_activation_bytes": self.memory_bytes,
            "predicted_ms": self.predicted_ms,
            "latency": None if latency is None else latency.to_json(),
            **stated,
        }


def describe_arch(arch: Arch) -> dict[str, Any]:
    """The words for one network in every command's JSON."""
    return {
        "full_name": arch.full_name,
        "name": arch.name,
        "width": arch.width,
        "rule": arch.rule,
        "resolution": arch.resolution,
        "output_stride": arch.output_stride,
    }


@lru_cache(4)  # seconds for a thousand
def candidates(
    classes: int, image_size: int | None = None, head: str = HEADS[0]
) -> tuple[Candidate, ...]:
    """All candidates for `classes` and images of `image_size` pixels (their short side; None:
    large enough for any resolution), with one of `CHOSEN_HEADS`."""
    check_choice("head", head, CHOSEN_HEADS)
    several = head != HEADS[0]
    shapes = list(_shapes(image_size, several=several))
    return tuple(
        price(_headed(keep_resolution(at_resolution(arch, resolution), stride), head), head)
        for arch in _widths(classes)
        for resolution, stride in shapes
    )


def _headed(arch: Arch, head: str) -> Arch:
    """With that head, for as many labels as `arch` has classes."""
    return arch if head == HEADS[0] else with_head(arch, head).with_labels(arch.classes)


def price(arch: Arch, head: str = HEADS[0]) -> Candidate:
    """`arch` with its costs by arithmetic; raises `ArchError` for one with nothing published."""
    expected = expected_top1(arch)
    if expected is None:
        raise ArchError(
            f"no accuracy is published for {arch.name}; choose among {', '.join(FAMILIES)}"
        )
    costs = cost(arch)
    return Candidate(arch, expected, costs, features(costs), prior=_prior(arch, head))


def _prior(arch: Arch, head: str) -> float | None:
    found = expected_map(arch) if head == "ssdlite" else None
    return found and found.map50_95


def file_bytes(costs: Cost, engine: Engine = DEFAULT) -> int:
    """An upper estimate of the artifact's file: the weights, the graph's nodes and names, and the
    description in its metadata."""
    weights = costs.size_bytes.int8 if engine.is_int8 else costs.size_bytes.fp32
    # A bias and a scale each (`archs.counts`).
    channels = (costs.size_bytes.int8 - costs.params) // 7
    layer, channel = _BYTES[engine]
    return weights + layer * len(costs.layers) + channel * channels + 10_000


def _widths(classes: int) -> Iterator[Arch]:
    for name, hundredths in WIDTHS.items():
        for width in hundredths:
            yield widen(get_arch(name, classes=classes), width / 100)


def _shapes(image_size: int | None, *, several: bool = False) -> Iterator[tuple[int, int]]:
    """(resolution, output stride) worth trying.

    Images of 224 pixels and more are only ever scaled down. Smaller ones are also scaled up, or
    the network keeps their resolution for longer (its first strides become 1). A 32-pixel image at
    output stride 8 costs what a 128-pixel image costs at 32, and ends in the same 4 x 4 map. Where
    that map is 4 x 4, more than four times the image's own pixels add no information.

    Where `several` things are looked for in an image, it may be larger, and no last map is smaller
    than 4 x 4.
    """
    most = _LARGEST_OF_SEVERAL if several else _LARGEST
    usual = (*RESOLUTIONS, *_MORE_RESOLUTIONS) if several else RESOLUTIONS
    size = min(image_size or most, most)
    smallest, largest = min(size, _SMALL), size if size >= _FULL else most
    largest = min(largest, 2 * size) if several else largest
    for resolution in sorted({*usual, size}):
        if not smallest <= resolution <= largest:
            continue
        if not several or resolution >= _MAP_4X4:
            yield resolution, 32
        if size < _FULL and resolution <= 2 * size:
            for output_stride in (16, 8, 4, 2):
                seen_as = resolution * 32 // output_stride
                if several and seen_as < _MAP_4X4:
                    continue
                if seen_as <= min(max(4 * size, _MAP_4X4), most):
                    yield resolution, output_stride

"""A trained network in 8-bit integers: the same graph, several sets of numbers, none trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mobilenets.quantize.calibrate import observe, shifts
from mobilenets.runtimes.graphs.integers import Graph, integer_form, levelled, stem_of
from mobilenets.runtimes.graphs.qdq import bounded, with_integers


@dataclass(frozen=True, slots=True)
class Scheme:
    """How the numbers are found.

    `ranges` "whole" spans all that was seen, "closest" what gives the least squared error.
    `corrected` has each layer's mean put right. `weight_bits` 7 is for CPUs whose int8 products
    saturate (x86 before VNNI).
    """

    ranges: str
    corrected: bool
    weight_bits: int = 8

    def words(self) -> str:
        """For the progress: "whole ranges, corrected, 8-bit weights"."""
        corrected = "corrected, " if self.corrected else ""
        return f"{self.ranges} ranges, {corrected}{self.weight_bits}-bit weights"


# Images whose means put layers right: all at once in memory, and a V2 has 5 MB of values a layer.
_PUT_RIGHT = 64
SCHEMES = (
    Scheme("whole", corrected=False),
    Scheme("whole", corrected=True),
    Scheme("closest", corrected=False),
    Scheme("closest", corrected=True),
    Scheme("whole", corrected=True, weight_bits=7),
)


def quantized(
    model: Any, images: Tensor, *, hswish: bool, schemes: Sequence[Scheme] = SCHEMES
) -> Iterator[tuple[Scheme, Any]]:
    """The ONNX model in 8-bit integers by each scheme, from float images (N, C, H, W) in [0, 1].

    `hswish` also takes h-swish apart into what integers have (`runtimes.graphs.integers`).
    """
    form = integer_form(model, hswish=hswish)
    stem = Graph(form)
    stem.nodes = stem_of(stem)
    output = stem.nodes[-1].output[0]
    form = levelled(form, observe(stem.to_model(), images)[output].largest)
    seen = observe(form, images)
    spans = {
        "whole": bounded(form, {name: one.whole() for name, one in seen.items()}),
        "closest": bounded(form, {name: one.closest() for name, one in seen.items()}),
    }
    for scheme in schemes:
        ranges, bits = spans[scheme.ranges], scheme.weight_bits
        few = images[:_PUT_RIGHT]
        moved = shifts(form, ranges, few, weight_bits=bits) if scheme.corrected else None
        yield scheme, with_integers(form, ranges, shifts=moved, weight_bits=bits)

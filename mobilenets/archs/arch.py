"""`Arch`: the paper's table as a frozen value, and the one walk over it.

Cost, latency, pruning, reports and tests read `ops(arch)`; nothing else walks a network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod

from mobilenets.archs.checks import check_choice, check_count, check_number
from mobilenets.archs.heads import Classify, Head, Tap
from mobilenets.archs.op import FeatureMap, Op, Size, image
from mobilenets.archs.rows import Row
from mobilenets.archs.width import RULES
from mobilenets.errors import ArchError

PADDINGS = ("symmetric", "same")
_CLASSIFY, _IMAGENET = Classify(), Size(224, 224)


@dataclass(frozen=True, slots=True)
class Arch:
    """A network as a value: hashable, comparable, JSON-able (`archs.codec`).

    `rows` make feature maps, `head` what is asked of them; None is a backbone, or a block to be
    measured, and a head without rows reads the image. `size` is (height, width) in pixels, given as
    one number for a square. `name` is the table it came from; `width` and `rule` say how its
    channels were scaled, for the reader: the rows are the truth. `generation` is the paper, 1 to 4,
    whose conventions the width rules follow. `bn_momentum` is PyTorch's: the weight of the new
    batch. `padding` is "symmetric" (PyTorch) or "same" (TensorFlow). Raises `ArchError` for what
    cannot be.
    """

    name: str
    generation: int
    rows: tuple[Row, ...]
    head: Head | None = _CLASSIFY
    size: Size = _IMAGENET
    in_channels: int = 3
    width: float = 1.0
    rule: str = "paper"
    bn_eps: float = 1e-3
    bn_momentum: float = 0.1
    padding: str = "symmetric"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ArchError(f"an architecture's name must be a word, got {self.name!r}")
        if type(self.size) is not Size:
            object.__setattr__(self, "size", Size.of(self.size, f"{self.name}: resolution"))
        for field in ("generation", "in_channels"):
            check_count(f"{self.name}: {field}", getattr(self, field))
        for field in ("width", "bn_eps", "bn_momentum"):
            check_number(f"{self.name}: {field}", getattr(self, field), above=0)
        check_choice(f"{self.name}: padding", self.padding, PADDINGS)
        check_choice(f"{self.name}: rule", self.rule, RULES)
        for index, row in enumerate(self.rows):
            row.check(f"{self.name}: row {index}")
        if not self.parts:
            raise ArchError(f"{self.name}: a network has rows, or a head, and not nothing")
        if self.head is not None:
            self.head.check(self.name)

    @property
    def parts(self) -> tuple[Row | Head, ...]:
        """The rows, and the head behind them: what `Op.row` counts."""
        return self.rows if self.head is None else (*self.rows, self.head)

    @property
    def classes(self) -> int:
        """The number of classes; 0 where there are none."""
        return 0 if self.head is None else self.head.classes

    @property
    def labels(self) -> int:
        """The number of labels that its outputs tell of: the classes but for the background."""
        return 0 if self.head is None else self.head.labels

    @property
    def classifies(self) -> bool:
        """Whether it gives a logit of each class for an image, and nothing else."""
        return self.outputs == {"logits": (self.classes,)}

    @property
    def resolution(self) -> int | tuple[int, int]:
        """The size as it is written: one number for a square."""
        return self.size.written

    @property
    def outputs(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of each named output for one image, such as {"logits": (1000,)}; of a backbone
        "features" (C, H, W)."""
        if self.head is None:
            last = ops(self)[-1]
            return {"features": (last.out_channels, *last.out_size)}
        return self.head.outputs(tapped(self, backbone(self)))

    @property
    def output_stride(self) -> int:
        """Input pixels per pixel of the last feature map: 32 in all the papers' networks."""
        return prod(row.stride for row in self.rows)

    @property
    def full_name(self) -> str:
        """Name, width and resolution in one word, with the width rule and the output stride where
        they are not the paper's; `get_arch` reads it back (width to six digits; classes, padding
        and edited rows are not in the name)."""
        word = f"{self.name}_{_decimal(self.width)}_{self.size}"
        if self.rule != "paper":
            word += f"_{self.rule}"
        return word if self.output_stride == 32 else f"{word}_os{self.output_stride}"

    def with_classes(self, classes: int) -> Arch:
        """The same network with another number of classes."""
        head = self.head
        return self if head is None else replace(self, head=head.with_classes(classes))

    def with_labels(self, labels: int) -> Arch:
        """The same network for another number of labels."""
        head = self.head
        return self if head is None else replace(self, head=head.with_labels(labels))

    def with_part(self, index: int, part: Row | Head) -> Arch:
        """Another row, or another head, in the place of one of `parts`."""
        return self.with_parts({index: part})

    def with_parts(self, parts: Mapping[int, Row | Head]) -> Arch:
        """Other rows and another head in the places of some of `parts`, by their numbers."""
        rows = tuple(parts.get(index, row) for index, row in enumerate(self.rows))
        head = parts.get(len(self.rows), self.head)
        return replace(self, rows=rows, head=head)  # type: ignore[arg-type]


@lru_cache(maxsize=256)  # an edit asks for the same few networks' layers again and again
def ops(arch: Arch) -> tuple[Op, ...]:
    """The layers of `arch` in the order they run, the image first."""
    walk = backbone(arch)
    if arch.head is None:
        return walk
    layers = arch.head.layers(tapped(arch, walk))
    return (*walk, *(op._replace(row=len(arch.rows)) for op in layers))


def backbone(arch: Arch) -> tuple[Op, ...]:
    """The image and the layers of the rows."""
    return tuple(_walk_rows(arch))


def tapped(arch: Arch, walk: tuple[Op, ...]) -> tuple[FeatureMap, ...]:
    """What the head reads, of the layers of the rows."""
    return () if arch.head is None else tuple(_tap(arch, walk, tap) for tap in arch.head.taps)


def _walk_rows(arch: Arch) -> Iterator[Op]:
    last = image(arch.in_channels, arch.size)
    yield last
    for index, row in enumerate(arch.rows):
        for op in row.layers(last.output, f"rows.{index}"):
            last = op._replace(row=index)
            yield last


def _tap(arch: Arch, walk: tuple[Op, ...], tap: Tap) -> FeatureMap:
    index = tap.row % len(arch.rows) if tap.row < 0 and arch.rows else tap.row
    layers = [op for op in walk if op.row == index]
    found = layers if tap.part == "out" else [op for op in layers if op.part == tap.part]
    if not found:
        raise ArchError(
            f"{arch.name}: the head reads {tap.part} of row {tap.row}, and the network has no such "
            "layer; tap another row, or its out"
        )
    return found[-1].output


def _decimal(width: float) -> str:
    text = f"{width:g}"
    return text if "." in text or "e" in text else f"{text}.0"

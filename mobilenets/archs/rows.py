"""The rows of an architecture, and `Arch`: the paper's table as a frozen value.

A row is one line of a paper's table. Nothing here computes: what the rows cost, run or become is
a function of them (`ops`, `cost`, `scale`, `mobilenets.nn`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, prod

from mobilenets.errors import ArchError

ACTIVATIONS = ("relu", "relu6", "hswish")
PADDINGS = ("symmetric", "same")
RULES = ("paper", "torchvision", "timm", "keras")


@dataclass(frozen=True, slots=True)
class Conv:
    """A full convolution with batch norm and activation."""

    kernel: int
    out: int
    act: str
    stride: int = 1


@dataclass(frozen=True, slots=True)
class Separable:
    """A depthwise separable convolution: depthwise, then pointwise, each with batch norm and
    activation (arXiv:1704.04861, fig. 3)."""

    kernel: int
    out: int
    act: str
    stride: int = 1


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """An inverted residual with a linear bottleneck: expand, depthwise, project (arXiv:1801.04381,
    fig. 4), with squeeze-and-excite after the depthwise where `se` (arXiv:1905.02244, fig. 4).

    `expand` is the number of expanded channels; where it equals the input's, there is no expansion
    layer. The input is added where stride is 1 and the channels agree, unless `skip` is False;
    `se_act` is the activation inside squeeze-and-excite. No paper sets these two, timm's
    mobilenetv3_rw does.
    """

    kernel: int
    expand: int
    out: int
    se: bool
    act: str
    stride: int = 1
    skip: bool = True
    se_act: str = "relu"

    def residual(self, c_in: int) -> bool:
        """Whether the input, of `c_in` channels, is added to the output."""
        return self.skip and self.stride == 1 and c_in == self.out


@dataclass(frozen=True, slots=True)
class Pool:
    """Global average pooling."""


@dataclass(frozen=True, slots=True)
class Dense:
    """A fully connected layer with bias and activation, no batch norm ("conv2d 1x1, NBN")."""

    out: int
    act: str


@dataclass(frozen=True, slots=True)
class Classifier:
    """Dropout and the last fully connected layer, to `Arch.classes` logits."""


Row = Conv | Separable | Bottleneck | Pool | Dense | Classifier


@dataclass(frozen=True, slots=True)
class Arch:
    """A network as a value: hashable, comparable, JSON-able (`archs.json`).

    `name` is the table it came from; `width` and `rule` say how its channels were scaled, for the
    reader: the rows are the truth. `generation` is the paper, 1, 2 or 3, whose conventions the
    width rules follow. `bn_momentum` is PyTorch's: the weight of the new batch. `padding` is
    "symmetric" (PyTorch) or "same" (TensorFlow). Rows that end without a Classifier are a piece of
    a network: a backbone, or a block to be measured. Raises `ArchError` for what cannot be.
    """

    name: str
    generation: int
    rows: tuple[Row, ...]
    resolution: int = 224
    classes: int = 1000
    in_channels: int = 3
    width: float = 1.0
    rule: str = "paper"
    bn_eps: float = 1e-3
    bn_momentum: float = 0.1
    padding: str = "symmetric"
    dropout: float = 0.2

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ArchError(f"an architecture's name must be a word, got {self.name!r}")
        for field in ("generation", "resolution", "classes", "in_channels"):
            _check_count(f"{self.name}: {field}", getattr(self, field))
        for field in ("width", "bn_eps", "bn_momentum"):
            _check_number(f"{self.name}: {field}", getattr(self, field), above=0)
        if self.dropout != 0:
            _check_number(f"{self.name}: dropout", self.dropout, above=0, below=1)
        check_choice(f"{self.name}: padding", self.padding, PADDINGS)
        check_choice(f"{self.name}: rule", self.rule, RULES)
        for index, row in enumerate(self.rows):
            _check_row(f"{self.name}: row {index}", row)
        _check_order(self.name, self.rows)

    @property
    def is_classifier(self) -> bool:
        """Whether it gives logits: its last row is a Classifier."""
        return isinstance(self.rows[-1], Classifier)

    @property
    def output_stride(self) -> int:
        """Input pixels per pixel of the last feature map: 32 in all the papers' networks."""
        return prod(getattr(row, "stride", 1) for row in self.rows)

    @property
    def full_name(self) -> str:
        """Name, width and resolution in one word, with the width rule and the output stride where
        they are not the paper's; `get_arch` reads it back (width to six digits; classes, padding
        and edited rows are not in the name)."""
        word = f"{self.name}_{_decimal(self.width)}_{self.resolution}"
        if self.rule != "paper":
            word += f"_{self.rule}"
        return word if self.output_stride == 32 else f"{word}_os{self.output_stride}"

    def with_classes(self, classes: int) -> Arch:
        """The same network with another number of classes."""
        return replace(self, classes=classes)


def _decimal(width: float) -> str:
    text = f"{width:g}"
    return text if "." in text or "e" in text else f"{text}.0"


def _check_count(what: str, value: object) -> None:
    if type(value) is not int or value < 1:
        raise ArchError(f"{what} must be a whole number of at least 1, got {value!r}")


def _check_number(what: str, value: object, *, above: float, below: float = inf) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not above < value < below:  # type: ignore[operator]
        raise ArchError(f"{what} must be a number above {above} and below {below}, got {value!r}")


def check_choice(what: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise `ArchError` unless `value` is one of `choices`."""
    if value not in choices:
        raise ArchError(f"{what} must be one of {', '.join(choices)}, got {value!r}")


def _check_row(where: str, row: Row) -> None:
    if isinstance(row, Pool | Classifier):
        return
    check_choice(f"{where}: act", row.act, ACTIVATIONS)
    _check_count(f"{where}: out", row.out)
    if isinstance(row, Dense):
        return
    if type(row.kernel) is not int or row.kernel < 1 or row.kernel % 2 == 0:
        raise ArchError(f"{where}: kernel must be odd (1, 3, 5, ...), got {row.kernel!r}")
    if type(row.stride) is not int or row.stride not in (1, 2):
        raise ArchError(f"{where}: stride must be 1 or 2, got {row.stride!r}")
    if isinstance(row, Bottleneck):
        _check_count(f"{where}: expand", row.expand)
        if type(row.se) is not bool:
            raise ArchError(f"{where}: se must be true or false, got {row.se!r}")
        if type(row.skip) is not bool:
            raise ArchError(f"{where}: skip must be true or false, got {row.skip!r}")
        check_choice(f"{where}: se_act", row.se_act, ACTIVATIONS)


def _check_order(name: str, rows: tuple[Row, ...]) -> None:
    """Feature rows, then a Pool, any Dense rows, a Classifier: what is there, in this order."""
    kinds = [type(row) for row in rows]
    if not rows or kinds.count(Pool) > 1 or kinds.count(Classifier) > 1:
        raise ArchError(f"{name}: rows may hold one Pool and one Classifier, and not nothing")
    floors = [_FLOORS.get(kind, 0) for kind in kinds]
    if floors != sorted(floors):
        raise ArchError(
            f"{name}: convolutions and blocks stand before Pool, Dense rows after it, "
            "the Classifier last"
        )
    if floors[0] == 0 and floors[-1] > 1 and Pool not in kinds:
        raise ArchError(f"{name}: a Pool must stand between the feature maps and Dense rows")


_FLOORS: dict[type, int] = {Pool: 1, Dense: 2, Classifier: 3}

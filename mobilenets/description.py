"""What a checkpoint or an artifact says of its network: JSON, under "mobilenets" in the metadata of
every format."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from mobilenets.archs import Arch, from_json
from mobilenets.errors import ArchError
from mobilenets.files import parse
from mobilenets.shapes import AboveZero, Count, Number, Positive, Range

# No image is larger; a number beyond it would ask for all memory there is.
_LARGEST = 8192
_Side = Annotated[int, Range(1, _LARGEST)]
_Scale = AboveZero


class _Preprocess(TypedDict):
    """`data.Preprocess`, which says what more it must be."""

    resolution: _Side | tuple[_Side, _Side]
    crop: Annotated[float, Range(0.1, 1)]
    interpolation: NotRequired[str]
    grey_range: NotRequired[list[Number] | None]
    resize: NotRequired[str]


class _Recipe(TypedDict, total=False):
    """Of what `train.Recipe` says, what others read."""

    name: str
    batch_size: Annotated[int, Range(1, 2**20)]
    learning_rate: Annotated[float, Range(most=1e6, above=0)]


class _Training(TypedDict, total=False):
    """How the weights came about."""

    recipe: _Recipe
    epochs: Annotated[float, Range(0, 1e9)]
    seed: Count
    fingerprint: str


class Description(TypedDict):
    """Everything but the weights; an artifact says more."""

    arch: dict[str, Any]
    labels: list[str]
    preprocess: _Preprocess
    mean: list[Number]
    std: list[_Scale]
    training: _Training
    task: NotRequired[str]
    answers: NotRequired[dict[str, Number]]
    precision: NotRequired[Literal["fp32", "int8"]]
    outputs: NotRequired[dict[str, list[Positive]]]


def read_description(text: str) -> tuple[Arch, dict[str, Any]]:
    """The network, and all that is said of it; raises ValueError for what is not so, or does not
    fit together."""
    about = parse(text, Description)
    try:
        arch = from_json(about["arch"])
    except ArchError as error:
        raise ValueError(str(error)) from error
    if max(arch.size) > _LARGEST:
        raise ValueError(f"its images have {max(arch.size):,} pixels a side, over {_LARGEST:,}")
    for name, count in (("labels", arch.labels), ("mean", arch.in_channels),
                        ("std", arch.in_channels)):  # fmt: skip
        if count and len(about[name]) != count:  # a backbone has no classes to be named
            raise ValueError(f"it has {len(about[name])} {name} where the network has {count}")
    if list(about.get("outputs", arch.outputs)) != list(arch.outputs):
        raise ValueError(f"its outputs are {', '.join(about['outputs'])}, not those of the network")
    return arch, about


def precision_in(text: str) -> str:
    """What the file says its numbers are; fp32 where it says nothing."""
    try:
        return parse(text, _Precise)["precision"]
    except ValueError:
        return "fp32"


def outputs_in(text: str) -> list[str]:
    """The names of the outputs in their order; none where the file does not say."""
    try:
        return list(parse(text, _Named)["outputs"])
    except ValueError:
        return []


class _Precise(TypedDict):
    precision: Literal["fp32", "int8"]


class _Named(TypedDict):
    outputs: dict[str, Any]

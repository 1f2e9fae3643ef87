"""Split inference: peaks counted by hand, by a ledger of tensors, and in the V2 paper."""

from __future__ import annotations

import json

import pytest
import torch
from typer.testing import CliRunner

from mobilenets.archs import ARCHS, Arch, cost, get_arch, keep_resolution
from mobilenets.archs.heads import Classify
from mobilenets.archs.op import Size
from mobilenets.archs.rows import Bottleneck, Conv, Row
from mobilenets.archs.split_inference import largest_between_blocks, peak_with_splits, split_counts
from mobilenets.cli.app import app
from mobilenets.errors import ArchError
from mobilenets.nn import MobileNet

V2 = get_arch("mobilenet_v2")
LARGE = get_arch("mobilenet_v3_large")
SMALL = get_arch("mobilenet_v3_small")
ZOO = [
    *ARCHS.values(),
    *(get_arch(name, width=0.5, resolution=97) for name in ARCHS),
    keep_resolution(get_arch("mobilenet_v3_small", resolution=32), 8),
]


def one_block(row: Row, *, channels: int, resolution: int = 4) -> Arch:
    """Stem to `channels`, one row, pool, classifier."""
    rows = (Conv(1, channels, "relu"), row)
    return Arch("one_block", 2, rows, Classify(2), Size.of(resolution), in_channels=1)


class Ledger:
    """Tensors by name, and the most values that stood in it at once."""

    def __init__(self) -> None:
        self.tensors: dict[str, int] = {}
        self.most = 0

    def make(self, name: str, values: int) -> None:
        self.tensors[name] = values
        self.most = max(self.most, sum(self.tensors.values()))

    def drop(self, *names: str) -> None:
        for name in names:
            del self.tensors[name]


def values_when_sliced(row: Bottleneck, channels: int, size: int, splits: int) -> int:
    """The most values alive while `row` runs in slices: every tensor made and dropped in turn."""
    size_out = -(-size // row.stride)
    width = -(-row.expand // splits)
    ledger = Ledger()
    ledger.make("input", channels * size**2)
    ledger.make("output", row.out * size_out**2)
    for begin in range(0, row.expand, width):
        count = min(width, row.expand - begin)
        if row.expand != channels:
            ledger.make("expanded", count * size**2)
        ledger.make("filtered", count * size_out**2)
        if row.expand != channels:
            ledger.drop("expanded")
        ledger.drop("filtered")  # added to the output
    ledger.drop("input")
    assert set(ledger.tensors) == {"output"}
    return ledger.most


def peak_by_ledger(arch: Arch, splits: int) -> int:
    """Whole rows as `cost` counts them (by hand in test_archs.py), sliced rows by the ledger."""
    whole = {
        row: max(layer.live_values for layer in cost(arch).layers if layer.op.row == row)
        for row in range(-1, len(arch.parts))
    }
    channels, size = arch.in_channels, arch.size.height
    for index, row in enumerate(arch.rows):
        if isinstance(row, Bottleneck) and not row.se:
            sliced = values_when_sliced(row, channels, size, splits)
            whole[index] = min(whole[index], sliced)
        channels, size = row.out, -(-size // row.stride)
    return max(whole.values())


# ----------------------------------------------------------------------------------------- by hand


@pytest.mark.parametrize("arch", ZOO, ids=lambda arch: arch.full_name)
def test_one_split_is_no_split(arch: Arch):
    assert peak_with_splits(arch, 1) == cost(arch).peak_activation_bytes


@pytest.mark.parametrize(
    ("splits", "values"),
    [
        # Input 16*2 = 32 and output 16*3 = 48 stay; a slice has 16 pixels a channel on both sides.
        (2, 32 + 48 + 2 * 16 * 6),
        (3, 32 + 48 + 2 * 16 * 4),
        (5, 32 + 48 + 2 * 16 * 3),  # 12 channels in slices of 3: ceil(12 / 5)
        (12, 32 + 48 + 2 * 16 * 1),
    ],
)
def test_a_block_in_slices_holds_its_input_its_output_and_a_slice_on_both_sides(
    splits: int, values: int
):
    arch = one_block(Bottleneck(3, 12, 3, False, "relu"), channels=2)

    assert peak_with_splits(arch, splits) == (4 * values, 2 * values, values)


def test_a_strided_block_has_slices_of_two_sizes():
    arch = one_block(Bottleneck(3, 12, 3, False, "relu", 2), channels=2)

    assert peak_with_splits(arch, 4).int8 == 16 * 2 + 4 * 3 + 3 * (16 + 4)


def test_without_an_expansion_layer_the_slice_of_the_input_takes_no_memory():
    arch = one_block(Bottleneck(3, 12, 3, False, "relu"), channels=12)

    assert peak_with_splits(arch, 4).int8 == 16 * 12 + 16 * 3 + 16 * 3


def test_a_block_that_slices_would_make_dearer_is_computed_whole():
    # Whole: 16*8 in + 16*4 expanded, 2*2*4 filtered + 2*2*64 out: 272 at most. In two slices:
    # 128 in + 256 out + 2 * (16 + 4) = 424. The pool behind it has 256 in + 64 out.
    arch = one_block(Bottleneck(3, 4, 64, False, "relu", 2), channels=8)

    assert peak_with_splits(arch, 2).int8 == 256 + 64
    assert peak_with_splits(arch, 2) == cost(arch).peak_activation_bytes


def test_squeeze_and_excite_keeps_a_block_whole():
    plain = one_block(Bottleneck(3, 12, 2, False, "relu"), channels=2)
    gated = one_block(Bottleneck(3, 12, 2, True, "relu"), channels=2)
    both = Arch("both", 3, (*gated.rows, *plain.rows[1:]), Classify(2), Size(4, 4), in_channels=1)

    assert peak_with_splits(plain, 12).int8 == 32 + 32 + 2 * 16
    # At its depthwise: the block's input waits for the addition, 12 channels on both sides.
    assert peak_with_splits(both, 12).int8 == 32 + 2 * 16 * 12


@pytest.mark.parametrize("splits", [1, 2, 3, 4, 5, 7, 16, 64, 72])
@pytest.mark.parametrize(
    "arch", [arch for arch in ZOO if arch.generation > 1], ids=lambda arch: arch.full_name
)
def test_the_peak_is_that_of_a_ledger_of_all_tensors(arch: Arch, splits: int):
    widest = max((r.expand for r in arch.rows if isinstance(r, Bottleneck) and not r.se), default=1)
    splits = min(splits, widest)

    assert peak_with_splits(arch, splits).int8 == peak_by_ledger(arch, splits)


def test_the_peaks_of_v2_stand_where_expected():
    second_block = 112**2 * 16 + 56**2 * 24  # its input and output
    first_block = 112**2 * 32 + 112**2 * 16

    assert peak_with_splits(V2, 2).int8 == second_block + 48 * (112**2 + 56**2)
    assert peak_with_splits(V2, 4).int8 == first_block + 8 * 112**2
    assert peak_with_splits(V2, 32).int8 == first_block + 112**2
    assert peak_with_splits(V2, 960).int8 == first_block + 112**2


def test_v3_small_gains_nothing_since_its_stem_holds_most():
    assert peak_with_splits(SMALL, 64).int8 == 3 * 224**2 + 16 * 112**2


def test_more_splits_never_take_more():
    peaks = [peak_with_splits(LARGE, splits).fp32 for splits in range(1, 65)]

    assert peaks == sorted(peaks, reverse=True)


# ---------------------------------------------------------------------- the paper, arXiv:1801.04381


def test_one_channel_a_slice_is_the_papers_least_memory():
    """Section 5.1: |s^2 k| + |s'^2 k'| + O(max(s^2, s'^2)), here with both of its slices."""
    k, k_out, s, s_out, n = 24, 32, 56, 28, 144  # V2's fourth block, Table 2
    arch = one_block(Bottleneck(3, n, k_out, False, "relu6", 2), channels=k, resolution=s)

    assert peak_with_splits(arch, n).int8 == s**2 * k + s_out**2 * k_out + (s**2 + s_out**2)


@pytest.mark.parametrize(("name", "kilobytes"), [("mobilenet_v1", 1600), ("mobilenet_v2", 400)])
def test_table_3_prints_the_largest_tensor_between_blocks(name: str, kilobytes: int):
    fp16 = largest_between_blocks(get_arch(name)).fp16

    assert fp16 == pytest.approx(kilobytes * 1000, rel=0.005)


def test_the_largest_tensor_between_blocks_is_exact_at_every_precision():
    values = 64 * 112**2  # V1's first separable block, Table 3: 64 channels at 112 x 112

    assert largest_between_blocks(get_arch("mobilenet_v1")) == (4 * values, 2 * values, values)


@pytest.mark.parametrize("splits", [2, 5, 24])
def test_the_slices_of_a_block_add_up_to_the_block(splits: int):
    torch.manual_seed(0)
    arch = one_block(Bottleneck(3, 24, 6, False, "relu6", 2), channels=4, resolution=8)
    block = MobileNet(arch).eval().rows[1]
    x = torch.randn(2, 4, 8, 8)

    with torch.no_grad():
        expand, depthwise, project = (
            part.conv.weight for part in (block.expand, block.depthwise, block.project)
        )
        norm = (1 + block.expand.norm.eps) ** -0.5  # fresh statistics: mean 0, variance 1
        total = torch.zeros(2, 6, 4, 4)
        for at in torch.arange(24).tensor_split(splits):
            y = torch.nn.functional.conv2d(x, expand[at] * norm).clamp(0, 6)
            y = torch.nn.functional.conv2d(
                y, depthwise[at] * norm, stride=2, padding=1, groups=len(at)
            ).clamp(0, 6)
            total += torch.nn.functional.conv2d(y, project[:, at] * norm)

        torch.testing.assert_close(total, block(x), rtol=1e-4, atol=1e-6)


# ---------------------------------------------------------------------------- what cannot be asked


@pytest.mark.parametrize("splits", [0, -1, 1.5, True, "2"])
def test_splits_are_whole_and_positive(splits: object):
    with pytest.raises(ArchError, match="splits must be a whole number of at least 1, got"):
        peak_with_splits(V2, splits)  # type: ignore[arg-type]


def test_there_are_no_more_splits_than_expanded_channels():
    with pytest.raises(
        ArchError,
        match=r"^mobilenet_v2_1.0_224 has 960 expanded channels in the widest bottleneck to split: "
        r"splits can be no more, got 961$",
    ):
        peak_with_splits(V2, 961)


def test_v1_has_nothing_to_split():
    with pytest.raises(
        ArchError,
        match=r"^mobilenet_v1_1.0_224 has no bottleneck without squeeze-and-excite to split: "
        r"splits must be 1, got 2$",
    ):
        peak_with_splits(get_arch("v1"), 2)


# ------------------------------------------------------------------------------------- the command


@pytest.mark.parametrize(
    ("most", "counts"),
    [(1, (1,)), (2, (1, 2)), (4, (1, 2, 4)), (5, (1, 2, 4, 5)), (8, (1, 2, 4, 8))],
)
def test_a_table_of_splits_doubles_up_to_the_last(most: int, counts: tuple[int, ...]):
    assert split_counts(V2, most) == counts


def test_cost_prints_the_peak_against_splits():
    done = CliRunner().invoke(app, ["cost", "mobilenet_v2", "--splits", "4"])

    assert done.output.endswith(
        "peak activations   6,021,120  3,010,560  1,505,280\n"
        "\n"
        "splits       fp32       fp16       int8\n"
        "     1  6,021,120  3,010,560  1,505,280\n"  # (96*112^2 + 96*56^2) values
        "     2  4,114,432  2,057,216  1,028,608\n"  # 16*112^2 + 24*56^2 + 48*(112^2 + 56^2)
        "     4  2,809,856  1,404,928    702,464\n"  # (32 + 16 + 8)*112^2
    )


def test_cost_as_json_has_splits_where_asked():
    runner = CliRunner()
    plain = json.loads(runner.invoke(app, ["cost", "v2", "--json"]).output)
    split = json.loads(runner.invoke(app, ["cost", "v2", "--json", "--splits", "3"]).output)

    assert "splits" not in plain
    assert [one["splits"] for one in split["splits"]] == [1, 2, 3]
    assert split["splits"][1]["peak_activation_bytes"] == {
        "fp32": 4_114_432, "fp16": 2_057_216, "int8": 1_028_608,
    }  # fmt: skip
    assert split | {"splits": 0} == plain | {"splits": 0}


def test_cost_prints_nothing_before_it_refuses():
    done = CliRunner().invoke(app, ["cost", "v1", "--splits", "2"])

    assert isinstance(done.exception, ArchError)
    assert done.stdout == ""

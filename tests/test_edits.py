"""Arch -> arch edits, and NetAdapt's proposals made of them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
import torch_pruning
from torch import nn

from mobilenets.archs import ARCHS, Arch, cost, from_json, get_arch, to_json
from mobilenets.archs.edits import (
    EDITS,
    Family,
    proposals,
    width_groups,
    with_expand,
    with_kernel,
    with_width,
    without_row,
    without_se,
)
from mobilenets.archs.op import Size
from mobilenets.archs.rows import Bottleneck
from mobilenets.errors import ArchError
from mobilenets.nn import Checkpoint, MobileNet, surgery

V1, V2 = get_arch("mobilenet_v1"), get_arch("mobilenet_v2")
LARGE, SMALL = get_arch("mobilenet_v3_large"), get_arch("mobilenet_v3_small")
FAMILIES = [V1, V2, LARGE, SMALL]


def id_of(value: object) -> str:
    return value.full_name if isinstance(value, Arch) else str(value)


# A piece of a network: its first block adds the input, whose channels are given.
PIECE = Arch("piece", 2, (Bottleneck(3, 72, 24, se=False, act="relu"),), in_channels=24)

# ----------------------------------------------------------------------------------- width groups


@pytest.mark.parametrize(
    ("arch", "groups"),
    [
        (V1, [((row,), out) for row, out in enumerate(
            [32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024])]),
        # arXiv:1801.04381, Table 2: n repeats share c; the stem and the last 1280 stand alone.
        (V2, [((0,), 32), ((1,), 16), ((2, 3), 24), ((4, 5, 6), 32), ((7, 8, 9, 10), 64),
              ((11, 12, 13), 96), ((14, 15, 16), 160), ((17,), 320), ((18,), 1280)]),
        # arXiv:1905.02244, Table 1: the first block (16, stride 1) adds the stem's output.
        (LARGE, [((0, 1), 16), ((2, 3), 24), ((4, 5, 6), 40), ((7, 8, 9, 10), 80), ((11, 12), 112),
                 ((13, 14, 15), 160), ((16,), 960), ((17,), 1280)]),
        # Table 2: its first block has stride 2 and does not.
        (SMALL, [((0,), 16), ((1,), 16), ((2, 3), 24), ((4, 5, 6), 40), ((7, 8), 48),
                 ((9, 10, 11), 96), ((12,), 576), ((13,), 1024)]),
    ],
    ids=id_of,
)  # fmt: skip
def test_width_groups_are_the_papers_stages(arch: Arch, groups: list[tuple[tuple[int, ...], int]]):
    assert [tuple(group) for group in width_groups(arch)] == groups


# ------------------------------------------------------------------------------------ single edits


def columns(arch: Arch, name: str) -> list[int]:
    return [getattr(row, name) for row in arch.rows if hasattr(row, name)]


def test_a_width_changes_in_all_rows_that_share_it():
    edited = with_width(V2, 9, 56)

    assert columns(edited, "out") == [32, 16, 24, 24, 32, 32, 32, 56, 56, 56, 56, 96, 96, 96,
                                      160, 160, 160, 320, 1280]  # fmt: skip
    assert columns(edited, "expand") == columns(V2, "expand")
    assert with_width(V2, 7, 56) == with_width(V2, 10, 56) == edited


@pytest.mark.parametrize(
    ("arch", "row", "changed"),
    [
        (V2, 0, {0: (None, 24), 1: (24, 16)}),  # row 1 has no expansion layer
        (LARGE, 0, {0: (None, 24), 1: (24, 24)}),  # and here adds its input too
        (LARGE, 1, {0: (None, 24), 1: (24, 24)}),
        (SMALL, 0, {0: (None, 24), 1: (24, 16)}),
        (SMALL, 1, {1: (16, 24)}),
        (V1, 6, {6: (None, 24)}),
        (LARGE, 16, {16: (None, 24)}),
        (LARGE, 17, {17: (None, 24)}),
    ],
)
def test_a_block_without_expansion_follows_its_input(
    arch: Arch, row: int, changed: dict[int, tuple[int | None, int]]
):
    edited = with_width(arch, row, 24)

    for index, (before, after) in enumerate(zip(arch.rows, edited.rows, strict=True)):
        if index not in changed:
            assert after == before
            continue
        expand, out = changed[index]
        assert getattr(after, "expand", None) == expand
        assert after.out == out


@pytest.mark.parametrize(
    ("arch", "row", "channels", "silent"),
    [(V2, 0, 16, 1), (V2, 11, 64, 11), (V2, 7, 96, 11), (SMALL, 7, 40, 7), (LARGE, 11, 80, 11)],
)
def test_widths_that_become_equal_bring_no_addition(
    arch: Arch, row: int, channels: int, silent: int
):
    edited = with_width(arch, row, channels)

    residual = [block.residual for block in MobileNet(edited).rows if hasattr(block, "residual")]
    assert residual == [b.residual for b in MobileNet(arch).rows if hasattr(b, "residual")]
    assert [i for i, r in enumerate(edited.rows) if getattr(r, "skip", True) is False] == [silent]


def test_the_other_edits_change_one_column():
    assert with_expand(LARGE, 4, 48).rows[4] == replace(LARGE.rows[4], expand=48)
    assert with_kernel(LARGE, 4, 3).rows[4] == replace(LARGE.rows[4], kernel=3)
    assert without_se(LARGE, 4).rows[4] == replace(LARGE.rows[4], se=False)
    assert without_row(LARGE, 8).rows == LARGE.rows[:8] + LARGE.rows[9:]


def test_name_width_and_all_else_stay():
    edited = with_width(get_arch("v3_large", width=0.75, resolution=96, classes=7), 5, 24)

    assert replace(edited, rows=LARGE.rows) == replace(
        LARGE.with_classes(7), width=0.75, size=Size(96, 96)
    )


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda: with_width(V2, 4, 192),
            "row 4 .* with 192 channels would make row 5 lose its expans",
        ),
        (lambda: with_width(LARGE, 2, 72), "would make row 3 lose its expansion layer"),
        (lambda: with_width(PIECE, 0, 16), "with 16 channels would make row 0 lose its addition"),
        (lambda: with_expand(LARGE, 2, 16), "expanded to 16 would make row 2 lose its expansion"),
        (lambda: with_expand(LARGE, 1, 8), "row 1 of .* has no expansion layer; .* `with_width`"),
        (lambda: with_expand(V1, 1, 8), "row 1 of .* has no expansion layer"),
        (lambda: with_width(V2, 19, 8), "row 19 of mobilenet_v2_1.0_224 has no width of its own"),
        (lambda: with_width(V2, 20, 8), "mobilenet_v2_1.0_224 has rows 0 to 19, got row 20"),
        (lambda: without_se(V2, -1), "has rows 0 to 19, got row -1"),
        (lambda: with_kernel(V2, True, 3), "has rows 0 to 19, got row True"),
        (lambda: with_kernel(LARGE, 17, 3), "row 17 of .* has no kernel"),
        (lambda: with_kernel(LARGE, 4, 4), r"kernel must be odd \(1, 3, 5, ...\), got 4"),
        (lambda: without_se(LARGE, 7), "row 7 of .* has no squeeze-and-excite"),
        (lambda: without_se(V1, 1), "row 1 of .* has no squeeze-and-excite"),
        (lambda: without_row(V2, 7), "row 7 of .* does not add its input"),
        (lambda: without_row(V1, 8), "row 8 of .* does not add its input"),
        (lambda: without_row(V1, 99), "has rows 0 to 14, got row 99"),
        (lambda: with_width(V2, 4, 0), "out must be a whole number of at least 1, got 0"),
        (lambda: with_expand(V2, 4, 8.0), "expand must be a whole number of at least 1, got 8.0"),
        (
            lambda: list(proposals(V2, kinds=("depth",))),
            "kind of edit must be one of expand, width",
        ),
    ],
)
def test_what_would_be_another_network_is_refused(edit: Callable[[], object], message: str):
    with pytest.raises(ArchError, match=message):
        edit()


# --------------------------------------------------------------------------------------- proposals


def test_mobilenet_v3s_proposals_are_expansions_and_shared_widths():
    families = list(proposals(LARGE))

    found = [(family.kind, family.rows) for family in families]
    widths = [(0, 1), (2, 3), (4, 5, 6), (7, 8, 9, 10), (11, 12), (13, 14, 15), (16,), (17,)]
    assert found == [
        *(("width", rows) for rows in widths),
        *(("expand", (i,)) for i in range(2, 16)),
    ]


def test_v1s_proposals_are_its_filters():
    assert [(f.kind, f.rows) for f in proposals(V1)] == [("width", (row,)) for row in range(14)]


def test_kernels_gates_and_rows_are_proposed_when_asked():
    kinds: dict[str, list[int]] = {}
    for family in proposals(LARGE, kinds=("kernel", "se", "row")):
        kinds.setdefault(family.kind, []).append(family.rows[0])

    assert kinds == {
        "kernel": [4, 5, 6, 13, 14, 15],
        "se": [4, 5, 6, 11, 12, 13, 14, 15],
        # Of equal blocks (4-6: the second and third; 13-15 likewise) one stands for all, and
        # without row 9 the table is the same as without row 10.
        "row": [1, 3, 5, 8, 9, 12, 14],
    }


def test_a_family_goes_down_in_multiples_and_skips_where_the_expansion_would_vanish():
    by_rows = {(f.kind, f.rows): f for f in proposals(LARGE)}
    expand, width = by_rows["expand", (7,)], by_rows["width", (4, 5, 6)]

    counts = [arch.rows[7].expand for arch in expand]
    assert counts == [c for c in range(232, 0, -8) if c != 40]
    assert [arch.rows[5].out for arch in width] == [32, 24, 16, 8]


def test_a_multiple_of_the_callers_choice():
    first = next(iter(proposals(LARGE, kinds=("expand",), multiple=32)))

    assert [arch.rows[2].expand for arch in first] == [32]
    family = Family(LARGE, "expand", (10,), multiple=16)
    assert [arch.rows[10].expand for arch in family] == [c for c in range(176, 0, -16) if c != 80]


def figures(arch: Arch) -> tuple[int, ...]:
    c = cost(arch)
    return c.macs, c.params, *c.size_bytes, *c.peak_activation_bytes


@pytest.mark.parametrize("arch", FAMILIES, ids=id_of)
def test_costs_only_fall_along_a_family(arch: Arch):
    for family in proposals(arch, kinds=EDITS, multiple=32):
        for larger, smaller in pairwise([arch, *family]):
            before, after = figures(larger), figures(smaller)
            assert all(b >= a for b, a in zip(before, after, strict=True))
            assert before[1] > after[1]


# ------------------------------------------------------------------------------------ random edits


def random_edits(arch: Arch, seed: int, number: int = 6) -> list[Arch]:
    """`arch`, and it after one, two, ... random proposals, each at a random size."""
    draw = random.Random(seed)
    steps = [arch]
    for _ in range(number):
        family = draw.choice(list(proposals(steps[-1], kinds=EDITS)))
        steps.append(draw.choice(list(family)))
    return steps


STARTS = [get_arch(name, width=0.25, resolution=32, classes=10) for name in ARCHS]


def additions(network: MobileNet) -> int:
    return sum(getattr(row, "residual", False) for row in network.rows)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("arch", STARTS, ids=id_of)
def test_random_edits_give_networks_that_cost_less_and_run(arch: Arch, seed: int):
    steps = random_edits(arch, seed)

    for before, after in pairwise(steps):
        assert figures(after) < figures(before)
        assert from_json(to_json(after)) == after
        assert (after.name, after.width, after.rule) == (arch.name, arch.width, arch.rule)
    network = MobileNet(steps[-1]).eval()
    assert network(torch.zeros(1, 3, 32, 32))["logits"].shape == (1, 10)
    removed = len(arch.rows) - len(steps[-1].rows)
    assert additions(network) == additions(MobileNet(arch)) - removed


@pytest.mark.parametrize("arch", STARTS, ids=id_of)
def test_the_weights_follow_random_edits(arch: Arch):
    """At every step without another addition, and without a value that was not there before."""
    start = checkpoint = Checkpoint.fresh(arch)

    for step in random_edits(arch, seed=2):
        checkpoint = surgery(checkpoint, step)

    assert checkpoint.network().arch == checkpoint.arch == step
    assert torch.isin(values(checkpoint), values(start)).all()
    assert len(values(checkpoint)) < len(values(start))


def values(checkpoint: Checkpoint) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in checkpoint.weights.values()])


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("arch", STARTS, ids=id_of)
def test_width_groups_of_edited_networks_are_those_of_the_traced_network(arch: Arch, seed: int):
    """Torch-Pruning traces which rows' outputs lose a channel together."""
    arch = random_edits(arch, seed)[-1]
    network = MobileNet(arch).eval()
    graph = torch_pruning.DependencyGraph().build_dependency(
        network, example_inputs=torch.zeros(1, 3, 32, 32)
    )
    parts = [*network.rows, network.head.dense]
    last = {last_layer(part): index for index, part in enumerate(parts) if last_layer(part)}
    traced = set()
    for layer in last:
        is_linear = isinstance(layer, nn.Linear)
        cut = (
            torch_pruning.prune_linear_out_channels
            if is_linear
            else torch_pruning.prune_conv_out_channels
        )
        group = graph.get_pruning_group(layer, cut, idxs=[0])
        rows = {
            last[part.target.module]
            for part, _ in group
            if part.target.module in last and graph.is_out_channel_pruning_fn(part.handler)
        }
        traced.add(tuple(sorted(rows)))

    assert {group.rows for group in width_groups(arch)} == traced


def last_layer(row: nn.Module) -> nn.Module | None:
    layers = [m for m in row.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    return layers[-1] if layers else None

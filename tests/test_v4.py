"""MobileNetV4: the paper's tables as rows, against the paper, timm's builds and timm's files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torch_pruning
from torch import nn

from mobilenets.archs import (
    Arch,
    cost,
    expected_top1,
    from_json,
    get_arch,
    memory_by_size,
    ops,
    proposals,
    to_json,
    width_groups,
    with_expand,
    with_kernel,
    with_width,
    without_row,
)
from mobilenets.archs.groups import channel_groups
from mobilenets.archs.published_weights import PUBLISHED_WEIGHTS, find_weights
from mobilenets.archs.rows import FusedBottleneck, UniversalBottleneck
from mobilenets.archs.split_inference import peak_with_splits
from mobilenets.choosing.candidate import candidates
from mobilenets.deliver.architecture import _lines, _row_columns
from mobilenets.errors import ArchError
from mobilenets.nn import Checkpoint, Deployed, MobileNet, surgery
from mobilenets.nn.pretrained.load import load_weights
from mobilenets.nn.pretrained.timm import from_timm
from mobilenets.runtimes import Engine, get_runtime
from mobilenets.runtimes.artifact import export
from mobilenets.runtimes.graphs.onnx_file import exported, onnx_model
from tests.randomised import difference, images, randomise_

NAMES = ("mobilenet_v4_conv_small", "mobilenet_v4_conv_medium", "mobilenet_v4_conv_large")
# timm's build -> the side of the images it is compared on.
TIMM = {
    "mobilenetv4_conv_small_035": 96,
    "mobilenetv4_conv_small_050": 64,
    "mobilenetv4_conv_small": 96,
    "mobilenetv4_conv_medium": 64,
    "mobilenetv4_conv_large": 64,
}


def tiny(name: str = NAMES[1], *, width: float = 0.35, resolution: int = 64) -> Arch:
    return get_arch(name, width=width, resolution=resolution, classes=10)


def checkpoint(arch: Arch) -> Checkpoint:
    network = randomise_(MobileNet(arch))
    return replace(Checkpoint.fresh(arch), weights=network.state_dict())


# ------------------------------------------------------------------------------------------- costs


# arXiv:2404.10518, Tables 11, 12 and 14, by arithmetic and by timm's builds (FlopCounterMode / 2).
@pytest.mark.parametrize(
    ("name", "params", "macs"),
    [
        ("mobilenet_v4_conv_small", 3_774_024, 186_005_568),
        ("mobilenet_v4_conv_small_1.0_256", 3_774_024, 242_178_048),
        ("mobilenet_v4_conv_small_0.5_224", 2_238_952, 64_741_408),
        ("mobilenet_v4_conv_small_0.35_224", 1_905_384, 47_723_040),
        ("mobilenet_v4_conv_medium", 9_715_512, 1_080_244_224),
        ("mobilenet_v4_conv_medium_1.0_384", 9_715_512, 2_427_413_504),
        ("mobilenet_v4_conv_large", 32_590_864, 6_376_220_672),
        ("mobilenet_v4_conv_large_1.0_256", 32_590_864, 2_835_269_632),
    ],
)
def test_costs_are_the_papers_and_timms(name: str, params: int, macs: int):
    costs = cost(get_arch(name))

    assert (costs.params, costs.macs) == (params, macs)


@pytest.mark.parametrize("name", TIMM)
def test_timms_names_mean_the_same_network(name: str):
    theirs = timm.create_model(name)

    assert cost(get_arch(name)).params == sum(one.numel() for one in theirs.parameters())


def test_the_sizes_are_the_papers():
    assert [get_arch(name).resolution for name in NAMES] == [224, 256, 384]
    assert get_arch("MobileNet-V4-Conv-Medium").full_name == "mobilenet_v4_conv_medium_1.0_256"
    assert get_arch("mobilenetv4_conv_small.e2400_r224_in1k") == get_arch(NAMES[0])


@pytest.mark.parametrize("name", ["mobilenet_v4", "mobilenet_v4_small", "mobilenet_v4_conv"])
def test_half_a_name_is_no_network(name: str):
    with pytest.raises(ArchError, match="no network is called"):
        get_arch(name)


@pytest.mark.parametrize("rule", ["paper", "timm"])
def test_the_stem_stays_below_width_1(rule: str):
    widths = (0.5, 1.0, 1.25)
    stems = [get_arch(NAMES[0], width=width, rule=rule).rows[0].out for width in widths]

    assert stems == [32, 32, 40]


@pytest.mark.parametrize("name", NAMES)
def test_a_network_reads_back(name: str):
    arch = get_arch(name, width=0.5, resolution="64x96", classes=10)

    assert from_json(to_json(arch)) == arch
    assert get_arch(arch.full_name, classes=10) == arch


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (UniversalBottleneck(0, 0, 64, 16, "relu", 2), "needs a depthwise"),
        (UniversalBottleneck(2, 3, 64, 16, "relu"), "start must be odd"),
        (UniversalBottleneck(3, -1, 64, 16, "relu"), "kernel must be odd"),
        (UniversalBottleneck(3, 3, 0, 16, "relu"), "expand must be"),
        (FusedBottleneck(0, 64, 16, "relu"), "kernel must be odd"),
        (FusedBottleneck(3, 64, 16, "gelu"), "act must be one of"),
    ],
)
def test_what_no_block_can_be_is_refused(row: UniversalBottleneck, message: str):
    with pytest.raises(ArchError, match=message):
        replace(get_arch(NAMES[0]), rows=(row,))


def test_the_stride_sits_on_the_last_depthwise():
    rows = (
        UniversalBottleneck(3, 5, 64, 16, "relu", 2),
        UniversalBottleneck(3, 0, 64, 16, "relu", 2),
    )
    walk = ops(Arch("two", 4, rows, size=32))

    strides = {op.name: op.stride for op in walk if op.is_depthwise}
    assert strides == {"rows.0.start": 1, "rows.0.depthwise": 2, "rows.1.start": 2}


# -------------------------------------------------------------------------------------------- timm


@pytest.mark.parametrize(("name", "side"), TIMM.items())
def test_logits_are_timms(name: str, side: int):
    theirs = randomise_(timm.create_model(name))
    arch = replace(get_arch(name, resolution=side), bn_eps=1e-5)
    ours = MobileNet(arch).eval()
    ours.load_state_dict(from_timm(arch, theirs.state_dict()))

    with torch.no_grad():
        assert difference(ours(images(side))["logits"], theirs(images(side))) < 1e-5


@pytest.mark.parametrize(
    ("words", "network", "name"),
    [
        ("timm", "mobilenet_v4_conv_small", "mobilenetv4_conv_small.e2400_r224_in1k"),
        ("timm:e1200_r224_in1k", NAMES[0], "mobilenetv4_conv_small.e1200_r224_in1k"),
        ("timm", "mobilenetv4_conv_small_050", "mobilenetv4_conv_small_050.e3000_r224_in1k"),
        ("timm", "mobilenet_v4_conv_medium", "mobilenetv4_conv_medium.e500_r256_in1k"),
        ("timm:e250_r384_in12k", NAMES[1], "mobilenetv4_conv_medium.e250_r384_in12k"),
        ("timm", "mobilenet_v4_conv_large", "mobilenetv4_conv_large.e600_r384_in1k"),
    ],
)
def test_weights_are_found_by_tag(words: str, network: str, name: str):
    assert find_weights(words, network).name == f"timm:{name}"


def test_a_file_of_timms_loads_by_tag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    theirs = randomise_(timm.create_model("mobilenetv4_conv_small_050"))
    file = tmp_path / "model.pth"
    torch.save(theirs.state_dict(), file)
    monkeypatch.setattr("mobilenets.nn.pretrained.load.fetch", lambda published: file)

    loaded = load_weights("timm:e3000_r224_in1k", NAMES[0], width=0.5, resolution=64)

    with torch.no_grad():
        ours = loaded.network()(images(64))["logits"]
        assert difference(ours, theirs(images(64))) < 1e-5
    assert (loaded.mean, loaded.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert loaded.training["weights"] == "timm:mobilenetv4_conv_small_050.e3000_r224_in1k"


def test_every_v4_checkpoint_is_of_the_network_it_says():
    found = [one for one in PUBLISHED_WEIGHTS if one.model.startswith("mobilenetv4")]

    assert len(found) == 12
    for one in found:
        assert one.arch.classes == one.classes
        assert one.arch.resolution == one.resolution
        assert (one.top1 is None) == (one.classes != 1000)


# ------------------------------------------------------------------------ edits, surgery and groups


def traced_groups(arch: Arch) -> set[frozenset[tuple[str, str]]]:
    """Torch-Pruning's groups: each the set of (module, side) that lose a channel together."""
    model = MobileNet(arch).eval()
    image = torch.randn(1, 3, *arch.size)
    graph = torch_pruning.DependencyGraph().build_dependency(model, example_inputs=image)
    names = {module: name for name, module in model.named_modules()}
    found = set()
    for module in model.modules():
        if not isinstance(module, nn.Conv2d | nn.Linear):
            continue
        cut = torch_pruning.prune_conv_out_channels
        if isinstance(module, nn.Linear):
            cut = torch_pruning.prune_linear_out_channels
        elif module.groups > 1:
            cut = torch_pruning.prune_depthwise_conv_out_channels
        group = graph.get_pruning_group(module, cut, idxs=[0])
        found.add(
            frozenset(
                (names[part.target.module].removesuffix(".conv").removesuffix(".linear"),
                 "out" if graph.is_out_channel_pruning_fn(part.handler) else "in")
                for part, _ in group
                if isinstance(part.target.module, nn.Conv2d | nn.Linear)
            )
        )  # fmt: skip
    return found


@pytest.mark.parametrize("name", NAMES[:2])
def test_groups_are_those_of_the_traced_network(name: str):
    arch = tiny(name, width=0.5)
    ours = {
        frozenset({(op.name, "out") for op in one.makers} | {(op.name, "in") for op in one.readers})
        for one in channel_groups(arch)
        if one.makers
    }

    assert ours == traced_groups(arch)


@pytest.mark.parametrize("name", NAMES[:2])
def test_every_proposal_is_a_network_that_costs_less_and_runs(name: str):
    arch = tiny(name)
    found = [
        next(iter(family)) for family in proposals(arch, kinds=("expand", "width", "kernel", "row"))
    ]

    assert {type(row) for row in arch.rows} >= {UniversalBottleneck}
    for one in found:
        assert cost(one).macs < cost(arch).macs
    for one in found[::7]:
        surgery(checkpoint(arch), one).network()(images(64))


def test_a_chain_of_blocks_shares_its_width():
    arch = get_arch(NAMES[1])
    chain = next(group for group in width_groups(arch) if 5 in group.rows)

    assert chain.rows == tuple(range(4, 12))
    narrow = with_width(arch, 5, 144)
    assert {narrow.rows[row].out for row in chain.rows} == {144}
    walk = {op.name: op for op in ops(narrow)}
    assert walk["rows.12.start"].groups == 144  # the first depthwise passes its input on


def test_edits_change_what_they_name():
    arch = get_arch(NAMES[1])

    assert with_expand(arch, 10, 256).rows[10].expand == 256
    assert with_kernel(arch, 7, 3).rows[7] == arch.rows[7].with_columns(kernel=3)
    assert len(without_row(arch, 10).rows) == len(arch.rows) - 1
    with pytest.raises(ArchError, match="no kernel"):
        with_kernel(arch, 9, 3)  # ConvNext-like
    with pytest.raises(ArchError, match="lose its depthwise"):
        with_kernel(arch, 7, 0)


def test_surgery_of_dead_channels_leaves_the_logits():
    arch = tiny(width=0.5)
    start = checkpoint(arch)
    row = 6
    block = MobileNet(arch).rows[row]
    weights = {name: tensor.clone() for name, tensor in start.weights.items()}
    dead = [1, 5, 6, 7, 9, 20, 21, 30]
    for part in ("expand", "depthwise"):
        for leaf in ("conv.weight", "norm.weight", "norm.bias"):
            weights[f"rows.{row}.{part}.{leaf}"][dead] = 0
    weights[f"rows.{row}.project.conv.weight"][:, dead] = 0
    start = replace(start, weights=weights)

    cut = surgery(start, with_expand(arch, row, arch.rows[row].expand - len(dead)))

    assert hasattr(block, "start")
    with torch.no_grad():
        theirs = start.network()(images(64))["logits"]
        assert difference(cut.network()(images(64))["logits"], theirs) < 1e-5


def test_surgery_says_which_layer_is_missing():
    arch = tiny()
    rows = list(arch.rows)
    rows[5] = rows[5].with_columns(start=0)

    with pytest.raises(ArchError, match="row 5 of the latter would lose its start"):
        surgery(checkpoint(arch), replace(arch, rows=tuple(rows)))


# ------------------------------------------------------------------------------------------ memory


def test_tensors_between_blocks_count_those_of_blocks_without_depthwise():
    table = memory_by_size(get_arch(NAMES[1]))

    assert table[64] == (48, 2 * 48 * 64 * 64)  # behind the fused bottleneck
    assert table[16] == (160, 2 * 160 * 16 * 16)


def block_peak(row: UniversalBottleneck | FusedBottleneck, splits: int) -> int:
    """Values alive at the peak of one block on a map of 8 x 8, its input of 16 channels."""
    arch = Arch("block", 4, (row,), None, size=8, in_channels=16)
    return peak_with_splits(arch, splits).int8 // 64


def test_slices_of_the_expanded_tensor_take_less():
    ib = UniversalBottleneck(0, 3, 96, 16, "relu")
    extra = UniversalBottleneck(3, 3, 96, 16, "relu")
    convnext = UniversalBottleneck(3, 0, 96, 16, "relu")
    fused = FusedBottleneck(3, 96, 16, "relu")

    # Input, output and the slices before and behind the depthwise.
    assert [block_peak(ib, splits) for splits in (1, 2, 8)] == [16 + 96 + 96, 128, 56]
    # The same, and the first depthwise's output, which the slices read.
    assert [block_peak(extra, splits) for splits in (1, 2, 8)] == [16 + 96 + 96, 144, 72]
    assert [block_peak(convnext, splits) for splits in (1, 2, 8)] == [16 + 16 + 96, 96, 60]
    assert [block_peak(fused, splits) for splits in (1, 2, 8)] == [16 + 96 + 16, 80, 44]


# ------------------------------------------------------------------------------- files and runtimes


def test_the_graph_filled_in_is_the_graph_exported():
    onnx_model(checkpoint(tiny(NAMES[0])))  # the structure's template, of other channels
    start = checkpoint(tiny(NAMES[0], width=0.5))

    assert onnx_model(start).SerializeToString() == exported(start).SerializeToString()


@pytest.mark.parametrize("name", NAMES[:2])
def test_onnxruntime_gives_the_networks_logits(name: str, tmp_path: Path):
    start = checkpoint(tiny(name))
    path = tmp_path / "model.onnx"
    pixels = images(64)[:1]

    export(start, "onnxruntime", path)

    with torch.no_grad():
        ours = Deployed(start)(pixels)["logits"]
    got = get_runtime("onnxruntime").load(path, 1).run(np.ascontiguousarray(pixels.numpy()))
    assert difference(torch.from_numpy(got["logits"]), ours) < 1e-4


# ---------------------------------------------------------------------------------------- choosing


@pytest.mark.parametrize(
    ("name", "top1", "source"),
    [
        ("mobilenet_v4_conv_small_1.0_224", 73.8, "published"),  # arXiv:2404.10518, Table 6
        ("mobilenet_v4_conv_medium_1.0_256", 79.9, "published"),
        ("mobilenet_v4_conv_large_1.0_384", 83.0, "published"),
        ("mobilenet_v4_conv_small_0.5_256", 65.8, "interpolated"),  # timm: 65.826
        ("mobilenet_v4_conv_small_1.0_320", 75.6, "extrapolated"),  # timm: 75.616
        ("mobilenet_v4_conv_large_1.0_320", 82.7, "interpolated"),  # timm: 82.672
    ],
)
def test_the_accuracy_expected_is_near_what_is_published(name: str, top1: float, source: str):
    expected = expected_top1(get_arch(name))

    assert expected.top1 == pytest.approx(top1, abs=0.3)
    assert expected.source == source


def test_v4s_are_candidates():
    found = {one.arch.name: one for one in candidates(10, 32)}

    assert found.keys() >= set(NAMES)
    cheap = found[NAMES[0]]
    assert cheap.in_engine(Engine("onnxruntime", "int8")).expected.top1 < cheap.expected.top1


@pytest.mark.parametrize("name", NAMES)
def test_the_report_prints_the_expanded_channels_of_every_kind_of_block(name: str):
    arch = get_arch(name)

    printed = [_row_columns(*line)[2] for line in _lines(arch, cost(arch))]

    rows = [str(getattr(row, "expand", "-")) for row in arch.rows]
    assert printed == [*rows, "-", "-", "-"]  # pool, dense, classifier

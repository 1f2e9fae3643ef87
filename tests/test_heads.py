"""Heads as values: SSDLite, LR-ASPP and R-ASPP on the papers' backbones.

Integers were counted once more from TensorFlow's and torchvision's code. Rounded figures are as the
papers print them: V2, arXiv:1801.04381, tables 6 and 7; V3, arXiv:1905.02244, tables 6 to 8.
"""

import json
from dataclasses import replace

import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import ssdlite320_mobilenet_v3_large
from torchvision.models.segmentation import lraspp_mobilenet_v3_large
from typer.testing import CliRunner, Result

from mobilenets.archs import (
    Arch,
    Size,
    cost,
    from_json,
    get_arch,
    memory_by_size,
    ops,
    proposals,
    to_json,
    widen,
    width_groups,
    with_expand,
    with_head,
    with_lraspp,
    with_raspp,
    with_ssdlite,
    with_width,
    without_row,
)
from mobilenets.archs.attach import HEADS, with_output_stride
from mobilenets.archs.groups import channel_groups
from mobilenets.archs.heads import Tap
from mobilenets.archs.parts import pieces
from mobilenets.archs.rows import Bottleneck
from mobilenets.archs.segmentation import LRASPP, RASPP, Pixelwise
from mobilenets.archs.ssdlite import SSDLite
from mobilenets.cli.app import app
from mobilenets.errors import ArchError
from mobilenets.nn import Checkpoint, Deployed, MobileNet
from mobilenets.nn.weight_surgery import surgery
from mobilenets.runtimes.graphs.onnx_file import onnx_model


def backbone(name: str, resolution: int | str = 320, width: float = 1.0) -> Arch:
    return get_arch(name, width=width, resolution=resolution)


# ------------------------------------------------------------------------------ the papers' tables

V1, V2, LARGE, SMALL = map(backbone, ("v1", "v2", "v3_large", "v3_small"))
# name: arch, parameters, those without batch norm (what the papers print), MACs, all at 320 pixels
DETECTORS = {
    "v3_large as torchvision's weights": (
        with_ssdlite(LARGE, variant="torchvision", reduced=True),
        3_440_060, 3_407_116, 583_171_904,  # torchvision prints 3440060 and 0.583
    ),
    "v3_large as torchvision's with a pretrained backbone": (
        with_ssdlite(LARGE, variant="torchvision"), 5_198_540, 5_158_396, 689_751_104,
    ),
    "v3_large": (with_ssdlite(LARGE), 5_006_735, 4_966_591, 613_143_104),  # 4.97 M, 0.62 B
    "v3_large dagger": (
        with_ssdlite(LARGE, reduced=True), 3_248_255, 3_215_311, 506_563_904,  # 3.22 M, 0.51 B
    ),
    "v3_small": (with_ssdlite(SMALL), 2_518_271, 2_493_487, 210_417_856),  # 2.49 M, 0.21 B
    "v3_small dagger": (
        with_ssdlite(SMALL, reduced=True), 1_785_743, 1_765_279, 162_303_424,  # 1.77 M, 0.16 B
    ),
    "v2": (with_ssdlite(V2, classes=81), 4_337_013, 4_286_261, 788_830_144),  # 4.3 M, 0.80 B
    "v2 of 91 classes": (with_ssdlite(V2), 4_500_543, 4_449_791, 804_397_504),
    "v2 0.5": (
        with_ssdlite(widen(V2, 0.5)), 1_562_111, 1_536_527, 272_348_896,  # 1.54 M, 0.27 B
    ),
    "v2 0.35": (
        with_ssdlite(widen(V2, 0.35)), 947_709, 929_531, 166_713_786,  # 0.93 M, 0.16 B
    ),
    "v1": (with_ssdlite(V1, classes=81), 5_100_661, 5_063_413, 1_309_162_944),  # 5.1 M, 1.3 B
}  # fmt: skip


@pytest.mark.parametrize("name", DETECTORS)
def test_ssdlite_costs_what_the_papers_print(name: str):
    arch, params, without_norm, macs = DETECTORS[name]

    costs = cost(arch)

    norm = sum(2 * op.out_channels for op in ops(arch) if op.norm)
    assert (costs.params, costs.params - norm, costs.macs) == (params, without_norm, macs)


CITYSCAPES = "1025x2049"
V2_PIXELS, LARGE_PIXELS, SMALL_PIXELS = (
    backbone(name, CITYSCAPES) for name in ("v2", "v3_large", "v3_small")
)
# row of V3's tables 7 and 8: arch, parameters, MACs. The papers' MACs are 1.5 to 4 % more.
SEGMENTERS = {
    "7.1 V2 R-ASPP": (with_raspp(V2_PIXELS), 2_113_043, 21_233_054_912),  # 2.11 M
    "7.5 V3 R-ASPP": (with_raspp(LARGE_PIXELS), 3_600_963, 18_155_973_384),  # 3.60 M
    "7.6 RF2": (with_raspp(LARGE_PIXELS, reduced=True), 1_762_435, 11_031_499_128),  # 1.76 M
    "7.7 LR-ASPP": (with_lraspp(LARGE_PIXELS, channels=256), 1_632_894, 10_128_520_800),  # 1.63 M
    "7.8 of 128": (with_lraspp(LARGE_PIXELS), 1_507_198, 9_532_656_864),  # 1.51 M
    "7.11 Small": (with_lraspp(SMALL_PIXELS), 468_830, 2_779_749_184),  # 0.47 M
    "8 Large, stride 32": (
        with_lraspp(LARGE_PIXELS, output_stride=32), 1_507_198, 7_581_284_064,
    ),
    "8 Small, stride 32": (
        with_lraspp(SMALL_PIXELS, output_stride=32), 468_830, 1_962_958_144,
    ),
    # torchvision prints 3221538 and 2.086
    "torchvision's": (
        with_lraspp(backbone("v3_large", 520), classes=21, variant="torchvision"),
        3_221_538, 2_086_219_688,
    ),
    # V2, table 7: 2.11 M, 2.75 B and 4.52 M, 5.8 B
    "DeepLab without ASPP": (
        with_raspp(backbone("v2", 513), classes=21), 2_113_557, 2_740_709_056,
    ),
    "DeepLab": (
        with_raspp(backbone("v2", 513), classes=21, rates=(6, 12, 18)), 4_523_541, 5_363_508_928,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SEGMENTERS)
def test_segmentation_costs_what_the_papers_print(name: str):
    arch, params, macs = SEGMENTERS[name]

    assert (cost(arch).params, cost(arch).macs) == (params, macs)


def test_heads_by_name_are_the_papers():
    assert with_head(LARGE, "ssdlite", 91) == DETECTORS["v3_large"][0]
    assert with_head(SMALL_PIXELS, "lraspp") == SEGMENTERS["7.11 Small"][0]
    assert with_head(LARGE_PIXELS, "raspp", 19) == SEGMENTERS["7.5 V3 R-ASPP"][0]
    assert with_head(LARGE, "classify", 7) == LARGE.with_classes(7)


def test_the_extra_maps_follow_the_width():
    before, after = with_ssdlite(widen(LARGE, 0.35)), widen(with_ssdlite(LARGE), 0.35)

    assert before == after
    assert before.head == replace(with_ssdlite(LARGE).head, extras=(179, 89, 89, 44))


def test_a_stride_becomes_a_dilation_behind_the_block_or_in_it():
    taken = {at_once: with_output_stride(LARGE, 16, at_once=at_once) for at_once in (False, True)}

    columns = {
        at_once: [(row.stride, row.dilation) for row in arch.rows if isinstance(row, Bottleneck)]
        for at_once, arch in taken.items()
    }
    assert columns[False][-3:] == [(1, 1), (1, 2), (1, 2)]  # tensorflow/models
    assert columns[True][-3:] == [(1, 2), (1, 2), (1, 2)]  # torchvision


# ------------------------------------------------------------------- what follows from the ops

TINY = [
    with_ssdlite(backbone("v3_small", "64x96", 0.35), classes=3),
    with_ssdlite(backbone("v1", 64, 0.25), classes=3, variant="torchvision"),
    with_ssdlite(backbone("v2", 64, 0.35), classes=3, reduced=True),
    with_lraspp(backbone("v3_large", "65x97", 0.35), classes=3, channels=16),
    with_lraspp(backbone("v2", 64, 0.35), classes=3, channels=16, output_stride=32),
    with_lraspp(backbone("v1", 64, 0.25), classes=3, channels=16),
    with_lraspp(backbone("v3_small", 64, 0.35), classes=3, variant="torchvision"),
    with_raspp(backbone("v2", 65, 0.35), classes=3, channels=16, rates=(6, 12)),
    with_raspp(backbone("v3_small", "64x96", 0.35), classes=3, channels=16, output_stride=8),
]


def id_of(arch: Arch) -> str:
    return f"{arch.full_name}-{type(arch.head).__name__}"


heads = pytest.mark.parametrize("arch", TINY, ids=id_of)


def answers(checkpoint: Checkpoint, seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    images = torch.randn(2, 3, *checkpoint.arch.size, dtype=torch.float64)
    with torch.no_grad():
        return checkpoint.network().double()(images)


@heads
def test_outputs_have_their_declared_shapes(arch: Arch):
    shapes = {name: tuple(one.shape[1:]) for name, one in answers(Checkpoint.fresh(arch)).items()}

    assert shapes == arch.outputs


def layers_run(arch: Arch) -> list[tuple[object, ...]]:
    seen: list[tuple[object, ...]] = []

    def record(module: nn.Conv2d, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen.append(
            (inputs[0].shape[1], output.shape[1], Size(*output.shape[2:]), module.groups,
             module.kernel_size[0], module.stride[0], module.dilation[0])
        )  # fmt: skip

    model = MobileNet(arch).eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(record)
    with torch.no_grad():
        model(torch.zeros(1, 3, *arch.size))
    return seen


@heads
def test_ops_are_the_layers_that_run(arch: Arch):
    expected = [
        (op.in_channels, op.out_channels, op.out_size, op.groups, op.kernel, op.stride, op.dilation)
        for op in ops(arch)
        if op.has_weights
    ]

    assert layers_run(arch) == expected


@heads
def test_parameters_are_those_counted(arch: Arch):
    assert sum(p.numel() for p in MobileNet(arch).parameters()) == cost(arch).params


@heads
def test_json_gives_the_same_network(arch: Arch):
    assert from_json(json.loads(json.dumps(to_json(arch)))) == arch


@heads
def test_pieces_have_the_macs_of_the_whole(arch: Arch):
    whole = [op for op in ops(arch) if op.row == len(arch.rows) and op.has_weights]
    parts = [op for piece in pieces(arch) if not piece.rows for op in ops(piece)]

    layers = [(op.part, op.in_channels, op.out_channels) for op in whole]
    in_pieces = [(op.in_channels, op.out_channels) for op in parts if op.has_weights]
    assert sorted(in_pieces) == sorted(layer[1:] for layer in layers)


def test_pieces_of_a_detector_add_up():
    arch = with_ssdlite(LARGE)

    assert sum(cost(piece).macs for piece in pieces(arch)) == cost(arch).macs
    assert sum(cost(piece).params for piece in pieces(arch)) == cost(arch).params


@pytest.mark.parametrize("arch", [TINY[1], TINY[5]], ids=id_of)
def test_the_onnx_file_gives_the_same_outputs(arch: Arch):
    checkpoint = Checkpoint.fresh(arch)
    image = torch.rand(1, 3, *arch.size)
    session = onnxruntime.InferenceSession(onnx_model(checkpoint).SerializeToString())

    names = [output.name for output in session.get_outputs()]
    got = dict(zip(names, session.run(None, {"image": image.numpy()}), strict=True))

    for name, expected in Deployed(checkpoint)(image).items():
        furthest = (torch.from_numpy(got[name]) - expected).abs().max()
        assert furthest < 1e-3 * expected.abs().max()
    assert list(got) == list(arch.outputs)


def test_a_tapped_tensor_is_held_until_the_head_has_read_it():
    """Row 6 of V3-Large has squeeze-and-excite, which would write over its tapped depthwise."""
    arch = with_lraspp(backbone("v3_large", 320))
    layers = {layer.op.name: layer for layer in cost(arch).layers}

    held = 40 * 40 * 120
    assert layers["rows.6.se.scale"].live_values == 2 * held + 120 + 40 * 40 * 40
    assert layers["rows.7.depthwise"].live_values == held + (40 * 40 + 20 * 20) * 240
    assert memory_by_size(arch).keys() == {160, 80, 40, 20, 1}


# ---------------------------------------------------------------------------- edits and surgery


@heads
def test_weights_carry_over_to_other_classes(arch: Arch):
    start = Checkpoint.fresh(arch)

    carried = surgery(start, arch.with_classes(5))

    old, new = answers(start), answers(carried)
    assert {name: one.shape[1:] for name, one in new.items()} == arch.with_classes(5).outputs
    if "boxes" in old:
        torch.testing.assert_close(new["boxes"], old["boxes"], rtol=1e-9, atol=1e-9)


@heads
def test_edits_that_reach_the_head_carry_their_weights(arch: Arch):
    start = Checkpoint.fresh(arch)
    heads_own = [op for op in ops(arch) if op.row == len(arch.rows)]
    for family in proposals(arch, kinds=("width", "expand", "row")):
        edited = next(iter(family))
        if [op._replace(row=len(arch.rows)) for op in ops(edited)[-len(heads_own) :]] == heads_own:
            continue

        shapes = {name: one.shape[1:] for name, one in answers(surgery(start, edited)).items()}

        assert shapes == edited.outputs


@pytest.mark.parametrize("arch", [TINY[3], TINY[7]], ids=id_of)
def test_new_channels_of_a_head_change_nothing_and_go_again(arch: Arch):
    start, row = Checkpoint.fresh(arch), len(arch.rows)
    wide = surgery(start, with_width(arch, row, 24))
    silent = {name: tensor.clone() for name, tensor in wide.weights.items()}
    for name, tensor in silent.items():
        if name.startswith("head") and len(tensor.shape) and len(tensor) == 24:
            tensor[16:] = 0

    narrow = surgery(replace(wide, weights=silent), arch)

    assert width_groups(wide.arch)[-1] == ((row,), 24)
    torch.testing.assert_close(answers(wide), answers(start), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(answers(narrow), answers(start), rtol=1e-9, atol=1e-9)


def test_what_the_head_taps_is_cut_with_its_readers():
    arch = with_ssdlite(backbone("v3_small"))

    group = next(
        group
        for group in channel_groups(arch)
        if "rows.9.expand" in [op.name for op in group.makers]
    )

    assert [op.name for op in group.makers if op.row == 12 + 1] == [
        "head.boxes.0.depthwise", "head.scores.0.depthwise",
    ]  # fmt: skip
    assert [op.name for op in group.readers if op.row == 12 + 1] == [
        "head.boxes.0.predict", "head.scores.0.predict",
    ]  # fmt: skip
    narrower = {op.name: op.in_channels for op in ops(with_expand(arch, 9, 200))}
    assert narrower["head.scores.0.predict"] == 200


def test_taps_follow_a_row_that_goes():
    arch = with_ssdlite(LARGE)

    assert without_row(arch, 8).head == replace(arch.head, taps=(Tap(12, "expand"), Tap()))
    assert without_row(arch, 14).head == arch.head
    assert width_groups(without_row(arch, 8))[-1] == width_groups(arch)[-1]._replace(rows=(15,))


# -------------------------------------------------------------------------------- what cannot be


def test_what_a_head_taps_must_stay():
    arch = replace(LARGE, head=LRASPP(3, (Tap(), Tap(5))))

    with pytest.raises(ArchError, match=r"the head of mobilenet_v3_large_1\.0_320 taps row 5"):
        without_row(arch, 5)


@pytest.mark.parametrize(
    ("taps", "message"),
    [
        ((Tap(3, "expand"), Tap(40)), "the head reads out of row 40, and the network has no such"),
        ((Tap(0, "expand"), Tap()), "the head reads expand of row 0, and the network has no such"),
    ],
)
def test_a_tap_on_nothing_is_named(taps: tuple[Tap, ...], message: str):
    arch = replace(LARGE, head=SSDLite(3, taps, (3, 3), ()))

    with pytest.raises(ArchError, match=message):
        ops(arch)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"taps": ()}, "the head must tap a row, got no taps"),
        (
            {"taps": ((3, "out"), Tap())},
            r"a tap must be a row, -1 for the last, .* got \(3, 'out'\)",
        ),
        ({"taps": (Tap(-2), Tap())}, "a tap must be a row, -1 for the last, and a part"),
        ({"anchors": (6, 6)}, r"one number for each of the 6 maps .* got \(6, 6\)"),
        ({"anchors": (0,) * 6}, "anchors must be a whole number of at least 1, got 0"),
        ({"extras": (512, 0, 0, 0)}, "extras must be a whole number of at least 1, got 0"),
        ({"classes": 0}, "classes must be a whole number of at least 1, got 0"),
    ],
)
def test_a_detector_that_cannot_be(change: dict[str, object], message: str):
    head = with_ssdlite(LARGE).head
    assert isinstance(head, SSDLite)

    with pytest.raises(ArchError, match=message):
        replace(LARGE, head=replace(head, **change))


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (LRASPP(3, (Tap(), Tap(), Tap())), "LR-ASPP taps the last map and a finer one, .* got 3"),
        (LRASPP(3, (Tap(), Tap(6)), enlarge=2), "got 2 taps, enlarged 2 times"),
        (LRASPP(3, (Tap(),), gate_bias=1), "gate_bias must be true or false, got 1"),
        (LRASPP(3, (Tap(),), channels=0), "channels must be a whole number of at least 1, got 0"),
        (RASPP(3, rates=(6, 0)), "rates must be a whole number of at least 1, got 0"),
        (RASPP(3, dropout=1.0), "dropout must be a number above 0 and below 1, got 1.0"),
        (Pixelwise(0), "classes must be a whole number of at least 1, got 0"),
    ],
)
def test_a_segmentation_head_that_cannot_be(head: LRASPP, message: str):
    with pytest.raises(ArchError, match=message):
        replace(LARGE, head=head)


def test_backbones_without_the_maps_are_refused():
    flat = replace(LARGE, rows=LARGE.rows[-1:])

    with pytest.raises(ArchError, match="has no block of stride 2, behind which is its tail"):
        with_ssdlite(flat)
    with pytest.raises(ArchError, match=r"LR-ASPP reads a map of stride 8, and .* has none"):
        with_lraspp(flat)
    with pytest.raises(ArchError, match="an output stride of 32 divided by a power of two, got 64"):
        with_raspp(LARGE, output_stride=64)
    with pytest.raises(
        ArchError, match=r"row 12 of .* has no dilation, which an output stride of 16"
    ):
        with_raspp(get_arch("mobilenet_v4_conv_small"))
    with pytest.raises(ArchError, match="variant must be one of paper, torchvision, got 'timm'"):
        with_ssdlite(LARGE, variant="timm")
    with pytest.raises(ArchError, match="head must be one of classify, ssdlite, lraspp, raspp"):
        with_head(LARGE, "yolo")


def test_a_dilated_window_has_stride_1():
    row = Bottleneck(3, 16, 16, False, "relu", 2, dilation=2)

    with pytest.raises(
        ArchError, match="row 0: dilation 2 stands in for a stride, which must be 1"
    ):
        Arch("one", 3, (row,))


def test_json_that_is_no_tap_is_named():
    value = to_json(with_ssdlite(LARGE))
    value["head"]["taps"] = [["13"], 4]

    with pytest.raises(ArchError, match=r"a tap must be a row, .* got \['13'\]"):
        from_json(value)


# -------------------------------------------------------------------------- torchvision's networks


def renamed(ours: dict[str, Tensor], theirs: nn.Module, last_first: str) -> dict[str, Tensor]:
    """Our weights under torchvision's names, in order; it makes the layers whose names contain
    `last_first` before the one in front of them."""
    names = [name for name in ours if last_first not in name]
    before = next(i for i, name in enumerate(names) if name.startswith(BEFORE[last_first]))
    names[before:before] = [name for name in ours if last_first in name]
    assert len(names) == len(theirs.state_dict())
    return {name: ours[mine] for name, mine in zip(theirs.state_dict(), names, strict=True)}


BEFORE = {"head.scores": "head.boxes", "head.finer_classifier": "head.classifier"}


def test_raw_boxes_and_scores_are_torchvisions():
    arch = with_ssdlite(backbone("v3_large", 128), variant="torchvision", reduced=True)
    checkpoint = Checkpoint.fresh(arch)
    theirs = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None).double().eval()
    theirs.load_state_dict(renamed(dict(checkpoint.weights), theirs, "head.scores"))
    torch.manual_seed(0)
    images = torch.randn(2, 3, 128, 128, dtype=torch.float64)

    with torch.no_grad():
        ours = checkpoint.network().double()(images)
        expected = theirs.head(list(theirs.backbone(images).values()))

    torch.testing.assert_close(ours["boxes"], expected["bbox_regression"], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(ours["scores"], expected["cls_logits"], rtol=1e-9, atol=1e-9)


def test_logits_of_lraspp_are_torchvisions():
    arch = with_lraspp(backbone("v3_large", "96x128"), classes=21, variant="torchvision")
    checkpoint = Checkpoint.fresh(arch)
    theirs = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None).double().eval()
    theirs.load_state_dict(renamed(dict(checkpoint.weights), theirs, "head.finer_classifier"))
    theirs.classifier.cbr[1].eps = 1e-3  # theirs is 1e-5 there, 1e-3 in the backbone
    torch.manual_seed(0)
    images = torch.randn(2, 3, 96, 128, dtype=torch.float64)

    with torch.no_grad():
        ours = checkpoint.network().double()(images)["logits"]
        expected = theirs.classifier(theirs.backbone(images))

    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)


# ---------------------------------------------------------------------------------- the command


def run(words: str) -> Result:
    return CliRunner().invoke(app, words.split())


def test_cost_of_a_detector():
    done = run("cost mobilenet_v3_large --head ssdlite --resolution 320 --classes 91")

    lines = done.stdout.splitlines()
    assert lines[0] == "mobilenet_v3_large_1.0_320, 91 classes: boxes 2034x4, scores 2034x91"
    assert lines[1].split() == ["MACs", "613,143,104"]
    assert lines[2].split() == ["params", "5,006,735"]


def test_cost_of_a_segmenter_as_json():
    words = "cost mobilenet_v3_small --head lraspp --resolution 1025x2049 --classes 19 --json"
    record = json.loads(run(words).stdout)

    assert record["outputs"] == {"logits": [19, 129, 257]}
    assert (record["resolution"], record["params"]) == ([1025, 2049], 468_830)
    assert [layer["name"] for layer in record["layers"]][-2:] == [
        "head.finer_classifier",
        "head.add",
    ]


def test_cost_by_layer_lists_the_heads():
    lines = run("cost v2 --head ssdlite --per-layer").stdout.splitlines()

    assert any(line.split()[:2] == ["head.extras.3.pointwise", "conv"] for line in lines)


@pytest.mark.parametrize("head", HEADS)
def test_every_head_stands_on_every_generation(head: str):
    generations = ("v1", "v2", "v3_large", "v3_small", "mobilenet_v4_conv_small")
    for name in generations[: 5 if head in ("classify", "ssdlite") else 4]:
        assert with_head(get_arch(name), head).classes == {"ssdlite": 91, "classify": 1000}.get(
            head, 19
        )


@pytest.mark.parametrize("resolution", ["5x", "0", "axb", "1x2x3", "-3", "0x5"])
def test_a_resolution_that_is_none_is_one_sentence(resolution: str):
    done = run(f"cost v2 --resolution={resolution}")

    assert isinstance(done.exception, ArchError)
    assert "must be a whole number of at least 1, or height x width, got" in str(done.exception)

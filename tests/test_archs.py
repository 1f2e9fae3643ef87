"""What architectures do: names, JSON, checks, edits, expected accuracy, budgets, memory."""

import json
import re
from dataclasses import FrozenInstanceError, replace
from itertools import pairwise, product

import pytest

from mobilenets.archs import (
    ARCHS,
    RULES,
    Arch,
    Budget,
    at_resolution,
    cost,
    digest,
    expected_top1,
    from_json,
    get_arch,
    keep_resolution,
    memory_by_size,
    ops,
    to_json,
    widen,
)
from mobilenets.archs.budget import Use, describe
from mobilenets.archs.heads import Classify, Head, Pooled, Tap
from mobilenets.archs.op import Size, make_divisible
from mobilenets.archs.published import PUBLISHED_TOP1
from mobilenets.archs.rows import Bottleneck, Conv, Row, Separable
from mobilenets.errors import ArchError, BudgetError

V1, V2 = get_arch("mobilenet_v1"), get_arch("mobilenet_v2")
LARGE, SMALL = get_arch("mobilenet_v3_large"), get_arch("mobilenet_v3_small")


def tiny(*rows: Row, resolution: int = 4) -> Arch:
    return Arch("tiny", 2, rows, Classify(10), Size.of(resolution))


# ------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize("name", ARCHS)
def test_a_canonical_name_gives_the_papers_network(name: str):
    assert get_arch(name) == ARCHS[name]


@pytest.mark.parametrize(
    ("spelling", "full_name"),
    [
        ("mobilenetv1_100", "mobilenet_v1_1.0_224"),  # timm
        ("mobilenetv2_140", "mobilenet_v2_1.4_224"),
        ("mobilenetv3_small_050", "mobilenet_v3_small_0.5_224"),
        ("tf_mobilenetv3_large_minimal_100", "mobilenet_v3_large_minimalistic_1.0_224"),
        ("MobileNetV2", "mobilenet_v2_1.0_224"),  # Keras
        ("MobileNetV3Small", "mobilenet_v3_small_1.0_224"),
        ("mobilenet_v1_0.25_128", "mobilenet_v1_0.25_128"),  # TensorFlow
        ("mobilenet_v2_0.35", "mobilenet_v2_0.35_224"),
        ("mobilenet_v3_large", "mobilenet_v3_large_1.0_224"),  # torchvision
        (" Mobilenet-V3-Large ", "mobilenet_v3_large_1.0_224"),
        ("v2", "mobilenet_v2_1.0_224"),
        ("tf_efficientnet_lite0.in1k", "efficientnet_lite0_1.0_224"),  # timm
        ("EfficientNet-Lite4", "efficientnet_lite4_1.0_300"),  # TensorFlow
        ("efficientnet_lite0_0.5_160", "efficientnet_lite0_0.5_160"),
        ("v3_small_0.75_160_timm", "mobilenet_v3_small_0.75_160_timm"),
        ("mobilenet_v2_050_96_os16", "mobilenet_v2_0.5_96_os16"),
    ],
)
def test_well_known_spellings_name_the_same_networks(spelling: str, full_name: str):
    assert get_arch(spelling).full_name == full_name


def test_timms_tf_prefix_means_tensorflows_padding():
    assert get_arch("tf_mobilenetv3_large_075") == replace(
        get_arch("mobilenet_v3_large", width=0.75), padding="same"
    )


def test_arguments_win_over_the_name():
    arch = get_arch("mobilenet_v2_0.5_96_timm", width=0.35, rule="keras", resolution=160, classes=7)

    assert arch.full_name == "mobilenet_v2_0.35_160_keras"
    assert arch.classes == 7


@pytest.mark.parametrize("name", ARCHS)
def test_a_full_name_is_read_back_as_the_same_network(name: str):
    for width, rule, resolution, stride in product(
        (0.25, 0.35, 0.625, 1.0, 1.4), RULES, (96, 224), (8, 16, 32)
    ):
        arch = get_arch(name, width=width, rule=rule, resolution=resolution)
        arch = keep_resolution(arch, stride)

        assert get_arch(arch.full_name) == arch


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("mobilenet_v2_minimal", "mobilenet_v3_small"), ("mobilnet_v2", "mobilenet_v2")],
)
def test_an_unknown_name_is_answered_with_the_nearest(name: str, nearest: str):
    message = f"no network is called {name!r}; the nearest name is {nearest!r}; list all with: "

    with pytest.raises(ArchError, match=re.escape(message)):
        get_arch(name)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("resnet50", "mobilenet_v4_conv_medium: mobilenets cost mobilenet_v4_conv_medium"),
        ("ResNet18", "mobilenet_v3_large: mobilenets cost mobilenet_v3_large"),
        ("torchvision.models.resnet50", "mobilenet_v4_conv_medium"),
        ("timm/convnext_tiny.fb_in1k", "mobilenet_v4_conv_medium"),
        ("vit_base_patch16_224", "mobilenet_v4_conv_medium"),
        ("efficientnet_b0", "efficientnet_lite0: mobilenets cost efficientnet_lite0"),
        ("EfficientNetB3", "efficientnet_lite3"),
        ("tf_efficientnet_b4", "efficientnet_lite4"),
        ("squeezenet1_0", "mobilenet_v3_small"),
        ("mobilevit_s", "mobilenet_v3_large"),
        ("yolov8n", "mobilenet_v3_large with a detection head, of which only the cost can be told"),
        ("deeplabv3_resnet50", "mobilenet_v3_large with a segmentation head"),
    ],
)
def test_a_well_known_network_that_is_no_mobilenet_is_answered_with_what_to_take(
    name: str, nearest: str
):
    message = (
        f"{name} is no MobileNet, and only MobileNets are here (V1 to V4, EfficientNet-Lite); "
        f"the nearest is {nearest}"
    )

    with pytest.raises(ArchError, match=re.escape(message)):
        get_arch(name)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("MobileNet", "mobilenet_v1_1.0_224"),  # Keras
        ("mobilenet_1.00_224", "mobilenet_v1_1.0_224"),
        ("keras.applications.MobileNetV2", "mobilenet_v2_1.0_224"),
        ("torchvision.models.mobilenet_v3_large", "mobilenet_v3_large_1.0_224"),
        ("torchvision.models.quantization.mobilenet_v2", "mobilenet_v2_1.0_224"),
        ("timm/mobilenetv3_small_100.lamb_in1k", "mobilenet_v3_small_1.0_224"),
        ("hf-hub:timm/mobilenetv4_conv_small.e2400_r224_in1k", "mobilenet_v4_conv_small_1.0_224"),
    ],
)
def test_a_name_is_understood_as_each_library_writes_it(name: str, ours: str):
    assert get_arch(name).full_name == ours


@pytest.mark.parametrize("name", ["", "xyz", "v4"])
def test_a_name_like_nothing_is_answered_without_a_guess(name: str):
    with pytest.raises(
        ArchError, match=rf"no network is called '{name}'; list all with: mobilenets list"
    ):
        get_arch(name)


# -------------------------------------------------------------------------------------------- JSON

EDITED = replace(
    SMALL, size=Size(65, 96), head=Classify(3, 0.0, 24, "relu", norm=True), in_channels=1,
    bn_eps=1e-5, bn_momentum=0.01, padding="same", width=0.5, rule="timm",
)  # fmt: skip
ZOO = [*ARCHS.values(), widen(V2, 0.35, "torchvision"), keep_resolution(LARGE, 8), EDITED]


@pytest.mark.parametrize("arch", ZOO, ids=lambda arch: arch.full_name)
def test_an_architecture_survives_json(arch: Arch):
    assert from_json(json.loads(json.dumps(to_json(arch)))) == arch


def test_json_says_what_every_row_is():
    value = to_json(tiny(Conv(3, 8, "relu", 2)))

    assert value["rows"] == [{"row": "conv", "kernel": 3, "out": 8, "act": "relu", "stride": 2}]
    assert value["head"] == {
        "head": "classify", "classes": 10, "dropout": 0.2, "dense": None, "act": "", "norm": False,
    }  # fmt: skip
    assert value["size"] == 4  # a square is one number
    assert to_json(replace(V2, size=Size(512, 1024)))["size"] == (512, 1024)


def test_a_digest_is_the_same_for_equal_networks_and_another_for_any_change():
    changed = [at_resolution(V2, 192), V2.with_classes(10), replace(V2, padding="same"), V1,
               replace(V2, bn_eps=1e-5), keep_resolution(V2, 16)]  # fmt: skip

    assert digest(from_json(to_json(V2))) == digest(V2)
    assert re.fullmatch("[0-9a-f]{16}", digest(V2))
    assert len({digest(arch) for arch in (V2, *changed)}) == 7


def test_columns_that_came_later_are_written_only_where_they_are_set():
    plain, odd = Bottleneck(3, 8, 8, True, "relu"), Bottleneck(3, 8, 8, True, "relu", 1, False)
    rows = to_json(tiny(Conv(3, 8, "relu"), plain, odd))["rows"]

    assert rows[1] == {
        "row": "bottleneck", "kernel": 3, "expand": 8, "out": 8, "se": True, "act": "relu",
        "stride": 1,
    }  # fmt: skip
    assert rows[2] == {**rows[1], "skip": False}


JSON = to_json(tiny(Conv(3, 8, "relu", 2)))
ROW = JSON["rows"][0]


def without(value: dict, field: str) -> dict:
    return {key: item for key, item in value.items() if key != field}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "architecture must be a JSON object, got NoneType"),
        ([], "architecture must be a JSON object, got list"),
        ({**JSON, "depth": 1}, "unknown: depth; missing: none"),
        (without(JSON, "generation"), "unknown: none; missing: generation"),
        ({**JSON, "rows": {}}, "architecture: rows must be a list, got dict"),
        ({**JSON, "rows": [7]}, "row 0 must be one of conv, separable, .*, got 7"),
        ({**JSON, "rows": [{"kernel": 3}]}, "row 0 must be one of conv, separable"),
        ({**JSON, "rows": [{"row": "lstm"}]}, "row 0 must be one of conv, .*'lstm'"),
        (
            {**JSON, "rows": [ROW, without(ROW, "act") | {"groups": 2}]},
            "row 1 needs the fields kernel, out, act, stride; unknown: groups; missing: act",
        ),
        ({**JSON, "size": 0}, "tiny: resolution must be a whole number of at least 1, .* got 0"),
        ({**JSON, "head": {"head": "ssd"}}, "the head must be one of classify, .*'ssd'"),
    ],
)
def test_json_that_is_no_architecture_is_refused_by_name(value: object, message: str):
    with pytest.raises(ArchError, match=message):
        from_json(value)


# ------------------------------------------------------------------------------------------ checks


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"generation": 0}, "tiny: generation must be a whole number of at least 1, got 0"),
        ({"size": 224.0}, "tiny: resolution must be a whole number .* got 224.0"),
        ({"size": (1, 2, 3)}, r"tiny: resolution must be a whole number .* got \(1, 2, 3\)"),
        ({"head": Classify(True)}, "tiny: classes must be a whole number of at least 1, got True"),
        ({"head": Classify(5, dense=0)}, "tiny: dense must be a whole number of at least 1, got 0"),
        ({"head": Classify(5, dense=8, act="x")}, "tiny: act must be one of relu, .* got 'x'"),
        ({"in_channels": -3}, "tiny: in_channels must be a whole number of at least 1, got -3"),
        ({"padding": "valid"}, "tiny: padding must be one of symmetric, same, got 'valid'"),
        ({"rule": "tf"}, "tiny: rule must be one of paper, torchvision, timm, keras, got 'tf'"),
    ],
)
def test_an_architecture_checks_its_fields(change: dict, message: str):
    with pytest.raises(ArchError, match=message):
        replace(tiny(Conv(3, 8, "relu")), **change)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (Conv(3, 8, "swish"), "row 1: act must be one of relu, relu6, hswish, got 'swish'"),
        (Conv(3, 0, "relu"), "row 1: out must be a whole number of at least 1, got 0"),
        (Conv(2, 8, "relu"), r"row 1: kernel must be odd \(1, 3, 5, ...\), got 2"),
        (Separable(3.0, 8, "relu"), "row 1: kernel must be odd .* got 3.0"),
        (Separable(-1, 8, "relu"), "row 1: kernel must be odd .* got -1"),
        (Separable(3, 8, "relu", 3), "row 1: stride must be 1 or 2, got 3"),
        (Bottleneck(3, 8.0, 8, False, "relu"), "row 1: expand must be a whole number .* got 8.0"),
        (Bottleneck(3, 8, 8, False, "relu", skip=1), "row 1: skip must be true or false, got 1"),
        (Bottleneck(3, 8, 8, True, "relu", se_act="elu"), "row 1: se_act must be .* got 'elu'"),
    ],
)
def test_an_architecture_checks_its_rows(row: Row, message: str):
    with pytest.raises(ArchError, match=f"tiny: {message}"):
        tiny(Conv(3, 8, "relu"), row)


def test_an_architecture_is_not_nothing():
    with pytest.raises(ArchError, match="tiny: a network has rows, or a head, and not nothing"):
        Arch("tiny", 2, (), None)


@pytest.mark.parametrize(
    ("rows", "head", "outputs"),
    [
        ((Conv(3, 8, "relu", 2),), None, {"features": (8, 112, 112)}),
        ((Conv(3, 8, "relu"),), Pooled(), {"features": (8,)}),
        ((), Pooled(), {"features": (3,)}),
        ((), Classify(7, dense=4, act="relu"), {"logits": (7,)}),
        ((Conv(3, 8, "relu"),), Classify(7), {"logits": (7,)}),
    ],
)
def test_a_piece_of_a_network_is_an_architecture(
    rows: tuple[Row, ...], head: Head | None, outputs: dict
):
    piece = Arch("tiny", 2, rows, head)

    assert piece.outputs == outputs
    assert from_json(to_json(piece)) == piece


class Inside(Pooled):
    """A head that reads inside a block."""

    __slots__ = ()
    taps = (Tap(1, "expand"),)


def test_a_head_may_tap_the_inside_of_a_block():
    arch = replace(tiny(Conv(3, 8, "relu"), Bottleneck(3, 24, 8, False, "relu")), head=Inside())

    assert ops(arch)[-1].inputs == ("rows.1.expand",)
    assert arch.outputs == {"features": (24,)}


def test_a_tap_that_is_not_there_is_refused():
    arch = tiny(Conv(3, 8, "relu"), Bottleneck(3, 8, 8, False, "relu"))  # it does not expand

    with pytest.raises(
        ArchError, match="tiny: the head reads expand of row 1, and the network has"
    ):
        ops(replace(arch, head=Inside()))


# An architecture as files held it before heads were values.
BEFORE = {
    "name": "tiny", "generation": 3, "resolution": 4, "classes": 10, "in_channels": 3, "width": 1.0,
    "rule": "paper", "bn_eps": 0.001, "bn_momentum": 0.1, "padding": "symmetric", "dropout": 0.5,
    "rows": [
        {"row": "conv", "kernel": 3, "out": 8, "act": "relu", "stride": 2}, {"row": "pool"},
        {"row": "dense", "out": 16, "act": "hswish"}, {"row": "classifier"},
    ],
}  # fmt: skip


def test_an_architecture_of_an_older_file_is_read_with_its_head():
    head = Classify(10, 0.5, 16, "hswish")

    assert from_json(BEFORE) == Arch("tiny", 3, (Conv(3, 8, "relu", 2),), head, Size(4, 4))
    assert from_json(BEFORE | {"rows": BEFORE["rows"][:2]}).head == Pooled()
    assert from_json(BEFORE | {"rows": BEFORE["rows"][:1]}).head is None


# ------------------------------------------------------------------------------------------ values


def test_equal_networks_are_one_key_and_other_networks_are_not():
    latency = {get_arch("mobilenet_v2", width=0.5): 3.1}

    assert latency[get_arch("mobilenetv2_050")] == 3.1
    assert get_arch("mobilenet_v2_0.5_192") not in latency
    assert len(set(ARCHS.values())) == 16


def test_an_architecture_cannot_be_edited_in_place():
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'size'"):
        V2.size = Size(96, 96)
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'out'"):
        V2.rows[0].out = 8


# ------------------------------------------------------------------------------------------- edits


@pytest.mark.parametrize("width", [0, -0.5, float("nan"), float("inf"), "0.5", True, None])
def test_a_width_that_is_no_positive_number_is_refused(width: object):
    with pytest.raises(ArchError, match=f"width must be a positive number, got {width!r}"):
        widen(V2, width)


def test_an_unknown_width_rule_is_refused():
    with pytest.raises(ArchError, match=r"width rule must be one of paper, .*, got 'pytorch'"):
        widen(V2, 0.5, "pytorch")


def test_a_scaled_network_is_not_scaled_again():
    with pytest.raises(ArchError, match=r"a network of width 1\.0, got mobilenet_v2_0\.5_224"):
        widen(widen(V2, 0.5), 0.5)


@pytest.mark.parametrize(
    ("channels", "rounded"),
    [(3, 8), (8, 8), (11.2, 16), (12, 16), (18, 24), (20, 24), (33.6, 32), (35, 32), (83.9, 80)],
)
def test_rounding_goes_to_the_nearest_eight_but_never_a_tenth_down(channels: float, rounded: int):
    assert make_divisible(channels) == rounded  # 11.2 and 18: nearest is 8 and 16, a tenth too few


@pytest.mark.parametrize(
    ("rule", "channels"),
    [
        ("paper", [10, 21, 42]),  # truncated; slim's mobilenet_v1.py
        ("keras", [10, 21, 42]),
        ("timm", [16, 24, 40]),  # rounded to 8
        ("torchvision", [16, 24, 40]),
    ],
)
def test_v1_truncates_its_channels_where_the_libraries_round(rule: str, channels: list[int]):
    assert [row.out for row in widen(V1, 0.33, rule).rows[:3]] == channels


def test_v1_keeps_eight_channels_at_least_by_the_papers_rule():
    assert widen(V1, 0.1).rows[0].out == 8  # slim: min_depth 8
    assert widen(V1, 0.1, "keras").rows[0].out == 3


@pytest.mark.parametrize(
    ("rule", "width", "stem", "last", "dense"),
    [
        ("paper", 0.5, 8, 288, 1024),
        ("timm", 0.5, 16, 288, 1024),  # the stem is not thinned below 0.75
        ("keras", 0.5, 16, 288, 1024),  # nor ever scaled
        ("torchvision", 0.5, 8, 288, 512),
        ("paper", 0.35, 8, 200, 1024),
        ("torchvision", 0.35, 8, 192, 360),  # 6 x the last block's 32
        ("keras", 0.35, 16, 192, 1024),
        ("timm", 1.25, 24, 720, 1024),
        ("keras", 1.25, 16, 720, 1280),
    ],
)
def test_rules_differ_in_v3s_stem_and_its_last_two_layers(
    rule: str, width: float, stem: int, last: int, dense: int
):
    wide = widen(SMALL, width, rule)

    assert (wide.rows[0].out, wide.rows[-1].out, wide.head.dense) == (stem, last, dense)


def test_torchvision_scales_v3s_expansion_on_its_own_and_the_paper_follows_the_input():
    paper, torchvision = widen(LARGE, 0.75), widen(LARGE, 0.75, "torchvision")

    assert paper.rows[4].expand == 72  # 3 x the 24 channels that go in
    assert torchvision.rows[4].expand == 56  # 72 x 0.75 = 54


def test_another_resolution_changes_macs_and_no_parameter():
    arch = at_resolution(V2, 96)

    assert arch.resolution == 96
    assert cost(arch).params == cost(V2).params
    assert cost(arch).macs < cost(V2).macs


@pytest.mark.parametrize(
    ("stride", "strides"),
    [
        (32, [2, 2, 2, 2, 2]),
        (16, [1, 2, 2, 2, 2]),
        (8, [1, 1, 2, 2, 2]),
        (1, [1, 1, 1, 1, 1]),
    ],
)
def test_keeping_resolution_undoes_the_first_strides(stride: int, strides: list[int]):
    kept = keep_resolution(V2, stride)

    # rows 0, 2, 4, 7 and 14 of V2 have stride 2
    assert [kept.rows[row].stride for row in (0, 2, 4, 7, 14)] == strides
    assert kept.output_stride == stride
    assert cost(kept).params == cost(V2).params


def test_a_small_image_with_resolution_kept_ends_on_the_map_of_a_large_one():
    small = keep_resolution(at_resolution(V2, 56), 8)

    assert next(op.in_size for op in ops(small) if op.kind == "pool") == (7, 7)


@pytest.mark.parametrize("stride", [0, 3, 12, 64])
def test_an_output_stride_that_halving_does_not_reach_is_refused(stride: int):
    message = f"mobilenet_v2_1.0_224 can have an output stride of 32 .* power of two, got {stride}"

    with pytest.raises(ArchError, match=message):
        keep_resolution(V2, stride)


# ------------------------------------------------------------------------------- expected accuracy


@pytest.mark.parametrize("family", PUBLISHED_TOP1)
def test_published_accuracies_are_given_as_published(family: str):
    for (width, resolution), top1 in PUBLISHED_TOP1[family].items():
        arch = get_arch(family, width=width, resolution=resolution)

        assert expected_top1(arch) == (top1, "published")


@pytest.mark.parametrize(
    ("name", "top1"),
    [
        ("mobilenet_v1_0.25_128", 41.5),  # TF-slim, mobilenet_v1.md
        ("mobilenet_v2_1.4_224", 75.0),  # TF-slim, mobilenet/README.md
        ("mobilenet_v2_0.35_96", 45.5),
        ("mobilenet_v3_large_0.75_224", 73.3),  # arXiv:1905.02244, Table 9
        ("mobilenet_v3_small_1.0_96", 51.7),
    ],
)
def test_some_published_accuracies(name: str, top1: float):
    assert expected_top1(get_arch(name)) == (top1, "published")


@pytest.mark.parametrize("family", PUBLISHED_TOP1)
def test_more_width_at_224_is_expected_to_be_more_accurate(family: str):
    widths = [0.2 + 0.05 * step for step in range(28)]
    top1 = [expected_top1(get_arch(family, width=width)).top1 for width in widths]

    assert all(narrow < wide for narrow, wide in pairwise(top1))
    assert top1[0] > 0
    assert top1[-1] < 100


@pytest.mark.parametrize("family", PUBLISHED_TOP1)
def test_more_resolution_at_full_width_is_expected_to_be_more_accurate(family: str):
    top1 = [expected_top1(get_arch(family, resolution=size)).top1 for size in range(64, 321, 16)]

    assert all(coarse < fine for coarse, fine in pairwise(top1))


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("mobilenet_v2_0.9_224", 69.8, 71.8),  # between widths 0.75 and 1.0
        ("mobilenet_v2_1.0_176", 68.8, 70.7),  # between 160 and 192 pixels
        ("mobilenet_v3_small_1.1_224", 67.5, 70.4),
        ("mobilenet_v3_small_1.0_192", 62.8, 67.5),
    ],
)
def test_an_interpolated_accuracy_lies_between_its_neighbours(name: str, low: float, high: float):
    expected = expected_top1(get_arch(name))

    assert expected.source == "interpolated"
    assert low < expected.top1 < high


def test_narrow_and_small_at_once_is_below_either_alone():
    expected = expected_top1(get_arch("mobilenet_v3_large_0.75_160"))

    assert expected.source == "interpolated"
    assert expected.top1 < 71.7  # width 1.0 at 160; width 0.75 at 224 is 73.3


@pytest.mark.parametrize("name", ["mobilenet_v2_0.2_224", "mobilenet_v2_1.5_224",
                                  "mobilenet_v2_1.0_64", "mobilenet_v2_1.0_256"])  # fmt: skip
def test_outside_the_published_range_the_accuracy_is_called_extrapolated(name: str):
    assert expected_top1(get_arch(name)).source == "extrapolated"


def test_a_network_that_keeps_resolution_counts_as_seeing_a_larger_image():
    kept = keep_resolution(at_resolution(V2, 96), 16)

    assert expected_top1(kept).top1 == 70.7  # as at 192 pixels


@pytest.mark.parametrize("name", ["mobilenet_v1_conv", "mobilenet_v3_small_minimalistic"])
def test_a_family_without_a_published_grid_has_no_expectation(name: str):
    assert expected_top1(get_arch(name)) is None


# ----------------------------------------------------------------------------------------- budgets


@pytest.mark.parametrize(
    ("texts", "budget"),
    [
        ({"latency": "5ms"}, Budget(latency_ms=5)),
        ({"latency": "0.2 s"}, Budget(latency_ms=200)),
        ({"latency": "800us"}, Budget(latency_ms=0.8)),
        ({"macs": "100M"}, Budget(macs=100e6)),
        ({"macs": "1.5g"}, Budget(macs=1.5e9)),
        ({"params": "3e6"}, Budget(params=3e6)),
        ({"params": ".5M"}, Budget(params=500e3)),
        ({"params": "12k"}, Budget(params=12e3)),
        ({"size": "4MB"}, Budget(size_bytes=4e6)),
        ({"size": "4MiB"}, Budget(size_bytes=4_194_304)),
        ({"memory": "1.5MB"}, Budget(memory_bytes=1.5e6)),
        ({"memory": "320KiB"}, Budget(memory_bytes=327_680)),
        ({"memory": "512 b"}, Budget(memory_bytes=512)),
        ({"latency": "5ms", "macs": None, "size": "4MB"}, Budget(latency_ms=5, size_bytes=4e6)),
        ({}, Budget()),
    ],
)
def test_a_budget_is_read_from_numbers_with_units(texts: dict, budget: Budget):
    assert Budget.parse(**texts) == budget


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (
            {"latency": "5"},
            "--latency takes a number with a unit (ms, us, s), got '5'; did you mean 5ms?",
        ),
        ({"latency": "5MB"}, "--latency takes a number with a unit"),
        ({"latency": "fast"}, "got 'fast'; write it as in 5ms"),
        ({"latency": "0.005"}, "did you mean 0.005s?"),
        ({"latency": "5000"}, "did you mean 5000us?"),
        ({"macs": "-1M"}, "--macs takes a number with a unit (k, m, g), got '-1M'; write it as in"),
        ({"macs": "100"}, "--macs takes a number with a unit (k, m, g), got '100'; did you mean"),
        ({"params": "1.5"}, "got '1.5'; did you mean 1.5M?"),
        ({"params": "1 2M"}, "got '1 2M'; write it as in 2M"),
        ({"size": "4"}, "(b, kb, mb, gb, kib, mib, gib), got '4'; did you mean 4MB?"),
        ({"size": "4000"}, "did you mean 4000kB?"),
        ({"size": "4000000"}, "did you mean 4000000B?"),
        ({"memory": ""}, "got ''; write it as in 1.5MB"),
        ({"macs": "0"}, "macs must be a positive number, got 0.0"),
    ],
)
def test_a_limit_that_cannot_be_read_is_refused_with_an_example(texts: dict, message: str):
    with pytest.raises(BudgetError, match=re.escape(message)):
        Budget.parse(**texts)


@pytest.mark.parametrize("limit", [0, -1, float("nan"), "5ms", True])
def test_a_limit_is_a_positive_number(limit: object):
    with pytest.raises(BudgetError, match=f"latency must be a positive number, got {limit!r}"):
        Budget(latency_ms=limit)


def test_a_network_fits_when_every_known_cost_is_within_its_limit():
    budget = Budget(macs=100e6, params=2e6)

    assert budget.fits(macs=100e6, params=2e6)
    assert budget.fits(macs=99e6)  # parameters are not known: not judged
    assert budget.fits(macs=99e6, latency_ms=1e9)  # latency has no limit
    assert not budget.fits(macs=99e6, params=2e6 + 1)


def test_a_budget_says_how_much_of_each_limit_is_used():
    budget = Budget(macs=200e6, size_bytes=4e6)
    uses = budget.uses(macs=50e6, params=1e6, size_bytes=5e6)

    assert uses == (Use("macs", 50e6, 200e6), Use("size_bytes", 5e6, 4e6))
    assert [use.fraction for use in uses] == [0.25, 1.25]
    assert budget.limits() == {"macs": 200e6, "size_bytes": 4e6}


def test_a_budget_is_stored_with_the_limits_that_are_not_set():
    assert Budget(macs=1e6).to_json() == {
        "latency_ms": None, "macs": 1e6, "params": None, "size_bytes": None, "memory_bytes": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("limit", "value", "text"),
    [
        ("latency_ms", 4.234, "4.23 ms"),
        ("macs", 154_560_624, "155 M"),
        ("macs", 1.1e9, "1.1 G"),
        ("params", 3_993_528, "3.99 M"),
        ("params", 12, "12"),
        ("size_bytes", 3.9e6, "3.9 MB"),
        ("memory_bytes", 327_680, "328 kB"),
        ("memory_bytes", 512, "512 B"),
    ],
)
def test_costs_are_described_in_a_readers_units(limit: str, value: float, text: str):
    assert describe(limit, value) == text


# ------------------------------------------------------------------------------------------- costs


def live_values(arch: Arch) -> list[int]:
    return [layer.live_values for layer in cost(arch).layers]


def test_the_costs_of_a_plain_network_are_those_counted_by_hand():
    arch = tiny(Conv(3, 8, "relu", 2), Separable(3, 16, "relu"), resolution=8)
    spent = cost(arch)

    # weights: 3*3*3*8 = 216 at 4x4; 3*3*8 = 72 at 4x4; 8*16 = 128 at 4x4; 16*10 = 160
    assert spent.macs == 216 * 16 + 72 * 16 + 128 * 16 + 160
    # batch norm: 2 * (8 + 8 + 16); bias of the classifier: 10
    assert spent.params == 576 + 64 + 10
    # deployed: 576 weights and 8 + 8 + 16 + 10 biases; int8 has a 4-byte scale beside each bias
    assert spent.size_bytes == (4 * 618, 2 * 618, 576 + 8 * 42)
    # input 8*8*3 = 192, stem 4*4*8 = 128, depthwise 128, pointwise 4*4*16 = 256, pool 16, logits 10
    assert live_values(arch) == [192, 192 + 128, 128 + 128, 128 + 256, 256 + 16, 16 + 10]
    assert spent.peak_activation_bytes == (4 * 384, 2 * 384, 384)


def test_a_residual_block_with_squeeze_and_excite_holds_its_input_until_the_addition():
    arch = tiny(Conv(3, 8, "hswish"), Bottleneck(3, 32, 8, True, "hswish"))

    # At 4x4 pixels: the image has 48 values, the block's input and output 16*8 = 128, the
    # expanded maps 16*32 = 512; squeezed are 8 channels, the gate has 32.
    assert live_values(arch) == [
        48,                   # image
        48 + 128,             # stem
        128 + 512,            # expand
        128 + 512 + 512,      # depthwise: the block's input waits. The peak
        128 + 512 + 32,       # pool of squeeze-and-excite: the map waits for its gate
        128 + 512 + 32 + 8,   # reduce
        128 + 512 + 8 + 32,   # gate
        128 + 512 + 32,       # scale, written over the map
        128 + 512 + 128,      # project
        128 + 128,            # add, written over the projection
        128 + 8,              # pool
        8 + 10,               # classifier
    ]  # fmt: skip
    assert cost(arch).peak_activation_bytes.fp32 == 4 * 1152


def test_a_block_without_a_shortcut_frees_its_input_after_the_expansion():
    arch = tiny(Conv(3, 8, "relu"), Bottleneck(3, 32, 8, False, "relu", 2))

    # image, stem, expand, depthwise (512 in, 2*2*32 out), project, pool, classifier
    assert live_values(arch) == [48, 176, 128 + 512, 512 + 128, 128 + 32, 32 + 8, 8 + 10]


def test_a_block_that_does_not_expand_has_no_expansion_layer_and_keeps_its_shortcut():
    arch = tiny(Conv(3, 8, "relu"), Bottleneck(3, 8, 8, False, "relu"))

    assert [op.name for op in ops(arch)][2:5] == [
        "rows.1.depthwise", "rows.1.project", "rows.1.add",
    ]  # fmt: skip
    assert live_values(arch)[2:5] == [128 + 128, 128 + 128 + 128, 128 + 128]


@pytest.mark.parametrize(
    ("arch", "values"),
    [
        (V1, 112 * 112 * (32 + 64)),  # the first pointwise convolution
        (V2, 112 * 112 * 96 + 56 * 56 * 96),  # the second block's depthwise
        (LARGE, 112 * 112 * 64 + 56 * 56 * 64),  # the second block's depthwise
        (SMALL, 224 * 224 * 3 + 112 * 112 * 16),  # the stem
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_peaks_of_the_papers_networks_stand_where_expected(arch: Arch, values: int):
    assert cost(arch).peak_activation_bytes == (4 * values, 2 * values, values)


@pytest.mark.parametrize("arch", ZOO, ids=lambda arch: arch.full_name)
def test_the_sum_is_the_sum_of_the_layers(arch: Arch):
    spent = cost(arch)

    assert spent.macs == sum(layer.macs for layer in spent.layers)
    assert spent.params == sum(layer.params for layer in spent.layers)
    assert [layer.op for layer in spent.layers] == list(ops(arch))


@pytest.mark.parametrize("arch", ZOO, ids=lambda arch: arch.full_name)
def test_every_layer_reads_layers_that_ran_before_it(arch: Arch):
    seen: dict[str, tuple[int, int]] = {}
    for op in ops(arch):
        assert all(name in seen for name in op.inputs)
        assert op.name not in seen
        if op.inputs:
            assert (op.in_channels, op.in_size) == seen[op.inputs[0]]
        seen[op.name] = (op.out_channels, op.out_size)


def test_an_odd_feature_map_halves_upwards():
    arch = tiny(Conv(3, 8, "relu", 2), Separable(5, 8, "relu", 2), resolution=65)

    assert [op.out_size.height for op in ops(arch)] == [65, 33, 17, 17, 1, 1]


def test_height_and_width_are_halved_apart():
    arch = replace(tiny(Conv(3, 8, "relu", 2), Separable(5, 8, "relu", 2)), size=Size(65, 32))

    assert [op.out_size for op in ops(arch)[:4]] == [(65, 32), (33, 16), (17, 8), (17, 8)]
    # 27 weights a channel at 33 x 16, 25 at 17 x 8, 8 at 17 x 8; 8 to each of 10 classes
    assert cost(arch).macs == 216 * 33 * 16 + 200 * 17 * 8 + 64 * 17 * 8 + 80


@pytest.mark.parametrize("written", ["512x1024", (512, 1024), [512, 1024]])
def test_a_resolution_is_one_number_or_height_and_width(written: object):
    arch = at_resolution(V2, written)

    assert (arch.size, arch.resolution) == (Size(512, 1024), (512, 1024))
    assert arch.full_name == "mobilenet_v2_1.0_512x1024"
    assert get_arch(arch.full_name) == arch
    assert at_resolution(V2, "96").resolution == 96


@pytest.mark.parametrize("written", ["512x", "axb", "1x2x3", 0, (0, 5), 2.5, True])
def test_a_resolution_that_is_none_is_refused(written: object):
    with pytest.raises(
        ArchError, match="resolution must be a whole number of at least 1, or height"
    ):
        at_resolution(V2, written)


# Table 3 of arXiv:1801.04381 in kilobytes, 16-bit activations: "64/1600" is 64 channels, 1600 kB.
@pytest.mark.parametrize(
    ("arch", "size", "channels", "kilobytes"),
    [
        (V1, 112, 64, 1600), (V1, 56, 128, 800), (V1, 28, 256, 400), (V1, 14, 512, 200),
        (V1, 1, 1024, 2), (V2, 112, 16, 400), (V2, 7, 320, 32), (V2, 1, 1280, 2),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)  # fmt: skip
def test_memory_by_size_is_that_of_v2s_table_3(
    arch: Arch, size: int, channels: int, kilobytes: int
):
    held = memory_by_size(arch)[size]

    assert held == (channels, channels * size**2 * 2)
    assert held[1] / 1000 == pytest.approx(kilobytes, rel=0.03, abs=0.6)


@pytest.mark.parametrize(("arch", "kilobytes"), [(V1, 1600), (V2, 400)], ids=["v1", "v2"])
def test_the_largest_entry_is_the_maximum_of_v2s_table_3(arch: Arch, kilobytes: int):
    largest = max(held for _, held in memory_by_size(arch).values())

    assert largest / 1000 == pytest.approx(kilobytes, rel=0.005)


def test_v2s_table_3_prints_the_next_stages_channels_at_56_28_and_14():
    next_stage = {
        op.in_size.height: V2.rows[op.row].out
        for op in ops(V2)
        if op.stride == 2 and op.is_depthwise
    }

    assert {size: next_stage[size] for size in (56, 28, 14)} == {56: 32, 28: 64, 14: 160}
    # printed 200, 100, 62 kilobytes
    assert [32 * 56**2 * 2, 64 * 28**2 * 2, 160 * 14**2 * 2] == [200_704, 100_352, 62_720]
    # what stands there is the stage's own output
    assert [memory_by_size(V2)[size][0] for size in (56, 28, 14)] == [24, 32, 96]


def test_v2s_table_3_prints_twice_the_arithmetic_for_v1_at_7():
    channels, held = memory_by_size(V1)[7]

    assert (channels, held) == (1024, 100_352)
    assert 2 * held / 1000 == pytest.approx(199, rel=0.01)


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large"])
@pytest.mark.parametrize("resolution", [64, 96, 111, 128, 160, 192, 224])
def test_a_wider_network_never_promises_less(name: str, resolution: int):
    widths = [0.25 + step / 100 for step in range(110)]

    tops = [expected_top1(get_arch(name, width=w, resolution=resolution)).top1 for w in widths]

    assert tops == sorted(tops)


@pytest.mark.parametrize(
    "arch",
    [
        keep_resolution(get_arch("mobilenet_v2", resolution=112), 16),
        get_arch("mobilenet_v3_large", width=0.75, rule="torchvision"),
    ],
)
def test_only_the_published_network_is_called_published(arch: Arch):
    assert expected_top1(arch).source == "interpolated"


def test_a_resolution_of_zero_is_refused():
    with pytest.raises(ArchError, match=r"resolution must be a whole number .*, got 0"):
        get_arch("mobilenet_v2_1.0_224", resolution=0)


def test_three_digits_that_are_a_resolution_are_not_a_width():
    assert get_arch("mobilenet_v2_224").full_name == "mobilenet_v2_1.0_224"
    assert get_arch("mobilenetv2_128").full_name == "mobilenet_v2_1.0_128"


def test_timms_weight_tags_are_ignored():
    assert get_arch("mobilenetv3_small_050.lamb_in1k") == get_arch("mobilenetv3_small_050")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": "abc"}, "width must be a number above 0"),
        ({"width": -1}, "width must be a number above 0"),
        ({"bn_eps": "x"}, "bn_eps must be a number above 0"),
        ({"bn_momentum": None}, "bn_momentum must be a number above 0"),
        (
            {"head": {"head": "classify", "dropout": 5}},
            "dropout must be a number above 0 and below 1, got 5",
        ),
        ({"name": 3}, "an architecture's name must be a word, got 3"),
    ],
)
def test_json_with_a_field_of_the_wrong_kind_is_refused(change: dict, message: str):
    with pytest.raises(ArchError, match=re.escape(message)):
        from_json(to_json(get_arch("mobilenet_v2")) | change)


@pytest.mark.parametrize("change", [{"stride": 2.0}, {"stride": True}, {"se": "no"}, {"row": []}])
def test_json_with_a_row_of_the_wrong_kind_is_refused(change: dict):
    record = to_json(get_arch("mobilenet_v3_small"))
    record["rows"][1] |= change

    with pytest.raises(ArchError, match="row 1"):
        from_json(record)


def test_equal_networks_have_one_digest():
    arch = get_arch("mobilenet_v2")

    assert digest(replace(arch, width=1)) == digest(replace(arch, width=1.0))


@pytest.mark.parametrize(
    ("limit", "value", "text"),
    [
        ("macs", 999_999, "1 M"),
        ("macs", 999.6e6, "1 G"),
        ("latency_ms", 1234, "1234 ms"),
        ("size_bytes", 512, "512 B"),
    ],
)
def test_numbers_are_never_shown_in_powers_of_ten(limit: str, value: float, text: str):
    assert describe(limit, value) == text


def test_a_budget_names_its_folder_by_every_digit():
    assert Budget(latency_ms=1.5, params=2e6).label() == "latency1.5ms-params2M"
    assert Budget(macs=20.04e6).label() == "macs20.04M"
    assert Budget(size_bytes=4e6, memory_bytes=512_000).label() == "size4MB-memory512kB"

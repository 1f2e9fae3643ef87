"""Golden counts: multiply-adds and parameters, to the unit.

The integers were counted from the papers' tables, and again on the networks that timm 1.0.31 and
torchvision 0.29.1 build, wherever they build the same one (not V1's two variants, nor V3 narrower
than 0.75, whose stem timm does not thin). Rounded figures are as printed in the source named.
"""

from dataclasses import replace

import pytest

from mobilenets.archs import Arch, Op, at_resolution, cost, get_arch, ops
from mobilenets.archs.counts import macs, params, weights
from mobilenets.archs.op import Size, squeeze_channels
from mobilenets.archs.rows import Bottleneck


def channels(arch: Arch) -> list[int]:
    dense = getattr(arch.head, "dense", None)
    return [*(row.out for row in arch.rows), *([dense] if dense else [])]


def norm_params(arch: Arch) -> int:
    return sum(2 * op.out_channels for op in ops(arch) if op.norm)


def body(arch: Arch) -> tuple[int, int]:
    """Weights and multiply-adds of the convolutions, as the docstring of slim's mobilenet_v1.py."""
    convolutions = [op for op in ops(arch) if op.kind == "conv"]
    return sum(map(weights, convolutions)), sum(map(macs, convolutions))


# ---------------------------------------------------------------------------- V1, arXiv:1704.04861

# The 16 models of figures 4 and 5: (width, resolution) -> MACs
V1_MACS = {
    (1.0, 224): 568_740_352, (1.0, 192): 418_121_728,
    (1.0, 160): 290_675_200, (1.0, 128): 186_400_768,
    (0.75, 224): 325_400_448, (0.75, 192): 239_273_472,
    (0.75, 160): 166_396_800, (0.75, 128): 106_770_432,
    (0.5, 224): 149_497_088, (0.5, 192): 109_970_432,
    (0.5, 160): 76_524_800, (0.5, 128): 49_160_192,
    (0.25, 224): 41_030_272, (0.25, 192): 30_212_608,
    (0.25, 160): 21_059_200, (0.25, 128): 13_570_048,
}  # fmt: skip

# width -> (parameters, batch norm's share of them), 1000 classes
V1_PARAMS = {
    1.0: (4_231_976, 21_888),
    0.75: (2_585_560, 16_416),
    0.5: (1_331_592, 10_944),
    0.25: (470_072, 5_472),
}


@pytest.mark.parametrize(("width", "resolution"), V1_MACS)
def test_v1_counts_the_macs_of_its_sixteen_models(width: float, resolution: int):
    arch = get_arch("mobilenet_v1", width=width, resolution=resolution)

    assert cost(arch).macs == V1_MACS[width, resolution]


@pytest.mark.parametrize("width", V1_PARAMS)
def test_v1_counts_its_parameters_and_the_share_of_batch_norm(width: float):
    arch = get_arch("mobilenet_v1", width=width)

    assert (cost(arch).params, norm_params(arch)) == V1_PARAMS[width]


@pytest.mark.parametrize(
    ("name", "weights_and_macs"),
    [
        ("mobilenet_v1_1.0_224", (3_185_088, 567_716_352)),
        ("mobilenet_v1_0.75_128", (1_800_144, 106_002_432)),
    ],
)
def test_v1_body_is_that_of_the_released_code(name: str, weights_and_macs: tuple[int, int]):
    arch = get_arch(name)

    assert body(arch) == weights_and_macs


def test_v1_first_and_last_convolutions_are_those_of_the_released_code():
    convolutions = [op for op in ops(get_arch("mobilenet_v1")) if op.kind == "conv"]

    assert (weights(convolutions[0]), macs(convolutions[0])) == (864, 10_838_016)
    assert (weights(convolutions[-1]), macs(convolutions[-1])) == (1_048_576, 51_380_224)


def test_v1_has_28_layers_with_depthwise_and_pointwise_counted_apart():
    layers = [op for op in ops(get_arch("mobilenet_v1")) if op.kind in ("conv", "linear")]

    assert len(layers) == 28  # section 3.2


@pytest.mark.parametrize(
    ("name", "expected_params", "expected_macs"),
    [
        ("mobilenet_v1_conv", 29_294_088, 4_867_293_184),  # Table 4: 29.3M; 4866M without the FC
        ("mobilenet_v1_shallow", 2_887_976, 307_323_392),  # Table 5: 2.9M, 307M
    ],
)
def test_v1_variants_of_tables_4_and_5(name: str, expected_params: int, expected_macs: int):
    spent = cost(get_arch(name))

    assert (spent.params, spent.macs) == (expected_params, expected_macs)


def test_v1_conv_version_without_its_classifier_is_the_4866_of_table_4():
    _, body_macs = body(get_arch("mobilenet_v1_conv"))

    assert body_macs == 4_866_269_184


def layer_type(op: Op) -> str:
    if op.kind == "linear":
        return "fully connected"
    return "depthwise" if op.groups > 1 else f"conv {op.kernel}x{op.kernel}"


# Table 2: share of the multiply-adds and of the weights in percent. The paper prints 1.19 for the
# MACs of conv 3x3: a swap of digits, with 1.91 the column adds up to 100.
@pytest.mark.parametrize(
    ("kind", "mac_share", "weight_share"),
    [
        ("conv 1x1", 94.86, 74.59),
        ("depthwise", 3.06, 1.06),
        ("conv 3x3", 1.91, 0.02),
        ("fully connected", 0.18, 24.33),
    ],
)
def test_v1_shares_per_layer_type_are_those_of_table_2(
    kind: str, mac_share: float, weight_share: float
):
    layers = [op for op in ops(get_arch("mobilenet_v1")) if op.kind in ("conv", "linear")]
    of_kind = [op for op in layers if layer_type(op) == kind]

    assert round(100 * sum(map(macs, of_kind)) / sum(map(macs, layers)), 2) == mac_share
    assert round(100 * sum(map(weights, of_kind)) / sum(map(weights, layers)), 2) == weight_share


def full(channels: int, size: int) -> Op:
    at = Size(size, size)
    return Op("conv", "conv", channels, channels, at, at, (), kernel=3)


def separable(channels: int, size: int) -> list[Op]:
    at = Size(size, size)
    return [
        Op("dw", "conv", channels, channels, at, at, (), kernel=3, groups=channels),
        Op("pw", "conv", channels, channels, at, at, ()),
    ]


# Table 3: one layer, 3x3, 512 -> 512 channels, 14x14; its rounded figures in the comments
@pytest.mark.parametrize(
    ("layers", "expected_macs", "expected_weights"),
    [
        (
            [Op("conv", "conv", 512, 512, Size(14, 14), Size(14, 14), (), kernel=3)],
            462_422_016,
            2_359_296,
        ),  # 462
        (separable(512, 14), 52_283_392, 266_752),  # 52.3, 0.27
        (separable(384, 14), 29_578_752, 150_912),  # width 0.75: 29.6, 0.15
        (separable(384, 10), 15_091_200, 150_912),  # and resolution 0.714: 15.1, 0.15
    ],
)
def test_a_single_layer_costs_what_table_3_says(
    layers: list[Op], expected_macs: int, expected_weights: int
):
    assert sum(map(macs, layers)) == expected_macs
    assert sum(map(params, layers)) == expected_weights


# The page of the checkpoints prints 4.24, 2.59, 1.34, 0.47 M: 1001 classes and a third vector
# (the running mean or variance) for each batch norm (TF-slim, mobilenet_v1.md).
@pytest.mark.parametrize(
    ("width", "millions"), [(1.0, 4.24), (0.75, 2.59), (0.5, 1.34), (0.25, 0.47)]
)
def test_v1_page_counts_1001_classes_and_three_vectors_a_norm(width: float, millions: float):
    arch = get_arch("mobilenet_v1", width=width, classes=1001)

    assert round((cost(arch).params + norm_params(arch) / 2) / 1e6, 2) == millions


# ---------------------------------------------------------------------------- V2, arXiv:1801.04381

# The 22 checkpoints of TF-slim's mobilenet/README.md: (width, resolution) -> MACs
V2_MACS = {
    (1.4, 224): 582_195_824, (1.3, 224): 509_374_560,
    (1.0, 224): 300_774_272, (1.0, 192): 221_316_608, (1.0, 160): 154_083_200,
    (1.0, 128): 99_074_048, (1.0, 96): 56_289_152,
    (0.75, 224): 209_069_792, (0.75, 192): 153_941_888, (0.75, 160): 107_295_200,
    (0.75, 128): 69_129_728, (0.75, 96): 39_445_472,
    (0.5, 224): 97_131_840, (0.5, 192): 71_701_760, (0.5, 160): 50_184_000,
    (0.5, 128): 32_578_560, (0.5, 96): 18_885_440,
    (0.35, 224): 59_285_808, (0.35, 192): 43_896_512, (0.35, 160): 30_874_800,
    (0.35, 128): 20_220_672, (0.35, 96): 11_934_128,
}  # fmt: skip

# width -> (parameters, parameters without batch norm: what the README prints)
V2_PARAMS = {
    1.4: (6_108_776, 6_060_840),
    1.3: (5_386_792, 5_342_536),
    1.0: (3_504_872, 3_470_760),
    0.75: (2_636_424, 2_609_784),
    0.5: (1_968_680, 1_950_136),
    0.35: (1_677_128, 1_663_048),
}

# width -> channels of the stem, of the seven lines of Table 2, of the last convolution
V2_CHANNELS = {
    1.4: [48, 24, 32, 48, 88, 136, 224, 448, 1792],
    1.3: [40, 24, 32, 40, 80, 128, 208, 416, 1664],
    1.0: [32, 16, 24, 32, 64, 96, 160, 320, 1280],
    0.75: [24, 16, 24, 24, 48, 72, 120, 240, 1280],
    0.5: [16, 8, 16, 16, 32, 48, 80, 160, 1280],
    0.35: [16, 8, 8, 16, 24, 32, 56, 112, 1280],
}
V2_REPEATS = (1, 1, 2, 3, 4, 3, 3, 1, 1)


@pytest.mark.parametrize(("width", "resolution"), V2_MACS)
def test_v2_counts_the_macs_of_its_22_checkpoints(width: float, resolution: int):
    arch = get_arch("mobilenet_v2", width=width, resolution=resolution)

    assert cost(arch).macs == V2_MACS[width, resolution]


@pytest.mark.parametrize("width", V2_PARAMS)
def test_v2_counts_its_parameters_with_and_without_batch_norm(width: float):
    arch = get_arch("mobilenet_v2", width=width)
    total = cost(arch).params

    assert (total, total - norm_params(arch)) == V2_PARAMS[width]


@pytest.mark.parametrize("width", V2_CHANNELS)
def test_v2_rounds_its_channels_to_multiples_of_eight(width: float):
    arch = get_arch("mobilenet_v2", width=width)
    per_line = zip(V2_CHANNELS[width], V2_REPEATS, strict=True)

    assert channels(arch) == [c for c, n in per_line for _ in range(n)]


def test_v2_at_width_one_hundredth_has_the_channels_of_slims_own_test():
    arch = get_arch("mobilenet_v2", width=0.01)
    expansions = {row.expand for row in arch.rows if isinstance(row, Bottleneck)}

    # research/slim/nets/mobilenet/mobilenet_v2_test.py: {8, 48, 1001, 1280}
    assert expansions | set(channels(arch)) == {8, 48, 1280}


def test_v2_has_17_bottlenecks_ten_of_them_with_a_shortcut():
    arch = get_arch("mobilenet_v2")

    assert sum(isinstance(row, Bottleneck) for row in arch.rows) == 17  # Table 2; the text says 19
    assert sum(op.kind == "add" for op in ops(arch)) == 10  # n - 1 of each line


@pytest.mark.parametrize(
    ("resolution", "last_map"), [(224, 7), (192, 6), (160, 5), (128, 4), (96, 3)]
)
def test_v2_last_feature_map_has_the_size_of_slims_own_test(resolution: int, last_map: int):
    walk = ops(get_arch("mobilenet_v2", resolution=resolution))

    assert next(op.in_size for op in walk if op.kind == "pool") == (last_map, last_map)


# ---------------------------------------------------------------------------- V3, arXiv:1905.02244

# Appendix A, Table 9: (size, resolution, width) -> (MACs, parameters)
V3_TABLE_9 = {
    ("large", 224, 1.25): (355_221_920, 7_551_976),
    ("large", 224, 1.0): (216_589_760, 5_483_032),
    ("large", 224, 0.75): (154_560_624, 3_993_528),
    ("large", 224, 0.5): (69_247_600, 2_689_520),
    ("large", 224, 0.35): (39_472_336, 2_131_832),
    ("large", 256, 1.0): (281_663_360, 5_483_032),
    ("large", 192, 1.0): (160_192_640, 5_483_032),
    ("large", 160, 1.0): (112_472_000, 5_483_032),
    ("large", 128, 1.0): (73_427_840, 5_483_032),
    ("large", 96, 1.0): (43_060_160, 5_483_032),
    ("small", 224, 1.25): (90_800_864, 3_205_384),
    ("small", 224, 1.0): (56_510_400, 2_542_856),
    ("small", 224, 0.75): (43_399_344, 2_041_872),
    ("small", 224, 0.5): (21_052_560, 1_592_704),
    ("small", 224, 0.35): (12_815_840, 1_358_288),
    ("small", 256, 1.0): (73_175_040, 2_542_856),
    ("small", 160, 1.0): (29_846_976, 2_542_856),
    ("small", 128, 1.0): (19_848_192, 2_542_856),
    ("small", 96, 1.0): (12_071_360, 2_542_856),
}

# (size, width) -> channels of every row, the last convolution and the layer after the pool included
V3_CHANNELS = {
    ("large", 0.35): [8, 8, 8, 8, 16, 16, 16, *[32] * 4, 40, 40, *[56] * 3, 336, 1280],
    ("large", 0.5): [8, 8, 16, 16, 24, 24, 24, *[40] * 4, 56, 56, *[80] * 3, 480, 1280],
    ("large", 0.75): [16, 16, 24, 24, 32, 32, 32, *[64] * 4, 88, 88, *[120] * 3, 720, 1280],
    ("large", 1.0): [16, 16, 24, 24, 40, 40, 40, *[80] * 4, 112, 112, *[160] * 3, 960, 1280],
    ("large", 1.25): [24, 24, 32, 32, 48, 48, 48, *[104] * 4, 144, 144, *[200] * 3, 1200, 1280],
    ("small", 0.35): [8, 8, 8, 8, 16, 16, 16, 16, 16, *[32] * 3, 200, 1024],
    ("small", 0.5): [8, 8, 16, 16, 24, 24, 24, 24, 24, *[48] * 3, 288, 1024],
    ("small", 0.75): [16, 16, 24, 24, 32, 32, 32, 40, 40, *[72] * 3, 432, 1024],
    ("small", 1.0): [16, 16, 24, 24, 40, 40, 40, 48, 48, *[96] * 3, 576, 1024],
    ("small", 1.25): [24, 24, 32, 32, 48, 48, 48, 64, 64, *[120] * 3, 720, 1024],
}


@pytest.mark.parametrize(("size", "resolution", "width"), V3_TABLE_9)
def test_v3_counts_both_columns_of_table_9(size: str, resolution: int, width: float):
    arch = at_resolution(get_arch(f"mobilenet_v3_{size}", width=width), resolution)
    spent = cost(arch)

    assert (spent.macs, spent.params) == V3_TABLE_9[size, resolution, width]


def test_v3_small_125_has_the_36_of_table_9_only_with_a_last_layer_of_1280():
    arch = get_arch("mobilenet_v3_small", width=1.25)
    wide = replace(arch, head=replace(arch.head, dense=1280))

    assert cost(wide).params == 3_645_960


@pytest.mark.parametrize(("size", "width"), V3_CHANNELS)
def test_v3_rounds_its_channels_to_multiples_of_eight(size: str, width: float):
    arch = get_arch(f"mobilenet_v3_{size}", width=width)

    assert channels(arch) == V3_CHANNELS[size, width]


@pytest.mark.parametrize(
    ("expanded", "squeezed"),
    [(16, 8), (72, 24), (96, 24), (120, 32), (144, 40), (240, 64), (288, 72), (480, 120),
     (576, 144), (672, 168), (960, 240)],
)  # fmt: skip
def test_squeeze_is_a_quarter_of_the_expansion_rounded_to_eight(expanded: int, squeezed: int):
    assert squeeze_channels(expanded) == squeezed


@pytest.mark.parametrize(
    ("size", "squeezed"),
    [
        ("large", [24, 32, 32, 120, 168, 168, 240, 240]),
        ("small", [8, 24, 64, 64, 32, 40, 72, 144, 144]),
    ],
)
def test_v3_squeezes_in_the_rows_that_tables_1_and_2_tick(size: str, squeezed: list[int]):
    walk = ops(get_arch(f"mobilenet_v3_{size}"))

    assert [op.out_channels for op in walk if op.name.endswith("se.reduce")] == squeezed


@pytest.mark.parametrize(
    ("size", "expected_macs", "expected_params"),
    [
        ("large", 209_136_704, 3_924_288),  # TF-slim: 209, 3.9
        ("small", 52_288_448, 2_044_736),  # TF-slim: 65 (stale), 2.0
    ],
)
def test_v3_minimalistic_networks(size: str, expected_macs: int, expected_params: int):
    spent = cost(get_arch(f"mobilenet_v3_{size}_minimalistic"))

    assert (spent.macs, spent.params) == (expected_macs, expected_params)


# ------------------------------------------------------------------------- the libraries' own rules


# Built with torchvision 0.29.1 (`width_mult`) and timm 1.0.31 (the names' widths).
@pytest.mark.parametrize(
    ("name", "width", "rule", "expected_macs", "expected_params"),
    [
        ("mobilenet_v3_large", 1.25, "torchvision", 343_461_000, 8_164_744),
        ("mobilenet_v3_large", 0.75, "torchvision", 140_033_816, 3_377_576),
        ("mobilenet_v3_large", 0.5, "torchvision", 64_962_192, 1_734_576),
        ("mobilenet_v3_large", 0.35, "torchvision", 35_278_408, 997_064),
        ("mobilenet_v3_small", 1.25, "torchvision", 88_155_944, 3_644_912),
        ("mobilenet_v3_small", 0.75, "torchvision", 39_115_576, 1_653_920),
        ("mobilenet_v3_small", 0.5, "torchvision", 18_970_736, 917_264),
        ("mobilenet_v3_small", 0.35, "torchvision", 11_238_936, 558_744),
        ("mobilenet_v2", 1.4, "torchvision", 582_195_824, 6_108_776),
        ("mobilenet_v2", 0.5, "torchvision", 97_131_840, 1_968_680),
        ("mobilenet_v2", 0.35, "torchvision", 59_285_808, 1_677_128),
        ("mobilenet_v3_large", 1.25, "timm", 355_221_920, 7_551_976),
        ("mobilenet_v3_large", 0.75, "timm", 154_560_624, 3_993_528),
        ("mobilenet_v3_large", 0.5, "timm", 73_663_088, 2_689_904),
        ("mobilenet_v3_large", 0.35, "timm", 43_887_824, 2_132_216),
        ("mobilenet_v3_small", 1.25, "timm", 90_800_864, 3_205_384),
        ("mobilenet_v3_small", 0.75, "timm", 43_399_344, 2_041_872),
        ("mobilenet_v3_small", 0.5, "timm", 24_188_688, 1_593_224),
        ("mobilenet_v3_small", 0.35, "timm", 15_951_968, 1_358_808),
        ("mobilenet_v2", 0.5, "timm", 97_131_840, 1_968_680),
        ("mobilenet_v2", 0.35, "timm", 59_285_808, 1_677_128),
        ("mobilenet_v1", 0.75, "timm", 325_400_448, 2_585_560),
        ("mobilenet_v1", 0.25, "timm", 41_030_272, 470_072),
        # Keras stems keep 16 below 1.0 too; by its source (keras 3422977), not built here
        ("mobilenet_v3_large", 0.75, "keras", 154_560_624, 3_993_528),
        ("mobilenet_v3_small", 0.5, "keras", 24_188_688, 1_593_224),
    ],
)
def test_width_rules_count_what_the_libraries_build(
    name: str, width: float, rule: str, expected_macs: int, expected_params: int
):
    spent = cost(get_arch(name, width=width, rule=rule))

    assert (spent.macs, spent.params) == (expected_macs, expected_params)


@pytest.mark.parametrize("rule", ["paper", "torchvision", "timm", "keras"])
@pytest.mark.parametrize(
    "name", ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small"]
)
def test_every_rule_means_the_same_network_at_width_one(name: str, rule: str):
    assert get_arch(name, width=1.0, rule=rule).rows == get_arch(name).rows


# Keras' totals count the running mean and variance too (keras-io, applications; V3: by that rule).
@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("mobilenet_v1", 4_253_864),
        ("mobilenet_v2", 3_538_984),
        ("mobilenet_v3_large", 5_507_432),
        ("mobilenet_v3_small", 2_554_968),
    ],
)
def test_keras_totals_are_ours_and_the_running_statistics(name: str, total: int):
    arch = get_arch(name)

    assert cost(arch).params + norm_params(arch) == total

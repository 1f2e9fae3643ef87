"""Weights carried from one architecture to another.

What belongs together is asked of Torch-Pruning, which traces the running network, and of the
modules themselves; our own groups come from the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
import torch_pruning
from torch import Tensor, nn

from mobilenets.archs import (
    ARCHS,
    Arch,
    at_resolution,
    from_json,
    get_arch,
    keep_resolution,
    to_json,
    widen,
)
from mobilenets.archs.groups import channel_groups
from mobilenets.archs.heads import Classify
from mobilenets.archs.op import Size
from mobilenets.archs.rows import Bottleneck, Conv, Row, Separable
from mobilenets.errors import ArchError, FileError
from mobilenets.nn import Checkpoint, MobileNet, surgery
from mobilenets.nn.blocks import (
    ConvNormAct,
    InvertedResidual,
    SeparableConv,
    SqueezeExcite,
)

FAMILIES = ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small"]
# Most widths differ between rows here, and no row has fewer than 16 channels.
SMALL = [get_arch(name, width=0.6, resolution=64, classes=10) for name in FAMILIES]


def id_of(arch: Arch) -> str:
    return arch.full_name


def checkpoint(arch: Arch, seed: int = 0) -> Checkpoint:
    """Random weights, in double precision, with batch norm's numbers as after training."""
    generator = torch.Generator().manual_seed(seed)
    weights = MobileNet(arch).double().state_dict()
    for name, tensor in weights.items():
        if tensor.ndim == 1:
            low, high = (0.5, 1.5) if name.endswith((".weight", "_var")) else (-0.5, 0.5)
            tensor.uniform_(low, high, generator=generator)
        elif tensor.ndim:
            fan_in = tensor[0].numel()
            tensor.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
    return replace(Checkpoint.fresh(arch), weights=weights, training={"epochs": 3})


def images(resolution: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, resolution, resolution, generator=generator, dtype=torch.float64)


def logits(given: Checkpoint, resolution: int = 64) -> Tensor:
    with torch.no_grad():
        return given.network().double()(images(resolution))["logits"]


def assert_same(actual: Tensor, expected: Tensor) -> None:
    assert expected.std() > 1e-3  # not logits so small that anything passes
    assert (actual - expected).abs().max() / expected.abs().max() < 1e-9


def assert_differ(actual: Tensor, expected: Tensor) -> None:
    assert (actual - expected).abs().max() / expected.abs().max() > 1e-3


def edited(arch: Arch, changes: Mapping[int, Mapping[str, object]]) -> Arch:
    """`changes` by the number of a row; the head's stands behind the last."""
    for index, columns in changes.items():
        arch = arch.with_part(index, replace(arch.parts[index], **columns))
    return arch


# ------------------------------------------------------------------------------------------ groups


def traced_groups(arch: Arch) -> set[frozenset[tuple[str, str]]]:
    """Torch-Pruning's groups: each the set of (module, side) that lose a channel together."""
    model = MobileNet(arch).eval()
    image = torch.randn(1, arch.in_channels, arch.resolution, arch.resolution)
    graph = torch_pruning.DependencyGraph().build_dependency(model, example_inputs=image)
    names = {module: name for name, module in model.named_modules()}
    found = set()
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            if isinstance(module, nn.Linear):
                cut = torch_pruning.prune_linear_out_channels
            elif module.groups > 1:
                cut = torch_pruning.prune_depthwise_conv_out_channels
            else:
                cut = torch_pruning.prune_conv_out_channels
            group = graph.get_pruning_group(module, cut, idxs=[0])
            found.add(
                frozenset(
                    (names[part.target.module],
                     "out" if graph.is_out_channel_pruning_fn(part.handler) else "in")
                    for part, _ in group
                    if isinstance(part.target.module, nn.Conv2d | nn.Linear)
                )
            )  # fmt: skip
    return found


def module_of(name: str, model: nn.Module) -> str:
    """The path of the layer itself, inside its row or block."""
    part = model.get_submodule(name)
    return (
        name
        if isinstance(part, nn.Conv2d)
        else f"{name}.{'conv' if hasattr(part, 'conv') else 'linear'}"
    )


@pytest.mark.parametrize(
    "arch",
    [
        *(get_arch(name, width=0.5, resolution=32, classes=10) for name in ARCHS),
        get_arch("mobilenet_v2", width=0.25, resolution=32),  # row 1 adds its input
        keep_resolution(get_arch("mobilenet_v3_small", resolution=32), 4),
    ],
    ids=id_of,
)
def test_groups_are_those_of_the_traced_network(arch: Arch):
    model = MobileNet(arch)
    ours = {
        frozenset(
            {(module_of(op.name, model), "out") for op in group.makers}
            | {(module_of(op.name, model), "in") for op in group.readers}
        )
        for group in channel_groups(arch)
        if group.makers
    }

    assert ours == traced_groups(arch)


# --------------------------------------------------------------- a cut of dead channels is exact


def chains(model: MobileNet) -> list[list[int]]:
    """The rows that share their outputs' channels, read off the modules."""
    found: list[list[int]] = []
    for index, module in enumerate(model.rows):
        if getattr(module, "residual", False):
            found[-1].append(index)
        else:
            found.append([index])
    has_dense = not isinstance(model.head.dense, nn.Identity)
    return [*found, [len(model.rows)]] if has_dense else found


def kill_(layer: nn.Module, dead: Tensor) -> None:
    """Make the outputs `dead` of the layer zero: filters, bias, batch norm's scale and shift."""
    for module in layer.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
            module.weight.data[dead] = 0
            if module.bias is not None:
                module.bias.data[dead] = 0


def kill_output_(module: nn.Module, dead: Tensor) -> None:
    if isinstance(module, InvertedResidual):
        kill_(module.project, dead)
    elif isinstance(module, SeparableConv):
        kill_(module.pointwise, dead)
    else:
        kill_(module, dead)


def kill_inside_(module: nn.Module, dead: Tensor) -> dict[str, int]:
    """Kill what a row does to its `dead` (expanded) channels; the columns that follow."""
    columns = {}
    if isinstance(module, InvertedResidual):
        channels = module.depthwise.conv.out_channels
        columns = {"expand": channels - len(dead)}
        if isinstance(module.se, SqueezeExcite):
            kill_(module.se.gate, dead)
            squeeze = module.se.reduce.out_channels
            left = SqueezeExcite(channels - len(dead)).reduce.out_channels
            kill_(module.se.reduce, torch.arange(squeeze)[: squeeze - left])
    if isinstance(module, InvertedResidual | SeparableConv):
        kill_(module.depthwise, dead)
    return columns


def expands(module: nn.Module) -> bool:
    return isinstance(module, InvertedResidual) and isinstance(module.expand, ConvNormAct)


def kill_a_third_(model: MobileNet, what: str, seed: int = 0) -> dict[int, dict[str, int]]:
    """Kill a third of the channels of every block's expansion or of every chain's width, at random;
    the rows' columns without them."""
    generator = torch.Generator().manual_seed(seed)
    modules = [*model.rows, model.head.dense]
    columns: dict[int, dict[str, int]] = {index: {} for index in range(len(modules))}
    for index, module in enumerate(model.rows):
        if what != "width" and expands(module):
            channels = module.expand.conv.out_channels
            dead = torch.randperm(channels, generator=generator)[: channels // 3]
            kill_(module.expand, dead)
            columns[index] |= kill_inside_(module, dead)
    for chain in chains(model) if what != "expand" else []:
        column = "out" if chain[0] < len(model.rows) else "dense"
        channels = getattr(model.arch.parts[chain[0]], column)
        dead = torch.randperm(channels, generator=generator)[: channels // 3]
        for index in chain:
            kill_output_(modules[index], dead)
            columns[index][column] = channels - len(dead)
        for index in range(chain[0] + 1, chain[-1] + 2):  # the rows that read this chain
            if index < len(model.rows) and not expands(model.rows[index]):
                columns[index] |= kill_inside_(model.rows[index], dead)
    return columns


def gradients_of(given: Checkpoint) -> dict[str, Tensor]:
    """Of some loss on the images of `logits`."""
    network = given.network().double()
    network(images(64))["logits"].square().sum().backward()
    return {name: parameter.grad for name, parameter in network.named_parameters()}


@pytest.mark.parametrize(
    ("what", "importance"),
    [("expand", "l2"), ("width", "l2"), ("both", "l2"), ("both", "bn"), ("both", "taylor")],
)
@pytest.mark.parametrize("arch", SMALL, ids=id_of)
def test_cutting_dead_channels_leaves_the_logits(arch: Arch, what: str, importance: str):
    given = checkpoint(arch)
    network = given.network().double()
    to = edited(arch, kill_a_third_(network, what))
    given = replace(given, weights=network.state_dict())
    gradients = gradients_of(given) if importance == "taylor" else None

    cut = surgery(given, to, importance=importance, gradients=gradients)

    assert cut.arch == to
    assert_same(logits(cut), logits(given))


@pytest.mark.parametrize("arch", SMALL, ids=id_of)
def test_cutting_live_channels_changes_the_logits(arch: Arch):
    given = checkpoint(arch)
    to = edited(arch, kill_a_third_(MobileNet(arch), "both"))

    assert_differ(logits(surgery(given, to)), logits(given))


# ---------------------------------------------------------------------- which channels are chosen


def tiny(*rows: Row, classes: int = 2) -> Arch:
    return Arch("tiny", 2, rows, Classify(classes), Size(4, 4))


BLOCK = tiny(Conv(1, 2, "relu"), Bottleneck(3, 4, 3, se=False, act="relu"))


def block_weights(expand: list[float], depthwise: list[float]) -> Checkpoint:
    """A block of four expanded channels, with filters of these norms (each has one nonzero)."""
    given = checkpoint(BLOCK)
    weights = dict(given.weights)
    for name, norms in (("expand", expand), ("depthwise", depthwise)):
        filters = torch.zeros_like(weights[f"rows.1.{name}.conv.weight"])
        filters.flatten(1)[:, 1] = torch.tensor(norms, dtype=torch.float64)
        weights[f"rows.1.{name}.conv.weight"] = filters
    return replace(given, weights=weights)


def kept_channels(given: Checkpoint, cut: Checkpoint) -> list[int]:
    """The expanded channels that `cut` kept, told by what project reads from each."""
    before = given.weights["rows.1.project.conv.weight"].flatten(1).T.tolist()
    return [
        before.index(r) for r in cut.weights["rows.1.project.conv.weight"].flatten(1).T.tolist()
    ]


@pytest.mark.parametrize(
    ("expand", "depthwise", "kept"),
    [
        ([3, 1, 4, 2], [1, 1, 1, 1], [0, 2, 3]),
        ([1, 1, 1, 1], [3, -4, 1, 2], [0, 1, 3]),
        ([3, 1, 0, 2], [0, 3, 3, 0], [0, 1, 2]),  # squares: 9, 10, 9, 4
        ([2, 2, 2, 2], [1, 1, 1, 1], [0, 1, 2]),  # equals: the first stay
    ],
)
def test_l2_keeps_the_largest_filters_of_the_whole_group(
    expand: list[float], depthwise: list[float], kept: list[int]
):
    given = block_weights(expand, depthwise)

    cut = surgery(given, edited(BLOCK, {1: {"expand": 3}}))

    assert kept_channels(given, cut) == kept
    assert cut.weights["rows.1.expand.norm.running_mean"].tolist() == [
        given.weights["rows.1.expand.norm.running_mean"][channel] for channel in kept
    ]


def test_bn_keeps_the_largest_scales():
    given = block_weights([9, 1, 1, 1], [9, 1, 1, 1])
    weights = dict(given.weights)
    weights["rows.1.expand.norm.weight"] = torch.tensor([1.0, -3, 1, 2], dtype=torch.float64)
    weights["rows.1.depthwise.norm.weight"] = torch.tensor([0.5, 0.5, 3, 0], dtype=torch.float64)
    given = replace(given, weights=weights)

    cut = surgery(given, edited(BLOCK, {1: {"expand": 3}}), importance="bn")

    assert kept_channels(given, cut) == [1, 2, 3]  # 1.5, 3.5, 4, 2


GATED = tiny(Conv(3, 8, "hswish"), Bottleneck(3, 24, 8, se=True, act="hswish"))


@pytest.mark.parametrize(
    ("name", "dim"),
    [
        ("expand.conv.weight", 0), ("expand.norm.weight", 0), ("expand.norm.bias", 0),
        ("depthwise.conv.weight", 0), ("depthwise.norm.weight", 0), ("depthwise.norm.bias", 0),
        ("se.gate.weight", 0), ("se.gate.bias", 0),
        ("se.reduce.weight", 1), ("project.conv.weight", 1),
    ],
)  # fmt: skip
def test_taylor_counts_everything_that_goes_with_a_channel(name: str, dim: int):
    """The loss depends on one tensor alone: its |w dL/dw| decides."""
    given = checkpoint(GATED)
    gradients = {key: torch.zeros_like(tensor) for key, tensor in given.weights.items()}
    gradients[f"rows.1.{name}"] = checkpoint(GATED, seed=1).weights[f"rows.1.{name}"]
    product = (given.weights[f"rows.1.{name}"] * gradients[f"rows.1.{name}"]).abs()
    by_channel = [product.select(dim, channel).sum() for channel in range(24)]
    expected = torch.tensor(by_channel).topk(16).indices.sort().values.tolist()

    cut = surgery(
        given, edited(GATED, {1: {"expand": 16}}), importance="taylor", gradients=gradients
    )

    assert kept_channels(given, cut) == expected
    assert expected != list(range(16))


def test_taylor_takes_the_sum():
    given = checkpoint(GATED)
    gradients = gradients_of(given)
    total = torch.zeros(24, dtype=torch.float64)
    for name, gradient in gradients.items():
        product = (given.weights[name] * gradient).abs()
        if name.endswith(("1.se.reduce.weight", "1.project.conv.weight")):
            total += product.sum((0, 2, 3))
        elif "1.expand" in name or "1.depthwise" in name or "1.se.gate" in name:
            total += product.flatten(1).sum(1) if product.ndim > 1 else product

    cut = surgery(
        given, edited(GATED, {1: {"expand": 16}}), importance="taylor", gradients=gradients
    )

    assert kept_channels(given, cut) == total.topk(16).indices.sort().values.tolist()


# --------------------------------------------------------------------- rows, kernels, gates, sizes


@pytest.mark.parametrize("arch", [*SMALL, replace(SMALL[2], padding="same")], ids=id_of)
def test_the_same_architecture_gives_equal_weights(arch: Arch):
    given = checkpoint(arch)

    same = surgery(given, from_json(to_json(arch)))

    torch.testing.assert_close(dict(same.weights), dict(given.weights), rtol=0, atol=0)
    assert list(same.weights) == list(given.weights)
    assert same.labels == given.labels
    assert (same.mean, same.std, same.preprocess) == (given.mean, given.std, given.preprocess)


def without_rows(arch: Arch, *gone: int) -> Arch:
    return replace(arch, rows=tuple(r for i, r in enumerate(arch.rows) if i not in gone))


@pytest.mark.parametrize(
    ("arch", "gone"),
    [(SMALL[1], (9,)), (SMALL[1], (8, 10)), (SMALL[1], (3, 5, 16)), (SMALL[2], (8,)),
     (SMALL[2], (9,)), (SMALL[2], (6, 10, 14)), (SMALL[3], (11,))],
)  # fmt: skip
def test_a_block_that_adds_nothing_can_go(arch: Arch, gone: tuple[int, ...]):
    """Of equal blocks, that whose removal was asked for is known only by its importance."""
    given = checkpoint(arch)
    network = given.network().double()
    for index in gone:
        block = network.rows[index]
        kill_(block, torch.arange(block.project.conv.out_channels))
        for part in (block.expand, block.depthwise):
            kill_(part, torch.arange(part.conv.out_channels))
    given = replace(given, weights=network.state_dict())

    assert_same(logits(surgery(given, without_rows(arch, *gone))), logits(given))


def test_a_block_may_go_while_others_shrink():
    blocks = [Bottleneck(kernel, 24, 8, se=False, act="relu") for kernel in (3, 5, 7)]
    arch = tiny(Conv(3, 8, "relu"), *blocks)
    to = without_rows(edited(arch, {1: {"expand": 16}, 3: {"expand": 16}}), 2)
    given = checkpoint(arch)

    cut = surgery(given, to)

    for row, origin in ((1, 1), (2, 3)):
        norm = "rows.{}.project.norm.weight".format
        assert torch.equal(cut.weights[norm(row)], given.weights[norm(origin)])
    assert cut.network().arch == to


@pytest.mark.parametrize("padding", ["symmetric", "same"])
@pytest.mark.parametrize(("old", "new"), [(5, 3), (7, 3), (3, 5)])
def test_a_kernel_changes_around_its_centre(old: int, new: int, padding: str):
    arch = tiny(
        Conv(old, 8, "relu", 2),
        Bottleneck(old, 16, 12, se=False, act="relu", stride=2),
        Separable(old, 16, "relu"),
    )
    arch = replace(arch, padding=padding)
    given = checkpoint(arch)
    border = (old - new) // 2
    for tensor in given.weights.values():
        if tensor.ndim == 4 and tensor.shape[-1] > 1 and border > 0:
            inside = tensor[:, :, border:-border, border:-border].clone()
            tensor.zero_()[:, :, border:-border, border:-border] = inside
    to = edited(arch, {row: {"kernel": new} for row in range(3)})

    cut = surgery(given, to)

    assert_same(logits(cut, 32), logits(given, 32))
    assert_same(logits(cut, 31), logits(given, 31))


def test_an_open_gate_can_go():
    arch = SMALL[3]
    given = checkpoint(arch)
    gated = [index for index, row in enumerate(arch.rows) if getattr(row, "se", False)]
    for index in gated:
        given.weights[f"rows.{index}.se.gate.weight"].zero_()
        given.weights[f"rows.{index}.se.gate.bias"].fill_(3)  # ReLU6(3 + 3) / 6 = 1

    cut = surgery(given, edited(arch, {row: {"se": False} for row in gated}))

    assert_same(logits(cut), logits(given))
    assert not any(".se." in name for name in cut.weights)


@pytest.mark.parametrize("name", FAMILIES)
def test_new_channels_leave_the_logits_and_can_learn(name: str):
    narrow, wide = (get_arch(name, width=w, resolution=64, classes=10) for w in (0.75, 1.0))
    given = checkpoint(narrow)

    grown = surgery(given, wide)

    assert grown.arch == wide
    assert_same(logits(grown), logits(given))
    for name, gradient in gradients_of(grown).items():
        old = given.weights[name].shape
        if gradient.ndim > 1 and gradient.shape[1] > old[1]:
            assert gradient[: old[0], old[1] :].abs().sum() > 0


@pytest.mark.parametrize("arch", SMALL, ids=id_of)
def test_other_classes_start_a_fresh_classifier_on_the_same_features(arch: Arch):
    given = checkpoint(arch)

    other = surgery(given, arch.with_classes(7))

    *features, weight, bias = given.weights
    for name in features:
        assert torch.equal(other.weights[name], given.weights[name])
    assert other.weights[weight].shape[0] == 7
    assert 0.005 < other.weights[weight].std() < 0.02  # deviation 0.01, as before training
    assert other.weights[bias].tolist() == [0] * 7
    assert other.labels == ("0", "1", "2", "3", "4", "5", "6")


def test_resolution_and_strides_leave_the_weights():
    given = checkpoint(SMALL[2])

    other = surgery(given, keep_resolution(at_resolution(SMALL[2], 96), 16))

    torch.testing.assert_close(dict(other.weights), dict(given.weights), rtol=0, atol=0)
    assert other.preprocess == {"resolution": 96, "crop": 1.0}


def test_an_addition_that_a_stride_of_1_brings_is_taken_when_asked():
    given = checkpoint(SMALL[2])
    to = keep_resolution(SMALL[2], 8)  # row 2: 16 channels in and out

    other = surgery(given, to, same_additions=False)

    torch.testing.assert_close(dict(other.weights), dict(given.weights), rtol=0, atol=0)
    with pytest.raises(ArchError, match="row 2 of the latter would gain its addition"):
        surgery(given, to)


@pytest.mark.parametrize("width", [0.75, 0.5, 0.35, 0.25])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_width_starts_from_a_wider_one(name: str, width: float):
    arch = get_arch(name, resolution=32, classes=10)
    to = widen(arch, width)

    cut = surgery(checkpoint(arch), to, same_additions=False)

    assert logits(cut, 32).std() > 1e-3


def test_the_checkpoint_given_is_left_alone():
    given = checkpoint(SMALL[3])
    before = {name: tensor.clone() for name, tensor in given.weights.items()}
    cut = surgery(given, edited(SMALL[3], {2: {"expand": 24}}))

    for tensor in cut.weights.values():
        tensor.zero_()

    torch.testing.assert_close(dict(given.weights), before, rtol=0, atol=0)
    assert cut.training["before"] == given.training == {"epochs": 3}


# ---------------------------------------------------------------------------- what cannot be done


SE_BLOCK = edited(BLOCK, {1: {"se": True}})
CHAIN = tiny(Conv(1, 8, "relu"), Bottleneck(3, 16, 4, se=False, act="relu"))


@pytest.mark.parametrize(
    ("arch", "to", "reason"),
    [
        (SMALL[0], SMALL[1], "it must have the same input and the same rows in the same order"),
        (SMALL[2], SMALL[3], "it must have the same input and the same rows in the same order"),
        (SMALL[0], without_rows(SMALL[0], 8), "less blocks that add their input"),
        (without_rows(SMALL[1], 9), SMALL[1], "the same rows in the same order"),
        (BLOCK, replace(BLOCK, in_channels=1), "the same input"),
        (BLOCK, SE_BLOCK, "no new squeeze-and-excite"),
        (BLOCK, edited(BLOCK, {1: {"expand": 2}}), "row 1 of the latter would lose its expansion"),
        (edited(BLOCK, {1: {"expand": 2}}), BLOCK, "row 1 of the latter would gain its expansion"),
        (CHAIN, edited(CHAIN, {0: {"out": 4}}), "row 1 of the latter would gain its addition"),
        (edited(CHAIN, {0: {"out": 4}}), CHAIN, "row 1 of the latter would lose its addition"),
        (get_arch("v3_small"), get_arch("v3_small", width=0.5), "row 7 of the latter would gain"),
    ],
)
def test_what_cannot_be_reached_is_said(arch: Arch, to: Arch, reason: str):
    with pytest.raises(ArchError, match=rf"{to.full_name} cannot start from .*{reason}"):
        surgery(checkpoint(arch), to)


@pytest.mark.parametrize(
    ("weights", "got"),
    [({}, "nothing"), ({"rows.1.expand.conv.weight": torch.zeros(4, 3, 1, 1)}, r"\(4, 3, 1, 1\)")],
)
def test_weights_of_another_network_are_refused(weights: dict[str, Tensor], got: str):
    given = checkpoint(BLOCK)
    name = "rows.1.expand.conv.weight"
    rest = {key: value for key, value in given.weights.items() if key != name}

    message = rf"the weights do not fit tiny_1.0_4_os1: {name} must be \(4, 2, 1, 1\), got {got}"
    with pytest.raises(FileError, match=message):
        surgery(replace(given, weights={**rest, **weights}), BLOCK)


def test_an_unknown_importance_is_refused():
    with pytest.raises(ArchError, match="importance must be one of l2, bn, taylor, got 'l1'"):
        surgery(checkpoint(BLOCK), BLOCK, importance="l1")


def test_taylor_needs_gradients_and_no_other_does():
    given = checkpoint(BLOCK)

    with pytest.raises(ArchError, match=r"taylor needs gradients .* got taylor without gradients"):
        surgery(given, BLOCK, importance="taylor")
    with pytest.raises(ArchError, match="no other does, got l2 with gradients"):
        surgery(given, BLOCK, gradients={})


def test_a_gradient_that_is_missing_is_named():
    to = edited(BLOCK, {1: {"expand": 3}})
    message = r"taylor needs the gradient of rows.1.expand.conv.weight, \(4, 2, 1, 1\), got nothing"

    with pytest.raises(ArchError, match=message):
        surgery(checkpoint(BLOCK), to, importance="taylor", gradients={})

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from mobilenets.archs import ARCHS, Arch, at_resolution, cost, get_arch, keep_resolution, ops
from mobilenets.archs.variants import VARIANTS
from mobilenets.errors import FileError
from mobilenets.nn import Checkpoint, Deployed, MobileNet
from mobilenets.nn.blocks import ConvNormAct, SamePad
from tests.test_parity import randomise_batch_norm

ZOO = [
    *(arch for arch in ARCHS.values()),
    *(get_arch(name, width=width) for name in ARCHS for width in (0.5, 1.25)),
    VARIANTS["mobilenet_v3_large_rw"],
    get_arch("mobilenet_v3_small", width=0.75, rule="torchvision"),
    keep_resolution(get_arch("mobilenet_v3_large", resolution=32), 4),
]
SMALL = [get_arch(name, width=0.35, resolution=64, classes=10) for name in ("v1", "v2", "v3_small")]


def id_of(arch: Arch) -> str:
    return arch.full_name


def without_numbers(arch: Arch) -> MobileNet:
    """The network with its shapes alone: made and run in no time."""
    with torch.device("meta"):
        return MobileNet(arch)


def layers_run(model: MobileNet, resolution: int) -> list[tuple[object, ...]]:
    """What a forward pass really does: each convolution and linear layer, with its shapes."""
    seen: list[tuple[object, ...]] = []

    def record(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        x = inputs[0]
        size = output.shape[-1] if output.ndim == 4 else 1
        groups = getattr(module, "groups", 1)
        seen.append((type(module).__name__, x.shape[1], output.shape[1], size, groups))

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(record)
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, resolution, resolution, device="meta"))
    return seen


@pytest.mark.parametrize("arch", ZOO, ids=id_of)
def test_ops_are_the_layers_that_run(arch: Arch):
    arch = at_resolution(arch, min(arch.size.height, 65))
    expected = [
        ({"conv": "Conv2d", "linear": "Linear"}[op.kind], op.in_channels, op.out_channels,
         op.out_size.height, op.groups)
        for op in ops(arch)
        if op.kind in ("conv", "linear")
    ]  # fmt: skip

    assert layers_run(without_numbers(arch), arch.size.height) == expected


@pytest.mark.parametrize("arch", ZOO, ids=id_of)
def test_parameters_are_those_counted(arch: Arch):
    assert sum(p.numel() for p in without_numbers(arch).parameters()) == cost(arch).params


@pytest.mark.parametrize("arch", ZOO, ids=id_of)
def test_every_op_with_weights_names_its_module(arch: Arch):
    modules = dict(without_numbers(arch).named_modules())

    for op in ops(arch):
        if op.kind in ("conv", "linear"):
            assert op.name in modules


@pytest.mark.parametrize("arch", ZOO, ids=id_of)
def test_residuals_are_the_additions_counted(arch: Arch):
    residual = [m for m in without_numbers(arch).modules() if getattr(m, "residual", False)]

    assert len(residual) == sum(op.kind == "add" for op in ops(arch))


@pytest.mark.parametrize(
    "arch",
    [pytest.param(arch, marks=pytest.mark.full) for arch in SMALL[:2]] + SMALL[2:],
    ids=id_of,
)
def test_torch_export_gives_the_same_logits(arch: Arch):
    model = randomise_batch_norm(MobileNet(arch)).double()
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    program = torch.export.export(model, (images,))

    torch.testing.assert_close(
        program.module()(images)["logits"], model(images)["logits"], rtol=1e-9, atol=0
    )


@pytest.mark.slow
@pytest.mark.full
def test_torch_compile_gives_the_same_logits_without_a_graph_break():
    model = randomise_batch_norm(MobileNet(SMALL[2])).double()
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch's own deprecations
        compiled = torch.compile(model, fullgraph=True)(images)["logits"]

    torch.testing.assert_close(compiled, model(images)["logits"], rtol=1e-9, atol=0)


@pytest.mark.parametrize("arch", SMALL, ids=id_of)
def test_channels_last_gives_the_same_logits(arch: Arch):
    model = randomise_batch_norm(MobileNet(arch)).double()
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    expected = model(images)["logits"]

    model = model.to(memory_format=torch.channels_last)

    actual = model(images.to(memory_format=torch.channels_last))["logits"]
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=0)


def test_h_swish_and_its_gate_are_the_papers():
    x = torch.linspace(-5, 5, 101, dtype=torch.float64)
    relu6 = (x + 3).clamp(0, 6)

    torch.testing.assert_close(nn.Hardswish()(x), x * relu6 / 6)
    torch.testing.assert_close(nn.Hardsigmoid()(x), relu6 / 6)


@pytest.mark.parametrize(
    ("kernel", "size", "expected"),
    [(3, 8, (0, 1)), (5, 8, (1, 2)), (3, 7, (1, 1)), (5, 7, (2, 2))],
)
def test_same_padding_is_tensorflows(kernel: int, size: int, expected: tuple[int, int]):
    padded = SamePad(kernel, 2)(torch.ones(1, 1, size, size))

    row = padded[0, 0, padded.shape[2] // 2].tolist()
    assert row == [0.0] * expected[0] + [1.0] * size + [0.0] * expected[1]


def checkpoint(arch: Arch) -> Checkpoint:
    model = randomise_batch_norm(MobileNet(arch))
    fresh = Checkpoint.fresh(arch)
    return replace(fresh, weights=model.state_dict(), training={"epochs": 3})


@pytest.mark.parametrize("arch", SMALL, ids=id_of)
def test_the_deployed_network_normalizes_and_folds(arch: Arch):
    given = checkpoint(arch)
    images = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    mean = torch.tensor(given.mean).reshape(1, 3, 1, 1)
    std = torch.tensor(given.std).reshape(1, 3, 1, 1)

    deployed = Deployed(given).double()

    expected = given.network().double()((images - mean) / std)["logits"]
    error = (deployed(images)["logits"] - expected).abs().max() / expected.abs().max()
    assert error < 1e-5
    assert not any(isinstance(module, nn.BatchNorm2d) for module in deployed.modules())
    assert any(isinstance(module, ConvNormAct) for module in deployed.modules())


def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path: Path):
    given = checkpoint(SMALL[1])
    given.save(tmp_path / "net.safetensors")

    loaded = Checkpoint.load(tmp_path / "net.safetensors")

    assert loaded.about() == given.about()
    assert loaded.arch == given.arch
    torch.testing.assert_close(dict(loaded.weights), dict(given.weights), rtol=0, atol=0)
    assert [path.name for path in tmp_path.iterdir()] == ["net.safetensors"]


def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path):
    path = tmp_path / "net.safetensors"
    path.write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ")

    with pytest.raises(FileError, match=r"net.safetensors is not a checkpoint of mobilenets"):
        Checkpoint.load(path)


def test_a_missing_checkpoint_is_named(tmp_path: Path):
    with pytest.raises(FileError, match=r"gone.safetensors is not a checkpoint"):
        Checkpoint.load(tmp_path / "gone.safetensors")


def test_weights_of_another_arch_are_refused():
    given = replace(checkpoint(SMALL[1]), arch=SMALL[0])

    with pytest.raises(FileError, match=r"the weights do not fit mobilenet_v1_0.35_64"):
        given.network()


def test_about_is_json():
    about = checkpoint(SMALL[0]).about()

    assert json.loads(json.dumps(about)) == about

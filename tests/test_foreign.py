"""Other tools' checkpoints: read whatever they are wrapped in, and nothing in them is run."""

from __future__ import annotations

import argparse
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from mobilenets.archs import get_arch
from mobilenets.deliver.advice import start_words
from mobilenets.errors import ArchError, FileError
from mobilenets.nn.pretrained import load_weights
from mobilenets.train.start import families, starting_point
from tests.randomised import randomise_

State = dict[str, torch.Tensor]
IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    return randomise_(torchvision.models.mobilenet_v3_small(num_classes=3))


class Harm:
    """What a planted pickle does."""

    def __init__(self, call: Callable[..., Any], *arguments: Any):
        self.made = call, arguments

    def __reduce__(self) -> Any:
        return self.made


def prefixed(prefix: str, state: State) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


WRAPPED: dict[str, Callable[[State], Any]] = {
    "plain.pth": lambda s: s,
    "reference.pth": lambda s: {"model": s, "optimizer": {"state": {0: s}}, "epoch": 3},
    "reference_args.pth": lambda s: {"model": s, "args": argparse.Namespace(lr=0.1, where=Path())},
    "timm.pth.tar": lambda s: {"state_dict": s, "args": argparse.Namespace(lr=0.1), "metric": 1.0},
    "parallel.pth": lambda s: prefixed("module.", s),
    "compiled.pth": lambda s: prefixed("_orig_mod.", s),
    "both.pth": lambda s: {"model": prefixed("module._orig_mod.", s)},
    "lightning.ckpt": lambda s: {
        "state_dict": prefixed("net.", s) | {"loss.weight": torch.ones(3)},
        "hyper_parameters": argparse.Namespace(width=1.0),
        "callbacks": {"checkpoint": {"best": torch.tensor(0.5)}},
    },
    "nested.pt": lambda s: {"checkpoint": {"ema": None, "weights": {"model": s}}},
    "profiled.pth": lambda s: s | {"total_ops": torch.zeros(1), "features.total_params": s["x"]},
    "half.pth": lambda s: {
        name: one.half() if one.is_floating_point() else one for name, one in s.items()
    },
    "old.pth": lambda s: {n: one for n, one in s.items() if not n.endswith("num_batches_tracked")},
    "parameters.pth": lambda s: {
        n: nn.Parameter(one) if one.is_floating_point() else one for n, one in s.items()
    },
    "strange.pth": lambda s: {"model": s, "config": SimpleNamespace(a=1), "at": complex(1)},
}  # fmt: skip


@pytest.mark.parametrize("name", WRAPPED)
def test_a_training_file_is_read_whatever_it_is_wrapped_in(
    tmp_path: Path, theirs: nn.Module, name: str
):
    state = dict(theirs.state_dict())
    if name == "profiled.pth":
        state["x"] = torch.zeros(1)
    torch.save(WRAPPED[name](state), tmp_path / name)

    checkpoint = load_weights(tmp_path / name)

    assert (checkpoint.arch.name, checkpoint.arch.width) == ("mobilenet_v3_small", 1.0)
    assert checkpoint.arch.classes == 3
    with torch.no_grad():
        got, expected = checkpoint.network()(IMAGES)["logits"], theirs(IMAGES)
    assert (got - expected).abs().max() < (1e-2 if name == "half.pth" else 1e-5) * expected.max()


def test_a_model_that_was_pickled_whole_is_read(tmp_path: Path, theirs: nn.Module):
    torch.save(theirs, tmp_path / "model.pt")

    with torch.no_grad():
        got = load_weights(tmp_path / "model.pt").network()(IMAGES)["logits"]
        torch.testing.assert_close(got, theirs(IMAGES), rtol=1e-5, atol=1e-6)


def test_of_averaged_weights_and_others_the_averaged_are_taken(tmp_path: Path, theirs: nn.Module):
    state = theirs.state_dict()
    other = {name: torch.zeros_like(one) for name, one in state.items()}
    torch.save({"state_dict": other, "state_dict_ema": state}, tmp_path / "timm.pth")
    ema = {"n_averaged": torch.tensor(7), **prefixed("module.", state)}
    torch.save({"model": other, "model_ema": ema}, tmp_path / "reference.pth")

    for name in ("timm.pth", "reference.pth"):
        weights = load_weights(tmp_path / name).weights
        assert torch.equal(weights["rows.0.conv.weight"], state["features.0.0.weight"])


def test_two_networks_in_one_dictionary_are_not_guessed_at(tmp_path: Path, theirs: nn.Module):
    both = prefixed("student.", theirs.state_dict()) | prefixed("teacher.", theirs.state_dict())
    torch.save({"state_dict": both}, tmp_path / "distilled.ckpt")

    with pytest.raises(FileError, match=r"several networks, .* with 'student.', 'teacher.'; save"):
        load_weights(tmp_path / "distilled.ckpt")


@pytest.mark.parametrize(
    ("make", "name", "width"),
    [
        (lambda: torchvision.models.mobilenet_v2(width_mult=0.5), "mobilenet_v2", 0.5),
        (lambda: torchvision.models.mobilenet_v2(width_mult=0.1), "mobilenet_v2", 0.1),
        (lambda: timm.create_model("mobilenetv2_050"), "mobilenet_v2", 0.5),
        (lambda: timm.create_model("mobilenetv3_large_075"), "mobilenet_v3_large", 0.75),
        (lambda: timm.create_model("mobilenetv2_110d"), "mobilenet_v2_110d", 1.1),
        (lambda: timm.create_model("mobilenetv3_rw"), "mobilenet_v3_large_rw", 1.0),
        (lambda: timm.create_model("mobilenetv4_conv_small_035"), "mobilenet_v4_conv_small", 0.35),
        (lambda: timm.create_model("tf_efficientnet_lite1"), "efficientnet_lite1", 1.0),
    ],
)
def test_network_and_width_are_found_from_the_shapes(
    tmp_path: Path, make: Callable[[], nn.Module], name: str, width: float
):
    save_file(make().state_dict(), tmp_path / "tf_mine.safetensors")

    found = load_weights(tmp_path / "tf_mine.safetensors").arch

    assert (found.name, found.width) == (name, width)
    assert families(tmp_path / "tf_mine.safetensors") == (name,)


def test_timms_padding_is_told_by_a_name_only(tmp_path: Path):
    state = timm.create_model("mobilenetv3_small_100").state_dict()
    for name in ("mine.safetensors", "tf_mine.safetensors"):
        save_file(state, tmp_path / name)

    assert load_weights(tmp_path / "mine.safetensors").arch.padding == "symmetric"
    assert load_weights(tmp_path / "tf_mine.safetensors").arch.padding == "same"


def test_another_width_is_carried_over_and_another_network_refused(tmp_path: Path):
    state = torchvision.models.mobilenet_v2(width_mult=0.5, num_classes=3).state_dict()
    torch.save({"model": state}, tmp_path / "v2.pth")

    start = starting_point(tmp_path / "v2.pth", get_arch("mobilenet_v2", width=0.35))

    assert (start.arch.width, start.arch.classes) == (0.35, 3)
    assert start_words(start.training) == "v2.pth (carried over by surgery)"
    with pytest.raises(ArchError, match="holds weights of mobilenet_v2, not of mobilenet_v1"):
        starting_point(tmp_path / "v2.pth", get_arch("mobilenet_v1"))


@pytest.mark.parametrize("model", ["efficientnet_b0", "convnext_tiny"])
def test_another_kind_of_network_is_refused(tmp_path: Path, model: str):
    torch.save(torchvision.models.get_model(model).state_dict(), tmp_path / "other.pth")

    with pytest.raises(FileError, match="has torchvision's names, and the shapes of none of our"):
        load_weights(tmp_path / "other.pth")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("where", ["beside", "instead"])
@pytest.mark.parametrize("call", ["system", "run", "eval", "open"])
def test_what_is_planted_is_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, theirs: nn.Module,
    zipped: bool, where: str, call: str,
):  # fmt: skip
    import os

    monkeypatch.chdir(tmp_path)
    harm = {
        "system": Harm(os.system, "touch harm"),
        "run": Harm(subprocess.run, ["touch", "harm"]),
        "eval": Harm(eval, "open('harm', 'w')"),
        "open": Harm(open, "harm", "w"),
    }[call]
    content = {"model": theirs.state_dict(), "args": harm} if where == "beside" else harm
    torch.save(content, "planted.pth", _use_new_zipfile_serialization=zipped)

    try:
        load_weights("planted.pth")
    except FileError as error:
        assert "planted.pth cannot be read as weights (" in str(error)  # noqa: PT017
    assert not Path("harm").exists()


def test_where_code_is_refused_the_sentence_says_why(tmp_path: Path):
    import os

    torch.save({"model": Harm(os.system, "true")}, tmp_path / "planted.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Harm(os.system, "true"), protocol=2))

    for name in ("planted.pth", "plain.pth"):
        with pytest.raises(FileError, match=r"plain containers: posix.system, which is never run"):
            load_weights(tmp_path / name)

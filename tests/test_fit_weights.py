"""`fit --weights`: chosen among the networks that the weights are of, trained from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import timm
from safetensors.torch import save_file

from mobilenets import Budget, fit
from mobilenets.archs import from_json, get_arch
from mobilenets.data import Images, load_images
from mobilenets.errors import ArchError, FileError, MobileNetsError
from mobilenets.files import read_json
from mobilenets.nn import Checkpoint
from mobilenets.train import How, Limits
from mobilenets.train.start import families

BUDGET = Budget(macs=0.5e6, params=1e6)


@pytest.fixture
def digits() -> Images:
    images = load_images("digits")
    return replace(images, train=images.train[:160], holdout=images.holdout[:32])


def weights(folder: Path, name: str, *, seed: int = 0) -> str:
    path = folder / f"{seed}.safetensors"
    Checkpoint.fresh(get_arch(name, width=0.5, resolution=32), seed=seed).save(path)
    return str(path)


def test_words_tell_which_networks_they_are_of(tmp_path: Path):
    """torchvision has no V1; timm's lamb_in1k are V2 0.5 and V3-Small."""
    v3 = ("mobilenet_v3_large", "mobilenet_v3_small")
    save_file(timm.create_model("mobilenetv2_050").state_dict(), tmp_path / "theirs.safetensors")

    assert families("torchvision") == ("mobilenet_v2", *v3)
    assert families("timm:lamb_in1k") == ("mobilenet_v2", "mobilenet_v3_small")
    assert families(weights(tmp_path, "mobilenet_v1")) == ("mobilenet_v1",)
    assert families(tmp_path / "theirs.safetensors") == ("mobilenet_v2",)


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        (How("timm:mobilenetv2_110d"), ArchError,
         "timm:mobilenetv2_110d are weights of mobilenet_v2_110d, and fit chooses among"),
        (How("nothing.safetensors"), FileError, "weights come from torchvision, timm, keras"),
        (How(recipe="best"), MobileNetsError, "no recipe is called 'best'"),
        (How(teacher=Path("none.safetensors")), FileError, "none.safetensors is not a checkpoint"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_images_are_read(
    how: How, kind: type[Exception], message: str, tmp_path: Path
):
    with pytest.raises(kind, match=message):
        fit("/nowhere", BUDGET, out=tmp_path, how=how)


def test_other_weights_are_another_training(digits: Images, tmp_path: Path):
    arch = get_arch("mobilenet_v2", width=0.35, resolution=32)

    def inputs(how: How) -> list[object]:
        job = how.job(arch, digits, how.start(arch, tmp_path), limits=Limits(), seed=0)
        assert job.recipe.name == (how.recipe or "few_images")  # 16 a class
        return job.inputs()

    files = [weights(tmp_path, "mobilenet_v2", seed=seed) for seed in (1, 2)]
    assert inputs(How(files[0])) == inputs(How(files[0]))
    assert inputs(How(files[0])) != inputs(How(files[1]))
    assert inputs(How(files[0])) != inputs(How(files[0], recipe="fine_tune"))
    assert inputs(How(files[0])) != inputs(How(files[0], teacher=Path(taught(tmp_path, digits))))


def taught(folder: Path, images: Images) -> Path:
    path = folder / "teacher.safetensors"
    arch = get_arch("mobilenet_v1", width=0.25, resolution=8, classes=10)
    replace(Checkpoint.fresh(arch), labels=images.task.labels).save(path)
    return path


@pytest.mark.slow
def test_a_fit_with_weights_chooses_their_network_and_starts_from_them(tmp_path: Path):
    file = weights(tmp_path, "mobilenet_v1")
    run = fit(
        "digits", BUDGET, out=tmp_path / "run", limits=Limits(epochs=2, flip=False), how=How(file)
    )

    record = read_json(run.folder / "arch.json")
    assert from_json(record["arch"]).name == run.summary["chosen"]["name"] == "mobilenet_v1"
    training = Checkpoint.load(run.folder / "trained.safetensors").training
    assert training["recipe"]["name"] == "fine_tune"
    assert "surgery" in training["start"]
    assert "start     0.safetensors (carried over by surgery)" in run.verdict()

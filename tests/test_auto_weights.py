"""`--weights auto`: photographs start from the best published weights that can be had."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mobilenets.archs import Arch, Budget, get_arch, keep_resolution
from mobilenets.archs.published_weights import PUBLISHED_WEIGHTS
from mobilenets.choosing.candidate import candidates
from mobilenets.choosing.choice import choose_among
from mobilenets.commands import fit
from mobilenets.data import Images, load_images
from mobilenets.data.source import Arrays
from mobilenets.errors import FileError
from mobilenets.files import read_json
from mobilenets.nn import Checkpoint
from mobilenets.nn.pretrained import download
from mobilenets.train import How, Limits, auto
from tests.stand_in import Answer, Web, block_the_network, serving
from tests.test_choose import FakeDevice

LITE0 = "package:efficientnet_lite0.in1k"
V2, TIMM_V2 = "torchvision:mobilenet_v2.IMAGENET1K_V2", "timm:mobilenetv2_050.lamb_in1k"


@pytest.fixture(autouse=True)
def nothing_at_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network, no package, an empty cache."""
    block_the_network(monkeypatch)
    monkeypatch.delenv("MOBILENETS_OFFLINE", raising=False)
    download._answering.cache_clear()
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "_in_package", lambda file: None)


def packaged(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """As if the package of Lite0 was installed."""
    file = folder / "weights.pth"
    file.touch()

    def place(one: download.WeightsFile) -> Path | None:
        return file if "lite0" in one.package else None

    monkeypatch.setattr(download, "_in_package", place)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Random weights stand in for every published file; which were asked for."""
    asked: list[str] = []

    def start(words: str, arch: Arch) -> Checkpoint:
        asked.append(words)
        checkpoint = Checkpoint.fresh(arch)
        return replace(checkpoint, training={"weights": words})

    monkeypatch.setattr(auto, "starting_point", start)
    return asked


def images(*, side: int = 64, colour: bool = True) -> Images:
    """The digits' record with other pixels: `side` pixels, in colour or grey."""
    made = load_images("digits")
    generator = np.random.default_rng(0)
    shape = (len(made.targets.values), 8, 8, 3)
    pixels = generator.integers(0, 256, shape, dtype=np.uint8)
    if not colour:
        pixels = pixels[..., :1].repeat(3, axis=-1)
    return replace(made, source=Arrays(pixels, "made"), native_size=side)


@pytest.mark.parametrize(
    ("made", "are"),
    [
        (images(), True),
        (images(side=63), False),
        (images(colour=False), False),
        (load_images("digits"), False),
    ],
    ids=["photographs", "small", "grey", "digits"],
)
def test_photographs_have_colour_and_64_pixels(made: Images, are: bool):
    assert auto.are_photographs(made) is are


def test_other_images_start_from_random_weights_and_leave_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    packaged(monkeypatch, tmp_path)

    how = How().settled(load_images("digits"), tmp_path)

    assert not how.started
    assert how.start(get_arch("efficientnet_lite0"), tmp_path) is None
    assert not (tmp_path / "weights.json").exists()


def test_where_none_can_be_had_one_line_says_what_to_install(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.INFO):
        how = How().settled(images(), tmp_path)

    assert not how.started
    (line,) = [record.message for record in caplog.records]
    assert "no published weights can be had" in line
    assert "pip install 'mobilenets[imagenet]'" in line
    assert how.recipe_for(images(), Limits()).name == "from_scratch"


def test_what_was_found_holds_for_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loaded: list[str]
):
    offline = How().settled(images(), tmp_path / "offline")
    packaged(monkeypatch, tmp_path)

    again = How().settled(images(), tmp_path / "offline")
    new = How().settled(images(), tmp_path / "new")

    assert again == offline
    assert new.at_hand == (LITE0,)
    new.start(get_arch("efficientnet_lite0"), tmp_path / "new")
    monkeypatch.setattr(download, "_in_package", lambda file: None)
    gone = How().settled(images(), tmp_path / "new")
    assert gone == new
    gone.start(get_arch("efficientnet_lite0"), tmp_path / "new")
    assert loaded == [LITE0] * 2


def test_a_named_network_starts_from_the_nearest_wider_width(
    tmp_path: Path, loaded: list[str], monkeypatch: pytest.MonkeyPatch
):
    names = (V2, TIMM_V2, "keras:mobilenet_v2.0.75_224", "keras:mobilenet_v2.1.4_224")
    monkeypatch.setattr(auto, "_look_for", lambda network: list(names))
    for width in (0.35, 0.5, 0.6, 1.0, 1.3, 2.0):
        folder = tmp_path / str(width)
        how = How().settled(images(), folder, "mobilenet_v2")
        how.start(get_arch("mobilenet_v2", width=width), folder)

    keras = "keras:mobilenet_v2."
    assert loaded == [
        TIMM_V2, TIMM_V2, f"{keras}0.75_224", V2, f"{keras}1.4_224", f"{keras}1.4_224",
    ]  # fmt: skip


def test_of_one_width_what_is_here_goes_before_what_is_to_be_downloaded(
    tmp_path: Path, loaded: list[str]
):
    """timm's Lite0 of 75.49 % is better than TensorFlow's of 75.1, and not here."""
    cached = tmp_path / "cache" / "weights" / "timm" / "tf_efficientnet_lite0.in1k.safetensors"
    cached.parent.mkdir(parents=True)
    cached.touch()
    names = ("timm:efficientnet_lite0.ra_in1k", "timm:tf_efficientnet_lite0.in1k")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "weights.json").write_text('{"network": null, "at_hand": []}')

    auto.start_from(names, get_arch("efficientnet_lite0"), tmp_path / "run")

    assert loaded == [names[1]]


def test_a_download_that_fails_is_followed_by_the_next_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    names = ("timm:mobilenetv2_100.ra_in1k", V2)
    (tmp_path / "weights.json").write_text('{"network": null, "at_hand": []}')
    arch = get_arch("mobilenet_v2", resolution=32)

    def start(words: str, arch: Arch) -> Checkpoint:
        if words.startswith("timm"):
            raise FileError("it stalled")
        return Checkpoint.fresh(arch)

    monkeypatch.setattr(auto, "starting_point", start)

    assert auto.start_from(names, arch, tmp_path) is not None
    assert "it stalled" in caplog.text
    assert read_json(tmp_path / "weights.json")["start"] == {"of": arch.full_name, "weights": V2}
    assert auto.start_from(names[:1], get_arch("mobilenet_v2"), tmp_path) is None
    assert auto.start_from(names, get_arch("mobilenet_v2"), tmp_path) is None  # as it began
    assert "training starts from random ones" in caplog.text


def test_reachable_weights_are_at_hand_and_hosts_are_asked_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    with serving(Web()) as web:
        monkeypatch.setenv("HF_ENDPOINT", web.url)
        web.answers["/"] = Answer(status=503)  # an answer, too
        timm = [one for one in PUBLISHED_WEIGHTS if one.source == "timm"]

        assert download.at_hand(PUBLISHED_WEIGHTS) == timm
        assert download.at_hand(PUBLISHED_WEIGHTS) == timm
        assert web.asked == ["HEAD /"]
        monkeypatch.setenv("MOBILENETS_OFFLINE", "1")
        assert download.at_hand(PUBLISHED_WEIGHTS) == []


def test_a_network_is_chosen_that_can_be_started_at_its_own_width():
    """Lite0 at fewer pixels, not a narrower one cut from it, nor one without weights."""
    how = How(at_hand=(LITE0,))

    startable = fit._startable(candidates(10), how, None)
    choice = choose_among(startable, Budget(macs=100e6), measure=FakeDevice())

    assert (choice.chosen.arch.name, choice.chosen.arch.width) == ("efficientnet_lite0", 1.0)
    assert {one.arch.name for one in choice.candidates} == {"efficientnet_lite0"}
    assert how.lost(get_arch("efficientnet_lite0", width=0.5)) > 15
    assert how.lost(get_arch("mobilenet_v2")) is None
    assert how.lost(keep_resolution(get_arch("efficientnet_lite0"), 16)) is None


@pytest.mark.parametrize(("per_class", "name"), [(39, "few_images"), (41, "fine_tune")])
def test_few_images_have_a_recipe_of_their_own(per_class: int, name: str):
    made = images()
    made = replace(made, train=made.train[: 10 * per_class])

    assert How(at_hand=(LITE0,)).recipe_for(made, Limits()).name == name
    assert How(at_hand=(LITE0,)).recipe_for(made, Limits(), started=False).name == "from_scratch"

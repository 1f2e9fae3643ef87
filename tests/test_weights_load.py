"""From the words after --weights to a checkpoint: downloads, the cache, files, and what goes wrong.
No test leaves this machine."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from mobilenets.archs import get_arch, keep_resolution
from mobilenets.archs.published_weights import WeightsFile, find_weights
from mobilenets.errors import ArchError, FileError
from mobilenets.nn import Checkpoint
from mobilenets.nn.pretrained import download, load_weights
from mobilenets.nn.pretrained.download import Patience, fetch
from mobilenets.progress import PROGRESS
from tests.stand_in import Answer, Web, block_the_network, serving

CONTENT = b"weights" * 100
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    block_the_network(monkeypatch)
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def web() -> Iterator[Web]:
    with serving(Web()) as web:
        yield web


def published(web: Web, *checksums: str):
    """A checkpoint whose files, one a checksum, are a.bin, b.bin, ... of the stand-in."""
    files = tuple(
        WeightsFile(f"{web.url}/{name}.bin", f"{name}.bin", checksum)
        for name, checksum in zip("ab", checksums, strict=False)
    )
    return replace(find_weights("torchvision", "v2"), files=files)


# ---------------------------------------------------------------------------------------- downloads


@pytest.mark.parametrize("checksum", ["", f"sha256:{SHA256[:8]}", f"sha256:{SHA256}", f"md5:{MD5}"])
def test_a_file_is_downloaded_once(web: Web, cache: Path, checksum: str):
    web.answers["/a.bin"] = Answer(CONTENT)

    paths = [fetch(published(web, checksum)) for _ in range(2)]

    assert paths == [cache / "weights" / "torchvision" / "a.bin"] * 2
    assert paths[0].read_bytes() == CONTENT
    assert web.asked == ["GET /a.bin"]


def test_the_cache_is_in_the_home_folder(web: Web, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("MOBILENETS_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    web.answers["/a.bin"] = Answer(CONTENT)

    path = fetch(published(web, ""))

    assert path == tmp_path / ".cache" / "mobilenets" / "weights" / "torchvision" / "a.bin"


@pytest.mark.parametrize(
    ("answer", "checksum", "reason"),
    [
        (Answer(status=404), "", "HTTP Error 404: Not Found"),
        (Answer(status=503), "", "HTTP Error 503: Service Unavailable"),
        (Answer(CONTENT, length=len(CONTENT) + 9), "", "IncompleteRead.700 bytes read, 9 more"),
        (Answer(CONTENT[1:]), f"sha256:{SHA256[:8]}", f"checksum is .*, not sha256:{SHA256[:8]}"),
        (Answer(CONTENT[1:]), f"md5:{MD5}", f"a broken download: .* is md5:.{{32}}, not md5:{MD5}"),
    ],
)  # fmt: skip
def test_a_download_that_fails_is_a_sentence_with_the_address_and_the_place(
    web: Web, cache: Path, answer: Answer, checksum: str, reason: str
):
    web.answers["/a.bin"] = answer

    with pytest.raises(FileError, match=reason) as caught:
        fetch(published(web, checksum))
    place = cache / "weights" / "torchvision" / "a.bin"
    assert f"{web.url}/a.bin" in str(caught.value)
    assert f"download {web.url}/a.bin to {place} by hand" in str(caught.value)
    assert not place.exists()


def test_without_a_network_the_sentence_says_where_to_put_the_file(cache: Path):
    with pytest.raises(FileError) as caught:
        load_weights("torchvision:IMAGENET1K_V1", "mobilenet_v2")

    place = cache / "weights" / "torchvision" / "mobilenet_v2-b0353104.pth"
    url = "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth"
    assert re.fullmatch(
        rf"torchvision:mobilenet_v2.IMAGENET1K_V1 could not be downloaded from {url} "
        rf"\(no network in tests: download.pytorch.org\); download {url} to {place} "
        "by hand and run the same command again",
        str(caught.value),
    )


def test_the_second_address_is_tried_after_the_first(web: Web, cache: Path):
    web.answers["/b.bin"] = Answer(CONTENT)

    assert fetch(published(web, "", f"sha256:{SHA256[:8]}")).name == "b.bin"
    assert web.asked == ["GET /a.bin", "GET /b.bin"]
    assert fetch(published(web, "", "")).name == "b.bin"  # what is there is not asked for again
    assert len(web.asked) == 2


def test_a_download_that_stalls_goes_on_by_the_next_address(web: Web, caplog):
    """Half a file, and then nothing: not waited for."""
    done = threading.Event()
    web.answers["/a.bin"] = Answer(CONTENT[:9], length=len(CONTENT), stall=done)
    web.answers["/b.bin"] = Answer(CONTENT)

    path = fetch(published(web, "", ""), Patience(seconds=0.1))
    done.set()

    assert (path.name, path.read_bytes()) == ("b.bin", CONTENT)
    assert f"{web.url}/a.bin (timed out) failed; trying the next address" in caplog.text
    assert sorted(one.name for one in path.parent.iterdir()) == ["b.bin", "b.bin.sha256"]


class Trickle:
    """A body that comes byte by byte, by a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float):
        now = iter(range(10_000))
        monkeypatch.setattr(download.time, "monotonic", lambda: next(now) * seconds)

    def read1(self, most: int) -> bytes:
        return b"x"


def test_a_download_that_trickles_is_given_up(monkeypatch: pytest.MonkeyPatch):
    slow = Trickle(monkeypatch, seconds=1.0)

    with pytest.raises(OSError, match="stalled after 21 bytes"):
        download._read(slow, 0, Patience(seconds=20, pace=1000), lambda count: None)


def test_a_download_tells_how_far_it_is(web: Web, cache: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(PROGRESS, "mobilenets")

    web.answers["/b.bin"] = Answer(CONTENT)
    fetch(published(web, "", f"md5:{MD5}"))

    told = [record.share for record in caplog.records if hasattr(record, "share")]
    assert {one.stage for one in told} == {"downloading b.bin"}
    assert told[-1].ended


def test_a_file_put_there_by_hand_is_used(web: Web, cache: Path):
    path = cache / "weights" / "torchvision" / "b.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)

    assert fetch(published(web, "", f"md5:{MD5}")) == path
    assert web.asked == []


def test_a_broken_file_put_there_by_hand_is_refused(web: Web, cache: Path):
    path = cache / "weights" / "torchvision" / "a.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT[1:])

    with pytest.raises(FileError, match=rf"{path} is broken: .*; put that of {web.url}/a\.bin"):
        fetch(published(web, f"sha256:{SHA256[:8]}"))


def test_without_a_published_checksum_the_first_files_own_counts(web: Web, cache: Path):
    web.answers["/a.bin"] = Answer(CONTENT)
    path = fetch(published(web, ""))
    assert path.with_name("a.bin.sha256").read_text() == f"{SHA256}  a.bin\n"  # as sha256sum -c
    path.write_bytes(CONTENT[:-1])

    with pytest.raises(
        FileError, match=f"its checksum is sha256:.*, not sha256:{SHA256}; put that"
    ):
        fetch(published(web, ""))


@pytest.mark.parametrize("redirected", [True, False])
def test_the_hash_that_the_hub_tells_is_verified(web: Web, redirected: bool):
    told = {"X-Linked-ETag": f'"{SHA256}"'}
    body = Answer(CONTENT[1:], headers={} if redirected else told)
    web.answers["/a.bin"] = Answer(status=302, headers={**told, "Location": "/there"})
    web.answers["/there" if redirected else "/a.bin"] = body

    with pytest.raises(
        FileError, match=f"a broken download: its checksum is .*, not sha256:{SHA256}"
    ):
        fetch(published(web, ""))
    body.body = CONTENT
    assert fetch(published(web, "")).read_bytes() == CONTENT


# ------------------------------------------------------------------------------ load_weights, whole


def timm_file(web: Web, tmp_path: Path) -> torch.nn.Module:
    """timm's V3-Small 0.5, random, where the Hub would have the published one."""
    torch.manual_seed(0)
    model = timm.create_model("mobilenetv3_small_050").eval()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    path = "/timm/mobilenetv3_small_050.lamb_in1k/resolve/main/model.safetensors"
    web.answers[path] = Answer((tmp_path / "model.safetensors").read_bytes())
    return model


def test_weights_of_the_hub_are_downloaded_and_read(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HF_ENDPOINT", web.url)
    theirs = timm_file(web, tmp_path)

    checkpoint = load_weights("timm:lamb_in1k", "mobilenet_v3_small", width=0.5)

    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(
        checkpoint.network()(images)["logits"], theirs(images), rtol=1e-3, atol=1e-9
    )
    assert checkpoint.arch.full_name == "mobilenet_v3_small_0.5_224_timm"
    assert checkpoint.preprocess["interpolation"] == "bicubic"
    assert (
        checkpoint.training["sha256"]
        == hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()
    )


def test_another_resolution_and_other_classes(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HF_ENDPOINT", web.url)
    timm_file(web, tmp_path)
    asked = keep_resolution(get_arch("v3_small", width=0.5, resolution=64, classes=3), 8)

    whole = load_weights("timm", "v3_small", width=0.5)
    checkpoint = load_weights("timm", asked)

    last = "head.classifier.linear.weight"
    assert checkpoint.arch.full_name == "mobilenet_v3_small_0.5_64_timm_os8"
    assert checkpoint.arch.bn_eps == 1e-5
    assert checkpoint.preprocess["resolution"] == 64
    assert checkpoint.labels == ("0", "1", "2")
    assert checkpoint.weights[last].shape == (3, 1024)
    assert all(
        torch.equal(tensor, whole.weights[name])
        for name, tensor in checkpoint.weights.items()
        if not name.startswith("head.classifier.")
    )
    assert checkpoint.network()(torch.zeros(1, 3, 64, 64))["logits"].shape == (1, 3)


# -------------------------------------------------------------------------------------------- files


def test_a_checkpoint_of_ours(tmp_path: Path):
    arch = get_arch("v3_small", width=0.35, resolution=64, classes=10)
    Checkpoint.fresh(arch).save(tmp_path / "ours.safetensors")

    assert load_weights(tmp_path / "ours.safetensors").arch == arch
    assert load_weights(tmp_path / "ours.safetensors", "v3_small", width=0.35).arch == arch
    with pytest.raises(ArchError, match=r"mobilenet_v3_small of width 0\.35, not of mobilenet_v2"):
        load_weights(tmp_path / "ours.safetensors", "v2")


def test_a_file_in_a_sources_format_with_other_classes(tmp_path: Path):
    theirs = torchvision.models.mobilenet_v3_small(num_classes=7).eval()
    torch.save(theirs.state_dict(), tmp_path / "tuned.pth")

    checkpoint = load_weights(tmp_path / "tuned.pth", "mobilenet_v3_small")

    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(
        checkpoint.network()(images)["logits"], theirs(images), rtol=1e-3, atol=1e-9
    )
    assert checkpoint.arch.rule == "torchvision"
    assert checkpoint.labels == tuple("0123456")
    assert "imagenet_top1" not in checkpoint.training


def test_a_published_file_is_known_by_its_name_and_verified(tmp_path: Path):
    torch.save(
        torchvision.models.mobilenet_v2().state_dict(), tmp_path / "mobilenet_v2-b0353104.pth"
    )

    with pytest.raises(
        FileError, match=r"b0353104\.pth is broken: .*, not sha256:b0353104; put that of"
    ):
        load_weights(tmp_path / "mobilenet_v2-b0353104.pth")


class Harm:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("harm",)


@pytest.mark.parametrize("as_torch", [True, False])
def test_a_pickle_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_torch: bool):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.pth"
    if as_torch:
        torch.save({"conv_stem.weight": Harm()}, path)
    else:
        path.write_bytes(pickle.dumps(Harm(), protocol=2))

    with pytest.raises(FileError, match=r"bad\.pth cannot be read as weights"):
        load_weights(path, "v2")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.pth", b"", r"a\.pth cannot be read as weights"),
        ("a.pt", b"PK\x03\x04", r"a\.pt cannot be read as weights"),
        ("a.safetensors", b"{}", r"a\.safetensors cannot be read as weights"),
        ("a.h5", b"{}", r"a\.h5 is not a weights file of Keras"),
        (
            "a.txt",
            b"",
            "weights come from torchvision, timm, keras, package .* or a file .*got '.*a.txt'",
        ),
        ("", b"", "weights come from torchvision, timm, keras, package .*hf:OWNER/NAME or a file"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, name: str, content: bytes, message: str):
    if name:
        (tmp_path / name).write_bytes(content)

    with pytest.raises(FileError, match=message):
        load_weights(tmp_path / name, "v2")


def test_a_list_is_no_weights(tmp_path: Path):
    torch.save([torch.zeros(1)], tmp_path / "a.pth")

    with pytest.raises(FileError, match="it holds no dictionary of tensors"):
        load_weights(tmp_path / "a.pth", "v2")


def test_tensors_of_something_else_are_refused(tmp_path: Path):
    torch.save({"fc.weight": torch.zeros(1)}, tmp_path / "a.pth")

    with pytest.raises(
        FileError,
        match=r"none of our sources \(its first tensors are fc.weight\); give a MobileNet",
    ):
        load_weights(tmp_path / "a.pth", "v2")


# ---------------------------------------------------------------------------------- what is printed


def test_the_record_of_a_checkpoint_is_json():
    record = json.loads(json.dumps(find_weights("keras", "v3_small").to_json()))

    assert record["weights"] == "keras:mobilenet_v3_small.1.0_224"
    assert record["top1"] == 68.1
    assert record["files"][0]["checksum"] == "md5:8768d4c2e7dee89b9d02b2d03d65d862"
    assert record["padding"] == "same"

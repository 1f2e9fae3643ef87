"""What `serve` puts on the page: networks, a kit, a run's classifier; or why it cannot."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mobilenets.archs import get_arch, to_json
from mobilenets.commands import serve as module
from mobilenets.commands.serve import Page, Serving, serve
from mobilenets.data import load_images
from mobilenets.deliver.predictor import load
from mobilenets.deliver.tried import to_try
from mobilenets.devices.serving import Content
from mobilenets.errors import ArchError, FileError, MeasureError, RuntimeMissing
from mobilenets.files import sha256_of
from mobilenets.nn import Checkpoint
from mobilenets.runtimes.artifact import export
from tests.three import three_digits


def write_network(path: Path) -> Path:
    """A network that gives the mean of each colour."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 4, 4])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3, 1, 1])
    node = helper.make_node("GlobalAveragePool", ["image"], ["logits"])
    graph = helper.make_graph([node], "means", [image], [logits])
    opset = [helper.make_opsetid("", 17)]
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


@pytest.fixture(autouse=True)
def runtime_of_the_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files are not needed to see what is served, nor networks to refer to."""
    files = {"ort/ort.wasm.min.mjs": Content("text/javascript", b"")}
    monkeypatch.setattr(module, "_runtime_files", lambda: files)
    monkeypatch.setattr(module, "_version", lambda: "1.30.0")
    monkeypatch.setattr(module, "REFERENCES", ())


def plan_of(page: Page) -> dict[str, Any]:
    content = page.server.files["kit.json"].body
    assert isinstance(content, bytes)
    return json.loads(content)


def test_a_file_is_served_with_its_checksum(tmp_path: Path):
    path = write_network(tmp_path / "small.onnx")

    with serve(Serving((str(path),), port=0, out=tmp_path)) as page:
        (network,) = plan_of(page)["networks"]
        assert network == {
            "item": 0, "name": "small.onnx", "file": "network0.onnx", "sha256": sha256_of(path),
        }  # fmt: skip
        assert page.server.files["network0.onnx"].body == path
        assert set(page.server.files) == {
            "", "index.html", "page.css", "page.js", "pictures.js", "timing.js", "kit.json",
            "network0.onnx", "ort/ort.wasm.min.mjs",
        }  # fmt: skip
        assert page.to_json() == {"url": page.server.url, "networks": ["small.onnx"]}


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    folder = tmp_path / "kit"
    for name in ("reference", "block", "model"):
        write_network(folder / "files" / f"{name}.onnx")
    plan = {
        "mobilenets_kit": 1,
        "runtime": "onnxruntime",
        "threads": 1,
        "references": ["files/reference.onnx"],
        "items": [
            {"file": "files/block.onnx", "kind": "piece", "times": 3,
             "arch": to_json(get_arch("mobilenet_v2"))},
        ],
        "artifacts": [{"file": "files/model.onnx", "sha256": "0" * 64, "latency_ms": 5.0}],
    }  # fmt: skip
    (folder / "kit.json").write_text(json.dumps(plan))
    return folder


def test_of_a_kit_the_blocks_are_a_table_and_the_artifacts_networks(kit: Path, tmp_path: Path):
    with serve(Serving((str(kit),), port=0, out=tmp_path)) as page:
        plan = plan_of(page)
        assert plan["table"] == [
            {"item": 0, "file": "kit/files/block.onnx", "kind": "piece", "times": 3}
        ]
        assert [one["file"] for one in plan["networks"]] == ["kit/files/model.onnx"]
        assert plan["references"] == ["kit/files/reference.onnx"]
        assert {f"kit/files/{name}.onnx" for name in ("reference", "block", "model")} <= set(
            page.server.files
        )
        assert "kit/kit.json" not in page.server.files
        assert page.names == ("a latency table of 1 blocks and networks", "model.onnx")


def test_table_serves_the_kit_beside_the_results(kit: Path, tmp_path: Path):
    with serve(Serving(table=True, port=0, out=tmp_path)) as page:
        assert len(plan_of(page)["table"]) == 1


def test_a_kit_for_another_runtime_is_refused(kit: Path, tmp_path: Path):
    path = kit / "kit.json"
    path.write_text(path.read_text().replace('"onnxruntime"', '"litert"'))

    with (
        pytest.raises(MeasureError, match=r"is a kit for litert, and browsers run onnxruntime; "),
        serve(Serving((str(kit),), port=0, out=tmp_path)),
    ):
        pass


def test_a_kit_is_served_alone(kit: Path, tmp_path: Path):
    for job in (
        Serving((str(kit), "mobilenet_v2"), port=0),
        Serving(("mobilenet_v2",), table=True, port=0, out=tmp_path),
        Serving((str(kit),), table=True, port=0, out=tmp_path),
    ):
        with (
            pytest.raises(MeasureError, match="a page measures one latency table, or networks: "),
            serve(job),
        ):
            pass


@pytest.mark.parametrize(
    ("names", "error", "why"),
    [
        ((), MeasureError, "nothing is to be served; give a run folder, a network, or --table"),
        (("no.onnx",), FileError, "there is no file no.onnx"),
        (("nonsense",), ArchError, "nonsense"),
        ((__file__,), FileError, "is no ONNX file, which is what runs in a browser"),
        ((str(Path(__file__).parent),), FileError, "there is no trained network"),
    ],
)
def test_what_cannot_be_served_is_a_sentence(
    names: tuple[str, ...], error: type[Exception], why: str
):
    with pytest.raises(error, match=why), serve(Serving(names, port=0)):
        pass


def test_without_the_runtime_the_user_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    monkeypatch.setattr(module, "find_spec", lambda name: None)

    with (
        pytest.raises(RuntimeMissing, match=r"needs onnxruntime-web, .* run, .*: make browser"),
        serve(Serving(("mobilenet_v2",), port=0)),
    ):
        pass


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run on three digits, as far as the page reads it."""
    data = three_digits(tmp_path)
    images = load_images(data)
    arch = get_arch("mobilenet_v1", width=0.25, resolution=8, classes=3)
    training = {"fingerprint": images.fingerprint, "seed": 0}
    checkpoint = replace(Checkpoint.fresh(arch), training=training)
    folder = tmp_path / "run"
    folder.mkdir()
    export(checkpoint, "onnxruntime", folder / "model.onnx")
    (folder / "images.json").write_text(json.dumps({"data": str(data)}))
    return folder


def test_a_run_brings_its_labels_its_rule_and_answers_for_ten_validation_images(run: Path):
    network = load(run / "model.onnx")

    found, pixels = to_try(run, run / "model.onnx")

    images = np.frombuffer(pixels, np.uint8).reshape(10, 3, 8, 8)
    logits = network.run(images.astype(np.float32) / np.float32(255))["logits"]
    assert np.array_equal(np.array(found["answers"], np.float32), logits)
    assert found["labels"] == ["0", "1", "2"]
    assert found["apart"] is False
    assert found["images"] == "10 validation images of three"
    assert (found["rule"]["rows"], found["rule"]["short_side"]) == (8, 8)


def test_without_its_images_a_run_is_compared_on_random_ones(
    run: Path, caplog: pytest.LogCaptureFixture
):
    (run / "images.json").write_text(json.dumps({"data": "gone/"}))

    found, pixels = to_try(run, run / "model.onnx")

    assert len(pixels) == 10 * 3 * 8 * 8
    assert found["images"] == "10 random images, for the run's are not here"
    assert "the page compares the answers on random images" in caplog.text

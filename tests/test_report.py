from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mobilenets.archs import get_arch, keep_resolution, to_json
from mobilenets.data import Preprocess, read_image
from mobilenets.deliver.card import SNIPPET
from mobilenets.deliver.report import report
from mobilenets.errors import FileError
from mobilenets.measurement.candidates import price

NASTY = "<script>alert(1)</script> & | co"
ARCH = keep_resolution(get_arch("mobilenet_v3_small", width=0.5, resolution=28), 8)
LATENCY = {
    "p50_ms": 0.8, "p90_ms": 0.9, "min_ms": 0.7, "runs": 100, "spread": 0.05, "noisy": False,
    "runtime": "onnxruntime", "runtime_version": "1.32.0", "threads": 1, "precision": "fp32",
    "batch": 1, "device": "a device",
}  # fmt: skip


def png() -> str:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def write_run(
    folder: Path, *, classes: int = 2, latency_ms: float | None = 1.0, spent: float = 0.8
) -> Path:
    """A finished run's files, made by hand."""
    names = [NASTY, *(f"class {index}" for index in range(1, classes))]
    example = {"name": NASTY, "label": NASTY, "predicted": "class 1", "probability": 0.9}
    limits = [{"limit": "latency", "spent": spent, "allowed": 1.0, "met": spent <= 1}]
    candidate = price(ARCH).to_json() | {"latency": LATENCY}
    budget = dict.fromkeys(("macs", "params", "size_bytes", "memory_bytes"))
    files = {
        "budget.json": budget | {"latency_ms": latency_ms},
        "images.json": {
            "name": NASTY, "classes": names, "counts": {"train": 8, "val": 2},
            "skipped": [{"name": f"{index}.png", "reason": NASTY} for index in range(52)],
            "split": {"seed": 0},
        },
        "arch.json": {
            "arch": to_json(ARCH), "chosen": candidate, "binding_limit": "latency",
            "considered": 1,
        },
        "verdict.json": {
            "verified": True, "within_budget": spent <= 1,
            "complaints": [] if spent <= 1 else ["latency is 1.2 ms, 20.0 % over the limit"],
            "top1_checkpoint": 91.25, "top5_checkpoint": 99.0, "top1_artefact": 91.25,
            "top5_artefact": 99.0, "images": 2, "agreement": 100.0, "max_relative_error": 1e-6,
            "intact": True, "latency": LATENCY, "limits": limits if latency_ms else [],
            "size_bytes": 5_000_000, "macs": 1_000_000, "params": 2_000_000,
        },
        "predictions.json": {
            "classes": names,
            "confusion": [[1] * classes for _ in range(classes)],
            "wrong": [example | {"png": png()}],
            "right": [],
        },
        "training.json": {"recipe": {"name": "from_scratch"}, "seed": 0},
    }  # fmt: skip
    for name, value in files.items():
        (folder / name).write_text(json.dumps(value))
    predicted = candidate | {"latency": None, "predicted_ms": 2.0}
    (folder / "candidates.jsonl").write_text(f"{json.dumps(candidate)}\n{json.dumps(predicted)}\n")
    (folder / "metrics.csv").write_text(
        "epoch,train_loss,holdout_loss,holdout_top1,learning_rate,seconds\n0,1.5,1.2,70,0.001,3\n"
    )
    return folder


def without_plotly(path: Path) -> str:
    """The page without plotly.js itself."""
    text = path.read_text(encoding="utf-8")
    return text[: text.index("<script>")] + text[text.index("</head>") :]


def test_the_page_needs_nothing_outside_itself(tmp_path: Path):
    text = without_plotly(report(write_run(tmp_path)))

    assert not re.search(r"<script[^>]+src=|<link|<img[^>]+src=\"http|url\(", text)
    assert "data:image/png;base64," in text
    assert 'name="viewport"' in text


def test_the_users_words_are_shown_as_words(tmp_path: Path):
    text = without_plotly(report(write_run(tmp_path)))

    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; | co" in text
    assert r"\<script\>alert(1)" in (tmp_path / "README.md").read_text()


def test_a_verified_run_within_budget_says_so(tmp_path: Path):
    text = without_plotly(report(write_run(tmp_path)))

    for words in (
        "Verified", "Within budget", "latency 0.8 ms of 1 ms", "91.25 %", "p90 0.900 ms",
        "onnxruntime 1.32.0, 1 thread(s), fp32, batch 1, 100 runs", "5 MB", "and 2 more",
        "mobilenet_<wbr>v3_<wbr>small_<wbr>0.5_<wbr>28_<wbr>os8",
    ):  # fmt: skip
        assert words in text


def test_a_missed_limit_is_complained_of(tmp_path: Path):
    text = without_plotly(report(write_run(tmp_path, spent=1.2)))

    assert "Misses the budget" in text
    assert "latency is 1.2 ms, 20.0 % over the limit." in text
    assert 'class="bar bad"' in text


def test_a_budget_without_latency_is_drawn_against_macs(tmp_path: Path):
    text = without_plotly(report(write_run(tmp_path, latency_ms=None)))

    assert "million MACs" in text


def test_colours_are_explained_where_nothing_was_measured(tmp_path: Path):
    run = write_run(tmp_path, latency_ms=None)
    guess = price(ARCH).to_json() | {"latency": None, "predicted_ms": 2.0}
    (run / "candidates.jsonl").write_text(f"{json.dumps(guess)}\n")

    text = without_plotly(report(run))

    assert '"showlegend":true' in text


def test_two_classes_get_a_heat_map_of_escaped_names(tmp_path: Path):
    text = without_plotly(report(write_run(tmp_path)))

    assert '"type":"heatmap"' in text
    assert r"is \u0026lt;script\u0026gt;" in text or r"is &lt;script&gt;" in text


def test_many_classes_get_a_table_of_the_pairs_most_confused(tmp_path: Path):
    text = without_plotly(report(write_run(tmp_path, classes=150)))

    assert "<th>is</th><th>said</th>" in text
    assert "images<extra>" not in text  # the heat map's hover


@pytest.mark.parametrize("name", ["arch.json", "metrics.csv", "verdict.json", "candidates.jsonl"])
def test_a_missing_file_is_named(tmp_path: Path, name: str):
    (write_run(tmp_path) / name).unlink()

    with pytest.raises(FileError, match=rf"not a finished run .*{name}.*run `mobilenets fit`"):
        report(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("verdict.json", '{"verified": true}', r"verdict\.json: it lacks within_budget"),
        ("predictions.json", "[]", r"predictions\.json: it lacks classes"),
        ("candidates.jsonl", "{}\n", r"candidates\.jsonl: it lacks full_name"),
        ("metrics.csv", "epoch,train_loss\n0,much\n", r"metrics\.csv: "),
        ("budget.json", '{"latency_ms": -1}', r"budget\.json: latency must be a positive"),
        ("arch.json", '{"arch": {}, "binding_limit": "", "considered": 1}', r"arch\.json: "),
    ],
)
def test_a_file_with_the_wrong_content_is_named(
    tmp_path: Path, name: str, content: str, complaint: str
):
    (write_run(tmp_path) / name).write_text(content)

    with pytest.raises(FileError, match=f"{complaint}.*run `mobilenets fit` again"):
        report(tmp_path)


def test_a_broken_file_is_an_error_and_the_old_page_stays(tmp_path: Path):
    before = report(write_run(tmp_path)).read_bytes()
    (tmp_path / "verdict.json").write_text("{")

    with pytest.raises(FileError, match=r"verdict\.json"):
        report(tmp_path)
    assert (tmp_path / "report.html").read_bytes() == before


@pytest.mark.parametrize("size", [(130, 90), (61, 97), (28, 28)])
def test_the_snippet_prepares_an_image_as_the_package_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
):
    monkeypatch.chdir(tmp_path)
    Image.radial_gradient("L").resize(size).convert("RGB").save("photo.jpg")
    preparing = SNIPPET[: SNIPPET.index("session =")].replace("SIDE", "28")
    names: dict[str, Any] = {}

    exec(preparing, names)

    ours = Preprocess(28)(read_image(Path("photo.jpg"))).numpy()
    assert abs(names["pixels"][0] * 255 - ours).max() < 1.01  # one step of 8 bits


def test_the_card_says_what_it_is(tmp_path: Path):
    report(write_run(tmp_path))

    card = (tmp_path / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: onnx\npipeline_tag: image-classification\n")
    assert "| top-1, artefact | 91.25 % of 2 images |" in card

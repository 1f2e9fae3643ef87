from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import plotly.graph_objects as go
import plotly.offline
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from PIL import Image, ImageCms

from mobilenets.archs import get_arch, keep_resolution, to_json
from mobilenets.choosing.candidate import price
from mobilenets.data import Preprocess, read_image
from mobilenets.deliver.html_page import PALETTE
from mobilenets.deliver.present.classification import ClassPresenter
from mobilenets.deliver.run_report import report
from mobilenets.deliver.usage import snippet
from mobilenets.errors import DataError, FileError
from mobilenets.nn import Checkpoint
from mobilenets.runtimes import RUNTIMES
from mobilenets.runtimes.artifact import artifact_name, files_of
from mobilenets.tasks.confidence import interval

NASTY = "<script>alert(1)</script> & | co"
ARCH = keep_resolution(get_arch("mobilenet_v3_small", width=0.5, resolution=28, classes=2), 8)
LATENCY = {
    "p50_ms": 0.8, "p90_ms": 0.9, "min_ms": 0.7, "runs": 100, "spread": 0.05, "noisy": False,
    "runtime": "onnxruntime", "runtime_version": "1.32.0", "threads": 1, "precision": "fp32",
    "batch": 1, "device": "a device",
}  # fmt: skip


def png() -> str:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


@cache
def weights() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder, "trained.safetensors")
        Checkpoint.fresh(ARCH).save(path)
        return path.read_bytes()


def write_run(
    folder: Path,
    *,
    classes: int = 2,
    latency_ms: float | None = 1.0,
    spent: float = 0.8,
    runtime: str = "onnxruntime",
) -> Path:
    """A finished run's files, made by hand."""
    names = [NASTY, *(f"class {index}" for index in range(1, classes))]
    example = {"name": NASTY, "label": NASTY, "predicted": "class 1", "probability": 0.9}
    limits = [{"limit": "latency", "spent": spent, "allowed": 1.0, "met": spent <= 1}]
    candidate = price(ARCH).to_json() | {"runtime": runtime, "latency": LATENCY}
    budget = dict.fromkeys(("macs", "params", "size_bytes", "memory_bytes"))
    files = {
        "budget.json": budget | {"latency_ms": latency_ms},
        "images.json": {
            "name": NASTY, "classes": names, "counts": {"train": 8, "val": 2},
            "skipped": [{"name": f"{index}.png", "reason": NASTY} for index in range(52)],
            "class_counts": {split: dict.fromkeys(names, 3) for split in ("train", "val")},
            "ignored": 4, "fingerprint": "abc",
            "split": {
                "val": "stratified", "test": "none", "holdout": "stratified",
                "val_fraction": 0.2, "holdout_fraction": 0.1, "seed": 0,
            },
        },
        "arch.json": {
            "arch": to_json(ARCH), "runtime": runtime, "chosen": candidate,
            "binding_limit": "latency", "considered": 1,
        },
        "verdict.json": {
            "verified": True, "within_budget": spent <= 1,
            "complaints": [] if spent <= 1 else ["latency is 1.2 ms, 20.0 % over the limit"],
            "top1_checkpoint": 91.25, "top5_checkpoint": 99.0, "top1_artifact": 91.25,
            "top5_artifact": 99.0, "images": 2, "agreement": 100.0, "max_relative_error": 1e-6,
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
    (folder / "trained.safetensors").write_bytes(weights())
    for file in files_of(folder / artifact_name(runtime)):
        file.write_bytes(b"an artifact")
    (folder / "metrics.csv").write_text(
        "epoch,train_loss,holdout_loss,holdout_top1,learning_rate,seconds\n0,1.5,1.2,70,0.001,3\n"
    )
    return folder


def without_plotly(path: Path) -> str:
    """The page without plotly.js itself."""
    text = path.read_text(encoding="utf-8")
    library = plotly.offline.get_plotlyjs()
    assert text.count(library) == 1
    return text.replace(library, "")


def figures(text: str) -> list[go.Figure]:
    """The page's plots, as plotly itself checks and reads them."""
    data = re.findall(r'<script type="application/json">(.*?)</script>', text)
    return [go.Figure(json.loads(one)) for one in data]


def traces(text: str, kind: type) -> list[Any]:
    return [trace for figure in figures(text) for trace in figure.data if isinstance(trace, kind)]


def test_the_page_needs_nothing_outside_itself(tmp_path: Path):
    text = without_plotly(report(write_run(tmp_path)))

    assert not re.search(r"<script[^>]+src=|<link|https?://|url\(|@import", text)
    assert "default-src 'none'; img-src data:" in text
    assert "data:image/png;base64," in text
    assert 'name="viewport"' in text


def test_the_browser_may_run_the_pages_own_scripts_only(tmp_path: Path):
    text = report(write_run(tmp_path)).read_text()

    allowed = re.findall(r"'sha256-([^']+)'", text)
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    hashes = [hashlib.sha256(script.encode()).digest() for script in scripts]
    assert [base64.b64encode(one).decode() for one in hashes] == allowed


def test_the_page_has_every_part(tmp_path: Path):
    text = without_plotly(report(write_run(tmp_path)))

    assert re.findall("<h2>(.*?)</h2>", text) == [
        "Figures", "Why this network", "Training", "What is taken for what",
        "Examples from the validation images", "What each row costs", "How the network reads",
        "The images", "Using model.onnx", "Where it comes from",
    ]  # fmt: skip
    assert len(figures(text)) == 3


def test_every_colour_of_the_plots_has_its_night(tmp_path: Path):
    text = without_plotly(report(write_run(tmp_path)))

    drawn = "".join(figure.to_json() for figure in figures(text))
    assert set(re.findall(r'"(#\w{6})"', drawn)) <= {day for day, _ in PALETTE.values()}


def test_the_users_words_are_shown_as_words(tmp_path: Path):
    text = without_plotly(report(write_run(tmp_path)))

    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; | co" in text
    assert r"\<script\>alert(1)" in (tmp_path / "README.md").read_text()


def test_a_verified_run_within_budget_says_so(tmp_path: Path):
    text = without_plotly(report(write_run(tmp_path)))

    for words in (
        "✓ Verified", "✓ Within budget", "latency 0.8 ms of 1 ms", "80.0 %", "91.25 %", "0.900 ms",
        "onnxruntime 1.32.0, 1 thread, fp32, batch 1, 100 runs, spread 5.0 %", "5 MB", "and 2 more",
        "mobilenet_v3_small_0.5_28_os8: MobileNetV3-Small, width 0.5, 28 x 28 pixels, output str",
    ):  # fmt: skip
        assert words in text


def test_a_limit_that_noise_leaves_undecided_is_no_miss(tmp_path: Path):
    run = write_run(tmp_path, spent=1.2)
    verdict = json.loads((run / "verdict.json").read_text())
    (run / "verdict.json").write_text(json.dumps(verdict | {"undecided": True}))

    text = without_plotly(report(run))

    assert "✗ Budget undecided" in text
    assert "Misses" not in text
    assert "Within budget: undecided." in (run / "README.md").read_text(encoding="utf-8")


def test_page_and_card_tell_what_was_not_learned_and_what_few_images_cannot_tell(tmp_path: Path):
    run = write_run(tmp_path)
    told = {
        "learned": False, "warning": "trained, but no better than always saying 'good'",
        "unclear": "43 images cannot tell 1 point: 1 fewer right of 43",
        "spread": "95.0 % of images are 'good'; recall of 'defect' 0 %",
        "balanced_accuracy": 50.0, "largest_class": "good", "largest_share": 95.0,
        "worst_class": "defect", "worst_recall": 0.0,
    }  # fmt: skip
    verdict = json.loads((run / "verdict.json").read_text())
    (run / "verdict.json").write_text(json.dumps(verdict | told))

    text = without_plotly(report(run))

    card = (run / "README.md").read_text(encoding="utf-8")
    for words in (told["warning"], told["unclear"], told["spread"]):
        assert html.escape(str(words)) in text
    for words in (
        "no better than always saying 'good'", "1 fewer right of 43",
        "| balanced accuracy, artifact | 50.00 % |", "| largest class | good, 95.0 % |",
        "| worst recall | defect, 0.0 % |",
    ):  # fmt: skip
        assert words in card


def test_a_missed_limit_is_complained_of(tmp_path: Path):
    text = without_plotly(report(write_run(tmp_path, spent=1.2)))

    assert "✗ Misses the budget" in text
    assert "<p class=complaint>latency is 1.2 ms, 20.0 % over the limit.</p>" in text
    assert "120.0 %" in text
    assert "- latency is 1.2 ms, 20.0 % over the limit" in (tmp_path / "README.md").read_text()
    assert 'class="bar bad"' in text


@pytest.mark.parametrize(
    ("field", "limit", "title"),
    [
        ("macs", 2e6, "MACs (log scale)"),
        ("size_bytes", 4e6, "the artifact's file, estimated (log scale)"),
        ("memory_bytes", 1e6, "peak activations, fp32 (log scale)"),
    ],
)
def test_a_budget_without_latency_is_drawn_against_its_limit(
    tmp_path: Path, field: str, limit: float, title: str
):
    run = write_run(tmp_path, latency_ms=None)
    budget = dict.fromkeys(("latency_ms", "macs", "params", "size_bytes", "memory_bytes"))
    (run / "budget.json").write_text(json.dumps(budget | {field: limit}))

    plot = figures(without_plotly(report(run)))[0]

    assert plot.layout.xaxis.title.text == title
    assert plot.layout.shapes[0].x0 == limit


def test_a_run_without_any_limit_is_drawn_against_macs(tmp_path: Path):
    text = without_plotly(report(write_run(tmp_path, latency_ms=None)))

    assert "no limit was set" in text
    assert figures(text)[0].layout.xaxis.title.text == "MACs (log scale)"


def test_colours_are_explained_where_nothing_was_measured(tmp_path: Path):
    run = write_run(tmp_path, latency_ms=None)
    guess = price(ARCH).to_json() | {"latency": None, "predicted_ms": 2.0}
    (run / "candidates.jsonl").write_text(f"{json.dumps(guess)}\n")

    plot = figures(without_plotly(report(run)))[0]

    assert [trace.showlegend for trace in plot.data if trace.name == "V3-Small" and trace.x] == [
        True
    ]


def test_measured_candidates_are_solid_and_the_chosen_one_is_a_star(tmp_path: Path):
    faint, solid, star = figures(without_plotly(report(write_run(tmp_path))))[0].data

    assert (faint.x, faint.marker.opacity) == ((2.0,), 0.35)
    assert (solid.x, solid.marker.opacity) == ((0.8,), None)
    assert star.marker.symbol == "star"
    assert "mobilenet_v3_small_0.5_28_os8 in onnxruntime<br>0.8 ms measured" in solid.text[0]


def test_the_epoch_that_was_kept_is_marked(tmp_path: Path):
    run = write_run(tmp_path)
    (run / "metrics.csv").write_text(
        "epoch,train_loss,holdout_loss,holdout_top1,learning_rate,seconds\n"
        "0,1.5,1.2,70,0.001,60\n1,1.2,0.9,80,0.001,60\n2,1.1,nan,79,0.001,60\n"
    )

    text = without_plotly(report(run))

    assert "3 epochs in 3 minutes" in text
    assert "Epoch 2 (dotted) had the lowest" in text
    assert figures(text)[1].layout.shapes[0].x0 == 2


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({"minutes": 15, "epochs": 60}, "1 of the recipe's 60 epochs in 0.05 minutes"),
        ({"minutes": None, "epochs": 60}, ">1 epoch in 0.05 minutes"),
        ({"minutes": 15, "epochs": 1}, ">1 epoch in 0.05 minutes"),
    ],
    ids=["cut short", "no limit", "all of them"],
)
def test_a_training_that_minutes_cut_short_says_so(
    tmp_path: Path, recipe: dict[str, Any], said: str
):
    run = write_run(tmp_path)
    (run / "training.json").write_text(json.dumps({"recipe": recipe, "seed": 0}))

    assert said in without_plotly(report(run)).replace("&#x27;", "'")


def test_a_race_is_told_lap_by_lap(tmp_path: Path):
    run = write_run(tmp_path)
    chosen = json.loads((run / "arch.json").read_text())
    trial = {"name": "slow & wide", "round": 1, "epochs": 0.25, "seconds": 59.6, "score": 80.0}
    trials = [trial | {"loss": 0.51034}, trial | {"loss": 0.4}]
    (run / "arch.json").write_text(json.dumps(chosen | {"trials": trials}))

    text = without_plotly(report(run))

    first = "<td class=n>1</td><td>slow &amp; wide</td><td class=n>0.510</td>"
    assert f"{first}<td class=n>80.00</td><td class=n>0.25</td><td class=n>60</td>" in text
    assert "<th class=n>holdout top-1, %</th>" in text
    assert f"{ARCH.full_name} won." in text
    (run / "arch.json").write_text(json.dumps(chosen | {"trials": trials[:1]}))
    alone = without_plotly(report(run))
    assert "There is, so no cheaper one was tried." in alone
    assert "won." not in alone


def test_without_a_race_nothing_is_said_of_one(tmp_path: Path):
    assert "Successive halving" not in without_plotly(report(write_run(tmp_path)))


def test_a_part_of_an_epoch_is_no_epoch(tmp_path: Path):
    run = write_run(tmp_path)
    checkpoint = replace(Checkpoint.fresh(ARCH), training={"epochs": 0.35})
    checkpoint.save(run / "trained.safetensors")
    limited = {"name": "fine", "minutes": 15, "epochs": 60}
    (run / "training.json").write_text(json.dumps({"recipe": limited, "seed": 0}))

    text = without_plotly(report(run)).replace("&#x27;", "'")

    assert "0.35 of the recipe's 60 epochs in 0.05 minutes" in text
    assert "Recipe: fine, 0.35 epochs." in (run / "README.md").read_text()


def test_two_classes_get_a_heat_map_of_escaped_names(tmp_path: Path):
    (heat,) = traces(without_plotly(report(write_run(tmp_path))), go.Heatmap)

    assert heat.hovertext[0][1] == (
        "is &lt;script&gt;alert(1)&lt;/script&gt; &amp; | co<br>said class 1<br>1 image"
    )
    assert heat.z[0][0] > 0 > heat.z[0][1]  # right, wrong


def test_each_class_has_its_accuracy_and_what_it_is_taken_for(tmp_path: Path):
    run = write_run(tmp_path, classes=3)
    predictions = json.loads((run / "predictions.json").read_text())
    predictions["confusion"] = [[3, 1, 0], [0, 4, 0], [1, 2, 0]]
    (run / "predictions.json").write_text(json.dumps(predictions))

    text = without_plotly(report(run))

    cells = [re.findall("<td.*?>(.*?)</td>", row) for row in re.findall("<tr>.*?</tr>", text)]
    assert ["class 1", "100.0 %", "4", ""] in cells
    assert ["class 2", "0.0 %", "3", "class 1 (2)"] in cells


def test_many_classes_get_a_table_of_the_pairs_most_confused(tmp_path: Path):
    run = write_run(tmp_path, classes=150)
    predictions = json.loads((run / "predictions.json").read_text())
    predictions["confusion"][3][7] = 99
    (run / "predictions.json").write_text(json.dumps(predictions))

    text = without_plotly(report(run))

    first = "<tr><td>class 3</td><td>class 7</td><td class=n>99</td></tr>"
    assert f"<th>is</th><th>said</th><th class=n>images</th></tr>{first}" in text
    assert not traces(text, go.Heatmap)
    assert "and 50 more, all in the file's metadata" in (run / "README.md").read_text()


def test_names_that_are_no_utf8_are_escaped(tmp_path: Path):
    run = write_run(tmp_path)
    images = json.loads((run / "images.json").read_text())
    images["skipped"] = [{"name": "caf\udce9.png", "reason": "broken"}]
    (run / "images.json").write_text(json.dumps(images))

    assert "<td>caf\\udce9.png</td>" in without_plotly(report(run))


def test_an_accuracy_has_wilsons_interval():
    # scipy 1.17: binomtest(90, 100).proportion_ci(method="wilson")
    assert interval(90, 100) == pytest.approx((82.56343, 94.47708), rel=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        "arch.json", "budget.json", "images.json", "candidates.jsonl", "metrics.csv", "model.onnx",
        "predictions.json", "trained.safetensors", "training.json", "verdict.json",
    ],
)  # fmt: skip
def test_a_missing_file_is_named(tmp_path: Path, name: str):
    (write_run(tmp_path) / name).unlink()

    with pytest.raises(FileError, match=rf"not a finished run .*{name}.*run `mobilenets fit`"):
        report(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("verdict.json", '{"verified": true}', r"verdict\.json: it lacks within_budget"),
        ("predictions.json", "[]", r"predictions\.json: it must be an object, got a list of 0"),
        ("candidates.jsonl", "{}\n", r"candidates\.jsonl: it lacks full_name"),
        ("metrics.csv", "epoch,train_loss\n0,much\n", r"metrics\.csv: "),
        ("budget.json", '{"latency_ms": -1}', r"budget\.json: latency must be a positive"),
        (
            "arch.json",
            '{"arch": {}, "binding_limit": "", "considered": 1}',
            r"arch\.json: it lacks ru",
        ),
        (
            "arch.json",
            '{"arch": {}, "runtime": "onnxruntime", "binding_limit": "", "considered": 1}',
            r"arch\.json: ",
        ),
        (
            "arch.json",
            '{"arch": {}, "runtime": "tensorrt", "binding_limit": "", "considered": 1}',
            r"arch\.json: unknown runtime 'tensorrt'",
        ),
        ("trained.safetensors", "{}", r"trained\.safetensors: .* is not a checkpoint"),
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


def prepared(preprocess: Preprocess) -> NDArray[np.float32]:
    """What the program in the card makes of photo.jpg, in the current folder."""
    program = snippet(preprocess, "onnxruntime", ClassPresenter())
    names: dict[str, Any] = {}
    exec(program[: program.index("session =")], names)
    return names["pixels"][0] * 255


@pytest.mark.parametrize(("crop", "mode"), [(1.0, "bilinear"), (0.875, "bicubic")])
@pytest.mark.parametrize("resolution", [28, (20, 44), (44, 20)])
@pytest.mark.parametrize("size", [(130, 90), (61, 97), (28, 28), (300, 3)])
def test_the_snippet_resizes_an_image_as_the_package_does(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: tuple[int, int],
    resolution: Any,
    crop: float,
    mode: str,
):
    monkeypatch.chdir(tmp_path)
    Image.radial_gradient("L").resize(size).convert("RGB").save("photo.jpg")
    rule = Preprocess(resolution, crop, mode)

    ours = rule(read_image(Path("photo.jpg"))).numpy()
    assert_array_equal(prepared(rule).round(3), ours)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def files_of_all_modes() -> dict[str, bytes]:
    """A picture in every mode that files come in."""
    y, x = np.mgrid[:40, :60]
    grey = Image.fromarray((x * 4 + y).astype(np.uint8))
    colour = Image.merge("RGB", (grey, grey.rotate(180), grey.transpose(1)))
    clear = Image.fromarray((x * 6 % 256).astype(np.uint8))
    rgba, la = colour.copy(), grey.copy()
    rgba.putalpha(clear)
    la.putalpha(clear)
    palette = colour.quantize(16)
    deep = (x * 70 + y * 3).astype(np.uint16)
    deep[0, 0] = 65535
    floats = (x * 30.0 - 1000 + y).astype(np.float32)
    floats[3, 4:7] = np.nan, np.inf, -np.inf
    turned = Image.Exif()
    turned[0x0112] = 6
    cmyk = encoded(colour.convert("CMYK"), "JPEG")
    adobe = cmyk.index(b"Adobe") + 11
    depth = encoded(colour, "PNG")
    return {
        "RGB": depth,
        "L": encoded(grey, "PNG"),
        "RGBA": encoded(rgba, "PNG"),
        "RGBA in WebP": encoded(rgba, "WEBP", lossless=True),
        "LA": encoded(la, "PNG"),
        "1": encoded(grey.convert("1"), "PNG"),
        "1 with a transparent colour": encoded(grey.convert("1"), "PNG", transparency=1),
        "P": encoded(palette, "PNG"),
        "P with a transparent colour": encoded(palette, "PNG", transparency=3),
        "P with alpha": encoded(palette, "PNG", transparency=bytes(range(0, 256, 16))),
        "RGB with a transparent colour": encoded(colour, "PNG", transparency=(0, 0, 0)),
        "L with a transparent colour": encoded(grey, "PNG", transparency=9),
        "GIF": encoded(palette, "GIF", transparency=3),
        "animated GIF": encoded(palette, "GIF", save_all=True, append_images=[grey]),
        "CMYK": cmyk,
        "YCCK": cmyk[:adobe] + b"\2" + cmyk[adobe + 1 :],
        "I;16": encoded(Image.fromarray(deep), "PNG"),
        "I;16 with a transparent value": encoded(Image.fromarray(deep), "PNG", transparency=703),
        "I;16B": encoded(Image.fromarray(deep.astype(">u2")), "TIFF"),
        "I;16 turned": encoded(Image.fromarray(deep), "PNG", exif=turned),
        "I": encoded(Image.fromarray(deep.astype(np.int32) - 500), "TIFF"),
        "F": encoded(Image.fromarray(floats), "TIFF"),
        "F up to 1": encoded(Image.fromarray((x / 59).astype(np.float32)), "TIFF"),
        "EXIF 6": encoded(colour, "JPEG", exif=turned),
        "EXIF 6 in a TIFF": encoded(colour, "TIFF", exif=turned),
        "broken EXIF": encoded(colour, "JPEG", exif=b"Exif\0\0garbage"),
        "a colour profile": encoded(colour, "PNG", icc_profile=srgb()),
        "one colour": encoded(Image.new("RGB", (9, 7), "red"), "PNG"),
    }


def srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


@pytest.mark.parametrize("grey_range", [None, (-600.0, 400.5), (300.0, 4095.0)])
@pytest.mark.parametrize("mode", files_of_all_modes())
def test_the_snippet_reads_every_mode_to_the_pixel(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    grey_range: tuple[float, float] | None,
):
    monkeypatch.chdir(tmp_path)
    content = files_of_all_modes()[mode]
    Path("photo.jpg").write_bytes(content)
    rule = Preprocess(28, 0.875, grey_range=grey_range)

    ours = rule(read_image(content, grey_range=grey_range)).numpy()
    assert_array_equal(prepared(rule).round(3), ours)


@pytest.mark.parametrize("resolution", [28, (20, 36)])
@pytest.mark.parametrize("crop", [1.0, 0.875])
def test_the_snippet_stretches_as_the_rule_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resolution: Any, crop: float
):
    monkeypatch.chdir(tmp_path)
    content = files_of_all_modes()["EXIF 6"]
    Path("photo.jpg").write_bytes(content)
    rule = Preprocess(resolution, crop, resize="stretch")

    assert_array_equal(prepared(rule).round(3), rule(read_image(content)).numpy())


def test_the_snippet_refuses_what_the_package_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    Image.new("L", (60000, 1)).save("photo.jpg")

    with pytest.raises(AssertionError, match=r"photo.jpg is too thin: \(60000, 1\)"):
        prepared(Preprocess(28))
    with pytest.raises(DataError, match="one side is over 100 times the other"):
        read_image(Path("photo.jpg"))


def test_the_card_says_what_it_is(tmp_path: Path):
    report(write_run(tmp_path))

    card = (tmp_path / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: onnx\npipeline_tag: image-classification\n")
    assert "| top-1, artifact | 91.25 % of 2 images |" in card
    assert "| limit: latency | latency 0.8 ms of 1 ms, met |" in card
    assert "1 x 3 x 28 x 28 (NCHW)" in card
    assert f"| SHA-256 of model.onnx | {hashlib.sha256(b'an artifact').hexdigest()} |" in card


@pytest.mark.parametrize(
    ("runtime", "library", "artifact", "words"),
    [
        ("onnxruntime", "onnx", "model.onnx", "1 x 3 x 28 x 28 (NCHW)"),
        (
            "openvino",
            "openvino",
            "model.xml",
            "model.xml, with model.bin beside it, takes an image",
        ),
        ("litert", "litert", "model.tflite", "1 x 28 x 28 x 3 (NHWC)"),
        ("executorch", "executorch", "model.pte", "are in the metadata of the file"),
        ("ncnn", "ncnn", "model.ncnn.param", "with model.ncnn.bin and model.ncnn.json beside it"),
        ("ncnn", "ncnn", "model.ncnn.param", "the architecture are in model.ncnn.json"),
        ("torch", "pytorch", "model.safetensors", "or, in Python:"),
        ("torch-compile", "pytorch", "model.safetensors", "or, in Python:"),
    ],
)
def test_card_and_page_speak_of_the_artifact_that_was_made(
    tmp_path: Path, runtime: str, library: str, artifact: str, words: str
):
    text = without_plotly(report(write_run(tmp_path, runtime=runtime)))

    card = (tmp_path / "README.md").read_text()
    digest = hashlib.sha256(b"an artifact").hexdigest()
    assert f"library_name: {library}\n" in card
    assert f"tags: [mobilenet, {library}, image-classification]" in card
    assert words in card
    for file in files_of(tmp_path / artifact):
        assert f"| SHA-256 of {file.name} | {digest} |" in card
    assert f"mobilenets predict {artifact} photo.jpg" in card
    assert f"<h2>Using {artifact}</h2>" in text
    assert f"top-1 of {artifact}" in text
    if runtime != "onnxruntime":
        assert "model.onnx" not in card + text
        assert "onnxruntime." not in card + text


def test_every_runtime_has_its_program_and_library():
    for runtime in RUNTIMES:
        assert artifact_name(runtime) in snippet(Preprocess(28), runtime, ClassPresenter())


def test_candidates_measured_in_several_runtimes_are_told_apart(tmp_path: Path):
    run = write_run(tmp_path)
    ours = json.loads((run / "candidates.jsonl").read_text().splitlines()[0])
    other = ours | {"runtime": "openvino", "latency": LATENCY | {"p50_ms": 0.9}}
    (run / "candidates.jsonl").write_text(f"{json.dumps(other)}\n{json.dumps(ours)}\n")

    text = without_plotly(report(run))

    *_, solid, star = figures(text)[0].data
    assert "1 in openvino, 1 in onnxruntime measured on this machine" in text
    assert [note.split("<br>")[0].split(" in ")[1] for note in solid.text] == [
        "openvino",
        "onnxruntime",
    ]
    assert star.x == (0.8,)
    rows = re.findall(r"<tr><td>mobilenet_v3_small_0.5_28_os8</td><td>(\w+)</td>", text)
    assert rows == ["onnxruntime", "openvino"]

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import re
from dataclasses import replace
from functools import cache
from math import log
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree.ElementTree import Element, fromstring

import numpy as np
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


def page_of(run: Path) -> str:
    """The report of a run."""
    return report(run).read_text(encoding="utf-8")


def plots(text: str) -> list[Element]:
    """The page's figures, each with its legend and its panels."""
    found = re.findall(r'<figure class="plot">.*?</figure>', text, re.DOTALL)
    return [fromstring(one) for one in found]


def panel(text: str, figure: int = 0) -> Element:
    """The first panel of a figure."""
    found = plots(text)[figure].find("svg[@class='panel']")
    assert found is not None
    return found


def marks(panel: Element) -> list[tuple[str, str]]:
    """(shape, words) of each mark."""
    return [(one.attrib["href"][1:], one.findtext("title") or "") for one in panel.findall("use")]


def rule_at(panel: Element) -> float:
    """Where the vertical line is, in percent of the width."""
    (line,) = [one for one in panel.findall("line") if one.attrib["class"].startswith("rule")]
    return float(line.attrib["x1"].removesuffix("%"))


def test_the_page_needs_nothing_outside_itself(tmp_path: Path):
    text = page_of(write_run(tmp_path))

    assert not re.search(r"<script|<link|https?://|url\(|@import", text)
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in text
    assert "data:image/png;base64," in text
    assert 'name="viewport"' in text


def test_the_page_has_every_part(tmp_path: Path):
    text = page_of(write_run(tmp_path))

    assert re.findall("<h2>(.*?)</h2>", text) == [
        "What to try next", "Figures", "Why this network", "Training", "Confusion matrix",
        "Examples from the validation images", "Cost of each row", "Architecture", "Images",
        "Using model.onnx", "Provenance",
    ]  # fmt: skip
    assert [len(one.findall("svg")) for one in plots(text)] == [1, 2]
    assert text.count('<table class="heat">') == 1


def test_every_colour_of_the_plots_has_its_night(tmp_path: Path):
    text = page_of(write_run(tmp_path))

    drawn = set(re.findall(r'class="[^"]*\bc-(\w+)', text))
    assert {"red", "blue", "green"} <= drawn <= set(PALETTE)
    for name, (day, night) in PALETTE.items():
        assert text.count(f"--{name}: {day};") >= 1
        assert text.count(f"--{name}: {night};") >= 1


def test_every_mark_of_the_plots_is_drawn_on_the_page(tmp_path: Path):
    text = page_of(write_run(tmp_path))

    assert set(re.findall('href="#([^"]+)"', text)) <= set(re.findall('path id="([^"]+)"', text))


def test_a_page_is_small(tmp_path: Path):
    run = write_run(tmp_path, classes=10)
    guess = json.loads((run / "candidates.jsonl").read_text().splitlines()[1])
    many = (guess | {"predicted_ms": 0.1 * 1.001**index} for index in range(3000))
    with (run / "candidates.jsonl").open("a") as file:
        file.writelines(f"{json.dumps(one)}\n" for one in many)

    assert len(page_of(run)) < 100_000


def test_nothing_on_the_page_is_smaller_than_15_pixels(tmp_path: Path):
    style = page_of(write_run(tmp_path)).split("</style>")[0]

    rems = [float(one) for one in re.findall(r"font-size: ([\d.]+)rem", style)]
    pixels = [float(one) for one in re.findall(r"font-size: ([\d.]+)px", style)]
    assert min(16 * min(rems), min(pixels)) >= 15


def test_the_users_words_are_shown_as_words(tmp_path: Path):
    text = page_of(write_run(tmp_path))

    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; | co" in text
    assert r"\<script\>alert(1)" in (tmp_path / "README.md").read_text()


def test_a_verified_run_within_budget_says_so(tmp_path: Path):
    text = page_of(write_run(tmp_path))

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

    text = page_of(run)

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

    text = page_of(run)

    card = (run / "README.md").read_text(encoding="utf-8")
    for words in (
        "Trained, but no better than always saying 'good'.",
        told["unclear"],
        told["spread"],
    ):
        assert html.escape(str(words)) in text
    for words in (
        "no better than always saying 'good'", "1 fewer right of 43",
        "| balanced accuracy, artifact | 50.00 % |", "| largest class | good, 95.0 % |",
        "| worst recall | defect, 0.0 % |",
    ):  # fmt: skip
        assert words in card


def test_a_missed_limit_is_complained_of(tmp_path: Path):
    text = page_of(write_run(tmp_path, spent=1.2))

    assert "✗ Misses the budget" in text
    assert "<p class=complaint>latency is 1.2 ms, 20.0 % over the limit.</p>" in text
    assert "120.0 %" in text
    assert "- latency is 1.2 ms, 20.0 % over the limit" in (tmp_path / "README.md").read_text()
    assert 'class="bar bad"' in text


@pytest.mark.parametrize(
    ("field", "limit", "key", "title"),
    [
        ("macs", 2e6, "macs", "MACs (log scale)"),
        ("size_bytes", 4e6, "size_bytes", "the artifact's file, estimated (log scale)"),
        ("memory_bytes", 1e6, "peak_activation_bytes", "peak activations, fp32 (log scale)"),
    ],
)
def test_a_budget_without_latency_is_drawn_against_its_limit(
    tmp_path: Path, field: str, limit: float, key: str, title: str
):
    run = write_run(tmp_path, latency_ms=None)
    budget = dict.fromkeys(("latency_ms", "macs", "params", "size_bytes", "memory_bytes"))
    (run / "budget.json").write_text(json.dumps(budget | {field: limit}))

    text = page_of(run)

    assert panel(text).attrib["aria-label"] == f"expected ImageNet top-1, % by {title}"
    prices = [price(ARCH).to_json()[key], limit]
    whole = log(1.1 * max(prices)) - log(min(prices) / 1.1)
    assert rule_at(panel(text)) == pytest.approx(
        100 * (log(limit) - log(min(prices) / 1.1)) / whole, abs=0.01
    )


def test_a_run_without_any_limit_is_drawn_against_macs(tmp_path: Path):
    text = page_of(write_run(tmp_path, latency_ms=None))

    assert "no limit was set" in text
    assert panel(text).attrib["aria-label"].endswith("by MACs (log scale)")


def test_the_legend_has_each_family_where_nothing_was_measured(tmp_path: Path):
    run = write_run(tmp_path, latency_ms=None)
    guess = price(ARCH).to_json() | {"latency": None, "predicted_ms": 2.0}
    (run / "candidates.jsonl").write_text(f"{json.dumps(guess)}\n")

    legend = plots(page_of(run))[0].find("ul")

    assert legend is not None
    assert ["".join(one.itertext()) for one in legend] == ["V3-Small", "chosen"]


def test_measured_candidates_are_solid_and_the_chosen_one_is_a_star(tmp_path: Path):
    plot = panel(page_of(write_run(tmp_path)))

    faint = [one for one in plot.iter("path") if one.attrib["class"].startswith("dots")]
    assert [one.attrib["d"].count("M") for one in faint] == [1]
    assert [shape for shape, _ in marks(plot)] == ["triangle-up", "star"]
    top1 = price(ARCH).expected.top1
    assert marks(plot)[0][1] == (
        "mobilenet_v3_small_0.5_28_os8 in onnxruntime\n0.8 ms measured\n"
        f"{top1:.1f} % expected on ImageNet"
    )


def test_the_epoch_that_was_kept_is_marked(tmp_path: Path):
    run = write_run(tmp_path)
    (run / "metrics.csv").write_text(
        "epoch,train_loss,holdout_loss,holdout_top1,learning_rate,seconds\n"
        "0,1.5,1.2,70,0.001,60\n1,1.2,0.9,80,0.001,60\n2,1.1,nan,79,0.001,60\n"
    )

    text = page_of(run)

    assert "3 epochs in 3 minutes" in text
    assert "Epoch 2 (dotted) had the lowest" in text
    assert rule_at(panel(text, 1)) == 50


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

    assert said in page_of(run).replace("&#x27;", "'")


def test_a_race_is_told_lap_by_lap(tmp_path: Path):
    run = write_run(tmp_path)
    chosen = json.loads((run / "arch.json").read_text())
    trial = {"name": "slow & wide", "round": 1, "epochs": 0.25, "seconds": 59.6, "score": 80.0}
    trials = [trial | {"loss": 0.51034}, trial | {"loss": 0.4}]
    (run / "arch.json").write_text(json.dumps(chosen | {"trials": trials}))

    text = page_of(run)

    first = "<td class=n>1</td><td>slow &amp; wide</td><td class=n>0.510</td>"
    assert f"{first}<td class=n>80.00</td><td class=n>0.25</td><td class=n>60</td>" in text
    assert "<th class=n>held-out top-1, %</th>" in text
    assert f"{ARCH.full_name} won." in text
    (run / "arch.json").write_text(json.dumps(chosen | {"trials": trials[:1]}))
    alone = page_of(run)
    assert "They do, so no cheaper one was tried." in alone
    assert "won." not in alone


def test_without_a_race_nothing_is_said_of_one(tmp_path: Path):
    assert "Successive halving" not in page_of(write_run(tmp_path))


def test_a_part_of_an_epoch_is_no_epoch(tmp_path: Path):
    run = write_run(tmp_path)
    checkpoint = replace(Checkpoint.fresh(ARCH), training={"epochs": 0.35})
    checkpoint.save(run / "trained.safetensors")
    limited = {"name": "fine", "minutes": 15, "epochs": 60}
    (run / "training.json").write_text(json.dumps({"recipe": limited, "seed": 0}))

    text = page_of(run).replace("&#x27;", "'")

    assert "0.35 of the recipe's 60 epochs in 0.05 minutes" in text
    assert "Recipe: fine, 0.35 epochs." in (run / "README.md").read_text()


def test_two_classes_get_a_heat_map_of_escaped_names(tmp_path: Path):
    text = page_of(write_run(tmp_path))

    (heat,) = re.findall('<table class="heat">.*?</table>', text)
    wrong = (
        'title="is &lt;script&gt;alert(1)&lt;/script&gt; &amp; | co, predicted class 1: 1 image"'
    )
    assert f'<td class="strong" style="--share:0.71" {wrong}>1</td>' in heat
    assert heat.count('<td class="right strong"') == 2


def test_each_class_has_its_accuracy_and_what_it_is_taken_for(tmp_path: Path):
    run = write_run(tmp_path, classes=3)
    predictions = json.loads((run / "predictions.json").read_text())
    predictions["confusion"] = [[3, 1, 0], [0, 4, 0], [1, 2, 0]]
    (run / "predictions.json").write_text(json.dumps(predictions))

    text = page_of(run)

    cells = [re.findall("<td.*?>(.*?)</td>", row) for row in re.findall("<tr>.*?</tr>", text)]
    assert ["class 1", "100.0 %", "4", ""] in cells
    assert ["class 2", "0.0 %", "3", "class 1 (2)"] in cells


def test_many_classes_get_a_table_of_the_pairs_most_confused(tmp_path: Path):
    run = write_run(tmp_path, classes=150)
    predictions = json.loads((run / "predictions.json").read_text())
    predictions["confusion"][3][7] = 99
    (run / "predictions.json").write_text(json.dumps(predictions))

    text = page_of(run)

    first = "<tr><td>class 3</td><td>class 7</td><td class=n>99</td></tr>"
    assert f"<th>true class</th><th>predicted</th><th class=n>images</th></tr>{first}" in text
    assert '<table class="heat">' not in text
    assert "and 50 more, all in the file's metadata" in (run / "README.md").read_text()


def test_names_that_are_no_utf8_are_escaped(tmp_path: Path):
    run = write_run(tmp_path)
    images = json.loads((run / "images.json").read_text())
    images["skipped"] = [{"name": "caf\udce9.png", "reason": "broken"}]
    (run / "images.json").write_text(json.dumps(images))

    assert "<td>caf\\udce9.png</td>" in page_of(run)


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
    program = snippet(preprocess, "onnxruntime", ClassPresenter(), ["logits"])
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
    text = page_of(write_run(tmp_path, runtime=runtime))

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
        assert artifact_name(runtime) in snippet(
            Preprocess(28), runtime, ClassPresenter(), ["logits"]
        )


def test_candidates_measured_in_several_runtimes_are_told_apart(tmp_path: Path):
    run = write_run(tmp_path)
    ours = json.loads((run / "candidates.jsonl").read_text().splitlines()[0])
    other = ours | {"runtime": "openvino", "latency": LATENCY | {"p50_ms": 0.9}}
    (run / "candidates.jsonl").write_text(f"{json.dumps(other)}\n{json.dumps(ours)}\n")

    text = page_of(run)

    *solid, star = marks(panel(text))
    assert "the latency of 1 in openvino, 1 in onnxruntime was measured on this machine" in text
    assert [words.split("\n")[0].split(" in ")[1] for _, words in solid] == [
        "openvino",
        "onnxruntime",
    ]
    assert star == ("star", solid[1][1])
    rows = re.findall(r"<tr><td>mobilenet_v3_small_0.5_28_os8</td><td>(\w+)</td>", text)
    assert rows == ["onnxruntime", "openvino"]

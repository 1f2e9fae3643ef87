"""What a run's pages say first: the outcome in words, and what to try next."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from mobilenets.archs.published import family_name
from mobilenets.deliver.next_steps import next_steps
from mobilenets.deliver.present import PRESENTERS
from mobilenets.deliver.record import read_run
from mobilenets.deliver.run_report import report
from mobilenets.deliver.summary import summary
from tests.test_report import LATENCY, write_run

VERDICT: dict[str, Any] = {
    "verified": True, "within_budget": True, "undecided": False, "warning": None, "images": 2000,
    "latency": LATENCY | {"p50_ms": 0.29}, "top1_artifact": 91.25, "top1_checkpoint": 91.25,
    "balanced_accuracy": 90.0, "worst_class": "shirt", "worst_recall": 74.0,
}  # fmt: skip
MODEL = "This MobileNetV3-Small answers in"
GOOD = "is right 91 times in 100; its weakest class is 'shirt', 74 %."


def said(limit_ms: float | None = 0.3, **changed: Any) -> str:
    presenter = PRESENTERS["classification"]
    return summary("mobilenet_v3_small", VERDICT | changed, limit_ms=limit_ms, presenter=presenter)


def test_a_verified_run_is_summed_up_in_a_sentence():
    assert said() == f"{MODEL} 0.29 ms (limit 0.3 ms) on onnxruntime and {GOOD}"


def test_without_a_latency_limit_none_is_named():
    assert said(None) == f"{MODEL} 0.29 ms on onnxruntime and {GOOD}"


def test_a_missed_latency_limit_is_named():
    found = said(latency=LATENCY | {"p50_ms": 0.36}, within_budget=False)

    assert found == f"{MODEL} 0.36 ms (over the limit of 0.3 ms) on onnxruntime and {GOOD}"


def test_an_undecided_latency_limit_is_no_miss():
    noisy = LATENCY | {"p50_ms": 0.31, "noisy": True}

    assert said(latency=noisy, within_budget=False, undecided=True) == (
        f"{MODEL} about 0.31 ms (limit 0.3 ms: undecided, this machine was too noisy) on "
        f"onnxruntime and {GOOD}"
    )


def test_another_device_is_named():
    noisy = LATENCY | {"p50_ms": 0.31, "noisy": True}

    assert said(device="pi") == f"{MODEL} 0.29 ms (limit 0.3 ms) on pi, in onnxruntime and {GOOD}"
    assert "undecided, pi was too noisy" in said(device="pi", latency=noisy, undecided=True)


def test_another_missed_limit_is_named():
    limits = [{"limit": "size", "spent": 5e6, "allowed": 4e6, "met": False}]

    assert said(limits=limits, within_budget=False).endswith(
        "It misses the budget: size 5 MB of 4 MB."
    )
    assert said(within_budget=False).endswith(" It misses the budget.")


def test_an_artifact_that_was_not_verified_is_warned_of_first():
    assert said(verified=False).startswith(
        "Not verified: the exported file gives other answers than the trained network. This Mobile"
    )


def test_a_network_that_learned_nothing_is_warned_of_first():
    warning = "trained, but no better than always saying 'good', right for 95.0 % of images"

    assert said(warning=warning).startswith(
        "Trained, but no better than always saying 'good', right for 95.0 % of images. This Mobile"
    )


def test_few_images_bring_their_interval():
    assert said(images=43, top1_artifact=88.37).endswith(
        " With only 43 validation images, the 95 % interval of its top-1 is 76 to 95 %."
    )
    assert "interval" not in said(images=500)


def test_int8_is_named():
    assert "0.29 ms (limit 0.3 ms) on onnxruntime in int8 and" in said(
        latency=LATENCY | {"p50_ms": 0.29, "precision": "int8"}
    )


@pytest.mark.parametrize(
    ("top1", "times"),
    [(100.0, "100 times"), (99.96, "more than 99 times"), (99.4, "99 times"), (1.2, "1 time")],
)
def test_a_hundred_in_a_hundred_is_said_of_no_mistake_only(top1: float, times: str):
    assert f"is right {times} in 100" in said(top1_artifact=top1)


def test_a_weakest_class_without_mistakes_is_none():
    assert said(top1_artifact=100.0, worst_recall=100.0).endswith("is right 100 times in 100.")


def attributes(*found: tuple[str, float | None], value: float | None) -> str:
    told = [{"attribute": name, "average_precision": one} for name, one in found]
    verdict = VERDICT | {"map_artifact": value, "attributes": told, "map_interval": [60.4, 81.6]}
    del verdict["top1_artifact"]
    presenter = PRESENTERS["attributes"]
    return summary("mobilenet_v2", verdict | {"images": 80}, limit_ms=None, presenter=presenter)


def test_attributes_have_a_mean_average_precision_and_a_weakest_one():
    assert attributes(("hat", 35.04), ("red", None), ("new", 90.0), value=71.23) == (
        "This MobileNetV2 answers in 0.29 ms on onnxruntime and ranks 3 attributes with a mean "
        "average precision of 71.2 %; its weakest attribute is 'hat', 35 %. With only 80 "
        "validation images, the 95 % interval of its mean average precision is 60 to 82 %."
    )


def test_attributes_without_any_label_were_not_scored():
    assert "and was not scored: no validation image has a label." in attributes(value=None)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mobilenet_v1", "MobileNetV1"),
        ("mobilenet_v3_large", "MobileNetV3-Large"),
        ("mobilenet_v4_conv_small", "MobileNetV4-Conv-Small"),
        ("efficientnet_lite0", "EfficientNet-Lite0"),
    ],
)
def test_a_family_is_written_as_people_write_it(name: str, words: str):
    assert family_name(name) == words


def change(run: Path, file: str, /, **values: Any) -> None:
    record = json.loads((run / file).read_text())
    (run / file).write_text(json.dumps(record | values))


def steps(run: Path) -> list[tuple[str, str]]:
    return [tuple(one) for one in next_steps(read_run(run), Path("runs/shoes"))]  # type: ignore[misc]


def larger(run: Path, **changed: Any) -> None:
    """One more candidate: 2.5 points better, 1.5 ms."""
    known = json.loads((run / "candidates.jsonl").read_text().splitlines()[0])
    top1 = known["expected_imagenet_top1"] + 2.5
    one = known | {"full_name": "mobilenet_v9", "expected_imagenet_top1": top1, "latency": None}
    with (run / "candidates.jsonl").open("a") as file:
        file.write(f"{json.dumps(one | {'predicted_ms': 1.5} | changed)}\n")


INT8 = (
    "Quantize it to int8: a file of about 813 kB instead of 5 MB, and often faster. On ImageNet it "
    "costs 0.86 points of top-1. The command measures both and keeps the better.",
    "mobilenets quantize runs/shoes DATA",
)


def test_a_good_run_is_told_what_the_next_larger_network_costs_and_gains(tmp_path: Path):
    run = write_run(tmp_path)
    larger(run)
    larger(run, full_name="dearer", predicted_ms=1.6)
    larger(run, full_name="no better", predicted_ms=1.2, expected_imagenet_top1=1.0)
    larger(run, full_name="elsewhere", predicted_ms=1.2, runtime="openvino")

    assert steps(run) == [
        (
            "Choose a larger network, mobilenet_v9: latency 1.5 ms instead of 0.8 ms, predicted. "
            "Its expected top-1 on ImageNet is 2.5 points higher; the gain on your images is known "
            "after training.",
            "mobilenets fit DATA --latency 1.7ms",
        ),
        INT8,
    ]


def test_an_undecided_run_is_to_be_measured_again(tmp_path: Path):
    run = write_run(tmp_path, spent=1.2)
    change(run, "verdict.json", undecided=True)

    assert steps(run)[0] == (
        "The latency limit is undecided: repeat the command of this run when the machine is quiet. "
        "It measures again; nothing is trained again.",
        "mobilenets fit DATA --latency 1ms --out runs/shoes",
    )


def test_what_to_try_next_is_for_the_device_of_the_run(tmp_path: Path):
    run = write_run(tmp_path)
    change(run, "verdict.json", device="pi")

    assert steps(run)[-1][1] == "mobilenets quantize runs/shoes DATA --device pi"


def test_a_missed_latency_is_for_netadapt_or_another_limit(tmp_path: Path):
    run = write_run(tmp_path, spent=1.2)
    change(run, "verdict.json", latency=LATENCY | {"p50_ms": 1.2})

    assert steps(run) == [
        (
            "Prune this network to the limit by NetAdapt: 17 % of its latency has to go. It trains "
            "in every step: often longer than this run.",
            "mobilenets adapt runs/shoes DATA --latency 1ms",
        ),
        (
            "Raise the limit to 1.4 ms: this network meets it.",
            "mobilenets fit DATA --latency 1.4ms",
        ),
        INT8,
    ]


def test_an_artifact_that_was_not_verified_is_to_be_exported_again(tmp_path: Path):
    run = write_run(tmp_path)
    change(run, "verdict.json", verified=False)

    assert steps(run)[0] == (
        "The exported file does not match the trained network: export and verify it again, or for "
        "another runtime.",
        "mobilenets export runs/shoes DATA --runtime auto",
    )


def test_a_training_that_minutes_cut_short_is_told_how_many_it_needs(tmp_path: Path):
    run = write_run(tmp_path)
    change(run, "training.json", recipe={"minutes": 2, "epochs": 60})
    (run / "metrics.csv").write_text(
        "epoch,train_loss,holdout_loss,holdout_top1,learning_rate,seconds\n"
        "0,1.5,1.2,70,0.001,30\n1,1.4,1.1,71,0.001,30\n"
    )

    assert steps(run)[0] == (
        "Train longer: 2 of the recipe's 60 epochs fitted in 2 minutes; all of them take about 31 "
        "minutes.",
        "mobilenets fit DATA --latency 1ms --minutes 31 --out runs/shoes",
    )


def test_what_was_typed_is_repeated_but_for_what_another_option_replaces(tmp_path: Path):
    run = write_run(tmp_path, spent=1.2)
    typed = [
        ["--seed", "3"],
        ["--no-flip"],
        ["--minutes", "5"],
        ["--teacher", "my net.pth"],
    ]
    (run / "typed.json").write_text(json.dumps(typed))
    change(run, "verdict.json", undecided=True)
    change(run, "training.json", recipe={"minutes": 5, "epochs": 60})

    again, longer, *_ = (command for _, command in steps(run))

    start = "mobilenets fit DATA --latency 1ms --seed 3 --no-flip"
    teacher = "--teacher 'my net.pth'"
    assert again == f"{start} --minutes 5 {teacher} --out runs/shoes"
    assert re.fullmatch(rf"{start} {teacher} --minutes \d+ --out runs/shoes", longer)


@pytest.mark.parametrize(("last", "longer"), [(1.1, True), (1.3, False)])
def test_a_loss_that_still_falls_asks_for_more_epochs(tmp_path: Path, last: float, longer: bool):
    run = write_run(tmp_path)
    (run / "metrics.csv").write_text(
        "epoch,train_loss,holdout_loss,holdout_top1,learning_rate,seconds\n"
        f"0,1.5,1.2,70,0.001,60\n1,1.4,{last},71,0.001,60\n"
    )
    step = (
        "Train longer: the held-out loss still fell in the last epoch. 4 epochs take about 4 "
        "minutes.",
        "mobilenets fit DATA --latency 1ms --epochs 4 --out runs/shoes",
    )

    assert (steps(run)[0] == step) is longer


def weak(run: Path, **changed: Any) -> None:
    told = {"balanced_accuracy": 60.0, "worst_class": "class 1", "worst_recall": 40.0}
    change(run, "verdict.json", **told | changed)


def test_the_weakest_class_wants_more_images(tmp_path: Path):
    run = write_run(tmp_path)
    weak(run, balanced_accuracy=90.0, worst_recall=74.0)

    assert steps(run)[0] == (
        "Add images of 'class 1', then train anew. It has 74 % (mean of all: 90 %) and 3 training "
        "images.",
        "mobilenets fit DATA --latency 1ms",
    )


def test_nobody_adds_images_to_a_built_in_set(tmp_path: Path):
    run = write_run(tmp_path)
    weak(run, balanced_accuracy=90.0, worst_recall=74.0)
    change(run, "images.json", name="digits")

    assert steps(run) == [(INT8[0], "mobilenets quantize runs/shoes digits")]


def test_few_photographs_want_published_weights(tmp_path: Path):
    run = write_run(tmp_path)
    weak(run)
    change(run, "images.json", native_size=300)

    assert steps(run)[0] == (
        "Fine-tune from published weights: 3 training images of a class are few for random "
        "weights. pip install 'mobilenets[imagenet]' has some.",
        "mobilenets fit DATA --latency 1ms --weights auto",
    )


def test_uneven_classes_want_class_weights(tmp_path: Path):
    run = write_run(tmp_path)
    weak(run)
    images = json.loads((run / "images.json").read_text())
    images["class_counts"]["train"]["class 1"] = 40
    (run / "images.json").write_text(json.dumps(images))

    assert steps(run)[0] == (
        "Weight the classes equally: they have 3 to 40 training images. Recall of the rare ones "
        "rises, top-1 may fall.",
        "mobilenets fit DATA --latency 1ms --class-weights balanced",
    )


def test_openvino_is_quantized_in_openvino_and_ncnn_not_at_all(tmp_path: Path):
    for runtime in ("openvino", "ncnn"):
        (tmp_path / runtime).mkdir()
    openvino = steps(write_run(tmp_path / "openvino", runtime="openvino"))

    assert [command for _, command in openvino] == [
        "mobilenets quantize runs/shoes DATA --runtime openvino"
    ]
    assert steps(write_run(tmp_path / "ncnn", runtime="ncnn")) == []


def test_page_and_card_begin_with_the_summary(tmp_path: Path):
    text = report(write_run(tmp_path)).read_text()

    card = (tmp_path / "README.md").read_text()
    words = f"{MODEL} 0.8 ms (limit 1 ms) on onnxruntime and is right 91 times in 100."
    assert f"<p class=lead>{words}" in text
    assert f"\n\n{words}" in card
    assert "<pre>mobilenets quantize" in text

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mobilenets import Budget, fit
from mobilenets.archs import Arch, from_json, get_arch, keep_resolution
from mobilenets.choosing.halving import Trial, after, has_time, successive_halving, train_trial
from mobilenets.data import load_images
from mobilenets.errors import MobileNetsError
from mobilenets.files import read_json
from mobilenets.nn import Checkpoint
from mobilenets.train import How, Limits
from mobilenets.train.job import TrainingJob
from mobilenets.train.recipes import from_scratch
from tests.test_pipeline import kill_when_it_says, write_folder

ARCHS = [get_arch("mobilenet_v1", width=width / 4) for width in range(1, 6)]


@pytest.mark.parametrize(
    ("count", "trained", "shares"),
    [
        (1, [], []),
        (2, [2], [1 / 2]),
        (3, [3, 2], [1 / 6, 1 / 4]),
        (4, [4, 2], [1 / 8, 1 / 4]),
        (5, [5, 3, 2], [1 / 15, 1 / 9, 1 / 6]),
    ],
)
def test_half_of_them_go_on_and_all_rounds_take_as_long(
    count: int, trained: list[int], shares: list[float]
):
    """Networks lose less the narrower they are; the last round turns that round."""
    asked: list[tuple[Arch, int, float]] = []

    def trial(arch: Arch, number: int, share: float) -> Trial:
        asked.append((arch, number, share))
        loss = -arch.width if number == len(trained) else arch.width
        return Trial(arch.full_name, number, 1, 1.0, loss, 50.0)

    winner, trials = successive_halving(ARCHS[:count], trial)

    rounds = [[one for one in asked if one[1] == number] for number in range(1, len(trained) + 1)]
    assert [len(one) for one in rounds] == trained
    assert [one[0][2] for one in rounds] == pytest.approx(shares)
    assert sum(share for _, _, share in asked) == pytest.approx(float(count > 1))
    assert [one.name for one in trials] == [arch.full_name for arch, _, _ in asked]
    if count > 1:
        left = [arch for arch, _, _ in rounds[-1]]
        assert left == ARCHS[: len(left)]
    assert winner == ARCHS[int(count > 1)]


def a_trial(arch: Arch = ARCHS[0], *, epochs: float = 1.0, seconds: float = 60.0) -> Trial:
    return Trial(arch.full_name, 1, epochs, seconds, 0.5, 50.0)


@pytest.mark.parametrize("count", [1, 4])
def test_the_best_expected_alone_trains_where_it_has_the_time(count: int):
    asked: list[Arch] = []

    def trial(arch: Arch, number: int, share: float) -> Trial:
        asked.append(arch)
        return a_trial(arch)

    winner, trials = successive_halving(
        ARCHS[:count], trial, enough=lambda first: first.name == ARCHS[0].full_name
    )

    assert winner == ARCHS[0]
    assert asked == ARCHS[: count > 1]
    assert trials == [a_trial(arch) for arch in asked]
    _, trials = successive_halving(
        ARCHS[:4], trial, enough=lambda first: first.name == ARCHS[1].full_name
    )
    assert len(trials) == 6


@pytest.mark.parametrize(
    ("minutes", "epochs", "seconds", "enough"),
    [
        (15, 0.5, 60.0, True),  # 7.5 epochs in all, of 60
        (15, 0.39, 60.0, False),  # 5.85
        (7.5, 0.5, 60.0, False),
        (15, 8, 0.0, True),  # too short to be timed
        (None, 0.5, 60.0, True),
    ],
)
def test_less_than_a_tenth_of_the_recipe_is_too_little_time(
    minutes: float | None, epochs: float, seconds: float, enough: bool
):
    recipe = replace(from_scratch(), epochs=60, minutes=minutes)

    assert has_time(a_trial(epochs=epochs, seconds=seconds), recipe) == enough


@pytest.mark.parametrize(
    ("minutes", "seconds", "left"),
    [
        (15, [], 15),
        (15, [60.0], 14),
        (15, [60.0, 60.0, 60.0, 60.0, 105.0, 105.0], 7.5),
        (15, [100.0, 100.0, 100.0, 100.0, 200.0, 200.0], 7.5),  # trials that took longer
        (None, [60.0, 60.0], None),
    ],
)
def test_the_trials_and_the_training_of_its_winner_share_the_minutes(
    minutes: float | None, seconds: list[float], left: float | None
):
    recipe = replace(from_scratch(), minutes=minutes)

    assert after([a_trial(seconds=one) for one in seconds], recipe) == replace(recipe, minutes=left)


def small_job(limits: Limits) -> TrainingJob:
    images = load_images("digits")
    images = replace(images, train=images.train[:320], holdout=images.holdout[:64])
    arch = keep_resolution(get_arch("mobilenet_v1", width=0.25, resolution=8, classes=10), 4)
    return How().job(arch, images, None, limits=limits, seed=0)


@pytest.mark.slow
def test_a_trial_takes_its_share_of_half_the_minutes(tmp_path: Path):
    train_trial(small_job(Limits(minutes=0.08)), 1, 1 / 8, tmp_path)

    recipe = read_json(tmp_path / "training.json")["recipe"]
    assert recipe["minutes"] == pytest.approx(0.08 / 2 / 8)


@pytest.mark.slow
def test_a_trial_is_a_part_of_the_training_and_done_once(tmp_path: Path):
    job = small_job(Limits(epochs=8))

    trial = train_trial(job, 2, 1 / 4, tmp_path)
    again = train_trial(job, 2, 1 / 4, tmp_path)

    assert (trial.name, trial.round, trial.epochs) == (job.arch.full_name, 2, 2)
    assert again == trial
    losses = [
        float(line.split(",")[2]) for line in (tmp_path / "metrics.csv").read_text().split()[1:]
    ]
    assert trial.loss == min(losses)


@pytest.mark.parametrize("role", ["weights", "teacher"])
def test_a_file_of_the_same_name_and_another_content_means_other_trials(role: str, tmp_path: Path):
    file = tmp_path / "trained.safetensors"
    how = How(trials=2, **{role: file if role == "teacher" else str(file)})

    def tried_with(content: str) -> dict[str, Any]:
        file.write_text(content)
        return how.inputs()

    one, other = tried_with("one"), tried_with("other")

    assert one != other
    assert tried_with("one") == one


@pytest.mark.parametrize("count", [0, -1, 1.5, True])
def test_less_than_one_trial_is_refused(count: object):
    with pytest.raises(MobileNetsError, match=f"trials must be a whole number .* got {count!r}"):
        How(trials=count).check()


@pytest.mark.slow
@pytest.mark.full
def test_killed_in_the_trials_it_ends_as_if_nothing_had_happened(tmp_path: Path):
    """Three candidates, two of them again; killed between these two."""
    data = write_folder(tmp_path / "digits3")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    asked = {"limits": Limits(epochs=6, flip=False), "how": How(trials=3)}
    fit(data, Budget(macs=1e6), out=whole, **asked)
    trials = read_json(whole / "arch.json")["trials"]
    kill_when_it_says(
        f"{trials[3]['name']}: loss {trials[3]['loss']:.3f}",
        [
            sys.executable, "-m", "mobilenets", "fit", str(data), "--macs", "1M", "--trials", "3",
            "--epochs", "6", "--no-flip", "--out", str(cut),
        ],
    )  # fmt: skip

    fit(data, Budget(macs=1e6), out=cut, **asked)

    assert [trial["round"] for trial in trials] == [1, 1, 1, 2, 2]
    assert {trial["name"] for trial in trials[3:]} == best_of(trials[:3], 2)
    assert {from_json(read_json(whole / "arch.json")["arch"]).full_name} == best_of(trials[3:], 1)
    same = ("name", "round", "epochs", "loss", "score")
    again = read_json(cut / "arch.json")["trials"]
    assert [[trial[key] for key in same] for trial in again] == [
        [trial[key] for key in same] for trial in trials
    ]
    one, other = (Checkpoint.load(run / "trained.safetensors") for run in (whole, cut))
    torch.testing.assert_close(dict(one.weights), dict(other.weights), rtol=0, atol=0)
    assert "Successive halving" in (cut / "report.html").read_text()


@pytest.mark.slow
def test_cheaper_networks_are_tried_where_the_minutes_are_few(tmp_path: Path):
    data = write_folder(tmp_path / "digits3")
    asked = {"out": tmp_path / "run", "limits": Limits(minutes=1e-3, flip=False)}

    run = fit(data, Budget(macs=1e6), **asked)

    first, *others = run.summary["trials"]
    assert [trial["round"] for trial in others] == [1, 1, 2, 2]  # none is an eighth as dear
    candidates = [
        json.loads(line)
        for line in (tmp_path / "run" / "candidates.jsonl").read_text().split("\n")[:-1]
    ]
    expected = {one["full_name"]: one["expected_imagenet_top1"] for one in candidates}
    assert expected[first["name"]] >= max(expected[trial["name"]] for trial in others)
    recipe = Checkpoint.load(tmp_path / "run" / "trained.safetensors").training["recipe"]
    assert recipe["minutes"] == 5e-4
    assert run.summary["recipe_epochs"] == from_scratch().epochs
    assert run.summary["epochs"] < 1
    won = run.summary["chosen"]["full_name"]
    assert {won} == best_of([one for one in others if one["round"] == 2], 1)
    told = f"the best of 3 networks in this time; with more --minutes {first['name']} may be better"
    assert (told in run.verdict()) == (won != first["name"])
    assert (run.summary["binding_limit"] == "training time") == (won != first["name"])
    assert fit(data, Budget(macs=1e6), **asked).summary == run.summary


@pytest.mark.slow
@pytest.mark.full
def test_no_cheaper_network_is_tried_where_the_minutes_are_enough(tmp_path: Path):
    data = write_folder(tmp_path / "digits3")
    how = How(recipe="fine_tune")  # the fewest epochs

    summary = fit(
        data, Budget(macs=0.5e6), out=tmp_path / "run", how=how, limits=Limits(minutes=30)
    ).summary

    (trial,) = summary["trials"]
    assert trial["name"] == summary["chosen"]["full_name"]
    assert summary["binding_limit"] == "macs"
    assert "They do, so no cheaper one was tried." in (tmp_path / "run/report.html").read_text()


def best_of(trials: list[dict[str, Any]], count: int) -> set[str]:
    return {trial["name"] for trial in sorted(trials, key=lambda trial: trial["loss"])[:count]}

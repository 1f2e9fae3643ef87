"""NetAdapt: what is proposed, what is chosen, on which images, and that nothing changes the
outcome: not the number of workers, not their death, not the run's."""

from __future__ import annotations

import os
import signal
import socket
import sys
import warnings
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mobilenets.archs import Arch, cost, get_arch, proposals, with_expand, with_width
from mobilenets.archs.heads import Classify
from mobilenets.archs.op import Size
from mobilenets.archs.rows import Bottleneck, Conv
from mobilenets.data import Images, load_images
from mobilenets.errors import (
    ArchError,
    DataError,
    FileError,
    MobileNetsError,
    NoFitError,
    RuntimeMissing,
    TrainingDiverged,
)
from mobilenets.nn import Checkpoint
from mobilenets.prune import Price, Settings, Step, Workers, arithmetic_price, netadapt
from mobilenets.prune import workers as pools
from mobilenets.prune.evaluation import Job, Parent, Shared, evaluate, gates, score
from mobilenets.prune.members import keep, member, records
from mobilenets.prune.proposals import propose, smallest
from mobilenets.prune.step import ranked
from mobilenets.tasks.classification import ClassNumbers
from mobilenets.train import Limits, get_recipe

# fmt: off
TINY = Arch(
    "tiny", 3,
    (
        Conv(3, 16, "hswish"),
        Bottleneck(3, 32, 16, True, "relu"),
        Bottleneck(5, 48, 24, False, "hswish", 2),
        Bottleneck(3, 64, 24, True, "hswish"),
        Conv(1, 64, "hswish"),
    ),
    Classify(10, dense=64, act="hswish"), Size(8, 8),
)
# fmt: on
BRIEF = Settings(
    step=0.1, kinds=("expand", "width"), short_steps=3, screen=2, held_out=64, statistics=64
)
MACS = arithmetic_price("macs")


@pytest.fixture(scope="module")
def images() -> Images:
    return load_images("digits")


@pytest.fixture(scope="module")
def start(images: Images) -> Checkpoint:
    """Of random weights: no test here is about how well anything learns."""
    return Checkpoint.fresh(TINY)


@pytest.fixture(scope="module")
def family(start: Checkpoint, images: Images) -> list[Step]:
    return list(netadapt(start, 0.6 * MACS(TINY), images=images, price=MACS, settings=BRIEF))


def same(one: Checkpoint, other: Checkpoint) -> bool:
    return one.arch == other.arch and all(
        torch.equal(tensor, other.weights[name]) for name, tensor in one.weights.items()
    )


# ------------------------------------------------------------------------------------- proposals


def bumpy(arch: Arch) -> float:
    """A price that does not fall with every channel, as measured ones do not."""
    return cost(arch).macs * (1.3 if sum(getattr(r, "expand", 0) for r in arch.rows) % 3 else 1)


def every_edit(arch: Arch) -> Iterator[tuple[tuple[str, int], int, Arch]]:
    """(what is cut, channels, network) for each row and each multiple of 8 below what it has."""
    for edit, column in ((with_expand, "expand"), (with_width, "out")):
        for row, now in enumerate(arch.parts):
            for channels in range(8, getattr(now, column, getattr(now, "dense", 0)), 8):
                try:
                    yield (column, row), channels, edit(arch, row, channels)
                except ArchError:
                    continue


@pytest.mark.parametrize("price", [MACS, arithmetic_price("params"), bumpy])
@pytest.mark.parametrize("part", [0.9, 0.97])
@pytest.mark.parametrize("arch", [TINY, get_arch("mobilenet_v3_small_0.5_64", classes=10)])
def test_each_proposal_is_the_largest_of_its_family_that_meets_the_target(
    arch: Arch, part: float, price: Price
):
    target = part * price(arch)
    largest: dict[tuple[str, int], tuple[int, Arch]] = {}
    for what, channels, network in every_edit(arch):
        if price(network) <= target and channels > largest.get(what, (0, arch))[0]:
            largest[what] = channels, network

    found = propose(arch, target, price, ("expand", "width"))

    assert {one.arch for one in found} == {network for _, network in largest.values()}
    assert all(one.price == price(one.arch) for one in found)


@pytest.mark.parametrize("kind", ["kernel", "se", "row"])
def test_what_goes_whole_may_save_half_of_what_a_step_wants(kind: str):
    (first, *_) = (next(iter(family)) for family in proposals(TINY, kinds=(kind,)))
    saved = MACS(TINY) - MACS(first)

    def found(wanted: float) -> set[Arch]:
        return {one.arch for one in propose(TINY, MACS(TINY) - wanted, MACS, (kind,))}

    assert first in found(1.99 * saved)
    assert first not in found(2.01 * saved)


def test_an_edit_is_told_in_words():
    arch = get_arch("mobilenet_v3_small", resolution=64, classes=10)

    words = {
        family.kind: propose(arch, 0.9999 * MACS(arch), MACS, (family.kind,))[-1].words
        for family in proposals(arch, kinds=("expand", "width", "kernel", "se", "row"))
    }

    assert words == {
        "expand": "expand of row 11: 576 to 568",
        "width": "width of row 13: 1024 to 1016",
        "kernel": "kernel of row 11: 5 to 3",
        "se": "row 11 without squeeze-and-excite",
        "row": "without row 10",
    }


# fmt: off
LEAST = replace(
    TINY,
    rows=(
        Conv(3, 8, "hswish"),
        # Not 8 inside: a block has an expansion layer where it differs from its input.
        Bottleneck(3, 16, 8, True, "relu"),
        Bottleneck(5, 16, 8, False, "hswish", 2),
        Bottleneck(3, 16, 8, True, "hswish"),
        Conv(1, 8, "hswish"),
    ),
    head=Classify(10, dense=8, act="hswish"),
)
# fmt: on


def test_the_smallest_network_has_eight_channels_everywhere():
    assert smallest(TINY, MACS, ("expand", "width")) == LEAST


# ---------------------------------------------------------------------------------------- choice


def test_the_least_loss_gained_per_price_saved_wins():
    # ratios 0.02, 0.01, 0.03 per unit of price
    priced = [(90.0, 1.2), (70.0, 1.3), (95.0, 1.15)]

    assert ranked(priced, price=100, loss=1.0, rule="v3") == [1, 0, 2]


def test_of_those_that_gain_nothing_the_largest_saving_wins():
    # The ratio alone would take the first: -0.5 lost over 5 saved is the least.
    priced = [(95.0, 0.5), (60.0, 0.9), (80.0, 0.8), (10.0, 1.01)]

    assert ranked(priced, price=100, loss=1.0, rule="v3") == [1, 2, 0, 3]


def test_what_is_saved_below_the_budget_is_no_saving():
    gain, lose = [(75.0, 0.9), (20.0, 0.95)], [(75.0, 1.1), (20.0, 1.2)]

    for priced in (gain, lose):
        assert ranked(priced, price=100, loss=1.0, rule="v3") == [1, 0]
        assert ranked(priced, price=100, loss=1.0, rule="v3", budget=80) == [0, 1]


def test_a_loss_that_stays_counts_as_no_loss():
    assert ranked([(95.0, 1.0), (90.0, 1.0)], price=100, loss=1.0, rule="v3") == [1, 0]


def test_the_papers_rule_looks_at_the_loss_alone():
    priced = [(95.0, 0.9), (50.0, 0.8), (10.0, 1.01), (60.0, 0.8)]

    assert ranked(priced, price=100, loss=1.0, rule="paper") == [1, 3, 0, 2]


@pytest.mark.parametrize("rule", ["v3", "paper"])
def test_a_proposal_that_lost_its_way_comes_last(rule: str):
    priced = [(10.0, float("inf")), (99.0, 9.0)]

    assert ranked(priced, price=100, loss=1.0, rule=rule) == [1, 0]


# ----------------------------------------------------------------------------------------- steps


def test_the_family_begins_with_the_start_and_ends_within_the_budget(
    family: list[Step], start: Checkpoint
):
    budget = 0.6 * MACS(TINY)

    assert same(family[0].checkpoint, start)
    assert [step.index for step in family] == list(range(len(family)))
    assert family[-1].price <= budget < family[-2].price
    for before, step in pairwise(family):
        wanted = max(0.1 * 0.96**before.index * MACS(TINY), 0.02 * before.price)
        assert step.target == pytest.approx(max(before.price - wanted, budget))
        assert step.price == MACS(step.arch) <= step.target


def test_a_step_trains_the_best_of_the_screening_and_takes_the_best_of_the_trained(
    family: list[Step],
):
    before, step = family[:2]
    at = {"price": before.price, "rule": "v3"}
    screened = [(one.price, one.screened) for one in step.considered if one.screened is not None]
    trained = [(place, one) for place, one in enumerate(step.considered) if one.loss is not None]

    assert (step.proposals, step.trained) == (len(step.considered), 2)
    assert len(screened) == len(step.considered)
    uncut = step.uncut
    assert uncut.price == before.price
    assert None not in (uncut.screened, uncut.loss)
    kept = ranked(screened, loss=uncut.screened or 0.0, **at)[:2]
    assert {place for place, _ in trained} == set(kept)
    losses = [(one.price, one.loss or 0.0) for _, one in trained]
    best = trained[ranked(losses, loss=uncut.loss or 0.0, **at)[0]][1]
    assert (step.chosen, step.price, step.loss) == (best.edit, best.price, best.loss)


def test_what_a_cut_loses_is_told_from_what_the_short_training_changes(
    family: list[Step], start: Checkpoint, images: Images
):
    shared, (_, before, step, *_) = Shared.of(start, images, BRIEF), family
    seed = int(np.random.default_rng((BRIEF.seed, step.index)).integers(2**31))

    alone = evaluate(shared, Parent(before.checkpoint), Job(before.arch, BRIEF.short_steps, seed))

    assert step.uncut.loss == alone.loss != before.loss


def test_the_loss_and_accuracy_are_those_of_the_kept_weights(
    family: list[Step], start: Checkpoint, images: Images
):
    shared = Shared.of(start, images, BRIEF)

    for step in family:
        assert score(shared, step.checkpoint)[:2] == (step.loss, step.accuracy)


def test_all_proposals_are_trained_where_none_is_screened(start: Checkpoint, images: Images):
    plain = replace(BRIEF, screen=None)

    *_, step = netadapt(start, 0.9 * MACS(TINY), images=images, price=MACS, settings=plain)

    assert step.trained == step.proposals > 2
    assert all(one.screened is None and one.loss is not None for one in step.considered)


def test_short_training_teaches(start: Checkpoint, images: Images):
    shared = Shared.of(start, images, replace(BRIEF, held_out=143))

    cut = evaluate(shared, Parent(start), Job(TINY, 0, 1))
    trained = evaluate(shared, Parent(start), Job(TINY, 60, 1))

    assert trained.loss < 0.95 * cut.loss
    assert trained.accuracy > cut.accuracy + 20


@pytest.mark.parametrize("name", ["fine_tune", "paper_v3"])
def test_it_is_trained_on_as_the_start_was(start: Checkpoint, images: Images, name: str):
    was = get_recipe(name).for_images(len(images.train)).limited(Limits(learning_rate=0.007))
    trained = replace(start, training={"recipe": asdict(was)})
    settings = Settings(short_rate=0.5)

    long = settings.recipe(trained, images).for_images(len(images.train))
    short = settings.recipe(trained, images, short=True).for_images(len(images.train))

    assert (long.name, long.batch_size, long.learning_rate) == (name, was.batch_size, 0.007)
    assert (long.weight_decay, long.rmsprop) == (was.weight_decay, was.rmsprop)
    assert (long.head, long.layer_decay) == (0, 1)
    assert short.learning_rate == 0.0035


def test_a_start_of_unknown_training_is_trained_as_a_random_one(start: Checkpoint, images: Images):
    assert Settings().recipe(start, images).name == "small_images"


def test_evaluating_leaves_torch_as_it_was(start: Checkpoint, images: Images):
    shared = Shared.of(start, images, BRIEF)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    threads = torch.get_num_threads()

    evaluate(shared, Parent(start), Job(TINY, 1, 1))

    assert torch.rand(1) == expected
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("change", [{"importance": "taylor"}, {"importance": "bn"}])
def test_other_importances_keep_other_filters(
    start: Checkpoint, images: Images, family: list[Step], change: dict[str, Any]
):
    settings = replace(BRIEF, **change)

    steps = netadapt(start, 0.9 * MACS(TINY), images=images, price=MACS, settings=settings)

    assert [one.screened for one in list(steps)[1].considered] != [
        one.screened for one in family[1].considered
    ]


def test_where_squeeze_and_excite_goes_its_gates_stay(start: Checkpoint, images: Images):
    settings = replace(BRIEF, kinds=("se",), step=0.001, screen=1)
    shared = Shared.of(start, images, settings)
    networks = [next(iter(family)) for family in proposals(TINY, kinds=("se",))]

    def losses(parent: Parent) -> list[float]:
        return [evaluate(shared, parent, Job(one, 0, 0)).loss for one in networks]

    (_, step) = netadapt(start, 0.999 * MACS(TINY), images=images, price=MACS, settings=settings)

    found = [one.screened for one in step.considered]
    assert found == losses(Parent(start, gates=gates(shared, start)))
    assert found != losses(Parent(start))


def test_the_start_can_teach(start: Checkpoint, images: Images):
    taught = Shared.of(start, images, replace(BRIEF, distill=True))
    untaught = Shared.of(start, images, BRIEF)
    job = Job(TINY, 2, 1)

    assert evaluate(taught, Parent(start), job).loss != evaluate(untaught, Parent(start), job).loss


# ---------------------------------------------------------------------------------------- images


class Watched:
    """A source that notes which images are read."""

    def __init__(self, source: Any):
        self.source = source
        self.read_: set[int] = set()

    def __len__(self) -> int:
        return len(self.source)

    def read(self, index: int, **words: Any) -> Any:
        self.read_.add(index)
        return self.source.read(index, **words)


def test_only_training_and_holdout_images_are_read(start: Checkpoint, images: Images):
    watched = Watched(images.source)
    numbers = images.targets.values.copy()
    numbers[np.concatenate([images.val, images.test])] = -1  # would raise where it is used
    poisoned = replace(images, source=watched, targets=ClassNumbers(numbers))  # type: ignore[arg-type]

    list(netadapt(start, 0.9 * MACS(TINY), images=poisoned, price=MACS, settings=BRIEF))

    assert watched.read_ & set(images.holdout.tolist())
    assert watched.read_ <= set(images.train.tolist()) | set(images.holdout.tolist())


def test_what_scores_is_the_holdout_and_what_trains_is_not(start: Checkpoint, images: Images):
    marked = images.source.array.copy()  # type: ignore[union-attr]
    marked[images.holdout] = 255
    marked[images.train] = 0
    source = replace(images.source, array=marked)  # type: ignore[type-var]

    shared = Shared.of(start, replace(images, source=source), BRIEF)

    assert (shared.held == 255).all()
    assert (shared.pixels == 0).all()
    assert (shared.statistics == 0).all()


def test_images_of_other_classes_are_refused(start: Checkpoint, images: Images):
    other = replace(start, labels=tuple("abcdefghij"))

    with pytest.raises(DataError, match=r"the classes a, b, c, d, e, \.\.\., the images are of"):
        next(netadapt(other, 1.0, images=images, price=MACS))


# ------------------------------------------------------------------- the same, whatever happens


def test_from_any_step_on_it_goes_on_as_if_it_had_not_ended(
    family: list[Step], start: Checkpoint, images: Images, tmp_path: Path
):
    for step in family[:-1]:
        keep(step, tmp_path)
        after = member(tmp_path, step.index)

        rest = netadapt(
            start, 0.6 * MACS(TINY), images=images, price=MACS, settings=BRIEF, after=after
        )

        following = next(rest)
        assert following.index == step.index + 1
        assert same(following.checkpoint, family[step.index + 1].checkpoint)
        assert following.loss == family[step.index + 1].loss


def test_a_step_kept_is_a_step_read(family: list[Step], tmp_path: Path):
    for step in family:
        keep(step, tmp_path)

    read = [member(tmp_path, index) for index in range(len(family))]

    assert [one.to_json() for one in read] == [one.to_json() for one in family]
    assert all(same(a.checkpoint, b.checkpoint) for a, b in zip(read, family, strict=True))
    with pytest.raises(FileError, match=f"has the members 0 to {len(family) - 1}, got 99"):
        member(tmp_path, 99)
    with pytest.raises(FileError, match="is no run of `mobilenets adapt`"):
        member(tmp_path / "nothing", 0)
    (tmp_path / "steps.jsonl").write_text("{")
    with pytest.raises(FileError, match=r"steps\.jsonl is broken"):
        records(tmp_path)


def children() -> set[int]:
    """The processes whose parent we are."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.add(int(path.parent.name))
        except OSError:  # it ended meanwhile
            continue
    return found


@pytest.mark.full
def test_two_workers_of_which_one_dies_choose_the_same_and_end_with_the_run(
    family: list[Step],
    start: Checkpoint,
    images: Images,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
):
    marker = tmp_path / "died"

    def deadly(shared: Shared, parent: Parent, job: Job) -> Any:
        if job.steps and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return evaluate(shared, parent, job)

    before = children()
    monkeypatch.setattr(pools, "evaluate", deadly)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Ray's own
        steps = list(
            netadapt(
                start, 0.6 * MACS(TINY), images=images, price=MACS, settings=BRIEF,
                workers=Workers(2),
            )
        )  # fmt: skip

    assert marker.exists()
    assert [step.chosen for step in steps] == [step.chosen for step in family]
    assert all(same(a.checkpoint, b.checkpoint) for a, b in zip(steps, family, strict=True))
    assert children() <= before


# ---------------------------------------------------------------------------------------- errors


def test_a_budget_out_of_reach_is_refused_at_once(start: Checkpoint, images: Images):
    begun = netadapt(start, 1000, images=images, price=MACS, settings=BRIEF)

    with pytest.raises(
        NoFitError,
        match=r"price binds at 1000: the smallest network that edits of expand, width make of "
        rf"tiny_1\.0_8_os2 takes {MACS(LEAST)}; raise the limit",
    ):
        next(begun)


def test_a_training_that_loses_its_way_is_said(start: Checkpoint, images: Images):
    broken = {name: tensor * float("nan") for name, tensor in start.weights.items()}
    steps = netadapt(
        replace(start, weights=broken), 0.6 * MACS(TINY), images=images, price=MACS, settings=BRIEF
    )

    with pytest.raises(TrainingDiverged, match="no proposal of step 1 has a loss that is a number"):
        list(steps)


def test_without_ray_workers_are_refused(
    start: Checkpoint, images: Images, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "ray", None)

    with pytest.raises(
        RuntimeMissing, match=r"not installed; install it with: pip install 'mobilenets\[ray\]'"
    ):
        list(
            netadapt(
                start, 0.6 * MACS(TINY), images=images, price=MACS, settings=BRIEF,
                workers=Workers(2),
            )
        )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"step": 0}, "step must be a fraction of the starting price, between 0 and 1, got 0"),
        ({"step": 1.5}, "step must be .* got 1.5"),
        ({"decay": 1.1}, "decay must be above 0 and at most 1, got 1.1"),
        ({"kinds": ("expand", "depth")}, "kind of edit must be one of expand, width, .*'depth'"),
        ({"kinds": ()}, r"kinds must be one or more of expand, .* got \(\)"),
        ({"importance": "l1"}, "importance must be one of l2, bn, taylor, got 'l1'"),
        ({"rule": "best"}, "rule must be one of v3, paper, got 'best'"),
        ({"screen": 0}, "screen must be a whole number of at least 1, got 0"),
        ({"short_steps": 2.5}, "short_steps must be a whole number of at least 1, got 2.5"),
        ({"short_rate": -1}, "short_rate must be a positive number, got -1"),
    ],
)
def test_settings_that_cannot_be_are_refused(change: dict[str, Any], sentence: str):
    with pytest.raises(MobileNetsError, match=sentence):
        Settings(**change)


@pytest.mark.parametrize(
    ("workers", "sentence"),
    [
        ((-1, None), "workers must be a whole number of at least 0, got -1"),
        ((2, "auto"), "give --workers or --ray"),
    ],
)
def test_workers_that_cannot_be_are_refused(workers: tuple[int, str | None], sentence: str):
    with pytest.raises(MobileNetsError, match=sentence):
        Workers(*workers)


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "127.0.0.1:{}9999"])
def test_a_cluster_that_is_not_there_is_said_at_once(start: Checkpoint, images: Images, form: str):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = form.format(closed.getsockname()[1])

    with pytest.raises(MobileNetsError, match=f"nothing listens at '{address}'; start a Ray clust"):
        list(
            netadapt(
                start, 0.6 * MACS(TINY), images=images, price=MACS, settings=BRIEF,
                workers=Workers(address=address),
            )
        )  # fmt: skip


@pytest.mark.parametrize(
    ("cause", "sentence"),
    [
        # what Ray 2.60 raised where a cluster asked for its token
        (
            "Failed to connect to GCS. Last connection error: Traceback (most recent call last): "
            "ray.exceptions.AuthenticationError: RPC error: InvalidAuthToken",
            "the Ray cluster at 'here:1' asks for its token; set RAY_AUTH_MODE=token",
        ),
        ("Last connection error: TimedOut", "does not connect to 'here:1': Failed to connect$"),
    ],
)
def test_why_a_cluster_is_not_reached(cause: str, sentence: str, monkeypatch: pytest.MonkeyPatch):
    def init(**_: Any) -> None:
        raise ConnectionError("Failed to connect.\n") from RuntimeError(cause)

    monkeypatch.setattr(pools, "_listens", lambda *_: True)

    with pytest.raises(MobileNetsError, match=sentence):
        pools._connect(SimpleNamespace(init=init), "here:1", {})

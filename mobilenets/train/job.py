"""What `fit` and `train NAME` have in common: the words of a user become a training."""

from __future__ import annotations

import csv
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

from mobilenets.archs import Arch, to_json
from mobilenets.data import AUTO_READING, Images, Reading, load_images, trained_on
from mobilenets.data.content import Digests
from mobilenets.errors import FileError, MobileNetsError
from mobilenets.files import broken, read_bytes, read_json, sha256_of, write_json
from mobilenets.nn import Checkpoint, surgery
from mobilenets.runs.layout import IMAGES, METRICS, TRAINED
from mobilenets.runs.owner import check_data
from mobilenets.runs.stages import Stage
from mobilenets.shapes import AboveZero, Number, Positive, shaped
from mobilenets.train import auto
from mobilenets.train.distill import Teacher, teacher_in
from mobilenets.train.group import check_leads
from mobilenets.train.recipe import Limits, Recipe
from mobilenets.train.recipes import get_recipe, recipe_with_weights, recipe_without_weights
from mobilenets.train.start import families, starting_point
from mobilenets.train.trainer import train
from mobilenets.train.tuning import with_answers

log = logging.getLogger(__name__)


_COLUMNS = ("epoch", "holdout_loss", "seconds")


@dataclass(frozen=True, eq=False)
class Trained:
    """What a training came to: the network, and the rows of metrics.csv, one an epoch."""

    checkpoint: Checkpoint
    metrics: tuple[dict[str, float], ...]

    @classmethod
    def read(cls, folder: Path) -> Trained:
        """From a run's folder; raises `FileError` where there is no network."""
        checkpoint, path = Checkpoint.load(folder / TRAINED), folder / METRICS
        try:
            return cls(checkpoint, tuple(read_metrics(read_bytes(path), _COLUMNS)))
        except ValueError as error:
            raise broken(path, error) from error

    @property
    def epochs(self) -> float:
        """How often the images were seen."""
        return self.checkpoint.training.get("epochs", len(self.metrics))

    @property
    def seconds(self) -> float:
        """What all epochs took, with their evaluations, of broken runs too."""
        return sum(row["seconds"] for row in self.metrics)

    @property
    def best(self) -> dict[str, float]:
        """The epoch of the lowest holdout loss, which was kept."""
        return min(self.metrics, key=lambda row: row["holdout_loss"])


class _Row(TypedDict):
    epoch: Number
    seconds: AboveZero


def read_metrics(data: bytes, columns: Sequence[str]) -> list[dict[str, float]]:
    """The rows of a metrics.csv, an epoch each, which have these columns at least; raises
    ValueError."""
    try:
        rows = list(csv.DictReader(data.decode().splitlines()))
        found = [{str(name): float(text) for name, text in row.items()} for row in rows]
    except (csv.Error, TypeError) as error:  # TypeError: a row with more or fewer cells
        raise ValueError(str(error)) from error
    missing = [name for name in columns if not found or name not in found[0]]
    if missing:
        raise ValueError(f"it lacks {', '.join(missing)}")
    for row in found:  # a loss may be no number
        shaped(row, _Row)
    return found


TRAINING_STAGE = Stage("trained", (TRAINED, METRICS), Trained.read)


@dataclass(frozen=True)
class How:
    """From which weights a network is trained, by which recipe, after which teacher, for what task.

    `weights` are words for `starting_point`; "auto" the best that can be had for photographs, and
    for other images random ones (`settled`, `train.auto`), as None and "none" are. `recipe` None
    is with weights few_images for fewer than 40 images a class and fine_tune for more, without
    small_images for images of at most 32 pixels and from_scratch for others. `teacher` is a
    checkpoint's file; `task` None is what the data is for, and `reading` how images are read
    (`load_images`). Where `fit` chooses, `trials` candidates train briefly, and the one that learns
    most is taken (`mobilenets.choosing.halving`); None: where time is short. `at_hand` names what
    "auto" found.
    """

    weights: str | None = auto.AUTO
    recipe: str | None = None
    teacher: Path | None = None
    task: str | None = None
    trials: int | None = None
    reading: Reading = AUTO_READING
    at_hand: tuple[str, ...] = ()

    @property
    def named(self) -> str | None:
        """The weights that the user names."""
        return None if self.weights in (auto.AUTO, auto.NONE) else self.weights

    @property
    def started(self) -> bool:
        """Whether trained weights are to start from."""
        return self.named is not None or bool(self.at_hand)

    def settled(self, images: Images, folder: Path, network: str | None = None) -> How:
        """With what "auto" means for these images, and for `network` where there is no choice; as
        it was found before in this run folder."""
        if self.weights != auto.AUTO:
            return self
        return replace(self, at_hand=auto.found(images, folder, network))

    def check(self) -> None:
        """Raise for what cannot be, or is not there, before anything dear is done."""
        if self.trials is not None and (type(self.trials) is not int or self.trials < 1):
            raise MobileNetsError(
                f"trials must be a whole number of at least 1, got {self.trials!r}"
            )
        recipe = get_recipe(self.recipe or "from_scratch")
        if self.teacher is not None:
            teacher_in(self.teacher, match=recipe.distill.match)

    def inputs(self) -> dict[str, Any]:
        """All of it as JSON, files by what they contain."""
        known = asdict(self) | {"weights": self.named}
        if not self.at_hand:
            del known["at_hand"]  # which came later
        named = {name: str(value) for name, value in known.items()}
        given = {name: Path(named[name]) for name in ("weights", "teacher")}
        return named | {name: sha256_of(file) for name, file in given.items() if file.is_file()}

    def families(self) -> tuple[str, ...] | None:
        """The networks that the named weights are of; None where that is open."""
        return None if self.named is None else families(self.named)

    def lost(self, arch: Arch) -> float | None:
        """What `arch` loses of its expected accuracy by its start, of those that "auto" found; None
        where it has none (`auto.lost`)."""
        return auto.lost(self.at_hand, arch) if self.at_hand else 0.0

    def start(self, arch: Arch, folder: Path) -> Checkpoint | None:
        """The checkpoint to start `arch` from, where there are weights; of what "auto" found, the
        one that the run in `folder` began with."""
        if self.named is not None:
            return starting_point(self.named, arch)
        return auto.start_from(self.at_hand, arch, folder) if self.at_hand else None

    def recipe_for(self, images: Images, limits: Limits, *, started: bool | None = None) -> Recipe:
        """The recipe that is named, for so many images, within the limits: a learning rate the user
        gives is the one that trains. `started` None is what the weights promise."""
        started = self.started if started is None else started
        named = self.recipe or images.task.recipe(started=started)
        if named:
            recipe = get_recipe(named, flip=images.flip)
        else:
            recipe = (recipe_with_weights if started else recipe_without_weights)(images)
        return recipe.for_images(len(images.train), started=started).limited(limits)

    def job(
        self, arch: Arch, images: Images, start: Checkpoint | None, *, limits: Limits, seed: int
    ) -> TrainingJob:
        """The training of `arch`, with the conventions of `start`, on these images."""
        recipe = self.recipe_for(images, limits, started=start is not None)
        arch = images.task.network(arch if start is None else start.arch)
        if start is not None and start.arch.rows != arch.rows:
            start = surgery(start, replace(start.arch, rows=arch.rows))
        file = self.teacher
        teacher = None if file is None else teacher_in(file, match=recipe.distill.match)
        return TrainingJob(arch, images, recipe, seed, start, teacher, self._before(start))

    def _before(self, start: Checkpoint | None) -> Digests | None:
        """What `start` has learned from, where it is a network of ours in its run's folder."""
        if start is None or self.named is None:
            return None
        return trained_on.find(Path(self.named), start.training, whole=False)


@dataclass(frozen=True, eq=False)
class TrainingJob:
    """One training: the arguments of `train`; `before` are the digests of the images that `start`
    has learned from, where that is known."""

    arch: Arch
    images: Images
    recipe: Recipe
    seed: int
    start: Checkpoint | None
    teacher: Teacher | None
    before: Digests | None = None

    def inputs(self) -> list[Any]:
        """Everything that decides what comes out, as JSON."""
        images = self.images
        return [
            {"data": images.fingerprint, "rule": asdict(images.rule), "skipped": images.skipped},
            images.values.grey_range, images.values.resize, to_json(self.arch),
            asdict(self.recipe), self.seed,
            self.start and self.start.digest(), self.teacher and self.teacher.digest(),
        ]  # fmt: skip

    def run(self, folder: Path, *, minutes: float | None = None) -> None:
        """Train, and write the files of `TRAINING_STAGE` into `folder`. `minutes` are those left
        for it, where they are others than the recipe's."""
        checkpoint = train(
            self.arch, self.images, self.recipe, folder=folder, seed=self.seed,
            start=self.start, teacher=self.teacher, minutes=minutes,
        )  # fmt: skip
        checkpoint = with_answers(checkpoint, self.images)
        save_trained(checkpoint, folder, trained_on.learned_from(self.images, self.before))


def save_trained(checkpoint: Checkpoint, folder: Path, digests: Digests) -> None:
    """Write what a run came to, and of which images it learned. Its states stay: with more epochs
    it goes on from there."""
    training = {**checkpoint.training, trained_on.KEY: trained_on.keep(digests, folder)}
    replace(checkpoint, training=training).save(folder / TRAINED)


def read_images(
    data: str | Path,
    folder: Path,
    *,
    seed: int,
    task: str | None = None,
    reading: Reading = AUTO_READING,
) -> Images:
    """The images, with a record in `folder`, which is refused where it holds what came of others;
    what was seen of their values is remembered from there. One process does it (`group.led`)."""
    check_leads()
    path = folder / IMAGES
    known = _known(path)
    log.info(f"reading {data}")
    images = load_images(data, seed=seed, known=known, task=task, reading=reading)
    check_data(folder, data, images.fingerprint)
    write_json(path, images.to_json() | {"data": str(data)})
    for note in images.notes:
        log.warning(note)
    return images


class _KnownValues(TypedDict):
    grey_range: list[Number] | None
    resize: NotRequired[str]
    asked: dict[str, Any] | list[Number] | str | None
    notes: list[str]


class _Known(TypedDict):
    fingerprint: str
    native_size: Positive
    skipped: list[dict[Literal["name", "reason"], str]]
    values: NotRequired[_KnownValues]


def _known(path: Path) -> Any:
    """The record of what was read before; one that is broken is written anew."""
    try:
        return read_json(path, _Known) if path.exists() else None
    except FileError as error:
        log.warning(f"{path} is broken ({error.__cause__}): the images are read anew")
        return None

"""NetAdapt (arXiv:1804.03230, algorithm 1) as MobileNetV3 uses it (arXiv:1905.02244, section 4.2):
a trained network is pruned in one place at a time until it meets its budget."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from math import inf

import numpy as np

from mobilenets.archs import Arch
from mobilenets.archs.budget import LIMIT_NAMES, describe
from mobilenets.data import Images
from mobilenets.errors import DataError, NoFitError, TrainingDiverged
from mobilenets.nn import Checkpoint
from mobilenets.progress import staged
from mobilenets.prune.evaluation import Job, Outcome, Parent, Shared, gates, gradients, score
from mobilenets.prune.prices import Price
from mobilenets.prune.proposals import Proposal, propose, smallest
from mobilenets.prune.settings import Settings
from mobilenets.prune.step import Considered, Step, ranked
from mobilenets.prune.workers import Run, Workers, pool

# Where no proposal meets a step's target the step is halved, down to this part of the price.
_FINEST = 1e-4
UNCUT = "uncut"
log = logging.getLogger(__name__)


def netadapt(
    start: Checkpoint,
    budget: float,
    *,
    images: Images,
    price: Price,
    settings: Settings | None = None,
    workers: Workers | None = None,
    after: Step | None = None,
) -> Iterator[Step]:
    """Steps from `start`, which is the first, to a network whose `price` is at most `budget`.

    Each step takes the best of all proposals that meet its target (`Settings`), scored on held-out
    training images; its network is trained a little. Validation images are never looked at.
    `price` is asked anew in every step, so it may learn from one to the next. `after` is the last
    step of an earlier call with the same arguments: what follows is as if that had not ended.

    Raises `NoFitError` where no such network is reached, `DataError` for images of other classes,
    and of a task for which networks are not adapted.
    """
    settings, workers = settings or Settings(), workers or Workers()
    if not images.task.adapts:
        raise DataError(
            f"{images.name} has {images.task.kinds}, and only classifiers are adapted; train a "
            "narrower network instead: mobilenets train --width"
        )
    if start.labels != images.task.labels:
        raise DataError(
            f"the network to adapt knows the classes {_few(start.labels)}, the images are of "
            f"{_few(images.task.labels)}; give the images it was trained on"
        )
    check_reachable(start.arch, budget, price, settings.kinds)
    if after is not None and price(after.arch) <= budget:
        return
    shared = Shared.of(start, images, settings)
    at = after or first_step(start, score(shared, start), price)
    if after is None:
        yield at
    if price(at.arch) <= budget:
        return
    first = price(start.arch)
    with pool(shared, workers) as run, staged("NetAdapt", first - budget) as told:
        while price(at.arch) > budget:
            told(first - price(at.arch))
            at = _Stepper(start, budget, price, settings, shared, run).step(at)
            yield at


def check_reachable(
    arch: Arch, budget: float, price: Price, kinds: tuple[str, ...], *, limit: str = "price"
) -> None:
    """Raise `NoFitError` where no network that edits of `kinds` lead to costs so little. `limit`
    names the price, as in `Budget`."""
    price = cache(price)
    last = smallest(arch, price, kinds)
    if price(last) > budget:
        name = LIMIT_NAMES.get(limit, limit)
        raise NoFitError(
            f"{name} binds at {_say(limit, budget)}: the smallest network that edits of "
            f"{', '.join(kinds)} make of {arch.full_name} takes {_say(limit, price(last))}; raise "
            "the limit, give more kinds, or start from a smaller network or resolution",
            binding_limit=name,
            nearest={"full_name": last.full_name, name: price(last)},
        )


def _say(limit: str, value: float) -> str:
    return describe(limit, value) if limit in LIMIT_NAMES else f"{value:.6g}"


def first_step(start: Checkpoint, found: Outcome, price: Price) -> Step:
    """The start itself, as the family's first member."""
    now = price(start.arch)
    return Step(
        index=0, chosen="the start", proposals=0, trained=0, target=now, price=now,
        loss=found.loss, accuracy=found.accuracy, seconds=0.0,
        uncut=Considered(UNCUT, now, found.loss, None), considered=(), checkpoint=start,
    )  # fmt: skip


@dataclass(frozen=True)
class _Stepper:
    """All that a step needs beside the network that it starts from."""

    start: Checkpoint
    budget: float
    price: Price
    settings: Settings
    shared: Shared
    run: Run

    def step(self, at: Step) -> Step:
        """The best proposal from `at`, after its short training."""
        begin, index = time.monotonic(), at.index + 1
        at = replace(at, price=self.price(at.arch))
        target, found = self._proposals(at)
        parent = self._parent(at.checkpoint, index)
        uncut, *screened = self._screened(parent, at, found)
        kept = self._ranked(at, found, uncut, screened)[: self.settings.screen]
        baseline, *outcomes = self._trained(parent, at, [found[one] for one in kept], index)
        losses = [one.loss for one in outcomes]
        best = self._ranked(at, [found[one] for one in kept], baseline.loss, losses)[0]
        chosen, result = found[kept[best]], outcomes[best]
        trained = dict(zip(kept, losses, strict=True))
        step = Step(
            index=index, chosen=chosen.words, proposals=len(found), trained=len(kept),
            target=target, price=chosen.price, loss=result.loss, accuracy=result.accuracy,
            seconds=round(time.monotonic() - begin, 3),
            uncut=Considered(UNCUT, at.price, uncut, baseline.loss),
            considered=tuple(
                Considered(one.words, one.price, screened[place], trained.get(place))
                for place, one in enumerate(found)
            ),
            checkpoint=self._checkpoint(at.checkpoint, chosen.arch, result, index),
        )  # fmt: skip
        log.info(_line(step, self.price(self.start.arch)))
        return step

    def _proposals(self, at: Step) -> tuple[float, list[Proposal]]:
        """The step's target and what meets it. Near the end families are too small for a whole
        step: then it is halved until one is large enough."""
        price = cache(self.price)
        start = price(self.start.arch)
        reduction = self.settings.reduction(at.index + 1, start=start, now=at.price)
        while reduction > _FINEST * at.price:
            target = max(at.price - reduction, self.budget)
            found = propose(at.arch, target, price, self.settings.kinds)
            if found:
                return target, found
            reduction /= 2
        raise NoFitError(
            f"nothing is left to prune at a price of {at.price:.6g}, above the budget of "
            f"{self.budget:.6g}; raise it, or give more kinds of edits",
            binding_limit="price",
            nearest={"full_name": at.arch.full_name, "price": at.price},
        )

    def _parent(self, checkpoint: Checkpoint, index: int) -> Parent:
        shared, seed = self.shared, self._seed(index)
        taylor, may_lose_se = self.settings.importance == "taylor", "se" in self.settings.kinds
        return Parent(
            checkpoint,
            gradients=gradients(shared, checkpoint, seed) if taylor else None,
            gates=gates(shared, checkpoint) if may_lose_se else None,
        )

    def _screened(self, parent: Parent, at: Step, found: list[Proposal]) -> list[float | None]:
        """The loss of the uncut network and of each proposal after the cut alone; None where all
        are to be trained anyway."""
        if self.settings.screen is None or len(found) <= self.settings.screen:
            return [None] * (1 + len(found))
        return [one.loss for one in self._evaluated(parent, at, found, steps=0, seed=0)]

    def _trained(
        self, parent: Parent, at: Step, found: list[Proposal], index: int
    ) -> list[Outcome]:
        """The uncut network and each proposal after the short training. All see the same images in
        the same order, and what the training alone changes is not put down to the cut."""
        seed, steps = self._seed(index), self.settings.short_steps
        outcomes = self._evaluated(parent, at, found, steps=steps, seed=seed)
        if all(one.loss == inf for one in outcomes[1:]):
            raise TrainingDiverged(
                f"after its short training no proposal of step {index} has a loss that is a "
                f"number; lower `short_rate`, {self.settings.short_rate:g}"
            )
        return outcomes

    def _evaluated(
        self, parent: Parent, at: Step, found: list[Proposal], *, steps: int, seed: int
    ) -> list[Outcome]:
        """Of the uncut network and of each proposal."""
        archs = (at.arch, *(one.arch for one in found))
        return self.run(parent, [Job(arch, steps, seed) for arch in archs])

    def _ranked(
        self,
        at: Step,
        found: Sequence[Proposal],
        uncut: float | None,
        losses: Sequence[float | None],
    ) -> list[int]:
        """The places of the proposals, the best first; in their order where no loss is known."""
        known = [one for one in losses if one is not None]
        if uncut is None or len(known) < len(found):
            return list(range(len(found)))
        priced = [(one.price, loss) for one, loss in zip(found, known, strict=True)]
        return ranked(
            priced, price=at.price, loss=uncut, rule=self.settings.rule, budget=self.budget
        )

    def _checkpoint(
        self, parent: Checkpoint, arch: Arch, result: Outcome, index: int
    ) -> Checkpoint:
        assert result.weights is not None
        training = {"adapted": {"steps": index, "settings": asdict(self.settings)}}
        return replace(
            parent, arch=arch, weights=result.weights,
            training={**self.start.training, **training},
        )  # fmt: skip

    def _seed(self, index: int) -> int:
        return int(np.random.default_rng((self.settings.seed, index)).integers(2**31))


def _line(step: Step, start: float) -> str:
    return (
        f"step {step.index}: {100 * step.price / start:.1f} % of the starting network, "
        f"{step.chosen}; loss {step.loss:.4f}, accuracy {step.accuracy:.2f} % "
        f"(best of {step.proposals}, {step.trained} trained, {step.seconds:.1f} s)"
    )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")

"""Boxes around what is in an image, each of a class: `BoxLists`, SSD's loss, COCO's mAP50-95
(arXiv:1512.02325; arXiv:1801.04381, section 6.2).

A network's raw outputs, which loss, imitation and meter take, are offsets of its default boxes and
logits; deployed ones, which the rest takes, are corners in parts of the image and probabilities
(`nn.detection_modules.Decoded`). Column 0 of the scores is the background; labels do not have it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

from mobilenets.archs import Arch, with_ssdlite
from mobilenets.errors import ArchError, DataError
from mobilenets.tasks.average_precision import (
    Found,
    as_coco,
    best_threshold,
    coco_figures,
    coco_metric,
    matched,
    mean_precision,
    precision_and_recall,
    resampled,
    shuffled,
)
from mobilenets.tasks.box_coder import BoxCoder, box_coder
from mobilenets.tasks.boxes import CLASS, CORNERS, NO_BOX, UNCOUNTED, BoxLists
from mobilenets.tasks.confidence import FEW, Lost, lost_on_average, middle
from mobilenets.tasks.detection_score import DetectionScore
from mobilenets.tasks.geometry import Geometry, Places
from mobilenets.tasks.matching import detection_loss, detector_imitation
from mobilenets.tasks.suppression import detections, overlaps
from mobilenets.tasks.targets import Targets
from mobilenets.tasks.task import Answer, Arrays, Floats, Outputs
from mobilenets.text import counted

# What `decode` prints: detections above the probability, those that overlap a surer one of their
# class by more than the intersection over union left out.
ANSWERS: Mapping[str, float] = {"score_threshold": 0.5, "iou_threshold": 0.55}
# Two detections agree where they overlap by as much.
_SAME = 0.9
# A side below it, in parts of the image, is no box any more: a pixel of 320.
_LEAST_SIDE = 1 / 320
# A network that has learned little is sure of nothing: 300 take six times as long.
_SCORED = 100
_TIMED = 20  # images that `decode` is timed on


@dataclass(frozen=True)
class Detection:
    """`BoxLists` whose classes are `labels`, without the background.

    `answers` are the settings of `decode`, by name (`ANSWERS`, `tuned`). `arch` is the network
    whose raw outputs are read (`for_network`). With `focal` the loss is focal (`detection_loss`).
    """

    labels: tuple[str, ...] = ()
    answers: Mapping[str, float] = field(default_factory=lambda: dict(ANSWERS), hash=False)
    arch: Arch | None = field(default=None, repr=False)
    focal: bool = False
    name: ClassVar[str] = "detection"
    kind: ClassVar[str] = "class"
    kinds: ClassVar[str] = "classes"
    metric: ClassVar[str] = "map50_95"
    title: ClassVar[str] = "mAP50-95"
    adapts: ClassVar[bool] = False
    whole: ClassVar[bool] = True
    fewest: ClassVar[int] = 1
    head: ClassVar[str] = "ssdlite"

    @property
    def does(self) -> str:
        return f"an object detector of {len(self.labels):,} classes"

    def network(self, backbone: Arch) -> Arch:
        """`backbone` with SSDLite as the papers have it; its own SSDLite is kept. Raises
        `ArchError` for a network whose head is for pixels."""
        outputs = backbone.outputs
        if outputs.keys() == {"boxes", "scores"}:
            return backbone.with_labels(len(self.labels))
        if len(outputs.get("logits", ())) > 1:
            raise ArchError(
                f"{backbone.full_name} gives logits of every pixel and no boxes; take a network "
                "that classifies, or a detector"
            )
        return with_ssdlite(backbone).with_labels(len(self.labels))

    def with_answers(self, answers: Mapping[str, float]) -> Detection:
        return replace(self, answers={**self.answers, **answers})

    def recipe(self, *, started: bool) -> str:
        return "detector_from_weights" if started else "detector"

    def for_network(self, arch: Arch) -> Detection:
        """The task that knows the default boxes of `arch`, of which raw outputs are."""
        return replace(self, arch=arch)

    def check(self, targets: Targets, *, taught: bool) -> None:
        boxes = BoxLists(targets.values)
        if not boxes.counted.any():
            raise DataError(
                f"none of the {counted(len(boxes), 'training image')} has a box that counts; "
                "label some"
            )

    def balance(self, targets: Targets) -> Tensor:
        raise DataError(
            "class weights are for one class an image, and these images have boxes; leave "
            "--class-weights out"
        )

    def places(self, target: Tensor) -> Places | None:
        """The boxes, counted or not."""
        return Places(target[..., CORNERS], target[..., CLASS] >= 0)

    def follow(self, target: Tensor, geometry: Geometry) -> Tensor:
        """The upright boxes around the moved ones, cut to the image: those whose centre is in it
        (arXiv:1512.02325, 2.2) and that have a side of more than a pixel or so; of uncounted ones
        what is in it, so that nothing there becomes background. What goes is of class -1."""
        x1, y1, x2, y2 = (2 * target[..., CORNERS] - 1).unbind(-1)
        images, rows = x1.shape
        corners = torch.stack([x1, y1, x2, y1, x1, y2, x2, y2], -1)
        moved = (geometry.points(corners.reshape(images, 4 * rows, 2)) + 1) / 2
        low, high = moved.reshape(images, rows, 4, 2).aminmax(dim=2)  # (B, M, 2)
        centre = (low + high) / 2
        inside = ((centre > 0) & (centre < 1)).all(-1) | (target[..., UNCOUNTED] > 0)
        low, high = low.clamp(0, 1), high.clamp(0, 1)
        kept = inside & (high - low >= _LEAST_SIDE).all(-1)
        classes = target[..., CLASS].where(kept, NO_BOX)
        return torch.cat([low, high, classes[..., None], target[..., UNCOUNTED:]], -1)

    def knows_all(self, target: Tensor) -> bool:
        return True

    def loss(
        self,
        outputs: Outputs,
        target: Tensor,
        *,
        smoothing: float = 0.0,
        teacher: Outputs | None = None,
        weights: Tensor | None = None,
        reduction: str = "mean",
    ) -> Tensor:
        """SSD's (`detection_loss`), of raw outputs: over all boxes of the batch a mean a box, and
        so "mean"; "sum" is that times the number of images."""
        offsets, logits = _raw(outputs)
        mean = detection_loss(
            offsets, logits, target, self._coder(target), smoothing=smoothing, focal=self.focal
        )
        return mean if reduction == "mean" else mean * len(target)

    def imitation(self, ours: Outputs, theirs: Outputs, *, temperature: float) -> Tensor:
        """Of classes and boxes (`detector_imitation`), of raw outputs; raises `ArchError` for a
        teacher with other default boxes or classes."""
        for name in ("boxes", "scores"):
            mine, other = (tuple(one[name].shape[1:]) for one in (ours, theirs))
            if mine != other:
                raise ArchError(
                    f"the teacher's {name} are {other[0]} x {other[1]} and the student's "
                    f"{mine[0]} x {mine[1]}; take a teacher of the same default boxes, resolution "
                    "and classes"
                )
        return detector_imitation(_raw(ours), _raw(theirs), temperature=temperature)

    def meter(self, count: int) -> Metric:
        """Of raw outputs; raises `RuntimeMissing` where faster-coco-eval is not installed."""
        return _MeanPrecision(self)

    def score(self, outputs: Arrays, targets: Targets) -> DetectionScore:
        """COCO's figures; raises `RuntimeMissing` where faster-coco-eval is not installed."""
        found, boxes, classes = found_in(outputs), targets.values, len(self.labels)
        figures, of = coco_figures(found, boxes), matched(found, boxes, classes)
        threshold = self._answers["score_threshold"]
        tried = len(found) > 1 and of.boxes.any()
        chances = shuffled(found, boxes, classes) if tried else None
        return DetectionScore(
            **{
                key: None if np.isnan(figures[key]) else 100 * figures[key]
                for key in ("map", "map_50", "map_75", "map_small", "map_medium", "map_large")
            },
            images=len(found),
            boxes=int(of.boxes.sum()),
            threshold=threshold,
            **dict(zip(("precision", "recall"), precision_and_recall(of, threshold), strict=True)),
            classes=[
                self._of_class(at, figures["classes"].get(at), int(count))
                for at, count in enumerate(of.boxes.sum(axis=0))
            ],
            learned=None if chances is None else bool(chances[0] > chances[1:].max()),
            guessed=None if chances is None else float(chances[1:].mean()),
            interval=middle(resampled(of)) if of.boxes.any() and len(found) < FEW else None,
        )

    def lost(self, ours: Arrays, theirs: Arrays, targets: Targets) -> Lost:
        """Bounded by the bootstrap: the same images drawn for both."""
        mine, other = (
            matched(found_in(one), targets.values, len(self.labels)) for one in (ours, theirs)
        )
        points = mean_precision(other) - mean_precision(mine)
        drawn = resampled(other) - resampled(mine) if other.boxes.any() else np.zeros(0)
        return lost_on_average(self.title, points, drawn, images=len(targets))

    def agreement(self, ours: Arrays, theirs: Arrays) -> float:
        """Of the detections that either would print those that the other would, too: of the same
        class, and overlapping by 0.9 (intersection over union). 100 where there are none."""
        shared = total = 0
        for mine, other in zip(self.printed(ours), self.printed(theirs), strict=True):
            same = _same(mine, other)
            shared += int(same.any(axis=1).sum()) + int(same.any(axis=0).sum())
            total += sum(same.shape)
        return 100 * shared / total if total else 100.0

    def tuned(self, outputs: Arrays, targets: Targets) -> dict[str, float]:
        """`answers` with the score threshold of the best F1 on these images: of the detections of
        all classes together, right where they overlap a box of their class by 0.5. Where nothing is
        right it stays."""
        of = matched(found_in(outputs), targets.values, len(self.labels))
        best = best_threshold(of)
        return dict(self._answers) | ({} if best is None else {"score_threshold": best})

    def busy(self, arch: Arch) -> Arrays:
        """Those of images with thirty objects, of which eight default boxes each are sure."""
        anchors, classes = arch.outputs["scores"]
        rng = np.random.default_rng(0)
        corners = rng.uniform(0, 0.7, (_TIMED, anchors, 2))
        boxes = np.concatenate([corners, corners + 0.3], axis=2).astype(np.float32)
        scores = np.full((_TIMED, anchors, classes), 1e-4, np.float32)
        for image in range(_TIMED):
            sure = rng.choice(anchors, min(anchors, 240), replace=False)
            scores[image, sure, rng.integers(1, classes, len(sure))] = 0.9
        return {"boxes": boxes, "scores": scores}

    def decode(self, outputs: Arrays) -> list[Answer]:
        """The detections, the surest first."""
        boxes, labels, chances = (one.tolist() for one in self._detections(outputs))
        return [
            Answer(self.labels[label], chance, (x1, y1, x2, y2))
            for (x1, y1, x2, y2), label, chance in zip(boxes, labels, chances, strict=True)
        ]

    def in_order(self, targets: Targets, names: tuple[str, ...]) -> BoxLists:
        """Boxes of classes that it does not know are left out: to it they are background."""
        ours = {name: number for number, name in enumerate(self.labels)}
        numbers = np.array([*(ours.get(name, NO_BOX) for name in names), NO_BOX], np.float32)
        values = targets.values.copy()
        values[..., CLASS] = numbers[values[..., CLASS].astype(np.int64)]  # -1 is the last
        return BoxLists(values)

    def known(self, targets: Targets, names: tuple[str, ...]) -> NDArray[np.bool_]:
        """Those with a box of a class that it knows, and those without boxes."""
        theirs, ours = (
            (one.values[..., CLASS] >= 0).any(axis=1)
            for one in (targets, self.in_order(targets, names))
        )
        return np.logical_or(ours, ~theirs)

    @property
    def _answers(self) -> Mapping[str, float]:
        return {**ANSWERS, **self.answers}

    def _coder(self, like: Tensor) -> BoxCoder:
        assert self.arch is not None, "raw outputs are read by the task for_network gives"
        return box_coder(self.arch, like.device)

    def _detections(self, outputs: Arrays) -> Found:
        """What is printed of one image."""
        return detections(
            outputs["boxes"],
            outputs["scores"],
            threshold=self._answers["score_threshold"],
            overlap=self._answers["iou_threshold"],
        )

    def printed(self, outputs: Arrays) -> list[Found]:
        """The detections of each image that `decode` names."""
        pairs = zip(outputs["boxes"], outputs["scores"], strict=True)
        return [self._detections({"boxes": boxes, "scores": scores}) for boxes, scores in pairs]

    def _of_class(
        self, number: int, found: tuple[float, float] | None, boxes: int
    ) -> dict[str, str | float | None]:
        """The record of one class; percentages are None where it has no box."""
        whole, half = found or (None, None)
        return {
            "class": self.labels[number],
            "average_precision": None if whole is None else 100 * whole,
            "average_precision_50": None if half is None else 100 * half,
            "boxes": boxes,
        }


def found_in(outputs: Arrays) -> list[Found]:
    """The detections of each image of deployed outputs, as COCO scores them: of a class the 100
    surest that it looks at, before those are left out that overlap."""
    return [
        detections(boxes, scores, most_of_class=_SCORED)
        for boxes, scores in zip(outputs["boxes"], outputs["scores"], strict=True)
    ]


def _raw(outputs: Outputs) -> tuple[Tensor, Tensor]:
    """Offsets and logits in full precision."""
    return outputs["boxes"].float(), outputs["scores"].float()


def _same(mine: Found, other: Found) -> NDArray[np.bool_]:
    """Which detections (K, L) of two lists are one."""
    return (mine[1][:, None] == other[1]) & (overlaps(mine[0], other[0]) >= _SAME)


class _MeanPrecision(Metric):
    """COCO's mAP50-95, 0 to 1, of raw outputs. Of several processes each brings its images."""

    full_state_update = False
    found: list[Tensor]
    boxes: list[Tensor]

    def __init__(self, task: Detection) -> None:
        super().__init__()
        coco_metric()
        self.task = task
        self.add_state("found", [], dist_reduce_fx="cat")
        self.add_state("boxes", [], dist_reduce_fx="cat")

    def update(self, outputs: Outputs, target: Tensor) -> None:
        offsets, logits = (one.detach() for one in _raw(outputs))
        corners = self.task._coder(target)(offsets)
        arrays = {"boxes": corners.cpu().numpy(), "scores": logits.softmax(2).cpu().numpy()}
        self.found.append(torch.stack([_row(one) for one in found_in(arrays)]).to(target.device))
        self.boxes.append(target)

    def compute(self) -> Tensor:
        found, boxes = (
            (torch.cat(list(state)) if isinstance(state, list) else state).cpu().numpy()
            for state in (self.found, self.boxes)
        )
        metric = coco_metric()
        metric.update(*as_coco([_unpacked(one) for one in found], boxes))
        value = metric.compute()["map"]
        return torch.where(value >= 0, value, torch.nan)


_SLOTS = 300


def _row(found: Found) -> Tensor:
    """Detections of one image as rows of a fixed number (300, 6): corners, class, probability;
    class -1 behind them."""
    corners, labels, chances = found
    row = np.full((_SLOTS, 6), NO_BOX, np.float32)
    row[: len(labels)] = np.column_stack([corners, labels, chances])
    return torch.from_numpy(row)


def _unpacked(row: Floats) -> Found:
    row = row[row[:, 4] >= 0]
    return row[:, :4], row[:, 4].astype(np.int64), row[:, 5]

"""What a detector's default boxes are to say, and how far its outputs are from it.

Matching, hard negatives and their sum are SSD's (arXiv:1512.02325, 2.2), with torchvision's
constants (`SSD.compute_loss`). `focal` is the loss of TensorFlow's MobileNetV3 detectors
(arXiv:1708.02002) over a softmax.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, smooth_l1_loss

from mobilenets.tasks.box_coder import BoxCoder
from mobilenets.tasks.boxes import CLASS, CORNERS, UNCOUNTED
from mobilenets.tasks.geometry import area, shared_area

# A default box is for a box that it overlaps (intersection over union) by as much.
_OVERLAP = 0.5
# Of the background the hardest: so many for each default box with an object, and in an image
# without any so many in all (TensorFlow's least; torchvision takes none).
_NEGATIVES, _LEAST = 3, 3
_GAMMA, _ALPHA = 2.0, 0.75  # of focal loss, as in ssd_mobilenet_v3_*_320x320_coco.config


class Matches(NamedTuple):
    """What B images' A default boxes are for: the number of a class, 0 being the background
    (`classes`, (B, A)); the box to be found there (`corners`, (B, A, 4), of the background any);
    and whether they are `counted` (B, A): not those on what is neither object nor background."""

    classes: Tensor
    corners: Tensor
    counted: Tensor

    @property
    def objects(self) -> Tensor:
        """Which are for an object (B, A)."""
        return self.classes > 0


def matched(target: Tensor, corners: Tensor) -> Matches:
    """For boxes (B, M, 6) as `BoxLists` has them what the default boxes, of `corners` (A, 4), are
    for: the box that they overlap most, where it is half or more; and of each box the one that
    overlaps it most, however little.

    Where a default box is not for an object and half of it lies in an uncounted box, it is not
    counted: mAP forgives detections there by the same measure.
    """
    if not target.shape[1]:
        target = torch.nn.functional.pad(target, (0, 0, 0, 1), value=-1.0)
    boxes, there = target[..., CORNERS], target[..., CLASS] >= 0
    uncounted = target[..., UNCOUNTED] > 0
    shared, ours, theirs = _areas(boxes, corners)
    overlaps = (shared / (ours + theirs - shared)).masked_fill(~(there & ~uncounted)[..., None], -1)
    most, rows = overlaps.max(dim=1)  # (B, A)
    rows = torch.where(most >= _OVERLAP, rows, -1)
    best = _best_of_each(overlaps)
    rows = torch.where(best >= 0, best, rows)
    inside = (shared / theirs).masked_fill(~(there & uncounted)[..., None], 0).amax(dim=1)
    taken = target.gather(1, rows.clamp(min=0)[..., None].expand(-1, -1, target.shape[2]))
    return Matches(
        classes=torch.where(rows >= 0, taken[..., CLASS].long() + 1, 0),
        corners=taken[..., CORNERS],
        counted=(rows >= 0) | (inside < _OVERLAP),
    )


def _areas(boxes: Tensor, corners: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each box (B, M, 4) and default box (A, 4) what they share (B, M, A), and the areas of
    either, (B, M, 1) and (A,)."""
    return shared_area(boxes[:, :, None], corners), area(boxes)[..., None], area(corners)


def _best_of_each(overlaps: Tensor) -> Tensor:
    """For each default box (B, A) the last row of which it is the best; -1 for none."""
    most, best = overlaps.max(dim=2)  # (B, M)
    numbers = torch.arange(overlaps.shape[1], device=overlaps.device).expand_as(best)
    numbers = torch.where(most >= 0, numbers, -1)
    none = torch.full_like(overlaps[:, 0], -1, dtype=torch.long)
    return none.scatter_reduce(1, best, numbers, "amax")


def detection_loss(
    offsets: Tensor,
    logits: Tensor,
    target: Tensor,
    coder: BoxCoder,
    *,
    smoothing: float = 0.0,
    focal: bool = False,
) -> Tensor:
    """The mean loss of B images: smooth L1 of the offsets (B, A, 4) of default boxes with objects,
    and cross-entropy of the logits (B, A, C) of these and of the hardest of the background, both
    summed and divided by the number of those with objects, which are 1 at least.

    With `focal` all default boxes count, each times (1 - p)^2, p being the probability of what is
    right, and times 0.75 where that is an object, else 0.25.
    """
    matches = matched(target, coder.corners)
    objects = matches.objects
    wanted = coder.offsets(matches.corners)[objects]
    of_boxes = smooth_l1_loss(offsets[objects], wanted, reduction="sum")
    losses = cross_entropy(
        logits.transpose(1, 2), matches.classes, label_smoothing=smoothing, reduction="none"
    )
    if focal:
        of_classes = (_focal(losses, logits, matches) * matches.counted).sum()
    else:
        of_classes = losses[with_negatives(losses.detach(), objects, matches.counted)].sum()
    return (of_boxes + of_classes) / objects.sum().clamp(min=1)


def _focal(losses: Tensor, logits: Tensor, matches: Matches) -> Tensor:
    right = logits.softmax(dim=2).gather(2, matches.classes[..., None])[..., 0]
    return losses * (1 - right) ** _GAMMA * torch.where(matches.objects, _ALPHA, 1 - _ALPHA)


def with_negatives(losses: Tensor, objects: Tensor, counted: Tensor) -> Tensor:
    """Those with `objects` (B, A), and of the other counted ones of each image those of the largest
    `losses` (B, A)."""
    most = (_NEGATIVES * objects.sum(dim=1, keepdim=True)).clamp(min=_LEAST)
    negative = counted & ~objects
    order = losses.masked_fill(~negative, -torch.inf).argsort(dim=1, descending=True)
    ranks = order.argsort(dim=1)
    return objects | (negative & (ranks < most))


def detector_imitation(
    ours: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor], *, temperature: float
) -> Tensor:
    """How far offsets (B, A, 4) and logits (B, A, C) are from a teacher's of the same default
    boxes, the mean over the images.

    The teacher's objects are the default boxes of which it gives the background less than half.
    There, and on the hardest of the others as in `detection_loss`, it is the Kullback-Leibler
    divergence of softmax(logits / temperature), times temperature^2 (arXiv:1503.02531); there it is
    also smooth L1 between the offsets. Both are divided by the number of such objects.
    """
    mine, other = (one[1].div(temperature).log_softmax(dim=2) for one in (ours, theirs))
    objects = theirs[1].softmax(dim=2)[..., 0] < 0.5
    diverging = (other.exp() * (other - mine)).sum(dim=2)
    taken = with_negatives(diverging.detach(), objects, torch.ones_like(objects))
    of_boxes = smooth_l1_loss(ours[0][objects], theirs[0][objects], reduction="sum")
    of_classes = temperature**2 * diverging[taken].sum()
    return (of_boxes + of_classes) / objects.sum().clamp(min=1)

"""Default boxes, matching, loss and suppression: torchvision's, and what they do beyond it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor
from torch.nn.functional import kl_div, smooth_l1_loss
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD
from torchvision.ops import box_iou

from mobilenets.archs import Arch, from_json, get_arch, ops, to_json, with_ssdlite
from mobilenets.archs.default_boxes import default_boxes
from mobilenets.archs.ssdlite import SSDLite
from mobilenets.errors import ArchError
from mobilenets.nn.detection_modules import Decoded
from mobilenets.tasks.box_coder import BoxCoder
from mobilenets.tasks.detection import Detection
from mobilenets.tasks.matching import detection_loss, detector_imitation, matched
from mobilenets.tasks.suppression import detections, not_suppressed

LARGE = get_arch("v3_large", resolution=320)
THEIRS = with_ssdlite(LARGE, variant="torchvision", reduced=True)
CLASSES = 4
SMALL = with_ssdlite(
    get_arch("v3_small", width=0.35, resolution=128), classes=CLASSES, variant="torchvision"
)
PIXELS = 128


def head_of(arch: Arch) -> SSDLite:
    assert isinstance(arch.head, SSDLite)
    return arch.head


def torchvisions(arch: Arch) -> tuple[SSD, Tensor]:
    """torchvision's detector around no network, and its default boxes for `arch` in pixels."""
    generator = DefaultBoxGenerator([[2, 3]] * 6, min_ratio=0.2, max_ratio=0.95)
    ssd = SSD(
        torch.nn.Identity(), generator, tuple(arch.size), arch.classes, head=torch.nn.Identity(),
        score_thresh=0.001, nms_thresh=0.55, detections_per_img=300, topk_candidates=300,
    )  # fmt: skip
    maps = [op.out_size for op in ops(arch) if op.role == "boxes" and op.kind == "conv"]
    image = ImageList(torch.zeros(1, 3, *arch.size), [tuple(arch.size)])
    (anchors,) = generator(image, [torch.zeros(1, 1, *size) for size in maps])
    return ssd, anchors


# Default boxes


@pytest.mark.parametrize("size", [320, 128, (96, 160)])
def test_default_boxes_are_torchvisions(size: int | tuple[int, int]):
    arch = replace(THEIRS, size=size)
    sides = torch.tensor([arch.size.width, arch.size.height]).repeat(2)

    torch.testing.assert_close(
        BoxCoder(arch).corners * sides, torchvisions(arch)[1], rtol=1e-6, atol=1e-4
    )


@pytest.mark.parametrize(
    ("network", "count"),
    [(THEIRS, 3234), (with_ssdlite(LARGE), 2034)],
    ids=["torchvision", "paper"],
)
def test_there_are_as_many_as_published(network: Arch, count: int):
    assert len(default_boxes(network)) == count
    assert network.outputs["boxes"] == (count, 4)


def test_the_papers_first_map_has_three_shapes_and_the_others_are_not_cut():
    boxes = default_boxes(with_ssdlite(LARGE))

    of_pixel = [(box.x, box.y, box.width, box.height) for box in boxes[:3]]
    assert of_pixel == [
        pytest.approx((0.025, 0.025, 0.1, 0.1)),
        pytest.approx((0.025, 0.025, 0.2 * 2**0.5, 0.2 / 2**0.5)),
        pytest.approx((0.025, 0.025, 0.2 / 2**0.5, 0.2 * 2**0.5)),
    ]
    assert boxes[3].x == pytest.approx(0.075)  # columns before rows
    assert max(box.width for box in boxes) == pytest.approx(0.95 * 3**0.5)


def test_scales_of_small_objects_are_kept_in_json():
    head = replace(head_of(SMALL), scales=(0.05, 0.6))
    arch = replace(SMALL, head=head)

    again = from_json(json.loads(json.dumps(to_json(arch))))

    assert again == arch
    assert "scales" not in to_json(SMALL)["head"]
    assert default_boxes(again)[0][2:] == pytest.approx((0.05, 0.05))
    assert default_boxes(again)[-6].width == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("scales", "message"),
    [
        ((0.2,), r"scales must be two, of the first and the last map, got \(0\.2,\)"),
        ((0.2, 1.5), "scales must be a number above 0 and below 1, got 1.5"),
        ((0.5, 0.2), r"scales must rise from the first map to the last, got \(0\.5, 0\.2\)"),
    ],
)
def test_scales_that_cannot_be(scales: tuple[float, ...], message: str):
    with pytest.raises(ArchError, match=message):
        replace(SMALL, head=replace(head_of(SMALL), scales=scales))


def test_networks_without_default_boxes_are_named():
    five = replace(SMALL, head=replace(head_of(SMALL), anchors=(6, 5, 6, 6, 6, 6)))

    with pytest.raises(ArchError, match=r"v3_large_1\.0_320 has no SSDLite head, and default"):
        default_boxes(LARGE)
    with pytest.raises(ArchError, match="3, 4 or 6 default boxes, and no shapes are known for 5"):
        default_boxes(five)


# Outputs and detections


def raw(arch: Arch, images: int = 3, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    count = arch.outputs["boxes"][0]
    return {
        "boxes": 2 * torch.randn(images, count, 4, generator=generator),
        "scores": 3 * torch.randn(images, count, arch.classes, generator=generator),
    }


def test_detections_are_torchvisions():
    outputs = raw(SMALL)
    ssd, anchors = torchvisions(SMALL)
    theirs = {"bbox_regression": outputs["boxes"], "cls_logits": outputs["scores"]}
    expected = ssd.postprocess_detections(theirs, [anchors] * 3, [(PIXELS, PIXELS)] * 3)

    deployed = {name: one.numpy() for name, one in Decoded(SMALL)(outputs).items()}

    for at, one in enumerate(expected):
        boxes, labels, chances = detections(deployed["boxes"][at], deployed["scores"][at])
        assert len(labels) == 300
        assert labels.tolist() == (one["labels"] - 1).tolist()
        np.testing.assert_allclose(chances, one["scores"], rtol=1e-5)
        np.testing.assert_allclose(boxes * PIXELS, one["boxes"], rtol=1e-4, atol=1e-3)


def test_sizes_end_where_torchvisions_do():
    """62.5 times a default box, which does not reach the image from very far outside."""
    generator = torch.Generator().manual_seed(0)
    offsets = torch.randn(1, SMALL.outputs["boxes"][0], 4, generator=generator)
    offsets *= torch.tensor([1000, 1000, 50, 50])
    ssd, anchors = torchvisions(SMALL)
    expected = ssd.box_coder.decode_single(offsets[0], anchors).clamp(0, PIXELS)

    torch.testing.assert_close(PIXELS * BoxCoder(SMALL)(offsets)[0], expected, rtol=1e-4, atol=1e-3)


def test_decoded_outputs_have_the_shapes_of_raw_ones_and_lie_in_the_image():
    outputs = raw(SMALL)
    outputs["boxes"][:, 0] = 1e4  # a size of e^2000 must not be infinite

    deployed = Decoded(SMALL)(outputs)

    assert {name: tuple(one.shape[1:]) for name, one in deployed.items()} == SMALL.outputs
    assert 0 <= deployed["boxes"].min() <= deployed["boxes"].max() <= 1
    torch.testing.assert_close(deployed["scores"].sum(2), torch.ones(3, SMALL.outputs["boxes"][0]))


class OfTwo(torch.nn.Module):
    """Decoded, of boxes and scores: an exporter takes a dictionary for arguments by name."""

    def __init__(self):
        super().__init__()
        self.decoded = Decoded(SMALL)

    def forward(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.decoded({"boxes": boxes, "scores": scores}).values())


def test_the_exported_graph_decodes_alike():
    outputs = raw(SMALL, images=1)
    program = torch.onnx.export(
        OfTwo().eval(), tuple(outputs.values()), input_names=list(outputs), dynamo=True,
        verbose=False,
    )  # fmt: skip
    assert program is not None
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())

    got = session.run(None, {name: value.numpy() for name, value in outputs.items()})

    for ours, theirs in zip(Decoded(SMALL)(outputs).values(), got, strict=True):
        np.testing.assert_allclose(theirs, ours.numpy(), rtol=1e-5, atol=1e-6)


def test_a_box_is_only_suppressed_by_one_that_stays():
    """The second falls to the first, so the third, which overlaps only the second, stays."""
    boxes = np.array([[0, 0, 10, 10], [3, 0, 13, 10], [6, 0, 16, 10]], np.float32) / 20

    assert not_suppressed(boxes, 0.5).tolist() == [True, False, True]


def test_only_the_surest_of_a_class_are_looked_at():
    places = np.array([0, 0.01, 0.5, 0.7], np.float32)  # the second falls to the first
    boxes = np.column_stack([places, places, places + 0.2, places + 0.2])
    scores = np.array([[0.1, 0.9], [0.2, 0.8], [0.3, 0.7], [0.4, 0.6]], np.float32)

    assert len(detections(boxes, scores)[1]) == 3
    assert len(detections(boxes, scores, most_of_class=2)[1]) == 1
    assert len(detections(boxes, scores, most=2)[1]) == 2


def test_nothing_above_the_threshold_is_no_detection():
    scores = np.tile(np.array([0.9, 0.1], np.float32), (5, 1))

    boxes, labels, chances = detections(np.zeros((5, 4), np.float32), scores, threshold=0.5)

    assert (boxes.shape, labels.shape, chances.shape) == ((0, 4), (0,), (0,))


# Matching and loss


def random_boxes(images: int, count: int, seed: int = 1) -> Tensor:
    """(images, count, 6), all counted; the last image has fewer."""
    generator = torch.Generator().manual_seed(seed)
    low = 0.6 * torch.rand(images, count, 2, generator=generator)
    sides = 0.05 + 0.35 * torch.rand(images, count, 2, generator=generator)
    classes = torch.randint(CLASSES - 1, (images, count, 1), generator=generator).float()
    found = torch.cat([low, low + sides, classes, torch.zeros_like(classes)], 2)
    found[-1, count // 2 :] = 0
    found[-1, count // 2 :, 4] = -1
    return found


def torchvisions_loss(outputs: dict[str, Tensor], target: Tensor) -> Tensor:
    ssd, anchors = torchvisions(SMALL)
    targets = [
        {"boxes": one[one[:, 4] >= 0, :4] * PIXELS, "labels": one[one[:, 4] >= 0, 4].long() + 1}
        for one in target
    ]
    indices = [ssd.proposal_matcher(box_iou(one["boxes"], anchors)) for one in targets]
    theirs = {"bbox_regression": outputs["boxes"], "cls_logits": outputs["scores"]}
    return sum(ssd.compute_loss(targets, theirs, [anchors] * len(targets), indices).values())


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_loss_is_torchvisions(seed: int):
    outputs, target = raw(SMALL, seed=seed), random_boxes(3, 6, seed)
    task = Detection(("a", "b", "c")).for_network(SMALL)

    loss = task.loss(outputs, target)

    torch.testing.assert_close(loss, torchvisions_loss(outputs, target), rtol=1e-4, atol=0)
    torch.testing.assert_close(task.loss(outputs, target, reduction="sum"), 3 * loss)


def test_offsets_undo_what_decoding_does():
    coder = BoxCoder(SMALL)
    corners = random_boxes(1, 1)[0, :, :4].expand(len(coder.centres), 4)

    torch.testing.assert_close(coder(coder.offsets(corners)[None])[0], corners)


CORNERS = torch.tensor([[0.0, 0.0, 0.4, 0.4], [0.1, 0.0, 0.5, 0.4], [0.6, 0.6, 0.9, 0.9]])


def boxes_of(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows).reshape(1, -1, 6)


def test_each_box_has_its_best_default_box_however_little_they_overlap():
    target = boxes_of((0.0, 0.0, 0.4, 0.4, 1, 0), (0.85, 0.85, 1.0, 1.0, 0, 0))

    found = matched(target, CORNERS)

    assert found.classes.tolist() == [[2, 2, 1]]  # the second overlaps the first box by 0.6
    torch.testing.assert_close(found.corners[0, 2], target[0, 1, :4])


def test_default_boxes_on_uncounted_boxes_are_neither_object_nor_background():
    target = boxes_of((0.0, 0.0, 0.4, 0.4, 1, 0), (0.1, 0.0, 1.0, 1.0, 1, 1))

    found = matched(target, CORNERS)

    assert found.classes.tolist() == [[2, 2, 0]]
    assert found.counted.tolist() == [[True, True, False]]


def test_an_uncounted_box_alone_asks_for_nothing():
    found = matched(boxes_of((0.0, 0.0, 0.4, 0.4, 1, 1)), CORNERS)

    assert found.classes.tolist() == [[0, 0, 0]]
    assert found.counted.tolist() == [[False, False, True]]


@pytest.mark.parametrize("rows", [0, 2])
def test_of_images_without_boxes_the_three_hardest_backgrounds_are_learned(rows: int):
    target = torch.full((2, rows, 6), -1.0)
    outputs, coder = raw(SMALL, images=2), BoxCoder(SMALL)

    loss = detection_loss(outputs["boxes"], outputs["scores"], target, coder)

    background = -outputs["scores"].log_softmax(2)[..., 0]
    torch.testing.assert_close(loss, background.topk(3, dim=1).values.sum())


def test_uncounted_default_boxes_get_no_gradient():
    target = boxes_of((0.0, 0.0, 0.5, 1.0, 1, 1))
    outputs = raw(SMALL, images=1)
    logits = outputs["scores"].requires_grad_()
    coder = BoxCoder(SMALL)
    counted = matched(target, coder.corners).counted
    assert 0 < int(counted.sum()) < counted.numel()

    loss = detection_loss(outputs["boxes"], logits, target, coder, focal=True)
    (gradient,) = torch.autograd.grad(loss, logits)

    assert (gradient[~counted] == 0).all()
    assert (gradient[counted] != 0).any(dim=1).all()


def test_focal_loss_is_by_hand():
    """arXiv:1708.02002, equation 5, of every default box."""
    outputs, target, coder = raw(SMALL, images=1), random_boxes(1, 2)[:, :1], BoxCoder(SMALL)
    target = target.clone()
    target[0, 0] = torch.tensor([0.1, 0.1, 0.5, 0.5, 2, 0])
    classes = matched(target, coder.corners).classes[0]
    p = outputs["scores"][0].double().softmax(1)[torch.arange(len(classes)), classes]
    alpha = torch.where(classes > 0, 0.75, 0.25)
    by_hand = (alpha * (1 - p) ** 2 * -p.log()).sum() / (classes > 0).sum()

    both, boxes_alone = (
        detection_loss(outputs["boxes"], scores, target, coder, focal=True)
        for scores in (outputs["scores"], 1e4 * torch.eye(CLASSES)[classes][None])
    )

    assert (both - boxes_alone).item() == pytest.approx(by_hand.item(), rel=1e-4)


# Imitation


def test_imitation_is_nothing_where_both_agree_and_falls_towards_the_teacher():
    ours, theirs = raw(SMALL), raw(SMALL, seed=1)
    task = Detection(("a", "b", "c")).for_network(SMALL)
    between = {name: (ours[name] + theirs[name]) / 2 for name in ours}

    far, near, none = (
        task.imitation(one, theirs, temperature=2.0).item() for one in (ours, between, theirs)
    )

    assert far > near > 0
    assert none == pytest.approx(0, abs=1e-5)


def test_imitation_of_a_sure_background_takes_three_default_boxes_an_image():
    ours, theirs = raw(SMALL, images=1), raw(SMALL, images=1, seed=1)
    theirs["scores"][..., 0] += 100  # nothing is there, says the teacher
    background = -ours["scores"].log_softmax(2)[0, :, 0]

    found = detector_imitation(
        (ours["boxes"], ours["scores"]), (theirs["boxes"], theirs["scores"]), temperature=1.0
    )

    assert found.item() == pytest.approx(background.topk(3).values.sum().item(), rel=1e-4)


def test_where_the_teacher_sees_objects_it_is_kl_divergence_and_smooth_l1():
    ours, theirs = raw(SMALL), raw(SMALL, seed=1)
    theirs["scores"][..., 0] -= 100
    mine, other = ((one["scores"] / 2).log_softmax(2) for one in (ours, theirs))
    count = mine.shape[0] * mine.shape[1]
    classes = 4 * kl_div(mine, other, reduction="sum", log_target=True) / count
    boxes = 4 * smooth_l1_loss(ours["boxes"], theirs["boxes"])

    found = Detection(("a", "b", "c")).imitation(ours, theirs, temperature=2.0)

    torch.testing.assert_close(found, classes + boxes)


def test_a_teacher_with_other_default_boxes_is_refused():
    task = Detection(("a", "b", "c")).for_network(SMALL)
    other = with_ssdlite(get_arch("v3_small", resolution=128), classes=CLASSES)

    with pytest.raises(ArchError, match=r"the teacher's boxes are .* the student's .* x 4; take a"):
        task.imitation(raw(SMALL), raw(other), temperature=1.0)

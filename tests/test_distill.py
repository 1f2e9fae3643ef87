"""A teacher's answers: what they cost, how it sees the images, who may teach."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from scipy.special import log_softmax
from torch import nn

from mobilenets.archs import get_arch, keep_resolution
from mobilenets.data import Augment, Images, load_images
from mobilenets.errors import DataError, FileError, FolderTaken
from mobilenets.nn import Checkpoint, Deployed, MobileNet
from mobilenets.train import Distill, Recipe, Teacher, from_scratch, train
from mobilenets.train.distill import imitation_loss, teacher_in
from mobilenets.train.module import Learner
from mobilenets.train.quick import Depthwise, Pointwise

ARCH = keep_resolution(get_arch("mobilenet_v1", width=0.25, resolution=8, classes=10), 4)
WIDE = keep_resolution(get_arch("mobilenet_v2", width=0.35, resolution=16, classes=10), 8)
ONLY = replace(
    from_scratch(), augment=Augment.none(), label_smoothing=0.0, distill=Distill(share=1.0)
)


@pytest.fixture(scope="module")
def digits() -> Images:
    images = load_images("digits")
    return replace(images, train=images.train[:160], holdout=images.holdout[:32])


def images(count: int, side: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.rand((count, 3, side, side), generator=generator)


def test_the_loss_of_logits_is_hintons_by_hand():
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(size=(2, 6, 10)) * 3
    log_p, log_q = (log_softmax(logits / 4, axis=1) for logits in (theirs, ours))
    by_hand = 16 * (np.exp(log_p) * (log_p - log_q)).sum(1).mean()

    both = ({"logits": torch.tensor(one)} for one in (ours, theirs))
    loss = imitation_loss(*both, Distill(temperature=4))

    assert loss.item() == pytest.approx(by_hand, rel=1e-9)


def test_the_loss_of_embeddings_is_the_squared_difference():
    ours = {"embedding": torch.tensor([[1.0, 2.0]])}
    theirs = {"embedding": torch.tensor([[0.0, 4.0]])}

    assert imitation_loss(ours, theirs, Distill(match="embedding")).item() == 2.5


def test_teacher_and_labels_share_the_loss():
    teacher = Teacher.of(Checkpoint.fresh(ARCH, seed=1))
    network, pixels = MobileNet(ARCH).eval(), (images(4) * 255).byte()

    def loss(share: float, given: Teacher | None = teacher) -> float:
        recipe = replace(ONLY, distill=Distill(share=share))
        module = Learner(network, recipe, seed=0, total_steps=1, teacher=given)
        return module.loss(pixels, torch.arange(4)).item()

    assert loss(0.25) == pytest.approx(0.75 * loss(0.5, None) + 0.25 * loss(1.0), rel=1e-5)


def test_a_checkpoint_teaches_what_it_answers():
    """`Deployed` normalizes and folds by itself: another way to the same logits."""
    checkpoint = Checkpoint.fresh(WIDE, seed=1)

    torch.testing.assert_close(
        Teacher.of(checkpoint)(images(4, 16)), Deployed(checkpoint)(images(4, 16))["logits"],
        rtol=1e-3, atol=1e-5,
    )  # fmt: skip


def test_a_checkpoint_computes_as_a_student_does_another_module_as_it_does():
    """Convolutions as torch computes them take three to five times as long (docs/log.md)."""
    arch = get_arch("mobilenet_v3_small", resolution=28, classes=10)
    checkpoint = Checkpoint.fresh(arch, seed=3)
    teacher, pixels = Teacher.of(checkpoint), images(3, 28)
    another = Teacher(timm.create_model("mobilenetv3_small_050", num_classes=10))
    mean, std = (torch.tensor(one).view(1, 3, 1, 1) for one in (checkpoint.mean, checkpoint.std))

    expected = checkpoint.network().eval()((pixels - mean) / std)["logits"]
    assert expected.std() > 1e-3
    torch.testing.assert_close(teacher(pixels), expected, rtol=1e-3, atol=1e-6)
    for one, types in ((teacher, {Depthwise, Pointwise}), (another, set())):
        kinds = {type(layer) for layer in one.module.modules()}
        assert kinds & {Depthwise, Pointwise} == types


def test_what_it_says_of_an_image_does_not_depend_on_the_batch():
    """In train mode it would: batch norm, dropout."""
    teacher = Teacher.of(Checkpoint.fresh(ARCH, seed=1))

    together = teacher(images(8))
    torch.testing.assert_close(teacher(images(8)[:1]), together[:1], rtol=1e-4, atol=1e-6)


def test_it_stays_in_eval_mode_and_learns_nothing_while_the_student_trains():
    module = MobileNet(ARCH).train()
    teacher = Teacher(module)
    before = {name: one.clone() for name, one in teacher.module.state_dict().items()}
    student = Learner(MobileNet(ARCH), ONLY, seed=0, total_steps=1, teacher=teacher).train()
    student.start_epoch(0)
    student.loss((images(8) * 255).byte(), torch.arange(8)).backward()

    assert module.training  # the caller's own module is as it was
    assert not any(one.training for one in teacher.module.modules())
    torch.testing.assert_close(dict(teacher.module.state_dict()), before, rtol=0, atol=0)
    assert all(weight.grad is None for weight in teacher.module.parameters())
    assert not any("teach" in name for name, _ in student.named_parameters())


def test_it_sees_the_varied_images_that_the_student_sees():
    seen: list[torch.Tensor] = []

    class Watching(nn.Module):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            seen.append(batch)
            return torch.zeros(len(batch), 10)

    network = MobileNet(ARCH)
    network.rows[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    recipe = replace(ONLY, augment=Augment(), mixup=1.0, mean=(0, 0, 0), std=(1, 1, 1))
    module = Learner(network, recipe, seed=0, total_steps=1, teacher=Teacher(Watching()))
    module.loss((images(6) * 255).byte(), torch.arange(6))

    assert len(seen) == 2
    torch.testing.assert_close(seen[0], seen[1], rtol=0, atol=0)


def test_its_own_resolution_and_normalization_are_respected():
    seen: list[torch.Tensor] = []

    class Watching(nn.Module):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            seen.append(batch)
            return batch.mean((2, 3))

    Teacher(Watching(), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), resolution=24)(
        torch.full((2, 3, 8, 8), 0.75)
    )

    assert seen[0].shape == (2, 3, 24, 24)
    torch.testing.assert_close(seen[0], torch.full((2, 3, 24, 24), 0.5))


def test_its_classes_are_put_into_the_students_order():
    logits = torch.tensor([[1.0, 2.0, 3.0]])

    class Fixed(nn.Module):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return logits

    teacher = Teacher(Fixed(), labels=("cat", "dog", "owl"))

    assert teacher.for_classes(("owl", "cat"))(images(1)).tolist() == [[3, 1]]


def test_classes_it_does_not_know_are_refused():
    teacher = Teacher.of(replace(Checkpoint.fresh(ARCH), labels=tuple("abcdefghij")))

    with pytest.raises(DataError, match="the teacher does not know the classes k, l; it knows a, "):
        teacher.for_classes("abkl")


def test_another_number_of_answers_is_refused():
    with pytest.raises(FileError, match="the teacher gives 7 numbers an image where the student"):
        imitation_loss({"logits": torch.zeros(2, 10)}, {"logits": torch.zeros(2, 7)}, Distill())


def test_a_teacher_is_a_checkpoint(tmp_path: Path):
    (tmp_path / "t.pt").write_bytes(b"no")

    with pytest.raises(FileError, match=r"t\.pt is not a checkpoint of mobilenets"):
        teacher_in(tmp_path / "t.pt")


def fitted(recipe: Recipe, teacher: Teacher, steps: int = 80) -> tuple[float, float]:
    """The imitation loss before and after some steps on one batch; no augmentation."""
    torch.manual_seed(0)
    module = Learner(MobileNet(ARCH), recipe, seed=0, total_steps=steps, teacher=teacher)
    module.train().start_epoch(0)
    optimizer = module.configure_optimizers()["optimizer"]
    pixels = (images(16) * 255).byte()
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = module.loss(pixels, torch.zeros(16, dtype=torch.int64))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses[0], losses[-1]


@pytest.mark.parametrize("source", ["ours", "timm"])
def test_a_student_comes_to_answer_as_its_teacher(source: str):
    torch.manual_seed(2)
    if source == "ours":
        teacher = Teacher.of(Checkpoint.fresh(WIDE, seed=5))
    else:
        model = timm.create_model("mobilenetv3_small_050", num_classes=10)
        nn.init.normal_(model.classifier.weight, 0, 1)
        teacher = Teacher(model, mean=(0.5,) * 3, std=(0.5,) * 3, resolution=32)

    first, last = fitted(ONLY, teacher)

    assert last < 0.5 * first


def test_a_student_comes_to_embed_as_its_teacher():
    """V2 embeds in 1280 numbers, the student in 256: a projection goes between."""
    teacher = Teacher.of(Checkpoint.fresh(WIDE, seed=5), match="embedding")
    recipe = replace(ONLY, distill=Distill(match="embedding", share=1.0))

    assert teacher(images(2)).shape == (2, 1280)
    first, last = fitted(recipe, teacher)
    assert last < 0.5 * first


@pytest.mark.slow
def test_a_run_with_another_teacher_is_another_and_keeps_no_projection(
    digits: Images, tmp_path: Path
):
    given = replace(
        from_scratch(), epochs=1, minutes=None, distill=Distill(match="embedding", share=0.5)
    )
    teachers = [Teacher.of(Checkpoint.fresh(WIDE, seed=n), match="embedding") for n in (1, 2)]
    found = [
        train(ARCH, digits, given, folder=tmp_path / one.digest(), teacher=one) for one in teachers
    ]
    with pytest.raises(FolderTaken, match="holds another training, of other teacher"):
        train(ARCH, digits, given, folder=tmp_path / teachers[0].digest(), teacher=teachers[1])

    assert found[0].weights.keys() == MobileNet(ARCH).state_dict().keys()
    assert found[0].digest() != found[1].digest()
    assert found[0].training["teacher"] == teachers[0].digest()

"""A checkpoint: weights in safetensors, the arch and everything needed to use them as metadata."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mobilenets.archs import Arch, digest, to_json
from mobilenets.description import read_description
from mobilenets.errors import FileError
from mobilenets.files import write_bytes
from mobilenets.nn.model import MobileNet

# RGB in [0, 1]: what torchvision's and most of timm's weights were trained with.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A trained network as a value.

    `labels` are the classes or attributes in the order of the logits, as `task` has it (the names
    of `mobilenets.tasks`), and `answers` the task's numbers (`Task.answers`). `preprocess` is
    `data.Preprocess` as JSON, `mean` and `std` (a number a channel) normalize RGB in [0, 1],
    `training` says how the weights came about.
    """

    arch: Arch
    weights: Mapping[str, Tensor]
    labels: tuple[str, ...]
    preprocess: dict[str, Any]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    training: dict[str, Any] = field(default_factory=dict)
    task: str = "classification"
    answers: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def fresh(cls, arch: Arch, *, seed: int = 0) -> Checkpoint:
        """Random weights for `arch`, for timing. Batch norm and biases are random too: zeros would
        be optimized away, and would leave a V3's logits near 1e-5. Only images (3 channels) are
        normalized."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            weights = MobileNet(arch).state_dict()
            _randomise_(weights)
        labels = tuple(str(index) for index in range(arch.labels))
        preprocess = {"resolution": arch.resolution, "crop": 1.0}
        if arch.in_channels == 3:
            return cls(arch, weights, labels, preprocess, MEAN, STD)
        zeros, ones = (0.0,) * arch.in_channels, (1.0,) * arch.in_channels
        return cls(arch, weights, labels, preprocess, zeros, ones)

    def about(self) -> dict[str, Any]:
        """Everything but the weights, as JSON."""
        return {
            "arch": to_json(self.arch),
            "labels": list(self.labels),
            "preprocess": self.preprocess,
            "mean": list(self.mean),
            "std": list(self.std),
            "training": self.training,
            "task": self.task,
            **({"answers": dict(self.answers)} if self.answers else {}),
        }

    def network(self) -> MobileNet:
        """The network with these weights, in eval mode."""
        model = MobileNet(self.arch)
        try:
            model.load_state_dict(self.weights)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise FileError(f"the weights do not fit {self.arch.full_name}: {reason}") from error
        return model.eval()

    def digest(self) -> str:
        """A hash of the arch and the weights."""
        tensors = {name: tensor.contiguous() for name, tensor in self.weights.items()}
        return hashlib.sha256(save(tensors) + digest(self.arch).encode()).hexdigest()[:16]

    def save(self, path: Path, *, extra: Mapping[str, str] | None = None) -> None:
        """Write to `path` (.safetensors): to a temporary file first, then renamed. `extra` goes
        into the metadata beside our own."""
        tensors = {name: tensor.contiguous() for name, tensor in self.weights.items()}
        metadata = {**(extra or {}), "mobilenets": json.dumps(self.about())}
        write_bytes(path, save(tensors, metadata))

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """The checkpoint in `path`; raises `FileError` for a file that is not one of ours."""
        try:
            with safe_open(path, "pt") as file:
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                arch, about = read_description((file.metadata() or {}).get("mobilenets", ""))
            weights = _by_head(weights, about["arch"])
            _check_fit(arch, weights)
        except (OSError, SafetensorError, ValueError) as error:
            raise FileError(
                f"{path} is not a checkpoint of mobilenets ({error}); give one that it wrote"
            ) from error
        return cls(
            arch=arch,
            weights=weights,
            labels=tuple(about["labels"]),
            preprocess=about["preprocess"],
            mean=tuple(about["mean"]),
            std=tuple(about["std"]),
            training=about["training"],
            task=about.get("task", "classification"),
            answers=about.get("answers", {}),
        )


def _check_fit(arch: Arch, weights: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless the weights are those of `arch`; before it takes memory, of which a
    broken description may ask for any amount."""
    try:
        with torch.device("meta"):
            needed = MobileNet(arch).state_dict()
    except (RuntimeError, TypeError, OverflowError) as error:
        raise ValueError(f"its network cannot be built: {error}") from error
    ours, theirs = ({key: one.shape for key, one in of.items()} for of in (needed, weights))
    wrong = sorted(key for key in {*ours, *theirs} if ours.get(key) != theirs.get(key))
    if wrong:
        raise ValueError(
            f"its weights do not fit {arch.full_name}: {len(wrong)} differ, the first {wrong[0]}"
        )


def _by_head(weights: dict[str, Tensor], arch: Any) -> dict[str, Tensor]:
    """Of a file written before heads were: its last layers used to be rows."""
    if "head" in arch:
        return weights
    layers = {"dense": "head.dense", "classifier": "head.classifier"}
    names = {f"rows.{at}": layers.get(row["row"]) for at, row in enumerate(arch["rows"])}
    renamed = {}
    for name, tensor in weights.items():
        row = ".".join(name.split(".")[:2])
        renamed[name.replace(row, names.get(row) or row, 1)] = tensor
    return renamed


def _randomise_(weights: dict[str, Tensor]) -> None:
    """Numbers as training leaves them for batch norm's factors, statistics, and biases; weights
    whose sums are about as large as their inputs (arXiv:1502.01852, eq. 10). With smaller ones the
    image fades from layer to layer, until the logits are the same for any."""
    for name, tensor in weights.items():
        if tensor.ndim > 1:
            tensor.normal_(0.0, (2 / tensor[0].numel()) ** 0.5)
        elif name.endswith((".weight", ".running_var")):
            tensor.uniform_(0.5, 1.5)
        elif tensor.ndim == 1:
            tensor.normal_(0.0, 0.1)

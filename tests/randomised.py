"""Networks of other libraries with numbers as training leaves them, and how far their logits are
from ours."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def randomise_(model: nn.Module) -> nn.Module:
    """Vectors (batch norm, biases) as training leaves them."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in model.state_dict().items():
        if tensor.ndim == 1:
            low = 0.5 if name.endswith(("running_var", "weight")) else -0.5
            tensor.uniform_(low, low + 1, generator=generator)
    return model.eval()


def images(side: int) -> Tensor:
    """Two of noise in [0, 1]."""
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(1))


def difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest, relative to the largest logit."""
    assert theirs.std() > 1e-3
    return float((ours - theirs).abs().max() / theirs.abs().max())

"""Networks of other libraries with numbers as training leaves them."""

from __future__ import annotations

import torch
from torch import nn


def randomise_(model: nn.Module) -> nn.Module:
    """Vectors (batch norm, biases) as training leaves them."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in model.state_dict().items():
        if tensor.ndim == 1:
            low = 0.5 if name.endswith(("running_var", "weight")) else -0.5
            tensor.uniform_(low, low + 1, generator=generator)
    return model.eval()

"""The network as it is handed over: normalisation and batch norm folded in."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mobilenets.nn.blocks import ConvNormAct
from mobilenets.nn.checkpoint import Checkpoint


class Deployed(nn.Module):
    """Images in, logits out: (N, 3, H, W) float32 RGB in [0, 1] -> (N, classes).

    The mean is subtracted in the graph and the division by std sits in the first convolution's
    weights: one pass over the image instead of two, and the padding still adds zeros to the
    normalised image, as in training.
    """

    def __init__(self, checkpoint: Checkpoint):
        super().__init__()
        self.network = checkpoint.network()
        self.mean: Tensor
        self.register_buffer("mean", torch.tensor(checkpoint.mean).reshape(1, -1, 1, 1))
        for module in self.network.modules():
            if isinstance(module, ConvNormAct):
                module.conv = fuse_conv_bn_eval(module.conv, module.norm)  # type: ignore[arg-type]
                module.norm = nn.Identity()
        first = next(m for m in self.network.modules() if isinstance(m, nn.Conv2d))
        std = torch.tensor(checkpoint.std).reshape(1, -1, 1, 1)
        first.weight = nn.Parameter(first.weight.detach() / std)
        self.eval().requires_grad_(False)

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image - self.mean)

"""The network as it is handed over: normalization and batch norm folded in."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mobilenets.nn.blocks import ConvNormAct
from mobilenets.nn.checkpoint import Checkpoint
from mobilenets.nn.head_modules import decoder


class Deployed(nn.Module):
    """Images in, named outputs out: (N, 3, H, W) float32 RGB in [0, 1] -> {"logits": (N, classes)};
    of a detector boxes in parts of the image and probabilities.

    The mean is subtracted in the graph and the division by std sits in the first convolution's
    weights: one pass over the image instead of two, and the padding still adds zeros to the
    normalized image, as in training. A mean of zero costs nothing.
    """

    def __init__(self, checkpoint: Checkpoint):
        super().__init__()
        self.network = checkpoint.network()
        self.decoder = decoder(checkpoint.arch)
        mean = torch.tensor(checkpoint.mean).reshape(1, -1, 1, 1)
        self.mean: Tensor | None
        self.register_buffer("mean", mean if mean.any() else None)
        for module in self.network.modules():
            if isinstance(module, ConvNormAct):
                module.conv = fuse_conv_bn_eval(module.conv, module.norm)  # type: ignore[arg-type]
                module.norm = nn.Identity()
        self._divide_by(torch.tensor(checkpoint.std).reshape(1, -1, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        outputs = self.network(image if self.mean is None else image - self.mean)
        return outputs if self.decoder is None else self.decoder(outputs)

    def _divide_by(self, std: Tensor) -> None:
        if (std == 1).all():
            return
        first = next(m for m in self.network.modules() if isinstance(m, nn.Conv2d))
        first.weight = nn.Parameter(first.weight.detach() / std)


class Positional(nn.Module):
    """The same for converters and callers that know no names: the outputs in their order
    (`Arch.outputs`), one alone as it is."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        outputs = tuple(self.network(image).values())
        return outputs[0] if len(outputs) == 1 else outputs

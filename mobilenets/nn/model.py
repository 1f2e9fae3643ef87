"""`MobileNet(arch)`: the network that an `Arch` describes."""

from __future__ import annotations

from torch import Tensor, nn

from mobilenets.archs import Arch
from mobilenets.archs.arch import backbone, tapped
from mobilenets.nn.blocks import Convention, row_module
from mobilenets.nn.detection_modules import Predictor
from mobilenets.nn.head_modules import head_module


class MobileNet(nn.Module):
    """The network of `arch`: one module per row, in order, and one for the head.

    Called with normalized images (N, arch.in_channels, H, W), it gives its named outputs, such as
    {"logits": (N, classes)}. H and W are `arch.size` for the costs to hold; any size runs.
    """

    def __init__(self, arch: Arch):
        super().__init__()
        self.arch = arch
        convention = Convention.of(arch)
        walk = backbone(arch)
        reads = {op.row: op.out_channels for op in walk}  # what the row behind it reads
        self.rows = nn.Sequential(
            *(row_module(row, reads[at - 1], convention) for at, row in enumerate(arch.rows))
        )
        self.head = head_module(arch.head, [one.channels for one in tapped(arch, walk)], convention)
        self.apply(_init)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return self.head(self.features(x))

    def features(self, x: Tensor) -> list[Tensor]:
        """The feature maps that the head taps, in its order; of a backbone the last."""
        if self.arch.head is None or all(tap == (-1, "out") for tap in self.arch.head.taps):
            return [self.rows(x)]
        return self._tapped(x)

    def _tapped(self, x: Tensor) -> list[Tensor]:
        assert self.arch.head is not None
        taps = [(tap.row % len(self.rows), tap.part) for tap in self.arch.head.taps]
        found: dict[tuple[int, str], Tensor] = {}
        for index, row in enumerate(self.rows):
            inside = any(row_ == index and part != "out" for row_, part in taps)
            parts = row.with_parts(x) if inside else {"out": row(x)}  # type: ignore[operator]
            found |= {(index, part): one for part, one in parts.items() if (index, part) in taps}
            x = parts["out"]
        return [found[tap] for tap in taps]


def _init(module: nn.Module) -> None:
    """Convolutions: normal, variance 2 / fan-out; linear layers: normal, deviation 0.01; a
    detector's last layers: 0.03; biases 0; batch norm 1 and 0. Torchvision's, which its recipes
    were tuned with."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.01)
    if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
    if isinstance(module, Predictor):  # after its convolutions
        nn.init.normal_(module.predict.weight, 0.0, 0.03)

"""What `mobilenets cost` prints."""

from __future__ import annotations

from typing import Any

from mobilenets.archs import Arch, cost
from mobilenets.cli.show import show_table


def record(arch: Arch) -> dict[str, Any]:
    """The JSON of `mobilenets cost`."""
    costs = cost(arch)
    return {
        "name": arch.name,
        "full_name": arch.full_name,
        "width": arch.width,
        "rule": arch.rule,
        "resolution": arch.resolution,
        "classes": arch.classes,
        "macs": costs.macs,
        "params": costs.params,
        "size_bytes": costs.size_bytes._asdict(),
        "peak_activation_bytes": costs.peak_activation_bytes._asdict(),
        "layers": [
            {
                "name": layer.op.name,
                "kind": layer.op.kind,
                "kernel": layer.op.kernel,
                "stride": layer.op.stride,
                "groups": layer.op.groups,
                "in_channels": layer.op.in_channels,
                "out_channels": layer.op.out_channels,
                "in_size": layer.op.in_size,
                "out_size": layer.op.out_size,
                "macs": layer.macs,
                "params": layer.params,
                "live_values": layer.live_values,
            }
            for layer in costs.layers
        ],
    }


def show(arch: Arch, *, per_layer: bool) -> None:
    """The same as text."""
    costs = cost(arch)
    if per_layer:
        rows = [
            [layer.op.name, layer.op.kind, f"{layer.op.out_size}x{layer.op.out_size}",
             layer.op.out_channels, layer.macs, layer.params]
            for layer in costs.layers
        ]  # fmt: skip
        show_table(["layer", "kind", "output", "channels", "MACs", "params"], rows)
        print()
    print(f"{arch.full_name}, {arch.classes} classes")
    print(f"MACs    {costs.macs:>15,}")
    print(f"params  {costs.params:>15,}")
    show_table(
        ["bytes", "fp32", "fp16", "int8"],
        [["weights", *costs.size_bytes], ["peak activations", *costs.peak_activation_bytes]],
    )

"""What `mobilenets cost` prints."""

from __future__ import annotations

from typing import Any

from mobilenets.archs import Arch, cost
from mobilenets.archs.counts import Bytes
from mobilenets.archs.split_inference import peak_with_splits, split_counts
from mobilenets.cli.show import show_table


def record(arch: Arch, *, splits: int | None = None) -> dict[str, Any]:
    """The JSON of `mobilenets cost`; `splits` adds the peak against splits, up to so many."""
    costs = cost(arch)
    found: dict[str, Any] = {
        "name": arch.name,
        "full_name": arch.full_name,
        "width": arch.width,
        "rule": arch.rule,
        "resolution": arch.resolution,
        "classes": arch.classes,
        "outputs": {name: list(shape) for name, shape in arch.outputs.items()},
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
                "in_size": layer.op.in_size.written,
                "out_size": layer.op.out_size.written,
                "macs": layer.macs,
                "params": layer.params,
                "live_values": layer.live_values,
            }
            for layer in costs.layers
        ],
    }
    if splits is not None:
        found["splits"] = [
            {"splits": count, "peak_activation_bytes": peak._asdict()}
            for count, peak in _peaks(arch, splits)
        ]
    return found


def show(arch: Arch, *, per_layer: bool, splits: int | None = None) -> None:
    """The same as text."""
    costs = cost(arch)
    peaks = [] if splits is None else _peaks(arch, splits)
    if per_layer:
        rows = [
            [layer.op.name, layer.op.kind, f"{layer.op.out_size.height}x{layer.op.out_size.width}",
             layer.op.out_channels, layer.macs, layer.params]
            for layer in costs.layers
        ]  # fmt: skip
        show_table(["layer", "kind", "output", "channels", "MACs", "params"], rows)
        print()
    print(f"{arch.full_name}, {arch.classes} classes{_outputs(arch)}")
    print(f"MACs    {costs.macs:>15,}")
    print(f"params  {costs.params:>15,}")
    show_table(
        ["bytes", "fp32", "fp16", "int8"],
        [["weights", *costs.size_bytes], ["peak activations", *costs.peak_activation_bytes]],
    )
    if peaks:
        print()
        show_table(["splits", "fp32", "fp16", "int8"], [[count, *peak] for count, peak in peaks])


def _outputs(arch: Arch) -> str:
    """The named outputs, where they are more than the logits of the classes."""
    if arch.classifies:
        return ""
    shapes = (f"{name} {'x'.join(map(str, shape))}" for name, shape in arch.outputs.items())
    return f": {', '.join(shapes)}"


def _peaks(arch: Arch, most: int) -> list[tuple[int, Bytes]]:
    """Peak activation bytes at 1, 2, 4, ... and `most` splits."""
    return [(count, peak_with_splits(arch, count)) for count in split_counts(arch, most)]

"""How much each channel matters: one number a channel, summed over all layers that share it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from mobilenets.archs.checks import check_choice
from mobilenets.archs.op import Op
from mobilenets.errors import ArchError

IMPORTANCES = ("l2", "bn", "taylor")


@dataclass(frozen=True, eq=False)
class Importance:
    """A measure of channels and of whole rows.

    - l2: the squared norm of the filters that make the channel (NetAdapt's).
    - bn: the absolute scale of their batch norms; l2 for channels without batch norm.
    - taylor: |w dL/dw| summed over everything that goes with the channel, from `gradients` by
      parameter name: to first order, what the loss may change by.
    """

    kind: str
    weights: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor] | None = None

    def __post_init__(self) -> None:
        check_choice("importance", self.kind, IMPORTANCES)
        if (self.kind == "taylor") != (self.gradients is not None):
            raise ArchError(
                "importance taylor needs gradients by parameter name, and no other does, "
                f"got {self.kind} with{'' if self.gradients is not None else 'out'} gradients"
            )

    def of_channels(self, makers: Iterable[Op], readers: Iterable[Op]) -> Tensor:
        """One number for each channel that `makers` make and `readers` read."""
        makers = list(makers)
        if self.kind == "taylor":
            parts = [
                self._taylor(name, 0)
                for op in makers
                for name in (weight_name(op), *learned_vectors(op))
            ]
            parts += [self._taylor(weight_name(op), 1) for op in readers]
        elif self.kind == "bn" and any(op.norm for op in makers):
            parts = [self.weights[f"{op.name}.norm.weight"].abs() for op in makers if op.norm]
        else:
            parts = [_sum(self.weights[weight_name(op)].square(), 0) for op in makers]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    def of_row(self, layers: Iterable[Op]) -> float:
        """One number for the row of these layers."""
        layers = [op for op in layers if op.norm or self.kind != "bn"]
        return sum(float(self.of_channels([op], []).sum()) for op in layers)

    def _taylor(self, name: str, dim: int) -> Tensor:
        assert self.gradients is not None
        gradient, weight = self.gradients.get(name), self.weights[name]
        if gradient is None or gradient.shape != weight.shape:
            got = "nothing" if gradient is None else tuple(gradient.shape)
            raise ArchError(
                f"importance taylor needs the gradient of {name}, {tuple(weight.shape)}, got {got}"
            )
        return _sum((weight * gradient).abs(), dim)


def weight_name(op: Op) -> str:
    """The name of the layer's weight in the network's state."""
    if op.kind == "linear":
        return f"{op.name}.linear.weight"
    return f"{op.name}.conv.weight" if op.norm else f"{op.name}.weight"


def learned_vectors(op: Op) -> tuple[str, ...]:
    """The names of the layer's other parameters: batch norm's scale and shift, or the bias."""
    if op.norm:
        return f"{op.name}.norm.weight", f"{op.name}.norm.bias"
    return (weight_name(op).removesuffix("weight") + "bias",) if op.bias else ()


def vector_names(op: Op) -> tuple[str, ...]:
    """The names of all that the layer holds per channel: the above and batch norm's statistics."""
    running = ("running_mean", "running_var") if op.norm else ()
    return (*learned_vectors(op), *(f"{op.name}.norm.{name}" for name in running))


def _sum(values: Tensor, dim: int) -> Tensor:
    """The sum over all dimensions but one."""
    return values.movedim(dim, 0).flatten(1).sum(1) if values.ndim > 1 else values

"""RMSprop as TensorFlow defines it, which the papers' networks were trained with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class RMSpropTF(torch.optim.Optimizer):
    """TensorFlow's ApplyRMSProp:

        mean_square <- decay * mean_square + (1 - decay) * gradient^2      (from 1)
        moment      <- momentum * moment + lr * gradient / sqrt(mean_square + epsilon)
        weight      <- weight - moment

    PyTorch's own starts the mean square at 0, adds epsilon outside the root and applies the
    learning rate to the moment: other steps, most of all with an epsilon of 1 and a rate that
    falls. `weight_decay` is an L2 penalty: it adds weight_decay * weight to the gradient.
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float,
        decay: float = 0.9,
        momentum: float = 0.9,
        epsilon: float = 1.0,
        weight_decay: float = 0.0,
    ):
        settings = {"decay": decay, "momentum": momentum, "epsilon": epsilon}
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, **settings})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if weights:
                self._move(weights, group)
        return loss

    def _move(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        for weight in weights:
            if not self.state[weight]:
                self.state[weight]["mean_square"] = torch.ones_like(weight)
                self.state[weight]["moment"] = torch.zeros_like(weight)
        squares = [self.state[weight]["mean_square"] for weight in weights]
        moments = [self.state[weight]["moment"] for weight in weights]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        if group["weight_decay"]:
            gradients = list(torch._foreach_add(gradients, weights, alpha=group["weight_decay"]))
        torch._foreach_mul_(squares, group["decay"])
        torch._foreach_addcmul_(squares, gradients, gradients, value=1 - group["decay"])
        roots = torch._foreach_add(squares, group["epsilon"])
        torch._foreach_sqrt_(roots)
        torch._foreach_mul_(moments, group["momentum"])
        torch._foreach_addcdiv_(moments, gradients, roots, value=group["lr"])
        torch._foreach_sub_(weights, moments)

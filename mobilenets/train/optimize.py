"""Which weights learn at which rate: parameter groups, the optimizer, the schedule."""

from __future__ import annotations

from collections.abc import Iterator
from math import cos, pi
from typing import Any

import torch
from torch import nn

from mobilenets.nn import MobileNet
from mobilenets.train.quick import is_depthwise
from mobilenets.train.recipe import Recipe
from mobilenets.train.rmsprop import RMSpropTF


def optimizer(groups: list[dict[str, Any]], recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW, or RMSprop where the recipe has its constants."""
    rate, weight_decay = recipe.learning_rate, recipe.weight_decay
    if recipe.rmsprop is None:
        return torch.optim.AdamW(groups, lr=rate, weight_decay=weight_decay, fused=True)
    return RMSpropTF(
        groups, lr=rate, decay=recipe.rmsprop.decay, momentum=recipe.rmsprop.momentum,
        epsilon=recipe.rmsprop.epsilon, weight_decay=weight_decay,
    )  # fmt: skip


def parameter_groups(network: MobileNet, recipe: Recipe) -> list[dict[str, Any]]:
    """For each rate, the weights that decay and those that do not: batch norm, biases and, unless
    the recipe decays them, depthwise filters (V1 paper, section 3.2)."""
    head = (part for part in network.head.children() if not isinstance(part, nn.Identity))
    layers = [*network.rows, *head]
    last = len(layers) - 1
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for index, row in enumerate(layers):
        rate = recipe.learning_rate * recipe.layer_decay ** (last - index)
        for weight, decays in _weights(row, recipe):
            groups.setdefault((rate, decays), []).append(weight)
    return [
        {"params": weights, "lr": rate} | ({} if decays else {"weight_decay": 0.0})
        for (rate, decays), weights in sorted(groups.items(), key=lambda item: not item[0][1])
    ]


def _weights(row: nn.Module, recipe: Recipe) -> Iterator[tuple[nn.Parameter, bool]]:
    """The parameters of a row, and whether each decays."""
    for module in row.modules():
        spared = is_depthwise(module) and not recipe.decay_depthwise
        for weight in module.parameters(recurse=False):
            yield weight, weight.ndim > 1 and not spared


def rate_factor(step: float, total: float, recipe: Recipe) -> float:
    """The learning rate at `step` of `total` as a share of the peak.

    All of it while only the classifier learns; then a line up from 1/25 during the warm-up, then
    half a cosine down to 0, or the recipe's decay.
    """
    head = total * recipe.head_epochs // recipe.epochs
    if step < head:
        return 1.0
    step, total = step - head, total - head
    rising = recipe.warmup * total
    if step < rising:
        return 0.04 + 0.96 * step / rising
    if recipe.decay is not None:
        return recipe.decay.at(min(step / total, 1.0))
    done = min((step - rising) / max(total - rising, 1), 1.0)
    return 0.5 * (1 + cos(pi * done))

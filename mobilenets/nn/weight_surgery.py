"""Weights carried from one architecture to another: (weights, arch, arch') -> weights'.

Channels are cut by group (`archs.groups`): what is cut goes with its filter, its batch norm, its
depthwise filter, its gate and every slice that reads it. Those kept stay in order. Where arch' has
more channels, the new ones start as in a fresh network and nothing old reads them yet: the logits
stay, and training can use them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, replace
from functools import cache
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from mobilenets.archs import Arch, digest, ops
from mobilenets.archs.groups import Group, channel_groups
from mobilenets.archs.heads import Head
from mobilenets.archs.op import Op
from mobilenets.archs.rows import Row
from mobilenets.errors import ArchError, FileError
from mobilenets.nn.checkpoint import Checkpoint
from mobilenets.nn.importance import Importance, vector_names, weight_name
from mobilenets.nn.model import MobileNet


@torch.no_grad()
def surgery(
    checkpoint: Checkpoint,
    to: Arch,
    *,
    importance: str = "l2",
    gradients: Mapping[str, Tensor] | None = None,
    same_additions: bool = True,
    seed: int = 0,
) -> Checkpoint:
    """The checkpoint of `to` that starts from the weights of `checkpoint`.

    `to` is its arch with other channel counts, kernels (cut or zero-padded around the centre),
    strides, resolution, activations or classes (the classifier starts afresh). It may lack some of
    its squeeze-and-excite and some blocks that add their input. Of the channels, and of the blocks
    that may have gone, the most important stay: see `Importance`, `gradients` being the loss's by
    parameter name. Batch norm's statistics are carried; recompute them after a deep cut.

    Raises `ArchError` where `to` has a layer without origin, and where a block of `to` adds its
    input that did not, or the reverse. `same_additions=False` accepts the latter: V3-Small at width
    0.5 has one addition more than at 1.0. It is then a start for training, another function.
    """
    arch, weights = checkpoint.arch, checkpoint.weights
    _check_fits(weights, arch)
    measure = Importance(importance, weights, gradients)
    pairs = _pairs(arch, to, _origins(arch, to, measure), same_additions=same_additions)
    kept = _kept(arch, to, pairs, measure)
    needs_fresh = to.classes != arch.classes or any(
        new.out_channels > old.out_channels for old, new in pairs
    )
    fresh = _fresh(to, weights, seed) if needs_fresh else {}
    names = checkpoint.labels if to.classes == arch.classes else map(str, range(to.classes))
    return replace(
        checkpoint,
        arch=to,
        weights=_carry(weights, pairs, kept, fresh),
        labels=tuple(names),
        preprocess={**checkpoint.preprocess, "resolution": to.resolution},
        training={
            "surgery": {"from": digest(arch), "importance": importance},
            "before": checkpoint.training,
        },
    )


def _check_fits(weights: Mapping[str, Tensor], arch: Arch) -> None:
    for op in (op for op in ops(arch) if op.has_weights):
        window = () if op.kind == "linear" else (op.kernel, op.kernel)
        shapes: dict[str, tuple[int, ...]] = {
            weight_name(op): (op.out_channels, op.in_channels // op.groups, *window),
            **dict.fromkeys(vector_names(op), (op.out_channels,)),
        }
        for name, shape in shapes.items():
            got = tuple(weights[name].shape) if name in weights else "nothing"
            if got != shape:
                raise FileError(
                    f"the weights do not fit {arch.full_name}: {name} must be {shape}, got {got}"
                )


# ---------------------------------------------------------------------------- which row is which


def _origins(arch: Arch, to: Arch, measure: Importance) -> tuple[int, ...]:
    """For each row and the head of `to`, its own in `arch`: with the fewest columns changed, then
    with the least important rows left out."""
    spare = _spare_rows(arch, measure)

    @cache
    def best(i: int, j: int) -> _Way | None:
        """The cheapest way from the rows of `arch` from i on to those of `to` from j on."""
        if i == len(arch.parts):
            return _Way(0, 0.0, ()) if j == len(to.parts) else None
        ways = []
        if (
            j < len(to.parts)
            and _can_become(arch.parts[i], to.parts[j])
            and (on := best(i + 1, j + 1))
        ):
            changed = on.changed + _changes(arch.parts[i], to.parts[j])
            ways.append(_Way(changed, on.lost, (i, *on.rows)))
        if i in spare and (on := best(i + 1, j)):
            ways.append(on._replace(lost=on.lost + spare[i]))
        return min(ways, default=None)

    way = best(0, 0)
    if way is None or to.in_channels != arch.in_channels:
        raise ArchError(
            f"{to.full_name} cannot start from {arch.full_name}: it must have the same input and "
            "the same rows in the same order, less blocks that add their input, and no new "
            "squeeze-and-excite"
        )
    return way.rows


class _Way(NamedTuple):
    """Columns changed, importance of the rows left out, the rows that remain."""

    changed: int
    lost: float
    rows: tuple[int, ...]


def _spare_rows(arch: Arch, measure: Importance) -> dict[int, float]:
    """The rows that add their input, and how important they are."""
    walk = ops(arch)
    return {
        add.row: measure.of_row(op for op in walk if op.row == add.row and op.has_weights)
        for add in walk
        if add.kind == "add" and add.row < len(arch.rows)
    }


def _can_become(row: Row | Head, other: Row | Head) -> bool:
    new_se = getattr(other, "se", False) and not getattr(row, "se", False)
    return type(row) is type(other) and not new_se


def _changes(row: Row | Head, other: Row | Head) -> int:
    columns = (astuple(one) for one in (row, other))  # type: ignore[call-overload]
    return sum(a != b for a, b in zip(*columns, strict=True))


class _Pair(NamedTuple):
    """A layer of the old network and the one of the new that starts from it."""

    old: Op
    new: Op


def _pairs(arch: Arch, to: Arch, origins: tuple[int, ...], *, same_additions: bool) -> list[_Pair]:
    """Every layer with weights, paired, but for a classifier of other classes; raises `ArchError`
    where the layers are not the same."""
    old_ops = {op.name: op for op in ops(arch) if op.row in origins}
    new_ops = {
        op.name.replace(f"rows.{op.row}", f"rows.{origins[op.row]}", 1): op
        for op in ops(to)
        if op.row >= 0
    }
    for change, names in (("gain", new_ops.keys() - old_ops), ("lose", old_ops.keys() - new_ops)):
        for name in sorted(names):
            if name.startswith("head"):
                raise ArchError(
                    f"{to.full_name} cannot start from {arch.full_name}: "
                    f"its head would {change} {name}"
                )
            _, row, part = name.split(".", 2)
            if part.startswith("se.") or (part == "add" and not same_additions):
                continue
            part = {"add": "addition", "expand": "expansion layer"}.get(part, part)
            raise ArchError(
                f"{to.full_name} cannot start from {arch.full_name}: "
                f"row {row} of the latter would {change} its {part}"
            )
    same_classes = to.classes == arch.classes
    return [
        _Pair(old_ops[name], op)
        for name, op in new_ops.items()
        if op.has_weights and (same_classes or op.role != "classifier")
    ]


# ------------------------------------------------------------------------ which channels are kept


class _Kept(NamedTuple):
    """The old channels whose filters a layer keeps, and those that each filter still reads: of a
    depthwise filter all, its own. `places` says which channels of the new filter those become."""

    made: Tensor
    read: Tensor | None
    places: Tensor


def _kept(arch: Arch, to: Arch, pairs: list[_Pair], measure: Importance) -> list[_Kept]:
    """What each pair keeps: chosen once for all the layers that share the channels."""
    device = next(iter(measure.weights.values())).device

    @cache
    def choose(old: Group, new: Group) -> Tensor:
        if new.parts:
            kept = [choose(*pair) for pair in zip(old.parts, new.parts, strict=True)]
            return torch.cat(_one_behind_the_other(kept, old))
        if new.channels >= old.channels:
            return torch.arange(old.channels, device=device)
        scores = measure.of_channels(
            makers=[
                pair.old for pair in pairs if pair.old in old.makers and pair.new in new.makers
            ],
            readers=[
                pair.old for pair in pairs if pair.old in old.readers and pair.new in new.readers
            ],
        )
        return scores.argsort(descending=True, stable=True)[: new.channels].sort().values

    def places(old: Group, new: Group) -> Tensor:
        parts = zip(old.parts or (old,), new.parts or (new,), strict=True)
        firsts = [torch.arange(min(a.channels, b.channels), device=device) for a, b in parts]
        return torch.cat(_one_behind_the_other(firsts, new))

    old_made, old_read = _groups_by_layer(arch)
    new_made, new_read = _groups_by_layer(to)
    kept = []
    for old, new in pairs:
        made = choose(old_made[old.name], new_made[new.name])
        if new.is_depthwise:
            kept.append(_Kept(made, None, torch.zeros(1, dtype=torch.int64, device=device)))
        else:
            read = old_read[old.name], new_read[new.name]
            kept.append(_Kept(made, choose(*read), places(*read)))
    return kept


def _one_behind_the_other(channels: list[Tensor], group: Group) -> list[Tensor]:
    """Channels of each part of `group`, numbered as those of the whole."""
    starts = accumulate((part.channels for part in group.parts), initial=0)
    return [start + one for start, one in zip(starts, channels, strict=False)]


def _groups_by_layer(arch: Arch) -> tuple[dict[str, Group], dict[str, Group]]:
    """The group that each layer makes, and the one that it reads, by the layer's name."""
    groups = channel_groups(arch)
    return (
        {op.name: group for group in groups for op in group.makers},
        {op.name: group for group in groups for op in group.readers},
    )


# -------------------------------------------------------------------------------- the new weights


def _carry(
    weights: Mapping[str, Tensor],
    pairs: list[_Pair],
    kept: list[_Kept],
    fresh: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """The state of the new network: what is kept of the old one, the rest as in `fresh`, which is
    empty where there is no rest."""
    carried = {}
    for (old, new), (made, read, places) in zip(pairs, kept, strict=True):
        name = weight_name(new)
        filters = weights[weight_name(old)][made]
        filters = filters if read is None else filters[:, read]
        carried[name] = _filled(_at_kernel(filters, new.kernel), fresh.get(name), places)
        for old_name, new_name in zip(vector_names(old), vector_names(new), strict=True):
            carried[new_name] = _filled(weights[old_name][made], fresh.get(new_name), places)
        if new.norm:
            carried[_counter(new)] = weights[_counter(old)].clone()
    return carried | {name: tensor for name, tensor in fresh.items() if name not in carried}


def _at_kernel(filters: Tensor, kernel: int) -> Tensor:
    """Filters of another size, with the same centre: cut, or with zeros around."""
    if filters.ndim == 2:
        return filters
    return pad(filters, [(kernel - filters.shape[-1]) // 2] * 4).contiguous()


def _filled(kept: Tensor, fresh: Tensor | None, places: Tensor) -> Tensor:
    """What is kept, then what is fresh; what kept filters read, at `places`. No kept filter reads a
    new channel: such slices are 0."""
    if fresh is None:
        return kept
    new = fresh.clone()
    new[: len(kept)] = 0
    if kept.ndim == 1:
        new[: len(kept)] = kept
    else:
        new[: len(kept), places] = kept
    return new


def _counter(op: Op) -> str:
    return f"{op.name}.norm.num_batches_tracked"


def _fresh(to: Arch, weights: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """The state of a network before training, where and as precise as `weights` are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = MobileNet(to).state_dict()
    like = next(iter(weights.values()))
    return {
        name: tensor.to(like.device, like.dtype if tensor.is_floating_point() else tensor.dtype)
        for name, tensor in state.items()
    }

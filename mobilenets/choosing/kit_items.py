"""What a kit measures: the blocks and networks of a latency table for another device.

A small kit measures few of them. The blocks of its held-out networks are among those that it leaves
out, as most candidates' are: they are predicted by arithmetic, and the error is stated of that.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from mobilenets.archs import Arch, cost
from mobilenets.archs.parts import pieces
from mobilenets.archs.published import kin
from mobilenets.choosing.candidate import candidates
from mobilenets.choosing.latency_table import EMPTY, calibration_networks, held_out_networks
from mobilenets.choosing.table_build import Item, wanted_items

_CALIBRATION, _HELD_OUT, _OF_A_FAMILY = 16, 12, 2
# Weights: 8 MB. Phones take larger files, but they make a kit of hundreds of megabytes.
_MOST_WEIGHTS = 2_000_000


def kit_items(image_size: int | None, *, small: bool) -> list[Item]:
    """For images of `image_size` pixels (None: large ones)."""
    if not small:
        return wanted_items(image_size)
    space = [one.arch for one in candidates(1000, image_size)]
    families = groupby(sorted(space, key=_family), key=_family)
    chosen = [one for _, some in families for one in _spread(list(some), _OF_A_FAMILY)]
    built = [*_spread(calibration_networks(), _CALIBRATION), *chosen]
    held_out = _spread(held_out_networks(), _HELD_OUT)
    parts = dict.fromkeys(piece for arch in built for piece in pieces(arch)) | {EMPTY: None}
    networks = dict.fromkeys([*built, *held_out])
    return [*(Item("piece", one) for one in parts), *(Item("network", one) for one in networks)]


def _family(arch: Arch) -> str:
    return kin(arch.name)


def _spread(archs: Sequence[Arch], count: int) -> list[Arch]:
    """So many of those that are not too large, from the fewest MACs to the most."""
    costs = {arch: cost(arch) for arch in archs}
    fitting = [one for one in archs if costs[one].params <= _MOST_WEIGHTS]
    fitting.sort(key=lambda arch: costs[arch].macs)
    places = [(2 * at + 1) * len(fitting) // (2 * count) for at in range(count)]
    return [fitting[place] for place in places if fitting]

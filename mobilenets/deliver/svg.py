"""Plots as SVG, without any script: points, lines and their axes.

A panel is as wide as the page and has a fixed height. Places in it are percentages, so that text
and marks keep their size on a phone; paths, which take no percentages, stand in a stretched view of
1000 x 1000.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from math import ceil, floor, isfinite, log10
from typing import NamedTuple

# fmt: off
SHAPES = {
    "dot": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "circle": "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0z",
    "square": "M-5-5h10v10h-10z",
    "diamond": "M0-7 7 0 0 7-7 0z",
    "triangle-up": "M0-6 6 5H-6z",
    "triangle-down": "M0 6 6-5H-6z",
    "cross": "M-2-6h4v4h4v4h-4v4h-4v-4h-4v-4h4z",
    "hexagon": "M-6 0-3-5H3L6 0 3 5H-3z",
    "star": "M0-10 2.4-3.2 9.5-3.1 3.8 1.2 5.9 8.1 0 4-5.9 8.1-3.8 1.2-9.5-3.1-2.4-3.2z",
}
# fmt: on
_TICKS = 6  # at most, on a linear axis
# The marks' paths, once a page.
SYMBOLS = (
    '<svg width="0" height="0" style="position:absolute"><defs>'
    + "".join(f'<path id="{name}" d="{path}"/>' for name, path in SHAPES.items())
    + "</defs></svg>"
)
CSS = """
.plot { display: flow-root; margin: 12px 0; } .plot p { margin: 8px 0 0; color: var(--soft); }
.panel { display: block; width: calc(100% - 72px); margin: 14px 12px 58px 60px;
  overflow: visible; font-size: 15px; fill: var(--ink); }
.panel .grid { stroke: var(--line); } .panel .rule { stroke: currentColor; stroke-width: 2; }
.panel path, .legend path { fill: none; stroke: currentColor; vector-effect: non-scaling-stroke; }
.panel .line { stroke-width: 2; } .panel .dots { stroke-width: 4; stroke-linecap: round; }
.panel use, .legend use { fill: currentColor; }
.panel .solid, .legend .solid { stroke: var(--ink); stroke-width: 1; }
.panel use:hover { stroke: var(--ink); stroke-width: 3; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 18px; margin: 0; padding: 0; list-style: none; }
.legend svg { width: 28px; height: 18px; margin-right: 6px; vertical-align: middle; }
@media (max-width: 640px) { .panel .minor { display: none; } }
"""


class Tick(NamedTuple):
    """A value on an axis and its words; on a phone a `minor` one has none."""

    value: float
    words: str
    minor: bool = False


class Axis(NamedTuple):
    """From the value `low` to `high`, with its ticks."""

    title: str
    low: float
    high: float
    ticks: tuple[Tick, ...]
    log: bool = False

    def at(self, value: float) -> float:
        """0 at its low end, 1000 at its high one."""
        low, high, here = map(log10, (self.low, self.high, value)) if self.log else (
            self.low, self.high, value)  # fmt: skip
        return round(1000 * (here - low) / (high - low), 1)


def linear(title: str, values: Iterable[float], *, zero: bool = False) -> Axis:
    """An axis over these values, with round ticks; from 0 on with `zero`."""
    known = [one for one in values if isfinite(one)] or [0.0, 1.0]
    low, high = min([*known, 0.0] if zero else known), max(known)
    spare = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low if zero else low - spare, high + spare
    step = _step((high - low) / _TICKS)
    ticks = [step * index for index in range(ceil(low / step), floor(high / step) + 1)]
    return Axis(title, low, high, tuple(Tick(one, f"{one:.4g}") for one in ticks))


def by_epoch(count: int) -> Axis:
    """An axis over epochs 1 to `count`."""
    step = max(int(_step(count / _TICKS)), 1)
    ticks = [1, *range(step, count + 1, step)] if step > 1 else range(1, count + 1)
    spare = 0.03 * max(count - 1, 1)
    return Axis("epoch", 1 - spare, count + spare, tuple(Tick(one, str(one)) for one in ticks))


def logarithmic(title: str, values: Iterable[float], words: Callable[[float], str]) -> Axis:
    """A logarithmic axis over these values above 0; `words` are those of a tick's value."""
    known = [one for one in values if isfinite(one) and one > 0] or [1.0, 10.0]
    low, high = min(known) / 1.1, max(known) * 1.1
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    ticks = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    on = [one for one in ticks if low <= one <= high]
    if len(on) < 2:  # a narrow range
        on = [one.value for one in linear(title, known).ticks]
    many = len(on) > _TICKS - 1
    minor = [many and not log10(one).is_integer() for one in on]
    return Axis(title, low, high, tuple(map(Tick, on, map(words, on), minor)), log=True)


def _step(least: float) -> float:
    """1, 2 or 5 times a power of ten: the first that is at least so much."""
    power = 10.0 ** floor(log10(least))
    return next(digit * power for digit in (1, 2, 5, 10) if digit * power >= least * 0.999)


class Panel(NamedTuple):
    """Two axes, on which the methods draw; each gives SVG."""

    x: Axis
    y: Axis

    def _here(self, points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
        """Places from the top left corner, 0 to 1000; a point that is no number has none."""
        known = [(x, y) for x, y in points if isfinite(x) and isfinite(y)]
        return [(self.x.at(x), round(1000 - self.y.at(y), 1)) for x, y in known]

    def dots(self, points: Iterable[tuple[float, float]], colour: str, *, opacity: float) -> str:
        """Many small points in one path, each place once; they say nothing under the mouse."""
        places = dict.fromkeys((round(x), round(y)) for x, y in self._here(points))
        path = "".join(f"M{x} {y}h0" for x, y in places)
        return _stretched(f'<path class="dots c-{colour}" opacity="{opacity}" d="{path}"/>')

    def line(
        self, points: Iterable[tuple[float, float]], colour: str, *, dashed: bool = False
    ) -> str:
        path = "L".join(f"{x:g} {y:g}" for x, y in self._here(points))
        dash = ' stroke-dasharray="7 5"' if dashed else ""
        return _stretched(f'<path class="line c-{colour}"{dash} d="M{path}"/>') if path else ""

    def mark(self, x: float, y: float, shape: str, colour: str, *, words: str) -> str:
        """A mark that says `words` under the mouse, a line each."""
        solid = "" if shape == "dot" else " solid"
        return "".join(
            f'<use href="#{shape}" class="c-{colour}{solid}" x="{left / 10:g}%" y="{top / 10:g}%">'
            f"<title>{escape(words)}</title></use>"
            for left, top in self._here([(x, y)])
        )

    def rule(self, x: float, colour: str, dash: str) -> str:
        """A vertical line from top to bottom."""
        at = f"{self.x.at(x) / 10:g}%"
        return (
            f'<line class="rule c-{colour}" stroke-dasharray="{dash}" '
            f'x1="{at}" x2="{at}" y1="0" y2="100%"/>'
        )

    def draw(self, parts: Sequence[str], *, height: int) -> str:
        """The panel with its axes, as HTML."""
        across = "".join(_tick_below(self.x.at(one.value) / 10, one) for one in self.x.ticks)
        up = "".join(_tick_beside(100 - self.y.at(one.value) / 10, one) for one in self.y.ticks)
        title = f'<text x="50%" y="100%" dy="46" text-anchor="middle">{escape(self.x.title)}</text>'
        return (
            f"<p>{escape(self.y.title)}</p>"
            f'<svg class="panel" height="{height}" role="img" '
            f'aria-label="{escape(self.y.title)} by {escape(self.x.title)}">'
            f"{across}{up}{title}{''.join(parts)}</svg>"
        )


def _stretched(path: str) -> str:
    return (
        f'<svg viewBox="0 0 1000 1000" preserveAspectRatio="none" overflow="visible">{path}</svg>'
    )


def _tick_below(at: float, tick: Tick) -> str:
    minor, x = ' class="minor"' if tick.minor else "", f"{at:g}%"
    return (
        f'<line class="grid" x1="{x}" x2="{x}" y1="0" y2="100%"/>'
        f'<text{minor} x="{x}" y="100%" dy="21" text-anchor="middle">{escape(tick.words)}</text>'
    )


def _tick_beside(at: float, tick: Tick) -> str:
    return (
        f'<line class="grid" x1="0" x2="100%" y1="{at:g}%" y2="{at:g}%"/>'
        f'<text x="-8" y="{at:g}%" dy="5" text-anchor="end">{escape(tick.words)}</text>'
    )


def legend(entries: Iterable[tuple[str, str, str]]) -> str:
    """(label, shape, colour) each; the shape "line" or "dashes" is a line."""
    return f'<ul class="legend">{"".join(_entry(*one) for one in entries)}</ul>'


def _entry(label: str, shape: str, colour: str) -> str:
    solid = "" if shape == "dot" else " solid"
    key = f'<use href="#{shape}" class="c-{colour}{solid}" x="14" y="9"/>'
    if shape in ("line", "dashes"):
        dash = ' stroke-dasharray="7 5"' if shape == "dashes" else ""
        key = f'<path class="c-{colour}" stroke-width="2"{dash} d="M0 9h28"/>'
    return f"<li><svg>{key}</svg>{escape(label)}</li>"


def figure(*parts: str) -> str:
    """Legend and panels as one plot."""
    return f'<figure class="plot">{"".join(parts)}</figure>'

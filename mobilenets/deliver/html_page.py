"""Pieces of HTML: escaped text, tables, sections, the page around them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from html import escape
from typing import Any, NamedTuple

from mobilenets.deliver import svg

# Each colour by day and by night. The first six are Okabe and Ito's, told apart with any vision.
PALETTE = {
    "orange": ("#e69f00", "#e8ac2b"),
    "sky": ("#56b4e9", "#8fcdf2"),
    "blue": ("#0072b2", "#2f8fd0"),
    "green": ("#009e73", "#2fc196"),
    "red": ("#d55e00", "#f0813a"),
    "pink": ("#cc79a7", "#dd9abf"),
    "ink": ("#1c2733", "#e4eaf0"),
    "soft": ("#5a6774", "#9fabb7"),
    "line": ("#dfe5ea", "#313b45"),
    "wash": ("#d6e8f4", "#1e4260"),
    "panel": ("#f4f6f8", "#1e252c"),
    "ground": ("#ffffff", "#14191e"),
    "good": ("#00745b", "#00745b"),
    "bad": ("#b3400f", "#b3400f"),
}

CSS = """
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1060px; padding: 24px 16px 64px; color: var(--ink);
  background: var(--ground); font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0; }
h2 { font-size: 1.25rem; margin: 56px 0 8px; } h3 { font-size: 1rem; margin: 24px 0 8px; }
p { margin: 4px 0 12px; } .soft, .note { color: var(--soft); } .note { font-size: .95rem; }
.lead { font-size: 1.25rem; line-height: 1.4; margin: 16px 0; }
.verdict { display: flex; flex-wrap: wrap; gap: 12px; margin: 20px 0; }
.badge { flex: 1 1 260px; padding: 16px 20px; border-radius: 12px; color: #fff;
  background: var(--good); font-size: 1.3rem; font-weight: 600; line-height: 1.35; }
.badge.bad { background: var(--bad); }
.badge small { display: block; font-size: .95rem; font-weight: 400; margin-top: 2px; }
.complaint { border-left: 4px solid var(--bad); padding: 4px 12px; margin: 8px 0; }
.limit { margin: 12px 0; } .limit div { display: flex; justify-content: space-between; gap: 12px; }
.bar { height: 10px; border-radius: 5px; background: var(--line); overflow: hidden; }
.bar i { display: block; height: 100%; background: var(--good); }
.bar.bad i { background: var(--bad); }
.cards { display: grid; grid-template-columns: 1fr 1fr; gap: 12px; margin-bottom: 12px; }
.card { border: 1px solid var(--line); border-radius: 12px; padding: 10px 14px; }
.card b { display: block; font-size: 1.35rem; line-height: 1.3; }
.card span { display: block; color: var(--soft); font-size: .95rem; line-height: 1.35; }
.scroll { overflow-x: auto; max-width: 100%; margin: 8px 0; }
table { border-collapse: collapse; font-size: .95rem; overflow-wrap: break-word;
  font-variant-numeric: tabular-nums; }
td, th { padding: 5px 14px 5px 0; text-align: left; border-bottom: 1px solid var(--line);
  vertical-align: top; max-width: 26em; } th { color: var(--soft); font-weight: 600; }
td.n, th.n { text-align: right; white-space: nowrap; padding: 5px 8px; }
td.n + td:not(.n), th.n + th:not(.n) { padding-left: 14px; min-width: 9em; }
.tight td, .tight th { white-space: nowrap; padding: 4px 8px 4px 0; }
.tight td.n, .tight th.n { padding: 4px 4px 4px 10px; }
td.share { background: linear-gradient(var(--wash) 0 0) left / var(--share) 100% no-repeat; }
.gallery { display: grid; gap: 12px 10px; margin-bottom: 20px;
  grid-template-columns: repeat(auto-fill, minmax(98px, 1fr)); }
.gallery figure { margin: 0; font-size: .95rem; line-height: 1.3; }
.gallery img { display: block; width: 96px; height: 96px; image-rendering: pixelated;
  border-radius: 8px; border: 1px solid var(--line); margin-bottom: 4px; }
.sides { display: grid; grid-template-columns: minmax(0, 1fr); gap: 0 32px; }
.steps { padding-left: 24px; } .steps li { margin: 0 0 14px; } .steps pre { margin: 6px 0;
  white-space: pre-wrap; }
.heat { border-collapse: separate; border-spacing: 1px; line-height: 1; }
.heat th, .heat td { border: 0; padding: 0 4px; vertical-align: middle; }
.heat td { position: relative; z-index: 0; height: 28px; min-width: 28px; text-align: center;
  background: var(--panel); } .heat td.strong { color: #fff; }
.heat td::before { content: ""; position: absolute; z-index: -1; inset: 0; background: var(--red);
  opacity: var(--share); } .heat td.right::before { background: var(--blue); }
.heat tr :first-child { position: sticky; left: 0; z-index: 1; background: var(--ground);
  text-align: right; padding: 0 8px 0 0; white-space: nowrap; }
.heat thead th + th { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left;
  vertical-align: bottom; white-space: nowrap; padding: 6px 4px 0; }
summary { cursor: pointer; color: var(--blue); padding: 8px 0; }
pre { background: var(--panel); padding: 12px 14px; border-radius: 10px; overflow-x: auto;
  font-size: .95rem; line-height: 1.5; overflow-wrap: normal; }
@media (min-width: 720px) { .cards { grid-template-columns: repeat(4, 1fr); } }
@media (min-width: 560px) {
  .tight td, .tight th { padding-right: 18px; }
  .tight td.n, .tight th.n { padding: 4px 8px 4px 16px; } }
@media (min-width: 900px) { .sides { grid-template-columns: minmax(0, 3fr) minmax(0, 2fr); } }
"""

# On a stronger colour text is white.
_STRONG = 0.6


class Share(NamedTuple):
    """A table's cell with a bar behind it: the text, and what part of the cell the bar fills."""

    text: str
    part: float


def page(title: str, body: Iterable[str]) -> str:
    """A whole page, nothing outside it and no script: the policy lets the browser load and run
    nothing, whatever the page says."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_variables()}{CSS}{svg.CSS}</style></head>"
        f"<body>{svg.SYMBOLS}{''.join(body)}</body></html>\n"
    )


def _variables() -> str:
    """The palette as CSS variables, and a class `c-blue` for each colour."""
    day, night = (
        "".join(f"--{name}: {shades[at]}; " for name, shades in PALETTE.items()) for at in (0, 1)
    )
    classes = "".join(f".c-{name} {{ color: var(--{name}); }}\n" for name in PALETTE)
    return (
        f":root {{ color-scheme: light dark; {day}}}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {night}}} }}\n{classes}"
    )


def section(title: str, *parts: str) -> str:
    """A heading and what stands under it."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def heading(title: str, below: str) -> str:
    """The page's title, long names breakable after underscores, and a line below it."""
    words = escape(title).replace("_", "_<wbr>")
    return f'<h1>{words}</h1><p class="soft">{escape(below)}</p>'


def subtitle(text: str) -> str:
    """A heading inside a section."""
    return f"<h3>{escape(text)}</h3>"


def paragraph(text: str, *, kind: str = "") -> str:
    """Text, escaped; `kind` is lead, note or complaint."""
    return f"<p{f' class={kind}' if kind else ''}>{escape(text)}</p>"


def table(header: Sequence[str], rows: Iterable[Sequence[Any]], *, tight: bool = False) -> str:
    """A table that scrolls in its own box; columns of numbers and shares stand to the right, a
    `Decimal` with all its places. A `tight` one breaks no line: for short words."""
    rows = list(rows)
    numbers = [bool(rows) and _is_number(cell) for cell in (rows[0] if rows else header)]
    head = "".join(
        f"<th{' class=n' if number else ''}>{escape(cell)}</th>"
        for cell, number in zip(header, numbers, strict=True)
    )
    body = "".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in rows)
    kind = " class=tight" if tight else ""
    return f'<div class="scroll"><table{kind}><tr>{head}</tr>{body}</table></div>'


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal | Share) and not isinstance(value, bool)


def _cell(value: Any) -> str:
    if isinstance(value, Share):
        percent = 100 * min(max(value.part, 0), 1)
        return f'<td class="n share" style="--share:{percent:.1f}%">{escape(value.text)}</td>'
    text = f"{value:,}" if isinstance(value, int) and _is_number(value) else str(value)
    return f"<td{' class=n' if _is_number(value) else ''}>{escape(text)}</td>"


def card(value: str, meaning: str) -> str:
    """One key figure."""
    return f'<div class="card"><b>{escape(value)}</b><span>{escape(meaning)}</span></div>'


def badge(good: bool, yes: str, no: str, note: str) -> str:
    """The verdict on one question."""
    text = escape(f"✓ {yes}" if good else f"✗ {no}")
    return f'<div class="badge{"" if good else " bad"}">{text}<small>{escape(note)}</small></div>'


def limit_bar(text: str, fraction: float) -> str:
    """How much of a limit is used."""
    state = "bar" if fraction <= 1 else "bar bad"
    return (
        f'<div class="limit"><div><span>{escape(text)}</span><b>{100 * fraction:.1f} %</b></div>'
        f'<div class="{state}"><i style="width:{100 * min(fraction, 1):.1f}%"></i></div></div>'
    )


def picture(png: str, name: str, caption: str, note: str = "") -> str:
    """A base64 PNG with its caption; `name` shows where the mouse rests."""
    below = f'<br><span class="soft">{escape(note)}</span>' if note else ""
    return (
        f'<figure><img alt="{escape(name)}" title="{escape(name)}" '
        f'src="data:image/png;base64,{escape(png)}">'
        f"<figcaption>{escape(caption)}{below}</figcaption></figure>"
    )


def code(text: str) -> str:
    """Text as it is, in a box."""
    return f"<pre>{escape(text)}</pre>"


def steps(entries: Iterable[tuple[str, str]]) -> str:
    """A numbered list of what to do and the command for it, which may be none."""
    items = (
        f"<li>{escape(what)}{code(command) if command else ''}</li>" for what, command in entries
    )
    return f'<ol class="steps">{"".join(items)}</ol>'


def heat_map(names: Sequence[str], cells: Sequence[Sequence[tuple[str, str, float]]]) -> str:
    """A square table: of each cell the text, what it says under the mouse, and how strong its
    colour is, 0 to 1. The diagonal is blue, the rest red."""
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    rows = (
        f"<tr><th>{escape(name)}</th>"
        f"{''.join(_heat_cell(cell, right=row == column) for column, cell in enumerate(line))}</tr>"
        for row, (name, line) in enumerate(zip(names, cells, strict=True))
    )
    return (
        f'<div class="scroll"><table class="heat"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _heat_cell(cell: tuple[str, str, float], *, right: bool) -> str:
    text, words, part = cell
    kinds = " ".join(["right"] * right + ["strong"] * (part > _STRONG))
    kind = f' class="{kinds}"' if kinds else ""
    return f'<td{kind} style="--share:{part:.2g}" title="{escape(words)}">{escape(text)}</td>'


def details(summary: str, *parts: str) -> str:
    """Something to unfold."""
    return f"<details><summary>{escape(summary)}</summary>{''.join(parts)}</details>"

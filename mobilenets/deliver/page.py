"""Pieces of HTML: escaped text, tables, sections, the page around them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

CSS = """
:root { color-scheme: light; --ink: #1c2733; --soft: #5d6b79; --line: #dfe5ea; --good: #00745b;
  --bad: #b3400f; --blue: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1060px; padding: 24px 16px 64px; color: var(--ink);
  background: #fff; font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 4px; }
h2 { font-size: 1.2rem; margin: 48px 0 8px; }
p { margin: 4px 0 12px; } .soft { color: var(--soft); font-size: .9rem; }
.verdict { display: flex; flex-wrap: wrap; gap: 12px; margin: 20px 0; }
.badge { flex: 1 1 240px; padding: 14px 18px; border-radius: 10px; color: #fff;
  background: var(--good); font-size: 1.15rem; font-weight: 600; }
.badge.bad { background: var(--bad); } .badge small { display: block; font-weight: 400; }
.cards { display: grid; grid-template-columns: 1fr 1fr; gap: 12px; margin-bottom: 10px; }
@media (min-width: 720px) { .cards { grid-template-columns: repeat(4, 1fr); } }
.card { border: 1px solid var(--line); border-radius: 10px; padding: 10px 14px; }
.card b { display: block; font-size: 1.3rem; } .card span { color: var(--soft); font-size: .85rem; }
.limit { margin: 8px 0; } .bar { height: 10px; border-radius: 5px; background: var(--line); }
.bar i { display: block; height: 100%; border-radius: 5px; background: var(--good); }
.bar.bad i { background: var(--bad); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; }
td, th { padding: 4px 12px 4px 0; text-align: left; border-bottom: 1px solid var(--line);
  white-space: nowrap; vertical-align: top; } td.n, th.n { text-align: right; }
.gallery { display: grid; gap: 12px; margin-bottom: 20px;
  grid-template-columns: repeat(auto-fill, minmax(110px, 1fr)); }
.gallery figure { margin: 0; font-size: .82rem; line-height: 1.3; } .gallery img { width: 96px;
  height: 96px; image-rendering: pixelated; border-radius: 6px; border: 1px solid var(--line); }
pre { background: #f4f6f8; padding: 12px; border-radius: 8px; overflow-x: auto; font-size: .85rem; }
"""


def page(title: str, body: Iterable[str], script: str) -> str:
    """A whole page, nothing outside it: `script` is plotly.js."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{CSS}</style><script>{script}</script></head>"
        f"<body>{''.join(body)}</body></html>\n"
    )


def section(title: str, *parts: str) -> str:
    """A heading and what stands under it."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def paragraph(text: str, *, soft: bool = False) -> str:
    """Text, escaped."""
    return f"<p{' class=soft' if soft else ''}>{escape(text)}</p>"


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table that scrolls in its own box; numbers to the right."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def _cell(value: Any) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    text = f"{value:,}" if isinstance(value, int) and number else str(value)
    return f"<td{' class=n' if number else ''}>{escape(text)}</td>"


def card(value: str, meaning: str) -> str:
    """One key figure."""
    return f'<div class="card"><b>{escape(value)}</b><span>{escape(meaning)}</span></div>'


def badge(good: bool, yes: str, no: str, note: str) -> str:
    """The verdict on one question."""
    text = escape(yes if good else no)
    return f'<div class="badge{"" if good else " bad"}">{text}<small>{escape(note)}</small></div>'


def limit_bar(text: str, fraction: float) -> str:
    """How much of a limit is used."""
    state = "bar" if fraction <= 1 else "bar bad"
    width = f"{100 * min(fraction, 1):.1f}%"
    return (
        f'<div class="limit">{escape(text)}<div class="{state}"><i style="width:{width}"></i></div>'
        "</div>"
    )


def picture(png: str, name: str, caption: str) -> str:
    """A base64 PNG with its caption; `name` shows where the mouse rests."""
    return (
        f'<figure><img alt="{escape(name)}" title="{escape(name)}" '
        f'src="data:image/png;base64,{escape(png)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )

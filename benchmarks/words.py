"""How the pages read: words, median words a sentence, and the share of sentences over 30 words.

    python benchmarks/words.py                       # README, CONTRIBUTING and docs/ as they are
    python benchmarks/words.py --revision main       # the same pages of a git revision
    python benchmarks/words.py --worst 10            # and the longest sentences

Code blocks, tables, headings and HTML are left out. A list item is a sentence, or several.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from statistics import median

LONG = 30
ROOT = Path(__file__).parents[1]
# Dots that end no sentence.
_ABBREVIATED = re.compile(r"\b(e\.g|i\.e|vs|etc|al|cf|fig)\.", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<=[.!?])[)\"”*]*\s+(?=[\"“(`*]*[A-Z0-9`-])")


def prose(markdown: str) -> list[str]:
    """The paragraphs and list items of a page, without code, tables, headings and markup."""
    text = re.sub(r"```.*?```", "", markdown, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    blocks: list[list[str]] = [[]]
    for line in text.splitlines():
        bare = line.strip()
        if not bare or bare.startswith(("|", "#", "<", "!!!", "???", "![")) or _is_code(line):
            blocks.append([])
            continue
        if re.match(r"([-*]|\d+\.)\s", bare):
            blocks.append([])
            bare = re.sub(r"^([-*]|\d+\.)\s+", "", bare)
        blocks[-1].append(bare)
    return [_plain(" ".join(block)) for block in blocks if block]


def _is_code(line: str) -> bool:
    """An indented block; lines that go on after a list item are indented by less."""
    return line.startswith("    ")


def _plain(text: str) -> str:
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"`[^`]*`", "Code", text)  # a name or a command counts as a word
    return _ABBREVIATED.sub(lambda match: match[1], text)


def sentences(markdown: str) -> list[str]:
    """Its sentences."""
    found = (piece for block in prose(markdown) for piece in _SENTENCE_END.split(block))
    return [one for one in found if words(one)]


def words(sentence: str) -> int:
    return len([word for word in sentence.split() if re.search(r"\w", word)])


def pages(revision: str | None) -> Iterator[tuple[str, str]]:
    """The name and text of each page, here or of a git revision."""
    if revision is None:
        for path in [*ROOT.glob("*.md"), *sorted(ROOT.glob("docs/**/*.md"))]:
            yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
        return
    for name in _git("ls-tree", "-r", "--name-only", revision).splitlines():
        if name.endswith(".md") and ("/" not in name or name.startswith("docs/")):
            yield name, _git("show", f"{revision}:{name}")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description="How the pages read.")
    parser.add_argument("--revision", help="a git revision, in place of the files here")
    parser.add_argument("--worst", type=int, default=0, help="print so many longest sentences")
    options = parser.parse_args()
    print(f"{'page':42} {'words':>6} {'median':>6} {f'over {LONG}':>8}")
    everything, total = list[tuple[str, str]](), 0
    for name, text in pages(options.revision):
        found = sentences(text)
        total += _print_row(name, found)
        if name != "CHANGELOG.md":
            everything += [(name, one) for one in found]
    _print_row("all but CHANGELOG.md", [one for _, one in everything])
    for name, one in sorted(everything, key=lambda pair: -words(pair[1]))[: options.worst]:
        print(f"\n{name}, {words(one)} words: {one}")


def _print_row(name: str, found: list[str]) -> int:
    counts = [words(one) for one in found]
    if not counts:
        print(f"{name:42} {0:6} {'-':>6} {'-':>8}")
        return 0
    share = 100 * sum(count > LONG for count in counts) / len(counts)
    print(f"{name:42} {sum(counts):6,} {median(counts):6.0f} {share:6.0f} %")
    return sum(counts)


if __name__ == "__main__":
    main()

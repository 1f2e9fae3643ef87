"""Every link of the built site that stays on it leads somewhere, to the anchor, and nothing is
loaded from elsewhere.

    python docs/check_links.py site
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADED = {"script": "src", "img": "src", "iframe": "src"}  # what a browser fetches by itself


class _Page(HTMLParser):
    """The anchors of a page, its links, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors, self.links, self.loaded = set[str](), list[str](), list[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value for name, value in attrs if value}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        target = found.get(_LOADED.get(tag, "href"))
        if target is None:
            return
        self.links.append(target)
        if tag in _LOADED or (tag == "link" and found.get("rel") == "stylesheet"):
            self.loaded.append(target)


def complaints(site: Path) -> list[str]:
    """A line for each link that leads nowhere, and for each thing loaded from elsewhere."""
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    found = []
    for path, page in pages.items():
        if path.name == "404.html":  # its links are absolute: for a server
            continue
        name = path.relative_to(site)
        found += [f"{name} loads {one}" for one in page.loaded if urlsplit(one).netloc]
        found += [f"{name}: {one}" for one in page.links if not _leads(one, path, pages)]
    return found


def _leads(link: str, path: Path, pages: dict[Path, _Page]) -> bool:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return True
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return False
    anchored = target in pages and parts.fragment
    return not anchored or unquote(parts.fragment) in pages[target].anchors


if __name__ == "__main__":
    folder = Path(sys.argv[1]).resolve()
    wrong = complaints(folder)
    print(*wrong, sep="\n", end="\n" if wrong else "")
    print(f"{len(list(folder.rglob('*.html')))} pages, {len(wrong)} complaints", file=sys.stderr)
    sys.exit(bool(wrong))

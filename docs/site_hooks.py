"""What the site has beside docs/: the measured figures, from benchmarks/results.

Pages link to them as they lie in the repository; on the site they are in results/.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
_TO_RESULTS = re.compile(r"\]\((?:\.\./)+benchmarks/results/")
_TO_DOCS = re.compile(r"\]\(\.\./\.\./docs/")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the results: they are reached from the pages, not from the menu."""
    for path in sorted(RESULTS.iterdir()):
        text = path.read_text(encoding="utf-8")
        text = _TO_DOCS.sub("](../", text) if path.suffix == ".md" else text
        page = File.generated(config, f"results/{path.name}", content=text)
        page.inclusion = InclusionLevel.NOT_IN_NAV
        files.append(page)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links to the results as they are on the site."""
    up = "../" * page.file.src_uri.count("/")
    return _TO_RESULTS.sub(f"]({up}results/", markdown)

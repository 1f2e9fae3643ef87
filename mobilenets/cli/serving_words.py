"""What `mobilenets serve` prints."""

from __future__ import annotations

import sys

from mobilenets.commands.serve import Page

_LAN = """Safe to open to your network: only who has the link sees the page; it holds these networks
          and nothing else of this machine, and takes results of bounded size. It is plain
          http, so others on the network may read along."""
_USB = """A phone on USB (Android): run `adb reverse tcp:{port} tcp:{port}`, then open the link
          there. A phone on the same network: --lan."""


def show(page: Page, *, lan: bool) -> None:
    """Where the page is, and how a phone gets there."""
    advice = _LAN if lan else _USB.format(port=page.server.server_address[1])
    print(f"page      {page.server.url}")
    print(f"networks  {', '.join(page.names)}")
    print(f"          {advice}")
    print("          Ctrl-C ends it.", flush=True)


def received(words: str) -> None:
    """Results that have come: on stderr, so that --json is one value."""
    print(words, file=sys.stderr, flush=True)

"""Drives the page of `mobilenets serve` in a headless Chromium as a phone would, and looks at it.

    pip install playwright
    mobilenets serve RUN mobilenet_v3_small --port 8711
    python benchmarks/browser_page.py http://127.0.0.1:8711/TOKEN/ SCREENSHOTS PICTURE

Prints what the page says: times, the classifier's answers for PICTURE and for the camera's picture
(Chromium's test pattern), whether its answers are those of the computer, and what the console was
told. Ends with status 1 where that was told of an error.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = "/usr/bin/chromium"
# fmt: off
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
]
# fmt: on
PHONE = {
    "viewport": {"width": 360, "height": 780},
    "device_scale_factor": 2,
    "has_touch": True,
    "is_mobile": True,
}
DESKTOP = {"viewport": {"width": 1280, "height": 800}}
LONG_MS = 3_600_000


@contextmanager
def shown(browser: Browser, url: str, told: list[str], **how: object) -> Iterator[Page]:
    context = browser.new_context(**how)
    page = context.new_page()
    page.on("console", lambda one: told.append(f"{one.type}: {one.text}"))
    page.on("pageerror", lambda one: told.append(f"error: {one}"))
    page.on("requestfailed", lambda one: told.append(f"error: {one.url} failed"))
    page.goto(url)
    expect(page.locator("#start")).to_be_enabled(timeout=60_000)
    yield page
    context.close()


def wide(page: Page) -> list[str]:
    """What stands out of the window to the right."""
    return page.evaluate(
        """() => [...document.querySelectorAll("body *")].filter(
            (one) => one.getBoundingClientRect().right > innerWidth + 1
        ).map((one) => one.tagName)"""
    )


def small(page: Page) -> list[str]:
    """What can be touched and is lower than 44 pixels."""
    return page.evaluate(
        """() => [...document.querySelectorAll("button, select, label, summary")].filter((one) => {
            const { height } = one.getBoundingClientRect();
            return height > 0 && height < 44;
        }).map((one) => one.outerHTML.slice(0, 60))"""
    )


def measure(page: Page, shots: Path) -> None:
    page.tap("#start")
    page.wait_for_timeout(3000)
    page.screenshot(path=shots / "measuring.png")
    expect(page.locator("#stop")).to_be_hidden(timeout=LONG_MS)
    expect(page.locator("#sent")).not_to_be_empty(timeout=20_000)
    print(page.inner_text("#status"), page.inner_text("#sent"), page.inner_text("#times"), sep="\n")


def try_classifier(page: Page, picture: str) -> None:
    page.tap("#check")
    expect(page.locator("#same-status")).to_contain_text("images", timeout=120_000)
    print(page.inner_text("#same-status"))
    page.set_input_files("#file", picture)
    expect(page.locator("#answers li")).not_to_have_count(0, timeout=60_000)
    print(page.inner_text("#try-status"), page.inner_text("#answers"), sep="\n")
    page.tap("#camera")
    expect(page.locator("#try-status")).not_to_have_text("", timeout=60_000)
    page.wait_for_timeout(3000)
    print(page.inner_text("#try-status"))
    page.tap("#camera")


def main(url: str, folder: str, picture: str) -> int:
    shots, told = Path(folder), list[str]()
    shots.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        with shown(browser, url, told, **PHONE) as page:
            page.screenshot(path=shots / "phone-start.png", full_page=True)
            measure(page, shots)
            if page.locator("#try").is_visible():
                try_classifier(page, picture)
            page.screenshot(path=shots / "phone-end.png", full_page=True)
            print(page.inner_text("#facts"))
            print(f"too wide: {wide(page)}; too low to touch: {small(page)}")
        with shown(browser, url, told, color_scheme="dark", **PHONE) as page:
            page.screenshot(path=shots / "phone-dark.png", full_page=True)
        with shown(browser, url, told, **DESKTOP) as page:
            page.screenshot(path=shots / "desktop.png", full_page=True)
        browser.close()
    print(f"console: {told}")
    return any(one.startswith("error") for one in told)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""The page's own code: it resizes pictures as Pillow does and needs nothing from elsewhere.

Its JavaScript runs in node, where that is installed; benchmarks/browser_page.py drives the whole
page in a browser.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mobilenets.data import Preprocess
from mobilenets.deliver.tried import rule_of

PAGE = Path(str(files("mobilenets.devices") / "page"))
NODE = shutil.which("node")
in_node = pytest.mark.skipif(NODE is None, reason="node is not installed")


def run_module(name: str, program: str, given: Any) -> Any:
    """What `program`, which sees the module's exports as `page` and `given`, returns."""
    source = (
        f'import * as page from "{(PAGE / name).as_uri()}";'
        'import { readFileSync } from "node:fs";'
        'const given = JSON.parse(readFileSync(0, "utf8"));'
        f"const run = async () => {{ {program} }};"
        "console.log(JSON.stringify(await run()));"
    )
    done = subprocess.run(
        [str(NODE), "--no-warnings", "--experimental-default-type=module", "--input-type=module",
         "-e", source],
        input=json.dumps(given), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


@in_node
@pytest.mark.parametrize("size", [(61, 90), (90, 61), (32, 32), (7, 5), (300, 31), (31, 200)])
@pytest.mark.parametrize(
    "rule",
    [
        Preprocess(32),
        Preprocess(32, crop=0.875, interpolation="bicubic"),
        Preprocess((24, 40)),
        Preprocess((24, 40), crop=0.9, resize="stretch"),
        Preprocess(33, resize="stretch", interpolation="bicubic"),
    ],
)
def test_a_picture_is_resized_and_cut_to_the_pixel_as_on_the_computer(
    rule: Preprocess, size: tuple[int, int]
):
    width, height = size
    image = np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)
    opaque = np.dstack([image, np.full((height, width), 255, np.uint8)])

    seen = run_module(
        "pictures.js",
        "return [...page.seen(given.rule, Uint8ClampedArray.from(given.pixels), ...given.size)]",
        {"rule": rule_of(rule), "pixels": opaque.ravel().tolist(), "size": size},
    )

    expected = rule(torch.from_numpy(image).permute(2, 0, 1)).permute(1, 2, 0).numpy()
    found = np.array(seen, np.uint8).reshape(*rule.size, 4)
    assert np.array_equal(found[..., :3], expected)


@in_node
def test_pixels_become_the_floats_that_the_artifact_takes():
    pixels = [value for value in range(256) for _ in range(4)]

    planes = run_module(
        "pictures.js", "return [...page.planes(Uint8ClampedArray.from(given))]", pixels
    )

    expected = np.arange(256, dtype=np.float32) / np.float32(255)
    assert np.array_equal(np.array(planes, np.float32), np.tile(expected, 3))


@in_node
def test_chances_are_those_of_softmax_or_of_each_label_alone():
    found = run_module(
        "pictures.js", "return [page.chances(given, false), page.chances(given, true)]", [1, 2, 900]
    )

    assert found == [[0, 0, 1], pytest.approx([0.73106, 0.8808, 1], rel=1e-4)]


# A clock that counts 10 ms steps, and networks whose runs take so many ms of it.
FAKE = """
let now = 0;
const clock = () => Math.floor(now / given.tick) * given.tick;
const made = (item, ms) => new page.Network({
  inputMetadata: [{ name: "image", shape: ["batch", 3, 2, 2] }],
  newTensor: (numbers, shape) => ({ numbers, shape }),
  run: async () => { now += ms * (now > given.hot ? 2 : 1); },
  release: async () => {},
}, item, clock);
const pause = async () => {};
"""


def measured(networks: str, *, seconds: float, tick: float, hot: float = 1e9) -> Any:
    """What the page finds of these, beside a reference that takes 1 ms, on a phone that is half as
    fast from `hot` ms on."""
    return run_module(
        "timing.js",
        f"{FAKE} return page.measure([{networks}], [made(null, 1)], {{ seconds: {seconds}, "
        "tickMs: given.tick, pause, told() {} })",
        {"tick": tick, "hot": hot},
    )


@in_node
def test_a_short_run_is_timed_with_others_so_that_the_clock_is_fine_enough():
    (found,) = measured("made(0, 0.5)", seconds=1, tick=0.1)

    assert found["group"] == 10  # 5 ms, 50 steps of the clock
    assert np.median(found["times_ms"]) == pytest.approx(0.5, rel=0.03)
    assert len(found["times_ms"]) * found["group"] * 0.5 >= 1000
    assert len(found["times_ms"]) % found["burst"] == 0
    assert found["reference_ms"] == pytest.approx(1, rel=0.03)
    assert found["drift"] == pytest.approx(1, rel=0.05)


@in_node
def test_a_long_run_is_timed_fifty_times_at_least():
    found = measured("made(0, 400), made(1, 3)", seconds=5, tick=0.005)

    assert [one["group"] for one in found] == [1, 1]
    assert 50 <= len(found[0]["times_ms"]) <= 52
    assert found[0]["first_ms"] == pytest.approx(400)
    assert 5000 <= 3 * len(found[1]["times_ms"]) <= 5400


@in_node
def test_a_phone_that_gets_slower_is_seen_by_the_reference():
    (found,) = measured("made(0, 4)", seconds=5, tick=0.005, hot=3500)

    assert found["drift"] == pytest.approx(2, rel=0.01)


@in_node
def test_an_item_of_a_table_counts_by_its_undisturbed_burst():
    found = run_module(
        "timing.js",
        FAKE
        + """const items = [made(7, 2), made(8, 5)];
        items[1].isNetwork = true;
        return page.measureItems(items, [made(null, 1)], { tickMs: 0.005, pause })""",
        {"tick": 0.005, "hot": 180},
    )

    assert [one["item"] for one in found] == [7, 8]
    assert [one["ms"] for one in found] == [pytest.approx(2, rel=0.01), pytest.approx(5, rel=0.01)]
    assert [one["reference_ms"] for one in found] == [pytest.approx(1, rel=0.01)] * 2
    assert [one["noisy"] for one in found] == [False, False]


@in_node
def test_the_step_of_the_clock_is_found():
    step = run_module(
        "timing.js", "let now = 0; return page.tick(() => 0.1 * Math.floor((now += 1) / 7))", 0
    )

    assert step == pytest.approx(0.1)


@pytest.mark.parametrize("file", sorted(PAGE.iterdir()), ids=lambda path: path.name)
def test_the_page_names_no_other_place(file: Path):
    assert re.findall(r"https?://(?!localhost\b)|url\(|@import|\bon\w+=|<style|style=",
                      file.read_text()) == []  # fmt: skip


def test_the_page_has_no_script_of_its_own_in_the_html():
    scripts = re.findall(r"<script[^>]*>([^<]*)</script>", (PAGE / "index.html").read_text())

    assert scripts == [""]


def test_every_part_that_the_code_asks_for_is_on_the_page():
    code = (PAGE / "page.js").read_text()
    ids = set(re.findall(r'(?:part|show|complain)\("([\w-]+)"', code))

    assert ids <= set(re.findall(r'id="([\w-]+)"', (PAGE / "index.html").read_text()))

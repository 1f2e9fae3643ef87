"""`mobilenets look`: a page of images with their labels, for every task."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mobilenets.cli.app import app
from mobilenets.commands.look import Looking, look
from mobilenets.errors import DataError
from mobilenets.tasks.attributes import AttributeTable
from mobilenets.tasks.boxes import BoxLists
from mobilenets.tasks.classification import ClassNumbers
from tests.box_sets import CLASSES, Drawing, picture, write_coco


def drawings(count: int = 20) -> list[Drawing]:
    boxes = [(8, 6, 24, 18, "cat"), (32, 24, 64, 48, "dog")]
    return [Drawing(f"{at:02}", (64, 48), boxes[: 1 + at % 2]) for at in range(count)]


def seen(data: Path, **more: object) -> tuple[str, dict[str, object]]:
    """The page, and its JSON."""
    page = data.parent / "look.html"
    found = look(Looking(data, page=page, **more))  # type: ignore[arg-type]
    return page.read_text(), found.record


class Tags(HTMLParser):
    """Every tag that is opened must be closed, but for those that have no end."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("meta", "br", "img", "wbr"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_what_an_image_is_labelled_with_is_said_by_its_targets():
    nan = float("nan")
    boxes = np.array([[0.1, 0.2, 0.3, 0.4, 1, 0], [0, 0, 1, 1, 0, 1]], np.float32)

    assert ClassNumbers(np.array([1, 0])).shown(0, CLASSES) == ("dog", ())
    table = AttributeTable(np.array([[1, nan, 0], [0, 0, 0]], np.float32))
    assert table.shown(0, ("a", "b", "c")).words == "a, b?"
    assert table.shown(1, ("a", "b", "c")).words == "none"
    shown = BoxLists.of([boxes[:0], boxes]).shown(1, CLASSES)
    assert shown.words == "2 boxes"
    assert [(one.label, one.uncounted) for one in shown.boxes] == [("dog", False), ("cat", True)]
    np.testing.assert_allclose(shown.boxes[0].corners, [0.1, 0.2, 0.3, 0.4], rtol=1e-6)
    assert BoxLists.of([boxes[:0], boxes]).shown(0, CLASSES) == ("0 boxes", ())


def test_boxes_are_drawn_where_they_are(tmp_path: Path):
    write_coco(tmp_path / "data", drawings())

    text, record = seen(tmp_path / "data", count=6)

    assert text.count("<image") == 6
    assert '<rect class="box c-orange" x="8.0" y="6.0" width="16.0" height="12.0"/>' in text
    assert '<rect class="box c-sky" x="32.0" y="24.0" width="32.0" height="24.0"/>' in text
    assert record["boxes"] == {"cat": 16, "dog": 8}
    assert "<script" not in text
    assert Tags(text).open == []


def test_boxes_that_do_not_count_are_dashed(tmp_path: Path):
    path = write_coco(tmp_path / "data", drawings())
    record = json.loads(path.read_text())
    for one in record["annotations"]:
        if one["category_id"] == 7 and one["image_id"] > 2:
            one["iscrowd"] = 1
    path.write_text(json.dumps(record))

    text, _ = seen(tmp_path / "data", count=20)

    assert 'class="box c-sky dashed"' in text
    assert "boxes neither trained nor scored: marked as crowd" in text


def test_sizes_of_boxes_are_counted(tmp_path: Path):
    """A box of 16 x 12 in 64 x 48 has a quarter of the side, one of 32 x 24 a half."""
    write_coco(tmp_path / "data", drawings())

    text, _ = seen(tmp_path / "data")

    cells = re.findall(r"<tr><td>([\d.]+ to [\d.]+ %)</td><td[^>]*>([\d,]+)</td>", text)
    assert {end: count for end, count in cells if count != "0"} == {
        "20 to 30 %": "16",
        "40 to 60 %": "8",
    }


def class_folders(root: Path, classes: dict[str, int]) -> Path:
    for name, count in classes.items():
        for at in range(count):
            picture(root / name / f"{at}.png", Drawing(name, (12, 10), []))
            Image.new("L", (12, 10), len(name) * 16 + at).save(root / name / f"{at}.png")
    return root


def test_classes_are_shown_with_the_smallest_among_them(tmp_path: Path):
    data = class_folders(tmp_path / "data", {"common": 30, "<b>rare": 4})

    text, record = seen(data, count=4)

    assert text.count("<figcaption>&lt;b&gt;rare<br>") == 2
    assert text.count("<figcaption>common<br>") == 2
    assert "<b>rare" not in text
    assert "image/png" in text  # images as small as these are not made JPEG
    assert "boxes" not in record
    assert "Sizes of the boxes" not in text


def test_attributes_are_shown_by_name(tmp_path: Path):
    lines = ["path,tall,wide"]
    for at in range(20):
        picture(tmp_path / "data" / f"{at}.png", Drawing(f"{at}", (12, 10), []))
        lines.append(f"{at}.png,{at % 2},{at // 2 % 2}")
    (tmp_path / "data" / "table.csv").write_text("\n".join(lines))

    text, _ = seen(tmp_path / "data")

    for words in ("tall", "wide", "tall, wide", "none"):
        assert f"<figcaption>{words}<br>" in text


def test_data_that_cannot_be_trained_on_is_shown_with_the_reason(tmp_path: Path):
    write_coco(tmp_path / "data", drawings(2))

    text, record = seen(tmp_path / "data")

    assert text.count("<image") == 2
    assert "cannot be trained on: there are 2 usable training images, and 3 at least" in text
    assert str(record["notes"]).count("cannot be trained on") == 1


def test_faults_stand_on_the_page_and_an_image_that_is_gone_is_named(tmp_path: Path):
    data = write_coco(tmp_path / "data", drawings()).parents[1]
    (data / "images" / "03.jpg").write_bytes(b"text")

    text, _ = seen(data)

    assert "1 skipped: images/03.jpg (not an image of a known format)" in text


def test_a_count_of_none_is_refused():
    with pytest.raises(DataError, match=r"--count must be at least 1, got 0"):
        Looking("digits", count=0)


def test_the_command_prints_what_is_odd_and_the_page(tmp_path: Path):
    write_coco(tmp_path / "data", drawings())
    page = tmp_path / "page.html"
    words = ["look", str(tmp_path / "data"), "--task", "detection", "--out", str(page)]

    plain = CliRunner().invoke(app, words)
    record = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)

    assert plain.exit_code == 0
    assert plain.stdout.splitlines()[-1] == str(page)
    assert page.read_text().startswith("<!doctype html>")
    assert record["page"] == str(page)
    assert record["counts"] == {"train": 14, "holdout": 2, "val": 4, "test": 0}
    assert record["task"] == "detection"

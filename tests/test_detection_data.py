"""Images with boxes: every format is read alike, and every fault is named."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mobilenets.data import Reading, load_images, read_image
from mobilenets.data.formats import box_folders
from mobilenets.data.formats.listing import Listing
from mobilenets.data.loading import _list, find_images
from mobilenets.data.read import Frame, frame
from mobilenets.errors import DataError
from tests.box_sets import (
    CLASSES,
    THREE,
    Drawing,
    boxes_of,
    coco_json,
    picture,
    voc_xml,
    write_coco,
    write_table,
    write_voc,
    write_yolo,
    yolo_text,
)

# x1, y1, x2, y2 in parts, class, uncounted.
PLACES = {
    "a": [[0.0625, 0.125, 0.3125, 0.625, 0, 0], [0.5, 0, 1, 1, 1, 0]],
    "b": [[0, 0, 0.25, 0.25, 1, 0]],
    "c": [],
}
WRITERS = [write_coco, write_voc, write_yolo, write_table]
FOLDERS: dict[str, Callable[[Path], Path]] = {one.__name__: one for one in WRITERS}


def listed(data: Path, task: str | None = "detection") -> Listing:
    return _list(data, task)


def said(listing: Listing) -> str:
    return "\n".join([*listing.notes, *(f"{name}: {why}" for name, why in listing.skipped)])


# The same in every format


@pytest.mark.parametrize("task", [None, "detection"])
@pytest.mark.parametrize("write", WRITERS)
def test_every_format_gives_the_same_boxes(write: Any, task: str | None, tmp_path: Path):
    write(tmp_path)

    listing = listed(tmp_path, task)

    assert boxes_of(listing) == PLACES
    assert listing.task.name == "detection"
    assert listing.task.labels == CLASSES
    assert listing.skipped == ()
    assert set(listing.given.tolist()) == {""}


@pytest.mark.parametrize("write", WRITERS)
def test_a_folder_that_holds_one_set_only_is_looked_into(write: Any, tmp_path: Path):
    write(tmp_path / "set")

    listing = listed(tmp_path, None)

    assert boxes_of(listing) == PLACES
    assert f"{tmp_path / 'set'} is read: it holds the boxes" in listing.notes


def test_two_sets_in_a_folder_are_refused(tmp_path: Path):
    write_voc(tmp_path / "VOC2007")
    write_voc(tmp_path / "VOC2012")

    with pytest.raises(DataError, match=r"several sets of boxes, VOC2007, VOC2012; give one"):
        listed(tmp_path, None)


def test_two_formats_in_a_folder_are_refused_with_both(tmp_path: Path):
    write_coco(tmp_path)
    write_yolo(tmp_path)

    with pytest.raises(DataError, match=r"in 2 ways: as COCO by '\S+json' or YOLO by '\S+labels'"):
        listed(tmp_path)
    assert boxes_of(listed(tmp_path / "annotations" / "instances.json", None)) == PLACES
    assert boxes_of(listed(tmp_path / "labels")) == PLACES


def test_boxes_beside_class_folders_are_refused_with_both(tmp_path: Path):
    for one, folder in zip(THREE, ("x", "y", "y"), strict=True):
        picture(tmp_path / folder / f"{one.name}.jpg", one)
    (tmp_path / "boxes.csv").write_text("path,x1,y1,x2,y2,label\nx/a.jpg,1,1,9,9,cat\n")

    with pytest.raises(DataError, match=r"boxes \(CSV, boxes.csv\), and folders .* called x, y;"):
        listed(tmp_path, None)
    assert listed(tmp_path, "detection").task.labels == ("cat",)


def test_the_task_alone_decides_between_boxes_and_classes(tmp_path: Path):
    for place in ("x/a.png", "x/b.png", "y/a.png", "y/b.png"):
        picture(tmp_path / place, Drawing(place, (8, 8), []))

    with pytest.raises(DataError, match=r"holds no boxes; give COCO's .json, a folder with"):
        listed(tmp_path, "detection")
    with pytest.raises(DataError, match=r"digits holds no boxes; give"):
        _list("digits", "detection")
    assert listed(tmp_path, None).task.name == "classification"


def test_a_set_of_boxes_is_no_set_of_classes(tmp_path: Path):
    path = write_coco(tmp_path)

    with pytest.raises(DataError, match=r"instances.json holds no classes; give a folder per"):
        listed(path, "classification")


def many(count: int = 12) -> list[Drawing]:
    return [
        Drawing(f"{at:02}", (32, 24), [(at, 2, at + 9, 20, CLASSES[at % 2])]) for at in range(count)
    ]


def test_images_are_split_fairly_and_resized_whole(tmp_path: Path):
    square = [one._replace(size=(32, 32)) for one in many(20)]  # which others would be cut
    write_voc(tmp_path, square)

    images = load_images(tmp_path, task="detection")

    assert images.values.resize == "stretch"
    assert [len(one) for one in (images.train, images.holdout, images.val)] == [14, 2, 4]
    assert images.to_json()["class_counts"]["val"] == {"cat": 2, "dog": 2}


def test_boxes_are_not_cut_off(tmp_path: Path):
    write_voc(tmp_path, many())

    with pytest.raises(DataError, match=r"detection needs whole images, .* --resize crop is given"):
        find_images(tmp_path, reading=Reading(resize="crop"))


def test_one_class_is_enough(tmp_path: Path):
    drawings = [one._replace(boxes=[(*one.boxes[0][:4], "dog")]) for one in many()]
    write_table(tmp_path, drawings)

    assert load_images(tmp_path).task.labels == ("dog",)


def test_another_place_is_the_same_data_and_another_box_is_not(tmp_path: Path):
    first, second, third = (find_images(write_voc(tmp_path / n, d)) for n, d in
                            (("a", many()), ("b", many()), ("c", many()[:-1])))  # fmt: skip

    assert first.fingerprint == second.fingerprint
    assert first.fingerprint != third.fingerprint


# Splits


def test_coco_splits_are_its_files(tmp_path: Path):
    for one in THREE:
        picture(tmp_path / f"{'val' if one.name == 'c' else 'train'}2017" / f"{one.name}.jpg", one)
    (tmp_path / "annotations").mkdir()
    for split, some in (("train2017", THREE[:2]), ("val2017", THREE[2:])):
        text = json.dumps(coco_json(some))
        (tmp_path / "annotations" / f"instances_{split}.json").write_text(text)
        (tmp_path / "annotations" / f"captions_{split}.json").write_text(text)

    listing = listed(tmp_path, None)

    assert boxes_of(listing) == PLACES
    assert listing.given.tolist() == ["train", "train", "val"]
    assert "splits read: annotations/instances_train2017.json as train" in said(listing)


def test_roboflow_puts_a_file_into_each_split(tmp_path: Path):
    for split, one in zip(("train", "valid", "test"), THREE, strict=True):
        picture(tmp_path / split / f"{one.name}.jpg", one)
        (tmp_path / split / "_annotations.coco.json").write_text(json.dumps(coco_json([one])))

    listing = listed(tmp_path, None)

    assert boxes_of(listing) == PLACES
    assert sorted(listing.given.tolist()) == ["test", "train", "val"]


def test_files_that_tell_no_split_are_refused(tmp_path: Path):
    path = write_coco(tmp_path)
    path.with_name("instances_b.json").write_bytes(path.read_bytes())

    with pytest.raises(DataError, match=r"names do not tell which is train and which is val: ann"):
        listed(tmp_path)


@pytest.mark.parametrize(
    ("lists", "given"),
    [
        ({"train": "a", "val": "b", "test": "c"}, {"a": "train", "b": "val", "c": "test"}),
        ({"trainval": "a\nb", "test": "c"}, {"a": "train", "b": "train", "c": "test"}),
        ({"train": "a", "val": "b", "trainval": "a\nb"}, {"a": "train", "b": "val"}),
    ],
)
def test_voc_splits_are_its_lists(lists: dict[str, str], given: dict[str, str], tmp_path: Path):
    write_voc(tmp_path)
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    for name, text in lists.items():
        (tmp_path / "ImageSets" / "Main" / f"{name}.txt").write_text(text + "\n")

    listing = listed(tmp_path)

    names = [Path(path).stem for path in listing.source.paths]  # type: ignore[attr-defined]
    assert dict(zip(names, listing.given.tolist(), strict=True)) == given
    assert ("in no list of ImageSets/Main (c)" in said(listing)) == ("c" not in given)


def test_voc_names_what_is_listed_without_an_annotation(tmp_path: Path):
    write_voc(tmp_path)
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("a\nb\nc\nz\n")

    assert ("z", "listed as train, without an annotation") in listed(tmp_path).skipped


@pytest.mark.parametrize("place", ["{}", "{}/nested"])
def test_voc_files_beside_images_are_read_with_the_folders_splits(place: str, tmp_path: Path):
    for split, one in zip(("train", "valid", "test"), THREE, strict=True):
        folder = tmp_path / place.format(split)
        picture(folder / f"{one.name}.jpg", one)
        (folder / f"{one.name}.xml").write_text(voc_xml(one))

    listing = listed(tmp_path, None)

    assert boxes_of(listing) == PLACES
    assert sorted(listing.given.tolist()) == ["test", "train", "val"]


def test_yolo_splits_are_its_folders(tmp_path: Path):
    write_yolo(tmp_path, THREE[:2], within="train")
    write_yolo(tmp_path, THREE[2:], within="val")

    listing = listed(tmp_path, None)

    assert boxes_of(listing) == PLACES
    assert listing.given.tolist() == ["train", "train", "val"]


@pytest.mark.parametrize(
    "text",
    [
        "train: images/train\nval: images/val\nnames: [cat, dog]\n",
        "path: .\ntrain: [images/train]\nvalid: images/val\nnames:\n  0: cat\n  1: dog\nnc: 2\n",
        "train: ../images/train\nval: ../images/val\nnames: ['cat', 'dog']\n",  # Roboflow's
        "train: train.txt\nval: images/val\nnames: {0: cat, 1: dog}\n",
    ],
)
def test_yolo_is_read_by_its_yaml(text: str, tmp_path: Path):
    write_yolo(tmp_path, THREE[:2], within="train")
    write_yolo(tmp_path, THREE[2:], within="val")
    (tmp_path / "train.txt").write_text("./images/train/a.jpg\n./images/train/b.jpg\n")
    (tmp_path / "data.yaml").write_text(text)

    for data in (tmp_path, tmp_path / "data.yaml"):
        listing = listed(data, None)

        assert boxes_of(listing) == PLACES
        assert listing.given.tolist() == ["train", "train", "val"]


def test_yolo_with_the_same_images_twice_has_a_part_cut_off(tmp_path: Path):
    write_yolo(tmp_path)
    (tmp_path / "data.yaml").write_text("train: images\nval: images\nnames: [cat, dog]\n")

    listing = listed(tmp_path)

    assert boxes_of(listing) == PLACES
    assert set(listing.given.tolist()) == {""}
    assert "val has the same images as train in data.yaml: a part is cut off" in said(listing)


def test_yaml_takes_pyyaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_yolo(tmp_path)
    (tmp_path / "data.yaml").write_text("train: images\nnames: [cat, dog]\n")
    monkeypatch.setitem(sys.modules, "yaml", None)

    with pytest.raises(DataError, match=r"PyYAML to be read; pip install 'mobilenets\[detection"):
        listed(tmp_path)


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("filename,width,height,class,xmin,ymin,xmax,ymax", "a.jpg,64,48,cat,4,6,20,30"),
        ("ImageID,LabelName,XMin,XMax,YMin,YMax", "a,cat,.0625,.3125,.125,.625"),
        ("image_path;x_min;y_min;x_max;y_max;label", "a.jpg;4;6;20;30;cat"),
        ("", "a.jpg,4,6,20,30,cat"),
    ],
)
def test_tables_are_read_in_the_usual_dialects(header: str, rows: str, tmp_path: Path):
    picture(tmp_path / "a.jpg", THREE[0])
    (tmp_path / "boxes.csv").write_text("\n".join(filter(None, [header, rows])) + "\n")

    for data in (tmp_path, tmp_path / "boxes.csv"):
        assert boxes_of(listed(data, None)) == {"a": [[0.0625, 0.125, 0.3125, 0.625, 0, 0]]}


def test_tables_tell_splits_in_a_column_or_by_their_names(tmp_path: Path):
    rows = {"a": "a.jpg,4,6,20,30,cat", "b": "b.jpg,0,0,10,20,dog"}
    for folder in ("column", "names"):
        for one in THREE[:2]:
            picture(tmp_path / folder / f"{one.name}.jpg", one)
    column = f"path,x1,y1,x2,y2,label,split\n{rows['a']},train\n{rows['b']},val\n"
    (tmp_path / "column" / "boxes.csv").write_text(column)
    for name, row in (("train_labels", rows["a"]), ("test_labels", rows["b"])):
        text = f"path,x1,y1,x2,y2,label\n{row}\n"
        (tmp_path / "names" / f"{name}.csv").write_text(text)

    assert listed(tmp_path / "column").given.tolist() == ["train", "val"]
    assert sorted(listed(tmp_path / "names").given.tolist()) == ["test", "train"]


def test_a_split_for_some_only_is_refused(tmp_path: Path):
    path = write_table(tmp_path)
    head, first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([f"{head},split", f"{first},", *(f"{r},train" for r in rest[1:])]))

    with pytest.raises(DataError, match=r"gives a split to 2 images and none to 1"):
        listed(path)


# Faults of boxes: in each format that can have them


def with_box(write: str, root: Path, box: tuple[float, float, float, float], label: str) -> Path:
    """The three images, the first of which has one more box."""
    first = THREE[0]._replace(boxes=[*THREE[0].boxes, (*box, label)])
    return FOLDERS[write](root, (first, *THREE[1:])) if label in CLASSES else root  # type: ignore


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("write", ["write_coco", "write_voc", "write_yolo", "write_table"])
@pytest.mark.parametrize(
    ("box", "place", "sentence"),
    [
        ((40, 24, 80, 36), [0.625, 0.5, 1, 0.75], "1 box clipped: beyond the edge of the image"),
        ((-8, 24, 16, 36), [0, 0.5, 0.25, 0.75], "1 box clipped: beyond the edge of the image"),
        ((70, 4, 90, 20), None, "1 box left out: outside the image"),
        ((4, -30, 20, -2), None, "1 box left out: outside the image"),
        ((4, 50, 20, 60), None, "1 box left out: outside the image"),
        ((NAN, 4, 9, 9), None, "left out: a coordinate is no finite number"),
        ((4, 4, INF, 9), None, "box left out: "),
        ((4, 6, 20, 30), "twice", "1 box left out: the same box and class twice in an image"),
    ],
)
def test_a_box_that_cannot_be_meant_is_mended_or_left_out_and_said(
    write: str, box: Any, place: Any, sentence: str, tmp_path: Path
):
    with_box(write, tmp_path, box, "cat")

    listing = listed(tmp_path)

    found = boxes_of(listing)
    more = [] if place in (None, "twice") else [[*place, 0, 0]]
    assert sorted(found["a"]) == sorted([*PLACES["a"], *more])
    assert sentence in said(listing)
    assert "a" in said(listing).split(sentence, 1)[1]  # where it is


@pytest.mark.parametrize(
    ("write", "box"),
    [
        ("write_coco", (4, 4, 4, 9)),
        ("write_coco", (9, 4, 4, 9)),
        ("write_yolo", (4, 4, 4, 9)),
        ("write_yolo", (4, 9, 9, 4)),
        ("write_table", (4, 4, 4, 9)),
        ("write_table", (4, 9, 9, 9)),
        ("write_voc", (4, 4, 3, 9)),  # its pixel 5 to pixel 3
    ],
)
def test_a_box_of_no_size_is_left_out(write: str, box: Any, tmp_path: Path):
    with_box(write, tmp_path, box, "cat")

    listing = listed(tmp_path)

    if write == "write_voc":  # 5 to 3 are its corners, swapped
        assert "corners in the wrong order" in said(listing)
    else:
        assert boxes_of(listing) == PLACES
        assert re.search(r"1 box left out: of no size \(\S*a", said(listing))


@pytest.mark.parametrize("swapped", [(20, 6, 4, 30), (4, 30, 20, 6), (20, 30, 4, 6)])
def test_swapped_corners_are_mended(swapped: Any, tmp_path: Path):
    drawing = THREE[0]._replace(boxes=[(*swapped, "cat")])
    write_table(tmp_path, [drawing])

    listing = listed(tmp_path)

    assert boxes_of(listing) == {"a": [PLACES["a"][0]]}
    assert "1 box mended: corners in the wrong order (a.jpg)" in listing.notes


def test_swapped_corners_of_voc_lose_their_one_at_the_upper_left(tmp_path: Path):
    write_voc(tmp_path, THREE[:1])
    path = tmp_path / "Annotations" / "a.xml"
    text = path.read_text()
    path.write_text(text.replace("<xmin>5<", "<xmin>20<").replace("<xmax>20<", "<xmax>5<"))

    assert boxes_of(listed(tmp_path))["a"] == PLACES["a"]


def test_voc_that_counts_from_zero_is_told_by_a_box_at_zero(tmp_path: Path):
    write_voc(tmp_path, begin=0)

    listing = listed(tmp_path)

    assert boxes_of(listing) == PLACES
    assert "counted from 0, not from 1 as in Pascal VOC: 2 of the boxes begin at 0" in said(listing)


def coco(tmp_path: Path, edit: Callable[[dict[str, Any]], Any]) -> Listing:
    """Three images, whose JSON was edited."""
    path = write_coco(tmp_path)
    record = json.loads(path.read_text())
    edit(record)
    path.write_text(json.dumps(record))
    return listed(path)


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda r: r["annotations"][0].update(category_id=9),
         "1 box left out: of a class that is not listed (category_id 9, a.jpg)"),
        (lambda r: r["annotations"][0].pop("category_id"),
         "of a class that is not listed (category_id None, a.jpg)"),
        (lambda r: r["annotations"][0].update(image_id=77),
         "of an image that is not listed (image_id 77 in instances.json)"),
        (lambda r: r["annotations"][0].pop("image_id"),
         "of an image that is not listed (image_id None in instances.json)"),
        (lambda r: r["annotations"][0].update(bbox=[1, 2, 3]),
         "neither a box of four numbers nor a polygon (a.jpg)"),
        (lambda r: r["annotations"][0].update(bbox="1 2 3 4"),
         "neither a box of four numbers nor a polygon (a.jpg)"),
        (lambda r: r["annotations"][0].update(bbox=[10**400, 2, 3, 4]),
         "neither a box of four numbers nor a polygon (a.jpg)"),
        (lambda r: r["annotations"].append(7),
         "neither a box of four numbers nor a polygon (instances.json)"),
        (lambda r: r["annotations"][0].update(bbox=None, segmentation={"counts": "x"}),
         "neither a box of four numbers nor a polygon (a.jpg)"),
        (lambda r: r["categories"].append({"id": 9, "name": "cow"}),
         "1 class left out: no box is of it that counts (cow)"),
        (lambda r: r["images"].append(dict(r["images"][0])),
         "1 image listed twice: the boxes of both are read (a.jpg)"),
        (lambda r: r["images"].append({**r["images"][0], "id": 9}),
         "1 image listed twice: the boxes of both are read (images/a.jpg)"),
        (lambda r: r["images"].append({"id": 1, "file_name": "z.jpg"}),
         "z.jpg: several images have the id 1 in instances.json"),
        (lambda r: r["images"].append({"id": 9, "file_name": "z.jpg"}),
         "z.jpg: No such file or directory"),
        (lambda r: r["images"].append({"id": 9, "file_name": "gone/\0z.jpg"}),
         "z.jpg: No such file or directory"),
        (lambda r: r["images"][0].update(width=48, height=64),
         "images/a.jpg: annotated as 48x64, the file has 64x48"),
        (lambda r: r["images"][0].update(width=640, height=480),
         "images/a.jpg: annotated as 640x480, the file has 64x48"),
        (lambda r: r["images"].pop(),
         "1 image left out: no annotation names it (images/c.jpg)"),
    ],
)  # fmt: skip
def test_a_fault_of_cocos_json_is_said(edit: Any, sentence: str, tmp_path: Path):
    assert sentence in said(coco(tmp_path, edit))


def test_crowds_do_not_count(tmp_path: Path):
    listing = coco(tmp_path, lambda r: r["annotations"][1].update(iscrowd=1))

    assert boxes_of(listing)["a"][1] == [0.5, 0, 1, 1, 1, 1]
    assert "1 box neither trained nor scored: marked as crowd, ignored or difficult" in said(
        listing
    )


def test_difficult_boxes_do_not_count(tmp_path: Path):
    write_voc(tmp_path)
    path = tmp_path / "Annotations" / "b.xml"
    path.write_text(path.read_text().replace("<difficult>0", "<difficult>1"))

    assert boxes_of(listed(tmp_path))["b"] == [[0, 0, 0.25, 0.25, 1, 1]]


def test_a_class_of_crowds_alone_is_left_out_with_them(tmp_path: Path):
    listing = coco(tmp_path, lambda r: r["annotations"][0].update(iscrowd=1))

    assert listing.task.labels == ("dog",)
    assert "1 class left out: no box is of it that counts (cat)" in listing.notes
    assert [row[4] for row in boxes_of(listing)["a"]] == [0]


def test_a_box_is_taken_from_polygons_where_there_is_none(tmp_path: Path):
    polygons = [[4, 6, 10, 8, 9, 30], [20, 10, 12, 10, 12, 20]]

    def edit(record: dict[str, Any]) -> None:
        del record["annotations"][0]["bbox"]
        record["annotations"][0]["segmentation"] = polygons

    listing = coco(tmp_path, edit)

    assert boxes_of(listing) == PLACES
    assert "1 box taken around a polygon (a.jpg)" in listing.notes


def test_categories_of_one_name_are_one_class(tmp_path: Path):
    def edit(record: dict[str, Any]) -> None:
        record["categories"].append({"id": 8, "name": "dog"})
        record["annotations"][1]["category_id"] = 8

    listing = coco(tmp_path, edit)

    assert boxes_of(listing) == PLACES
    assert "1 class listed under a name that another has: read as one (dog, id 8)" in listing.notes


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda r: r["categories"].append({"id": 3, "name": "cow"}),
         r"two categories of the id 3, 'cat' and 'cow'"),
        (lambda r: r["images"][1].pop("id"), r"images\[1\] lacks id"),
        (lambda r: r["images"][1].update(file_name=5), r"images\[1\].file_name must be a text"),
        (lambda r: r.pop("categories"), r"JSON: it lacks categories; export"),
        (lambda r: r.update(images=[]), r"lists no images; export"),
        (lambda r: r.update(annotations=[]), r"has no box that can be used: none is annotated; c"),
        (lambda r: [one.update(bbox=[1, 1, 0, 0]) for one in r["annotations"]],
         r"has no box that can be used: 3 boxes left out: of no size \(the first, a.jpg\)"),
        (lambda r: [one.update(file_name="z") for one in r["images"]],
         r"no image with boxes that can be used: 3 are skipped \(the first, z: No such file"),
    ],
)  # fmt: skip
def test_a_json_that_cannot_be_read_is_refused(edit: Any, sentence: str, tmp_path: Path):
    with pytest.raises(DataError, match=sentence):
        coco(tmp_path, edit)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"images": [\n1,\n}', r"line 3 is no JSON: Expecting value"),
        ("", r"line 1 is no JSON"),
        ("[" * 100_000, r"nested too deeply"),
        ("[1]", r"must be an object, got a list of 1"),
        ("\udcff", r"cannot be read as COCO's JSON"),
    ],
)
def test_a_broken_json_is_named_with_its_line(text: str, sentence: str, tmp_path: Path):
    path = tmp_path / "broken.json"
    path.write_text(text, errors="surrogateescape")

    with pytest.raises(DataError, match=sentence):
        listed(path)


# Faults of XML


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("<annotation>\n<object></annotation>", "broken XML, line 2: mismatched tag"),
        ("", "broken XML, line 1: no element found"),
        ("<html></html>", "it is <html>, not <annotation>"),
        ('<!DOCTYPE a [<!ENTITY b "bb">]>\n<annotation>&b;</annotation>', "it has a DOCTYPE"),
    ],
)
def test_a_broken_xml_is_named_and_the_rest_is_read(text: str, sentence: str, tmp_path: Path):
    write_voc(tmp_path)
    (tmp_path / "Annotations" / "b.xml").write_text(text)

    listing = listed(tmp_path)

    assert set(boxes_of(listing)) == {"a", "c"}
    assert f"Annotations/b.xml: its annotation cannot be read: {sentence}" in said(listing)


def test_an_entity_bomb_in_utf_16_is_refused_too(tmp_path: Path):
    write_voc(tmp_path)
    bomb = '<!DOCTYPE a [<!ENTITY b "bb">]><annotation>&b;</annotation>'
    (tmp_path / "Annotations" / "b.xml").write_bytes(bomb.encode("utf-16"))

    assert "it has a DOCTYPE, which is not read" in said(listed(tmp_path))


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("<xmin>1<", "<xmin>x<", "neither a box of four numbers nor a polygon (Annotations/b.xml)"),
        ("bndbox", "robndbox", "neither a box of four numbers nor a polygon (Annotations/b.xml)"),
        ("<name>dog</name>", "", "of a class that is not listed (Annotations/b.xml)"),
        ("<width>40<", "<width>41<", "JPEGImages/b.jpg: annotated as 41x80, the file has 40x80"),
        ("<width>40<", "<width>80<", "JPEGImages/b.jpg: annotated as 80x80, the file has 40x80"),
    ],
)
def test_a_fault_in_an_xml_is_said(old: str, new: str, sentence: str, tmp_path: Path):
    write_voc(tmp_path)
    path = tmp_path / "Annotations" / "b.xml"
    path.write_text(path.read_text().replace(old, new))

    assert sentence in said(listed(tmp_path))


def test_a_size_of_nothing_says_nothing(tmp_path: Path):
    write_voc(tmp_path)
    path = tmp_path / "Annotations" / "b.xml"
    path.write_text(path.read_text().replace("<width>40<", "<width>0<"))

    assert boxes_of(listed(tmp_path)) == PLACES


def test_voc_names_images_that_are_missing_and_counts_those_without_annotation(tmp_path: Path):
    write_voc(tmp_path)
    (tmp_path / "JPEGImages" / "b.jpg").rename(tmp_path / "JPEGImages" / "z.jpg")

    listing = listed(tmp_path)

    assert ("b.jpg", "No such file or directory") in listing.skipped
    assert "1 image left out: no annotation names it (JPEGImages/z.jpg)" in listing.notes


# Faults of text files


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("1 .5 .5 .2", "line 2: it has 4 numbers; a box has 5"),
        ("1 .5 .5 .2 .2 .9", "line 2: it has 6 numbers; a box has 5"),
        ("dog .5 .5 .2 .2", "line 2: not all of it are numbers"),
        ("1,.5,.5,.2,.2", "line 2: not all of it are numbers"),
        ("1.5 .5 .5 .2 .2", "line 2: the class must be a whole number, got '1.5'"),
        ("-1 .5 .5 .2 .2", "line 2: the class must be a whole number, got '-1'"),
        ("nan .5 .5 .2 .2", "line 2: not all of it are numbers"),
        ("\udcff", "is no text in UTF-8"),
    ],
)
def test_a_broken_line_costs_its_image_and_is_named(line: str, sentence: str, tmp_path: Path):
    write_yolo(tmp_path)
    path = tmp_path / "labels" / "b.txt"
    path.write_text(path.read_text() + line + "\n", errors="surrogateescape")

    listing = listed(tmp_path)

    assert set(boxes_of(listing)) == {"a", "c"}
    assert f"images/b.jpg: its labels, labels/b.txt, {sentence}" in said(listing)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("1 20 40 10 20", "coordinates far above 1, perhaps pixels; YOLO has parts of the image's "
                          "width and height (labels/b.txt line 2)"),
        ("1 .5 .5 200 .5", "coordinates far above 1, perhaps pixels"),
        ("9 .5 .5 .2 .2", "1 box left out: of a class that is not listed (labels/b.txt line 2)"),
        ("1 .5 .5 0 .2", "1 box left out: of no size (labels/b.txt line 2)"),
        ("1 .5 .5 .2 -.1", "1 box left out: of no size (labels/b.txt line 2)"),
        ("1 1.2 .5 .1 .1", "1 box left out: outside the image (images/b.jpg)"),
    ],
)  # fmt: skip
def test_a_fault_in_a_line_is_said(line: str, sentence: str, tmp_path: Path):
    write_yolo(tmp_path)
    path = tmp_path / "labels" / "b.txt"
    path.write_text(path.read_text() + line + "\n")

    listing = listed(tmp_path)

    assert boxes_of(listing) == PLACES
    assert sentence in said(listing)


def test_yolo_takes_the_box_around_a_polygon(tmp_path: Path):
    write_yolo(tmp_path)
    (tmp_path / "labels" / "b.txt").write_text("1 0 0 .25 .125 .125 .25\n")

    listing = listed(tmp_path)

    assert boxes_of(listing) == PLACES
    assert "1 box taken around a polygon (labels/b.txt line 1)" in listing.notes


def test_key_points_are_no_polygon(tmp_path: Path):
    write_yolo(tmp_path)
    (tmp_path / "labels" / "b.txt").write_text("1 .125 .125 .25 .25 .9 .9 2 .8 .8 2\n")
    text = "train: images\nnames: [cat, dog]\nkpt_shape: [2, 3]\n"
    (tmp_path / "data.yaml").write_text(text)

    assert boxes_of(listed(tmp_path)) == PLACES


def test_yolo_without_names_calls_classes_by_number(tmp_path: Path):
    write_yolo(tmp_path)
    (tmp_path / "classes.txt").unlink()

    listing = listed(tmp_path)

    assert listing.task.labels == ("0", "1")
    assert "does not name its classes, which are called by their numbers" in said(listing)


def test_yolo_counts_background_and_names_labels_without_an_image(tmp_path: Path):
    write_yolo(tmp_path)
    (tmp_path / "images" / "b.jpg").unlink()

    listing = listed(tmp_path)

    assert boxes_of(listing)["c"] == []
    assert "1 image without a label file, read as background (images/c.jpg)" in listing.notes
    assert ("labels/b.txt", "no image has these labels") in listing.skipped


def test_yolo_without_any_label_file_is_refused(tmp_path: Path):
    picture(tmp_path / "images" / "a.jpg", THREE[0])
    (tmp_path / "data.yaml").write_text("train: images\nnames: [cat]\n")

    with pytest.raises(DataError, match=r"none of 1 image has a label file .*labels/a.txt\); put"):
        listed(tmp_path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("names: [cat\n", r"data.yaml line \d is no YAML: "),
        ("names: 5\ntrain: images\n", r"as YOLO's YAML: names must be a list, got 5; it has names"),
        ("names: [cat, no]\ntrain: images\n", r"names, got 1: False; write names in quotes"),
        ("names: {a: cat}\ntrain: images\n", r"in names, got 'a': 'cat'; write names in quotes"),
        ("names: !!python/object/apply:os.getcwd []\n", r"is no YAML: could not determine a con"),
    ],
)
def test_a_broken_yaml_is_named(text: str, sentence: str, tmp_path: Path):
    write_yolo(tmp_path)
    (tmp_path / "data.yaml").write_text(text)

    with pytest.raises(DataError, match=sentence):
        listed(tmp_path)


def test_yaml_names_what_is_not_there_and_what_is_called_alike(tmp_path: Path):
    write_yolo(tmp_path)
    text = "train: images\nval: gone\nnames: [cat, dog, dog, 7]\n"
    (tmp_path / "data.yaml").write_text(text)

    listing = listed(tmp_path)

    assert listing.task.labels == CLASSES
    assert "gone, named in data.yaml, is left out: there is nothing" in listing.notes
    assert "another has: read as one (dog, number 2)" in said(listing)
    assert "1 class left out: no box is of it that counts (7)" in listing.notes


# Faults of tables


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("b.jpg,0,0,x,20,dog", "b.jpg: boxes.csv line 4: x2 is no number, 'x'"),
        ("b.jpg,0,0,,20,dog", "b.jpg: boxes.csv line 4: x2 is no number, ''"),
        ("b.jpg,0,0,10,20,", "b.jpg: boxes.csv line 4: no label"),
        ("z.jpg,0,0,10,20,dog", "z.jpg: No such file or directory"),
        ("c.txt,0,0,10,20,dog", "c.txt: No such file or directory"),
        (",0,0,10,20,dog", "boxes.csv line 4: no path"),
    ],
)
def test_a_row_that_cannot_be_meant_costs_its_image_and_is_named(
    row: str, sentence: str, tmp_path: Path
):
    path = write_table(tmp_path)
    path.write_text(path.read_text().replace("b.jpg,0,0,10,20,dog", row))

    listing = listed(path)

    assert set(boxes_of(listing)) == {"a", "c"}
    assert sentence in said(listing)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"split": ("train", "val")}, "a.jpg: its rows tell several splits: train, val"),
        ({"split": ("maybe", "maybe")}, "split must be train, val or test, got 'maybe'"),
        ({"width": ("64", "65"), "height": ("48", "48")}, "several sizes of the image"),
        ({"width": ("65", "65"), "height": ("48", "48")}, "as 65x48, the file has 64x48"),
    ],
)
def test_rows_of_an_image_that_disagree_are_named(more: Any, sentence: str, tmp_path: Path):
    path = write_table(tmp_path)
    head, one, two, *_ = path.read_text().splitlines()
    third = "c.jpg,1,1,9,9,dog"
    cells = {key: (*values, "32" if key != "split" else "train") for key, values in more.items()}
    lines = [",".join([head, *cells])]
    lines += [",".join([row, *(v[at] for v in cells.values())])
              for at, row in enumerate((one, two, third))]  # fmt: skip
    path.write_text("\n".join(lines))

    assert sentence in said(listed(path))


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("gone.csv", r"there is nothing at \S+gone.csv; give"),
        ("gone.json", r"there is nothing at \S+gone.json; give"),
        ("plain.csv", r"plain.csv has no columns of boxes: a row is path,x1,y1,x2,y2,label"),
        ("empty.csv", r"empty.csv has no columns of boxes"),
    ],
)
def test_a_table_that_is_none_is_refused(path: str, sentence: str, tmp_path: Path):
    (tmp_path / "plain.csv").write_text("path,label\na.jpg,cat\n")
    (tmp_path / "empty.csv").write_text("")

    with pytest.raises(DataError, match=sentence):
        listed(tmp_path / path)


# EXIF


# Where a mark at the upper left of the stored image is in the upright one: EXIF's definition.
UPPER_LEFT_COMES_TO = {
    1: "upper left", 2: "upper right", 3: "lower right", 4: "lower left",
    5: "upper left", 6: "upper right", 7: "lower right", 8: "lower left",
}  # fmt: skip


def turned(root: Path, orientation: int) -> Path:
    """A white mark of 16 x 8 pixels at 8, 0 of an image stored as 64 x 32."""
    pixels = np.zeros((32, 64), np.uint8)
    pixels[0:8, 8:24] = 255
    exif = Image.Exif()
    exif[274] = orientation
    root.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(root / "a.png", exif=exif)
    return root / "a.png"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_on_the_stored_image_turn_with_it(orientation: int, tmp_path: Path):
    path = turned(tmp_path, orientation)
    (tmp_path / "boxes.csv").write_text(
        "path,x1,y1,x2,y2,label,width,height\na.png,8,0,24,8,mark,64,32\n"
    )

    listing = listed(tmp_path)

    pixels = read_image(path)[0].numpy()
    rows, columns = np.nonzero(pixels > 127)
    height, width = pixels.shape
    mark = [columns.min() / width, rows.min() / height,
            (columns.max() + 1) / width, (rows.max() + 1) / height]  # fmt: skip
    box = boxes_of(listing)["a"][0][:4]
    if 2 <= orientation <= 4:  # both sizes are the same: taken as drawn on the upright image
        assert box == [0.125, 0, 0.375, 0.25]
        assert "1 image turned by EXIF, and the annotated size does not tell" in said(listing)
    else:
        np.testing.assert_allclose(box, mark, atol=1e-6)
        assert ("annotated as stored: the boxes are turned" in said(listing)) == (orientation > 1)
    side = f"{'upper' if mark[1] < 0.5 else 'lower'} {'left' if mark[0] < 0.5 else 'right'}"
    assert side == UPPER_LEFT_COMES_TO[orientation]


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_boxes_on_the_upright_image_stay(orientation: int, tmp_path: Path):
    turned(tmp_path, orientation)
    (tmp_path / "boxes.csv").write_text(
        "path,x1,y1,x2,y2,label,width,height\na.png,8,0,24,8,mark,32,64\n"
    )

    listing = listed(tmp_path)

    assert boxes_of(listing)["a"] == [[0.25, 0, 0.75, 0.125, 0, 0]]
    assert listing.notes == ()


@pytest.mark.parametrize("orientation", [3, 6])
def test_boxes_of_an_unknown_size_are_on_the_upright_image(orientation: int, tmp_path: Path):
    turned(tmp_path, orientation)
    (tmp_path / "boxes.csv").write_text("path,x1,y1,x2,y2,label\na.png,8,0,24,8,mark\n")

    listing = listed(tmp_path)

    upright = (64, 32) if orientation == 3 else (32, 64)
    place = [8 / upright[0], 0, 24 / upright[0], 8 / upright[1], 0, 0]
    assert boxes_of(listing)["a"] == [place]
    assert "read as boxes on the upright image (a.png)" in said(listing)


def test_a_size_that_is_neither_is_named_with_both(tmp_path: Path):
    turned(tmp_path, 6)
    (tmp_path / "boxes.csv").write_text(
        "path,x1,y1,x2,y2,label,width,height\na.png,8,0,24,8,mark,64,64\n"
    )

    with pytest.raises(
        DataError, match=r"annotated as 64x64, the file has 64x32 and is turned to 32x64 by EXIF"
    ):
        listed(tmp_path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_frame_is_upright_as_the_image_is_read(orientation: int, suffix: str, tmp_path: Path):
    path = picture(tmp_path / f"a.{suffix}", Drawing("a", (20, 12), [], orientation))

    found = frame(path)

    assert found == Frame(20, 12, orientation)
    assert found.upright == tuple(read_image(path).shape[:0:-1])


def test_exif_behind_the_pixels_of_a_png_is_seen(tmp_path: Path):
    content = turned(tmp_path, 6).read_bytes()
    start = content.index(b"eXIf") - 4
    length = int.from_bytes(content[start : start + 4]) + 12
    chunk, rest = content[start : start + length], content[:start] + content[start + length :]
    end = rest.index(b"IEND") - 4
    (tmp_path / "late.png").write_bytes(rest[:end] + chunk + rest[end:])

    assert frame(tmp_path / "late.png") == Frame(64, 32, 6)
    assert read_image(tmp_path / "late.png").shape == (3, 64, 32)


@pytest.mark.parametrize(
    ("content", "why"), [(b"", "the file is empty"), (b"text", "not an image of a known format")]
)
def test_an_image_that_cannot_be_read_is_skipped_and_named(
    content: bytes, why: str, tmp_path: Path
):
    write_coco(tmp_path)
    (tmp_path / "images" / "b.jpg").write_bytes(content)

    listing = listed(tmp_path)

    assert listing.skipped == (("images/b.jpg", why),)
    assert set(boxes_of(listing)) == {"a", "c"}


def test_yolo_text_is_written_as_it_is_read_here():
    assert yolo_text(THREE[1]) == "1 0.125 0.125 0.25 0.25\n"


def test_a_folder_that_may_not_be_listed_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """lost+found beside class folders, for a user who is not root."""
    for label in ("a", "b"):
        for number in range(3):
            path = tmp_path / "set" / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (number, 9, 9)).save(path)
    (tmp_path / "set" / "lost+found").mkdir()
    real = box_folders.coco_files

    def denied(folder: Path) -> list[Path]:
        if folder.name == "lost+found":
            raise PermissionError(13, "Permission denied", str(folder))
        return real(folder)

    monkeypatch.setattr(box_folders, "coco_files", denied)

    assert find_images(tmp_path / "set").listing.task.labels == ("a", "b")

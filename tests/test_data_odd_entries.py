"""What cannot be used in a folder, a table or a tar: skipped and named, or one sentence."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import re
import socket
import subprocess
import tarfile
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mobilenets.data import Images, load_images
from mobilenets.data.formats import tree
from mobilenets.data.formats.idx import read_idx
from mobilenets.data.formats.shards import expand_braces
from mobilenets.errors import DataError


def pets(root: Path, *, count: int = 5) -> Path:
    for pet in ("cat", "dog"):
        (root / pet).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (root / pet / f"{number}.png").write_bytes(png(f"{pet} {number}"))
    return root


def png(seed: str) -> bytes:
    """Noise, another for each seed."""
    file = io.BytesIO()
    Image.frombytes("L", (4, 4), Random(seed).randbytes(16)).save(file, "PNG")
    return file.getvalue()


def used(images: Images) -> int:
    return sum(images.to_json()["counts"].values())


# Entries of a folder


def fifo(path: Path) -> None:
    os.mkfifo(path.with_suffix(".png"))


def link_to_fifo(path: Path) -> None:
    os.mkfifo(path.with_suffix(".pipe"))
    path.with_suffix(".png").symlink_to(path.with_suffix(".pipe"))


def unix_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket may have 108 bytes
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(f"{path.name}.png")
    os.chdir(here)


def loop(path: Path) -> None:
    path.with_suffix(".png").symlink_to(path.with_suffix(".png"))


def loop_without_suffix(path: Path) -> None:
    path.symlink_to(path)


def broken(path: Path) -> None:
    path.with_suffix(".png").symlink_to(path.parent / "nowhere.png")


def random_device(path: Path) -> None:
    path.with_suffix(".png").symlink_to("/dev/urandom")


def process_file(path: Path) -> None:
    path.with_suffix(".png").symlink_to("/proc/self/mem")


def process_folder(path: Path) -> None:
    path.symlink_to("/proc/self")


def folder_again(path: Path) -> None:
    path.symlink_to(path.parent)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (fifo, "a FIFO, not a file"),
        (link_to_fifo, "a FIFO, not a file"),
        (unix_socket, "a socket, not a file"),
        (loop, os.strerror(errno.ELOOP)),
        (loop_without_suffix, os.strerror(errno.ELOOP)),
        (broken, "No such file or directory"),
        (random_device, "a device, not a file"),
        (process_file, "a file of the system, not a stored one"),
        (process_folder, "a folder of the system"),
        (folder_again, "the same folder as cat"),
    ],
)
def test_an_odd_entry_is_skipped_and_named(tmp_path: Path, make: Any, reason: str):
    pets(tmp_path)
    make(tmp_path / "cat" / "odd")
    images = load_images(tmp_path)

    assert [why for _, why in images.skipped] == [reason]
    assert images.skipped[0][0].startswith("cat/odd")
    assert images.notes[-1] == f"1 skipped: {images.skipped[0][0]} ({reason})"
    assert used(images) == 10


def test_a_folder_that_may_not_be_listed_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pets(tmp_path)
    (tmp_path / "cat" / "private").mkdir()
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if str(path).endswith("private"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(tree.os, "scandir", refuse)

    assert load_images(tmp_path).skipped == (("cat/private", "Permission denied"),)


def test_the_folder_itself_that_may_not_be_listed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(path: Any) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tree.os, "scandir", refuse)

    with pytest.raises(DataError, match=r"cannot be listed: Permission denied; check its permiss"):
        load_images(pets(tmp_path))


@pytest.mark.parametrize("name", ["lost+found", ".Trash-0", "$RECYCLE.BIN"])
def test_what_a_file_system_leaves_is_no_class(tmp_path: Path, name: str):
    pets(tmp_path)
    (pets(tmp_path / name) / "0.png").write_bytes(png(name))
    images = load_images(tmp_path)

    assert images.task.labels == ("cat", "dog")
    assert f"1 folder left out, no data: {name}" in images.notes


def test_folders_nested_beyond_the_recursion_limit_are_walked(tmp_path: Path):
    pets(tmp_path)
    here = os.open(tmp_path / "cat", os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("a", dir_fd=here)
        below = os.open("a", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    images = load_images(tmp_path)
    subprocess.run(["rm", "-r", tmp_path / "cat" / "a"], check=True)  # pytest's own rmtree recurses

    assert used(images) == 10


def test_names_that_are_not_utf_8_are_read_and_recorded(tmp_path: Path):
    pets(tmp_path)
    (tmp_path / "dog").rename(tmp_path / os.fsdecode(b"caf\xe9"))
    (tmp_path / "cat" / os.fsdecode(b"\xff.png")).touch()
    images = load_images(tmp_path)

    assert images.task.labels == ("caf\\udce9", "cat")
    assert images.skipped == (("cat/\udcff.png", "the file is empty"),)
    assert images.notes[-1] == "1 skipped: cat/\\udcff.png (the file is empty)"
    record = images.to_json()
    assert json.loads(json.dumps(record).encode("utf-8")) == record
    assert used(load_images(tmp_path, known=record)) == used(images) == 10


def test_many_skipped_are_named_by_reason(tmp_path: Path):
    pets(tmp_path)
    for number in range(5):
        (tmp_path / "cat" / f"bad{number}.png").touch()
    os.mkfifo(tmp_path / "cat" / "pipe.png")

    assert load_images(tmp_path).notes[-1] == (
        "6 skipped: cat/bad0.png, cat/bad1.png, cat/bad2.png and 2 more (the file is "
        "empty); cat/pipe.png (a FIFO, not a file)"
    )


# Rows of a table


def rows(root: Path, *more: str, header: str = "path,label", count: int = 5) -> Path:
    pets(root)
    listed = [f"{pet}/{n}.png,{pet}" for pet in ("cat", "dog") for n in range(count)]
    (root / "pets.csv").write_text("\n".join([header, *listed, *more]))
    return root / "pets.csv"


@pytest.mark.parametrize(
    ("row", "skipped"),
    [
        ("cat/gone.png,cat", ("cat/gone.png", "No such file or directory (")),
        ("cat/0b.png,", ("cat/0b.png", "no label (")),
        ("cat/0b.png", ("cat/0b.png", "no label (")),
        (",cat", ("{} line 12", "no path")),
        ("cat/pipe.png,cat", ("cat/pipe.png", "a FIFO, not a file (")),
        ("cat,cat", ("cat", "a folder, not a file (")),
        ("cat/\0.png,cat", ("cat/\0.png", "embedded null byte (")),
        (f"{'a' * 300}.png,cat", (f"{'a' * 300}.png", "File name too long (")),
    ],
)
def test_a_row_that_names_no_image_is_skipped_and_named(
    tmp_path: Path, row: str, skipped: tuple[str, str]
):
    path = rows(tmp_path, row)
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    images = load_images(path)

    [(name, reason)] = images.skipped
    where = f"{path} line 12)" if skipped[1].endswith("(") else ""
    assert (name, reason) == (skipped[0].format(path), f"{skipped[1]}{where}")
    assert used(images) == 10


def test_a_row_of_attributes_whose_file_is_gone_is_skipped(tmp_path: Path):
    pets(tmp_path, count=10)
    lines = [f"{pet}/{n}.png,{n % 2},{int(n > 4)}" for pet in ("cat", "dog") for n in range(10)]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["file,a,b", *lines, "gone.png,1,0"]))
    images = load_images(table)

    assert images.skipped == (("gone.png", f"No such file or directory ({table} line 22)"),)
    assert len(images.targets.values) == 20


def test_a_table_of_which_no_file_is_there_is_refused(tmp_path: Path):
    (tmp_path / "a.csv").write_text("path,label\na.png,a\nb.png,b\n")

    with pytest.raises(
        DataError,
        match=r"no image that can be used: all 2 rows are skipped \(the first, a\.png: No such",
    ):
        load_images(tmp_path / "a.csv")


def test_paths_of_windows_are_read_where_the_files_are(tmp_path: Path):
    path = rows(tmp_path)
    path.write_text(path.read_text().replace("/", "\\"))
    images = load_images(path)

    assert images.source.name(0) == "cat/0.png"
    assert images.notes == ("10 paths with \\ read as folders",)


def test_a_row_that_stands_twice_counts_once(tmp_path: Path):
    path = rows(tmp_path, "cat/0.png,cat", "cat\\1.png,cat")
    images = load_images(path)

    assert used(images) == 10
    assert images.notes[0].startswith("2 rows left out, the same twice: ")


@pytest.mark.parametrize(
    "header",
    ["filename,label", "File Name,Class", "image_path,category", "img,target", "image,labels"],
)
def test_a_header_is_read_as_it_is_spelled(tmp_path: Path, header: str):
    assert load_images(rows(tmp_path, header=header)).task.labels == ("cat", "dog")


@pytest.mark.parametrize(
    ("header", "row", "note"),
    [
        (
            "filename,label,width,height",
            "{path},{pet},24,24",
            "columns read: filename as path, label as label; left out: width, height",
        ),
        (
            "id,class,image",
            "7,{pet},{path}",
            "columns read: image as path, class as label; left out: id",
        ),
        (
            "image,part,author,label",
            "{path},train,ann,{pet}",
            "columns read: image as path, label as label, part as split; left out: author",
        ),
        ("path;label", "{path};{pet}", None),
        ("path\tlabel", "{path}\t{pet}", None),
        (None, "{pet},{path}", None),
    ],
)
def test_columns_are_told_by_names_and_by_what_is_in_them(
    tmp_path: Path, header: str | None, row: str, note: str | None
):
    pets(tmp_path)
    lines = [row.format(path=f"{pet}/{n}.png", pet=pet) for pet in ("cat", "dog") for n in range(5)]
    table = tmp_path / "table.csv"
    table.write_text("\n".join([*([header] if header else []), *lines]))
    images = load_images(table)

    assert images.task.labels == ("cat", "dog")
    assert images.source.name(9) == "dog/4.png"
    assert images.notes == (() if note is None else (note,))


@pytest.mark.parametrize(
    ("header", "cells", "message"),
    [
        ("file,image,label", "a,a", "has the columns 'file' and 'image', and each may be the path"),
        ("path,class,category", "a,a", "'class' and 'category', and each may be the label; call"),
        (
            "path,class,glasses",
            "1,0",
            "two ways: 'class' is the class, or one of 2 attributes of 1 and 0; give --task",
        ),
    ],
)
def test_columns_that_may_be_either_are_refused(
    tmp_path: Path, header: str, cells: str, message: str
):
    pets(tmp_path)
    lines = [f"cat/{number}.png,{cells}" for number in range(5)]
    (tmp_path / "table.csv").write_text("\n".join([header, *lines]))

    with pytest.raises(DataError, match=message):
        load_images(tmp_path / "table.csv")


@pytest.mark.parametrize("name", ["a.csv", "list_attr_celeba.txt"])
def test_a_table_that_is_a_fifo_is_refused(tmp_path: Path, name: str):
    os.mkfifo(tmp_path / name)

    with pytest.raises(DataError, match=r"cannot be read.*: a FIFO, not a file; "):
        load_images(tmp_path / name)


@pytest.mark.parametrize("data", ["a" * 5000, "a/" * 5000, "nul\0", "a" * 300 + ".csv"])
def test_a_name_that_no_file_can_have_is_refused(data: str):
    with pytest.raises(
        DataError, match=r"(cannot be read: File name too long|there is nothing at)"
    ):
        load_images(data)


# Index files


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("shape", [(10**9, 28, 28), (2**32 - 1,) * 3, (2**31, 2**31, 4)])
def test_an_idx_header_of_more_than_its_file_is_refused(
    tmp_path: Path, suffix: str, shape: tuple[int, ...]
):
    content = bytes([0, 0, 8, 3]) + np.array(shape, ">u4").tobytes() + bytes(100)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(gzip.compress(content) if suffix else content)

    with pytest.raises(
        DataError, match=r"holds \d+ bytes( at most)? where its header says \d+; fe"
    ):
        read_idx(path, dimensions=3)


def test_an_idx_file_that_goes_on_is_not_read_to_its_end(tmp_path: Path):
    content = bytes([0, 0, 8, 1, 0, 0, 0, 5]) + bytes(10**7)
    (tmp_path / "a.gz").write_bytes(gzip.compress(content))

    with pytest.raises(DataError, match="holds more than 5 bytes where its header says 5; fetch"):
        read_idx(tmp_path / "a.gz", dimensions=1)


def test_idx_images_of_no_pixels_are_refused(tmp_path: Path):
    (tmp_path / "a").write_bytes(bytes([0, 0, 8, 3]) + np.array((9, 0, 28), ">u4").tobytes())

    with pytest.raises(DataError, match="has images of 0 x 28 pixels; fetch it again"):
        read_idx(tmp_path / "a", dimensions=3)


@pytest.mark.parametrize(
    "pattern",
    ["a-{0..99999999}.tar", "{0..9999}-{0..9999}.tar", "a-{0..99999999999999999999999}.tar",
     "{" + "1" * 5000 + ".." + "9" * 5000 + "}.tar"],
)  # fmt: skip
def test_a_pattern_of_very_many_shards_is_refused_before_it_is_written_out(pattern: str):
    with pytest.raises(DataError, match=r"names more than 100,000 files; write the numbers"):
        expand_braces(pattern)


def test_a_pattern_that_counts_down_is_refused():
    with pytest.raises(DataError, match="names no file, as it counts down; write the numbers"):
        load_images("a-{5..1}.tar")


# Tars


def tar_of(path: Path, *names: str, label: str = "{}") -> Path:
    """Members of these names; the label of 03 or cam.03 is that of an odd number, 1."""
    with tarfile.open(path, "w") as tar:
        for name in names:
            number = int(re.findall(r"\d\d", name)[-1])
            content = png(name) if name.endswith("png") else label.format(number % 2).encode()
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def samples(*suffixes: str, key: str = "{:02}", count: int = 8) -> list[str]:
    return [key.format(number) + suffix for number in range(count) for suffix in suffixes]


@pytest.mark.parametrize(
    ("names", "first", "note"),
    [
        pytest.param(samples(".cls", ".png"), "00.png", None, id="plain"),
        pytest.param(
            samples(".cls", ".png", key="cam0-1.{:02}"), "cam0-1.00.png", None, id="dotted keys"
        ),
        pytest.param(
            samples(".cls", ".mask.png", ".png"), "00.png", "8 .mask.png", id="a mask before it"
        ),
        pytest.param(
            samples(".cls", ".png", ".seg.png", key="v1.{:02}"), "v1.00.png",
            "1 .00.seg.png", id="dotted keys with masks",
        ),
        pytest.param(samples(".cls", ".rgb.png"), "00.rgb.png", None, id="no plain one"),
        pytest.param(
            ["._00.cls", *samples(".cls", ".png", key="./{:02}"), "./._01.png"], "./00.png",
            "2 hidden", id="AppleDouble",
        ),
        pytest.param(
            [*samples(".cls", ".png"), *samples(".png", key="__MACOSX/{:02}")], "00.png",
            "8 hidden", id="__MACOSX",
        ),
        pytest.param(
            samples(".cls", ".png", ".meta.json", ".txt"), "00.png", "8 .json, 8 .txt", id="more"
        ),
    ],
)  # fmt: skip
def test_the_image_of_a_sample_is_the_one_called_as_its_label(
    tmp_path: Path, names: list[str], first: str, note: str | None
):
    tar_of(tmp_path / "a.tar", *names)
    images = load_images(tmp_path)

    assert (len(images.source), images.source.name(0)) == (8, f"a.tar/{first}")
    assert images.targets.values.tolist() == [0, 1] * 4
    assert (note or "") in "".join(images.notes)
    assert bool(note) == bool(images.notes)


def test_files_beside_shards_are_counted(tmp_path: Path):
    tar_of(tmp_path / "a.tar", *samples(".cls", ".png"))
    for name in ("b.png", "c.png", "list.txt"):
        (tmp_path / name).touch()
    images = load_images(tmp_path)

    assert images.notes == ("3 files left out, not read as images: 2 .png, 1 .txt",)


@pytest.mark.parametrize(
    ("suffixes", "message"),
    [
        ((".cls", ".png", ".PNG"), r"00\.png and 00\.PNG may each be the image of 00\.cls; name"),
        ((".cls", ".left.png", ".right.png"), r"00\.left\.png and 00\.right\.png may each be"),
        ((".00.png", ".01.png", ".cls"), r"00\.00\.png and 00\.01\.png may each be the image of"),
    ],
)
def test_two_images_that_may_be_meant_are_refused(
    tmp_path: Path, suffixes: tuple[str, ...], message: str
):
    tar_of(tmp_path / "a.tar", *samples(*suffixes))

    with pytest.raises(DataError, match=message):
        load_images(tmp_path)


@pytest.mark.parametrize(
    "label", ["null", "[]", "3", "[" * 9999, '{{"label": null}}', '{{"cls": [1]}}']
)
def test_a_json_of_another_shape_holds_no_label(tmp_path: Path, label: str):
    tar_of(tmp_path / "a.tar", *samples(".json", ".png"), label=label)

    with pytest.raises(DataError, match=r"00\.json holds no label; it needs one of label, class"):
        load_images(tmp_path)


@pytest.mark.parametrize(
    "record",
    ["null", "3", '"a"', "[]", "{}", "[" * 99999, '{"bytes": null, "members": []}',
     '{"bytes": 10240, "members": 3}', '{"bytes": 10240, "members": [null]}',
     '{"bytes": 10240, "members": [["a.png", -1, 5, "0"]]}',
     '{"bytes": 10240, "members": [["a.png", 512, 1e99, "0"]]}',
     '{"bytes": 10240, "members": [["a.png", 512, 99999999999999999999, "0"]]}',
     '{"bytes": 10240, "members": [["a.png", 9999, 9999, "0"]]}',
     '{"bytes": 10240, "members": [["a.png", 512, 5, null]]}'],
)  # fmt: skip
def test_an_index_of_another_shape_is_refused(tmp_path: Path, record: str):
    path = tar_of(tmp_path / "a.tar", *samples(".cls", ".png", count=2))
    (tmp_path / "a.index.json").write_text(record)

    assert path.stat().st_size == 10240
    with pytest.raises(
        DataError, match=r"a\.index\.json does not index .*a\.tar \(.*\); write the"
    ):
        load_images(tmp_path)


@pytest.mark.parametrize(
    "record",
    ["null", "3", "[1]", "[" * 99999, '{"classes": 3}', '{"classes": [1, 2]}', '{"shards": [null]}',
     '{"classes": ["a", "a"]}', '{"shards": ["/etc/a.tar"]}', '{"shards": ["../a.tar"]}',
     '{"name": []}', '{"flip": null}', '{"ordered": "yes"}'],
)  # fmt: skip
def test_a_list_of_shards_of_another_shape_is_refused(tmp_path: Path, record: str):
    tar_of(tmp_path / "a.tar", *samples(".cls", ".png"))
    (tmp_path / "shards.json").write_text(record)

    with pytest.raises(
        DataError, match=r"shards\.json (is not an index of|cannot be read as JSON).*; write the sh"
    ):
        load_images(tmp_path)

"""webdataset's TarWriter and ShardWriter in place of our writer of shards.

    python benchmarks/tar_writer.py --out T.json DATA ...

DATA is what `mobilenets shard` takes. The processor's seconds of a whole run and the bytes it
leaves, in turns, by

- ours: `write_shards`;
- TarWriter: `write_shards` with webdataset's TarWriter in place of `tarfile`, all else ours;
- ShardWriter: webdataset's own, then our index by the tars' headers (it gives no offsets);

and of the tar alone, from files in memory. Then: the same bytes the next time? What a kill leaves,
and what the next run makes of it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import webdataset

from mobilenets.data import Images, ShardSize, load_images, pack, write_shards
from mobilenets.data.formats.tars import Member, index_path, index_record, read_contents
from mobilenets.data.split import Indices
from mobilenets.errors import DataError
from mobilenets.files import write_json
from mobilenets.measuring.machine import device_name

SESSIONS = 3
SIZE = ShardSize(size_bytes=2e5)
_BLOCK = 512
_SAME = {"mtime": 0, "user": "", "group": ""}  # as ours has it; the time of writing by default


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="*")
    parser.add_argument("--kill", nargs=3, help="for itself: WRITER DATA FOLDER, to be killed")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    if asked.kill:
        writer, data, folder = asked.kill
        WRITERS[writer](load_images(data), Path(folder))
        return
    record: dict[str, Any] = {"device": device_name(), "webdataset": version("webdataset")}
    record["sets"] = [of(data) for data in asked.data]
    asked.out.write_text(json.dumps(record, indent=1) + "\n")


def of(data: str) -> dict[str, Any]:
    images = load_images(data)
    found: dict[str, Any] = {"data": images.name, "images": len(images.labels)}
    seconds: dict[str, list[float]] = {name: [] for name in WRITERS}
    with tempfile.TemporaryDirectory() as folder:
        for session in range(SESSIONS):
            for name, write in WRITERS.items():
                place = Path(folder, f"{name}-{session}")
                begun = time.process_time()
                write(images, place)
                seconds[name].append(time.process_time() - begun)
        for name in WRITERS:
            places = [Path(folder, f"{name}-{at}") for at in range(SESSIONS)]
            tars = sorted(places[0].glob("*.tar"))
            found[name] = {
                "seconds": median(seconds[name]), "all": seconds[name], "shards": len(tars),
                "bytes": sum(tar.stat().st_size for tar in tars),
                "largest": max(tar.stat().st_size for tar in tars),
                "same_bytes": len({digest(place) for place in places}) == 1,
                "killed": killed(name, data, Path(folder, f"{name}-killed")),
            }  # fmt: skip
            print(json.dumps({name: found[name]}), flush=True)
        found["in_memory"] = in_memory(images)
        print(json.dumps(found["in_memory"]), flush=True)
    return found


def digest(folder: Path) -> str:
    found = hashlib.sha256()
    for tar in sorted(folder.glob("*.tar")):
        found.update(tar.name.encode() + tar.read_bytes())
    return found.hexdigest()


# ---- Writers


def shard_writer(images: Images, folder: Path) -> None:
    """As its documentation has it, in our order; an index for reading at random after each."""
    folder.mkdir(parents=True, exist_ok=True)

    def post(name: str) -> None:
        path = Path(name)
        write_json(index_path(path), index_record(read_contents(path), path.stat().st_size))

    for split, indices in pack._parts(images).items():
        pattern = f"{folder}/{split}-%06d.tar"
        with webdataset.ShardWriter(
            pattern, maxsize=SIZE.size_bytes, post=post, verbose=0, encoder=False
        ) as writer:
            for index in np.random.default_rng(0).permutation(indices).tolist():
                writer.write(sample(images, index))


def sample(images: Images, index: int) -> dict[str, Any]:
    suffix, content = pack._encoded(images, index)
    return {"__key__": f"{index:08d}", suffix: content, "cls": str(images.labels[index]).encode()}


def tar_writer(images: Images, folder: Path) -> None:
    ours, pack._pack = pack._pack, packed
    try:
        write_shards(images, folder, SIZE)
    finally:
        pack._pack = ours


def packed(images: Images, order: Indices, size: ShardSize) -> tuple[bytes, list[Member]]:
    """`pack._pack` by TarWriter, which sorts a sample's files: .cls before .jpg."""
    file, members = BytesIO(), list[Member]()
    with webdataset.TarWriter(file, encoder=False, **_SAME) as writer:
        for index in order[: size.count].tolist():
            one = sample(images, index)
            suffix = next(key for key in one if key not in ("__key__", "cls"))
            offset = writer.tarstream.offset
            if members and offset + len(one[suffix]) + 5 * _BLOCK > size.size_bytes:
                break
            name = f"{index:08d}.{suffix}"
            members.append(Member(name, offset + 3 * _BLOCK, len(one[suffix]), one["cls"].decode()))
            writer.write(one)
    return file.getvalue(), members


WRITERS: dict[str, Callable[[Images, Path], Any]] = {
    "ours": lambda images, folder: write_shards(images, folder, SIZE),
    "TarWriter": tar_writer,
    "ShardWriter": shard_writer,
}


# ---- Killed


def killed(name: str, data: str, folder: Path) -> dict[str, Any]:
    """SIGKILL when some shards are there; what the next run does with them."""
    words = [sys.executable, __file__, "--kill", name, data, str(folder)]
    child = subprocess.Popen(words)
    while len(list(folder.glob("*.tar"))) < 3 and child.poll() is None:
        time.sleep(0.002)
    time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    kept = {tar.name: (tar.stat().st_mtime_ns, broken(tar)) for tar in folder.glob("*.tar")}
    subprocess.run(words, check=True, env=os.environ)
    after = {tar.name: tar.stat().st_mtime_ns for tar in folder.glob("*.tar")}
    result = {
        "shards_left": len(kept),
        "broken": sum(is_broken for _, is_broken in kept.values()),
        "kept_by_the_next_run": sum(after[name] == then for name, (then, _) in kept.items()),
    }
    shutil.rmtree(folder)
    return result


def broken(tar: Path) -> bool:
    """Whether it is cut short."""
    copy = tar.with_suffix(".copy")
    shutil.copyfile(tar, copy)
    try:
        read_contents(copy)
    except DataError:
        return True
    finally:
        copy.unlink()
    return False


# ---- The tar alone


def in_memory(images: Images) -> dict[str, Any]:
    """Microseconds an image, for files that are in memory already."""
    few = np.random.default_rng(0).permutation(len(images.labels))[:5000]
    stored = [sample(images, index) for index in few.tolist()]
    seconds: dict[str, list[float]] = {"tarfile": [], "TarWriter": []}
    for _ in range(SESSIONS):
        for name, write in (("tarfile", by_tarfile), ("TarWriter", by_tar_writer)):
            begun = time.process_time()
            write(iter(stored))
            seconds[name].append(1e6 * (time.process_time() - begun) / len(stored))
    return {"microseconds": {name: median(all_) for name, all_ in seconds.items()}, "all": seconds}


def by_tarfile(samples: Iterator[dict[str, Any]]) -> None:
    with pack.tarfile.open(fileobj=BytesIO(), mode="w", format=pack.tarfile.USTAR_FORMAT) as tar:
        for one in samples:
            for key in one.keys() - {"__key__"}:
                pack._add(tar, f"{one['__key__']}.{key}", one[key])


def by_tar_writer(samples: Iterator[dict[str, Any]]) -> None:
    with webdataset.TarWriter(BytesIO(), encoder=False, **_SAME) as writer:
        for one in samples:
            writer.write(one)


if __name__ == "__main__":
    main()

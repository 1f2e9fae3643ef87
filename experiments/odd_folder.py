"""A folder as bad as can be: does `fit` end well, and is everything that was left out named?

    python experiments/odd_folder.py mutated OUT   # 1,000 mutated images, FIFOs, loops, permissions
    python experiments/odd_folder.py many OUT      # 100,000 small files, listed twice

`mutated` writes three classes of digits, a thousand mutated copies (cut short, bytes changed, bytes
put in, zeros, in six formats), and entries that are no images; runs `fit`; prints its status,
seconds and peak memory, and what of the unreadable it did not name. `many` prints seconds and peak
memory of reading a folder for the first time and again. For root no permission is denied.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

RNG = np.random.default_rng(0)
_READ = """
import json, resource, sys, time
from mobilenets.data import load_images
begin = time.perf_counter()
images = load_images(sys.argv[1])
seconds = time.perf_counter() - begin
print(json.dumps({"images": len(images.train) + len(images.holdout) + len(images.val),
    "seconds": seconds, "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def main() -> None:
    """Write the folder and read it."""
    what, out = sys.argv[1], Path(sys.argv[2])
    {"mutated": mutated, "many": many}[what](out)


def mutated(out: Path) -> None:
    """Write the folder, run `fit`, and compare what it skipped with what cannot be read."""
    data = out / "data"
    good = _digits(data, classes=3, each=150)
    odd = [_mutated(good[int(RNG.integers(len(good)))], number) for number in range(1000)]
    entries = _odd_entries(data)
    command = [sys.executable, "-m", "mobilenets", "fit", str(data), "--macs", "500k"]
    begin = time.perf_counter()
    run = subprocess.run(
        [*command, "--epochs", "2", "--out", str(out / "run")], capture_output=True, text=True
    )
    seconds = time.perf_counter() - begin
    record = json.loads((out / "run" / "images.json").read_text())
    skipped = {one["name"] for one in record["skipped"]}
    said = run.stderr + json.dumps(record["notes"])
    unread = [file for file in odd if not _is_read(file)]
    print(f"status {run.returncode}, {seconds:.1f} s, {_peak_mb():.0f} MB at most")
    print(f"{len(odd)} mutated, {len(unread)} cannot be read, {len(skipped)} skipped by name")
    missing = [str(one.relative_to(data)) for one in unread]
    print("not named:", [one for one in missing if one not in skipped][:10])
    print("odd entries not named:", [one for one in entries if one not in said + str(skipped)])
    print("traceback" if "Traceback" in run.stderr else "no traceback")
    print(*run.stderr.splitlines()[:12], sep="\n")


def many(out: Path) -> None:
    """A hundred thousand files in ten classes, read twice."""
    for label in range(10):
        folder = out / "data" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(10_000):
            pixels = RNG.integers(0, 256, (8, 8), np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    environment = os.environ | {"XDG_CACHE_HOME": str(out / "cache")}
    for turn in ("first", "again"):
        done = subprocess.run(
            [sys.executable, "-c", _READ, str(out / "data")],
            env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        print(turn, done.stdout.strip())


def _digits(data: Path, *, classes: int, each: int) -> list[Path]:
    digits, files = load_digits(), list[Path]()
    for label in range(classes):
        (data / str(label)).mkdir(parents=True)
        for index in np.flatnonzero(digits.target == label)[:each]:
            pixels = (digits.images[index] * 255 / 16).astype(np.uint8)
            file = data / str(label) / f"{index}.png"
            Image.fromarray(pixels).resize((32, 32)).save(file)
            files.append(file)
    return files


def _mutated(good: Path, number: int) -> Path:
    """A copy of the file in another state, beside it."""
    suffix = (".png", ".jpg", ".bmp", ".tif", ".webp", ".gif")[number % 6]
    file = good.with_name(f"odd{number}{suffix}")
    with Image.open(good) as image:
        image.convert("RGB").save(file)
    content = bytearray(file.read_bytes())
    at = int(RNG.integers(len(content)))
    kind = number % 5
    if kind == 0:
        content = content[:at]
    elif kind == 1:
        for _ in range(8):
            content[int(RNG.integers(len(content)))] = int(RNG.integers(256))
    elif kind == 2:
        content[at:at] = RNG.bytes(64)
    elif kind == 3:
        content[at : at + 64] = bytes(64)
    else:
        content = bytearray(RNG.bytes(len(content)))
    file.write_bytes(content)
    return file


def _odd_entries(data: Path) -> list[str]:
    """What is no regular file, in the first class; the names."""
    folder = data / "0"
    os.mkfifo(folder / "pipe.png")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "round").symlink_to(data)
    (folder / "random.png").symlink_to("/dev/random")
    (folder / "topipe.png").symlink_to("pipe.png")
    (folder / "broken.png").symlink_to("nowhere.png")
    (folder / "folder.png").mkdir()
    (folder / "empty.png").touch()
    Image.new("L", (60_000, 1)).save(folder / "thin.png")
    locked = folder / "locked.png"
    Image.new("L", (32, 32)).save(locked)
    locked.chmod(0)
    names = ["pipe.png", "loop.png", "random.png", "topipe.png", "broken.png", "empty.png"]
    return [*names, "thin.png", *([] if os.geteuid() == 0 else ["locked.png"])]


def _is_read(file: Path) -> bool:
    """Whether this package reads its pixels."""
    from mobilenets.data import read_image
    from mobilenets.errors import DataError

    try:
        read_image(file)
    except DataError:
        return False
    return True


def _peak_mb() -> float:
    """Of the largest process that was started."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


if __name__ == "__main__":
    main()

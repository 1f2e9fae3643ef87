"""What would help where a training came to little."""

from __future__ import annotations

from typing import Any

from mobilenets.data import Images
from mobilenets.nn import Checkpoint
from mobilenets.text import counted

# A balanced accuracy below this is weak, in percent, and so is a class that is found less often.
_WEAK, _RARELY_FOUND = 80.0, 50.0
# So many images a class are few for random weights; from so many pixels on they are photographs.
_FEW, _PHOTOGRAPHS = 500, 64
# The largest class has so many times the images of the smallest.
_UNEVEN = 3.0


def circumstances(checkpoint: Checkpoint, images: Images) -> dict[str, Any]:
    """What a network was trained from, by the keys that `advice` reads beside a score's."""
    counts = images.targets.take(images.train).counts(images.task.labels).values()
    return {
        "start": start_words(checkpoint.training.get("start")),
        "train_images": len(images.train),
        "class_images": [min(counts, default=0), max(counts, default=0)],
        "native_size": images.native_size,
        "class_weights": checkpoint.training.get("recipe", {}).get("class_weights", "none"),
    }


def start_words(start: dict[str, Any] | None) -> str | None:
    """The weights that a training started from, as the checkpoint tells of them; None where they
    were random."""
    if start is None:
        return None
    notes = ["carried over by surgery"] if "surgery" in start else []
    while isinstance(start.get("before"), dict):
        start = start["before"]
    named = start.get("weights") or start.get("file")
    name = str(named or f"a network trained on {start.get('images', 'other images')}")
    top1 = start.get("imagenet_top1")
    notes = [*([] if top1 is None else [f"ImageNet top-1 {top1:.1f} %"]), *notes]
    return f"{name} ({', '.join(notes)})" if notes else name


def advice(record: dict[str, Any]) -> list[str]:
    """What to try, the most promising first: for a score's JSON with its `circumstances`. Nothing
    where the network is good."""
    weak = record.get("learned") is False or record.get("balanced_accuracy", 100) < _WEAK
    if not weak or "class_images" not in record:
        return []
    fewest, most = record["class_images"]
    photographs = record["native_size"] >= _PHOTOGRAPHS
    found = []
    if record["start"] is None and photographs and fewest < _FEW:
        found.append(
            "start from published weights (--weights auto; pip install 'mobilenets[imagenet]' has "
            f"some): {counted(fewest, 'image')} of a class are few for random ones"
        )
    rare = record.get("worst_recall", 100) < _RARELY_FOUND and most >= _UNEVEN * max(fewest, 1)
    if rare and record["class_weights"] == "none":
        found.append(
            f"--class-weights balanced: of a class there are {fewest:,} to {most:,} images"
        )
    if record.get("epochs", 0) < record.get("recipe_epochs", 0) / 2:
        found.append(
            f"more --minutes: {record['epochs']:g} of {record['recipe_epochs']} epochs were trained"
        )
    return [*found, "more images of each class" if fewest < _FEW else "a larger network"]

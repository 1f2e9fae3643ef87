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
    if not _is_weak(record) or "class_images" not in record:
        return []
    fewest, most = record["class_images"]
    found = []
    if few_for_random_weights(record):
        found.append(
            "fine-tune from published weights (--weights auto; pip install 'mobilenets[imagenet]' "
            f"has some): {counted(fewest, 'image')} of a class are few for random weights"
        )
    if uneven(record):
        found.append(f"--class-weights balanced: the classes have {fewest:,} to {most:,} images")
    if record.get("epochs", 0) < record.get("recipe_epochs", 0) / 2:
        found.append(
            f"more --minutes: {record['epochs']:g} of {record['recipe_epochs']} epochs were trained"
        )
    return [*found, "more images of each class" if fewest < _FEW else "a larger network"]


def few_for_random_weights(record: dict[str, Any]) -> bool:
    """Whether a weak network was trained from random weights on few photographs."""
    few = record["native_size"] >= _PHOTOGRAPHS and record["class_images"][0] < _FEW
    return _is_weak(record) and few and record["start"] is None


def uneven(record: dict[str, Any]) -> bool:
    """Whether a weak network rarely finds a class, and classes with few images counted less."""
    fewest, most = record["class_images"]
    rare = record.get("worst_recall") is not None and record["worst_recall"] < _RARELY_FOUND
    rare = rare and most >= _UNEVEN * max(fewest, 1)
    return _is_weak(record) and rare and record["class_weights"] == "none"


def _is_weak(record: dict[str, Any]) -> bool:
    return record.get("learned") is False or record.get("balanced_accuracy", 100) < _WEAK

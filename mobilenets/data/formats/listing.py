"""Labelled images as they were found, before any was opened or put into a split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mobilenets.data.read import unreadable_suffixes
from mobilenets.data.source import Arrays, Files, Source
from mobilenets.errors import DataError
from mobilenets.tasks import Targets, Task
from mobilenets.tasks.classification import Classification, ClassNumbers
from mobilenets.text import counted

_KINDS_SHOWN, _NAME_SHOWN = 8, 100


@dataclass(frozen=True, slots=True, eq=False)
class Listing:
    """What a format found: images, their targets, and the task that these are for, which names
    their classes or attributes; `given` is "train", "val" or "test" per image, "" where undecided.

    `ignored` counts files that are no images; `described` is a hash of all names, labels and
    splits, in order. `notes` say, a sentence each, how the data was read and what was left out;
    `skipped` are (name, reason) of what cannot be used, found so before any file was opened.
    """

    name: str
    task: Task
    source: Source
    targets: Targets
    given: NDArray[Any]
    described: str
    flip: bool
    ignored: int = 0
    notes: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()

    def check_classes(self, data: object) -> None:
        """Raise `DataError` for what a network cannot learn: a class that the training images lack,
        or one class alone."""
        if len(self.task.labels) < self.task.fewest:
            raise DataError(
                f"{data} holds one class only, {self.task.labels[0]!r}; give the folder whose "
                "sub-folders are the classes, two at least"
            )
        if isinstance(self.targets, ClassNumbers):
            self._check_trained(self.targets.values)

    def _check_trained(self, numbers: NDArray[np.int64]) -> None:
        may_train = np.isin(self.given, ("train", ""))
        unknown = np.flatnonzero(~np.isin(numbers, numbers[may_train]))
        if len(unknown):
            first, labels = int(unknown[0]), self.task.labels
            trained = ", ".join(labels[at] for at in np.unique(numbers[may_train]))
            raise DataError(
                f"{self.given[first]} has class {labels[numbers[first]]!r} "
                f"({self.source.name(first)}), which train lacks; train has "
                f"{trained or 'no class'}; rename the class or add training images"
            )


class Entry(NamedTuple):
    """A file with its class and, where given, its split."""

    path: str
    label: str
    split: str


def list_files(
    name: str,
    root: str,
    entries: list[Entry],
    *,
    ignored: int = 0,
    notes: Iterable[str] = (),
    skipped: Iterable[tuple[str, str]] = (),
) -> Listing:
    """The listing of image files; their classes are sorted."""
    classes = tuple(sorted({entry.label for entry in entries}))
    source = Files(tuple(e.path for e in entries), root)
    listing = list_entries(name, source, entries, classes=classes, ignored=ignored)
    return replace(listing, notes=tuple(notes), skipped=tuple(skipped))


def list_entries(
    name: str,
    source: Source,
    entries: list[Entry],
    *,
    classes: tuple[str, ...],
    ignored: int,
    flip: bool = True,
) -> Listing:
    """The listing of a source whose images are these entries."""
    number = {label: index for index, label in enumerate(classes)}
    return Listing(
        name=name,
        task=Classification(classes),
        source=source,
        targets=ClassNumbers(np.array([number[e.label] for e in entries], dtype=np.int64)),
        given=np.array([e.split for e in entries], dtype=np.str_),
        described=fingerprint(repr(tuple(entry)).encode() for entry in entries),
        flip=flip,
        ignored=ignored,
    )


def list_arrays(
    source: Arrays,
    labels: NDArray[np.int64],
    *,
    classes: tuple[str, ...],
    given: NDArray[Any],
    flip: bool,
) -> Listing:
    """The listing of images in memory."""
    shape, numbers = source.array.shape[1:], labels.tolist()
    parts = [repr((shape, numbers, classes, given.tolist())).encode()]
    task, targets = Classification(classes), ClassNumbers(labels)
    return Listing(source.title, task, source, targets, given, fingerprint(parts), flip)


def left_out(files: Counter[str], folders: Sequence[str] = ()) -> tuple[str, ...]:
    """A note on the files that are no images, counted by suffix, and one on folders that are no
    data; none where there are none."""
    notes = []
    if files.total():
        by_count = sorted(files.items(), key=lambda one: (-one[1], one[0]))
        kinds = [f"{count:,} {kind}{_hint(kind)}" for kind, count in by_count[:_KINDS_SHOWN]]
        more = len(files) - len(kinds)
        kinds += [f"others of {counted(more, 'kind')}"] * (more > 0)
        total = counted(files.total(), "file")
        notes.append(f"{total} left out, not read as images: {', '.join(kinds)}")
    if folders:
        notes.append(f"{counted(len(folders), 'folder')} left out, no data: {few(folders)}")
    return tuple(notes)


def _hint(kind: str) -> str:
    """What to do about images that cannot be read here, in brackets."""
    hint = unreadable_suffixes().get(kind.lower())
    return f" ({hint})" if hint else ""


def skipped_note(skipped: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """A note that names what was skipped, by reason; none where nothing was."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in skipped:
        by_reason.setdefault(reason, []).append(name)
    kinds = [f"{few(names)} ({reason})" for reason, names in by_reason.items()]
    found = "; ".join(kinds[:_KINDS_SHOWN]) + ("; ..." if len(kinds) > _KINDS_SHOWN else "")
    return (f"{len(skipped):,} skipped: {found}",) if skipped else ()


def few(names: Sequence[str], *, shown: int = 3) -> str:
    """The first of these names, shortened, and how many more there are."""
    short = [
        printable(n if len(n) <= _NAME_SHOWN else f"{n[:_NAME_SHOWN]}...") for n in names[:shown]
    ]
    more = len(names) - len(short)
    return ", ".join(short) + (f" and {more:,} more" if more else "")


def printable(text: str) -> str:
    """`text` as any file and screen takes it: bytes of a name that are not UTF-8 become \\udcXX."""
    return text.encode("utf-8", "backslashreplace").decode()


def fingerprint(parts: Iterable[bytes]) -> str:
    """16 hexadecimal digits of the SHA-256 over the parts in order."""
    digest = sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]

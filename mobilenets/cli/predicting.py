"""What `mobilenets predict` prints."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from json import dumps

from mobilenets.commands.predict import Found


def show(found: Iterable[Found], *, json: bool) -> bool:
    """A line for each prediction as it comes, with `json` one value in all; on stderr what is wrong
    and what was left out. Whether all could be read."""
    begun, whole = False, True
    for one in found:
        for prediction in one.predictions:
            if json:
                print("," if begun else "[", dumps(prediction._asdict()), flush=True)
            else:
                image, label, probability = prediction
                head = "" if begun else "image  label  probability\n"
                print(f"{head}{image}  {label}  {probability:.4g}", flush=True)
            begun = True
        if one.wrong or one.note:
            print(f"mobilenets: {one.wrong or one.note}", file=sys.stderr, flush=True)
        whole = whole and not one.wrong
    if json:
        print("]" if begun else "[]")
    return whole

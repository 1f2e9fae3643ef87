"""What `mobilenets predict` prints."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from json import dumps

from mobilenets.commands.predict import Found
from mobilenets.deliver.predictor import Prediction


def show(found: Iterable[Found], *, json: bool) -> bool:
    """A line for each prediction as it comes, with `json` one value in all; on stderr what is wrong
    and what was left out. Whether all could be read."""
    begun, whole = False, True
    for one in found:
        for prediction in one.predictions:
            if json:
                print("," if begun else "[", dumps(prediction.to_json()), flush=True)
            else:
                print("" if begun else _header(prediction), _line(prediction), sep="", flush=True)
            begun = True
        if one.wrong or one.note:
            print(f"mobilenets: {one.wrong or one.note}", file=sys.stderr, flush=True)
        whole = whole and not one.wrong
    if json:
        print("]" if begun else "[]")
    return whole


def _header(prediction: Prediction) -> str:
    return f"image  label  probability{'' if prediction.box is None else '  x1 y1 x2 y2'}\n"


def _line(prediction: Prediction) -> str:
    box = prediction.box
    place = "" if box is None else f"  {' '.join(f'{one:.0f}' for one in box)}"
    return f"{prediction.image}  {prediction.label}  {prediction.probability:.4g}{place}"

"""The measuring process: a request as JSON on stdin, the reply as JSON on stdout.

Started by `measure`, with `python -m`. It pins itself to its cores before it imports the runtime,
so that the runtime's threads inherit them.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

from mobilenets.errors import MobileNetsError
from mobilenets.measurement.loop import interleave

_SEED = 0


def main() -> None:
    """Answer the request on stdin, or say which of our errors it met."""
    request = json.load(sys.stdin)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, request["cores"])
    try:
        reply = answer(request)
    except MobileNetsError as error:
        reply = {"error": type(error).__name__, "message": str(error)}
    print(json.dumps(reply))


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """The runtime's version, and burst, precision and times of each file in the request."""
    import numpy as np

    from mobilenets.runtimes import get_runtime

    runtime = get_runtime(request["runtime"])
    sessions = [runtime.load(Path(path), request["threads"]) for path in request["paths"]]
    # Numbers as images have them: zeros are faster in some kernels.
    random = np.random.default_rng(_SEED)
    images = [random.random((1, *session.input_shape[1:]), np.float32) for session in sessions]
    runs = [partial(session.run, image) for session, image in zip(sessions, images, strict=True)]
    gc.disable()
    timed = interleave(runs, seconds=request["seconds"], min_runs=request["min_runs"])
    return {
        "version": runtime.version(),
        "targets": [
            {"precision": session.metadata.get("precision", "fp32"), **one._asdict()}
            for session, one in zip(sessions, timed, strict=True)
        ],
    }


if __name__ == "__main__":
    main()

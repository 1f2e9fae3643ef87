"""What the files in a run's folder are called: no other module spells their names.

The artifact's is that of its format (`runtimes.artifact.artifact_name`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

# Of every run
ASKED = "asked.json"
TYPED = "typed.json"
STAGES = "stages.json"
IMAGES = "images.json"
BUDGET = "budget.json"
SUMMARY = "summary.json"

# Chosen
ARCH = "arch.json"
CANDIDATES = "candidates.jsonl"
LATENCIES = "latency.jsonl"

# Trained
WEIGHTS = "weights.json"
TRAINING = "training.json"
PLAN = "plan.json"
METRICS = "metrics.csv"
TRAINED_ON = "trained_on.npy"
LAST, BEST = "last.ckpt", "best.ckpt"
TRAINED = "trained.safetensors"
SCORE = "score.json"

# Adapted
ADAPTATION = "adapt.json"
STEPS = "steps.jsonl"
TRADEOFF = "tradeoff.html"

# Quantized
SCHEMES = "schemes.json"
KEPT = "kept.json"

# Verified and reported
VERDICT = "verdict.json"
PREDICTIONS = "predictions.json"
REPORT = "report.html"
CARD = "README.md"


_files = frozenset(value for name, value in globals().items() if name.isupper())
_folders = frozenset(("trials", "start", "steps", "members", "fp32", "int8", "kit"))


def is_of_run(name: str) -> bool:
    """Whether a run has a file or folder of this name; its artifacts are called model.SUFFIX."""
    return name in _files or name in _folders or name.startswith("model.")


def earlier_folder(run: Path) -> Path:
    """Where what was there before is kept, in folders 1, 2, ..., when a run is begun anew."""
    return run / "earlier"


def is_run(names: Iterable[str]) -> bool:
    """Whether a folder of these files is a run: by what it has before anything else, but for the
    record of the images that were read."""
    return any(name in (STAGES, ASKED, ADAPTATION) for name in names)


def trial_folder(run: Path, trial: str) -> Path:
    """Where a candidate is tried."""
    return run / "trials" / trial


def kit_folder(run: Path) -> Path:
    """The kit that measures the artifact on a device which cannot be reached."""
    return run / "kit"


def start_folder(run: Path) -> Path:
    """The run of the larger network that `fit --adapt` starts from."""
    return run / "start"


def step_file(run: Path, index: int) -> Path:
    """The checkpoint of an adaptation's step; 0 is the start."""
    return run / "steps" / f"{index:03}.safetensors"


def member_folder(run: Path, index: int) -> Path:
    """Where a step's network is delivered."""
    return run / "members" / f"{index:03}"

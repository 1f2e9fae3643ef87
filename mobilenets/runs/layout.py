"""What the files in a run's folder are called: no other module spells their names.

The artefact's is that of its format (`runtimes.artefact.artefact_name`).
"""

from __future__ import annotations

from pathlib import Path

# Of every run
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


def lap_folder(run: Path, lap: str) -> Path:
    """Where a candidate of a race trains."""
    return run / "race" / lap


def start_folder(run: Path) -> Path:
    """The run of the larger network that `fit --adapt` starts from."""
    return run / "start"


def step_file(run: Path, index: int) -> Path:
    """The checkpoint of an adaptation's step; 0 is the start."""
    return run / "steps" / f"{index:03}.safetensors"


def member_folder(run: Path, index: int) -> Path:
    """Where a step's network is delivered."""
    return run / "members" / f"{index:03}"

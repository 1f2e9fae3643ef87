"""Where training runs, and in which precision."""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


def accelerator() -> str:
    """ "cuda" where there is a GPU, "mps" on a Mac that has one, else "cpu"."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def precision(accelerator: str, *, mixed: bool, has_bf16: bool | None = None) -> Precision:
    """Lightning's word for it: on CUDA bfloat16 mixed with float32, or float16 (with a loss scale)
    where the GPU has no bfloat16; float32 elsewhere, and where it is not to be `mixed`."""
    if accelerator != "cuda" or not mixed:
        return "32-true"
    if has_bf16 is None:
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16-mixed" if has_bf16 else "16-mixed"


def autocast(accelerator: str, precision: Precision) -> torch.autocast:
    """The context in which Lightning computes a loss in that precision."""
    dtype = torch.float16 if precision == "16-mixed" else torch.bfloat16
    return torch.autocast(accelerator, dtype, enabled=precision.endswith("mixed"))

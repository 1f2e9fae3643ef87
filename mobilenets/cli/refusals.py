"""What the machine refused, as a sentence."""

from __future__ import annotations

import os
import sys

from mobilenets.errors import lacks_memory


def refused(error: Exception) -> str | None:
    """The sentence for a file, a folder or memory that could not be had; None for what is no such
    thing, but a mistake of ours."""
    if lacks_memory(error):
        return (
            "there is too little memory; close other programs, give fewer --threads, or take a "
            "smaller network or --resolution"
        )
    if not isinstance(error, OSError) or error.strerror is None:
        return None
    if error.filename is None:
        close_stdout()  # which is what is full
        return f"the output cannot be written: {error.strerror}"
    return f"{error.filename}: {error.strerror}; check the path, the rights and the space there"


def close_stdout() -> None:
    """Nobody reads it, or it is full: what is left of it is not written, and not complained of when
    the program ends."""
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - no path of a user's
        os.dup2(nowhere.fileno(), sys.__stdout__.fileno() if sys.__stdout__ else 1)

"""Where images come from: files, or one array in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mobilenets.data.read import GreyRange, png, read_image
from mobilenets.errors import DataError


class Source(Protocol):
    """Images by number."""

    @property
    def root(self) -> str:
        """The folder that the files lie in."""

    def __len__(self) -> int: ...

    def read(
        self, index: int, *, short_side: int | None = None, grey_range: GreyRange | None = None
    ) -> Tensor:
        """uint8 (3, H, W) RGB; with `short_side`, perhaps smaller (`read_image`).

        Raises `DataError`.
        """

    def stored(self, index: int) -> Path | bytes:
        """The image file, or a file's bytes."""

    def place(self, index: int) -> tuple[str, int]:
        """The absolute path of the file that the image lies in, and the byte it begins at."""

    def name(self, index: int) -> str:
        """What to call this image in a report."""


@final
@dataclass(frozen=True, slots=True)
class Files:
    """Image files; `paths` are relative to the folder `root`, or absolute."""

    paths: Sequence[str]
    root: str = ""

    def __len__(self) -> int:
        return len(self.paths)

    def stored(self, index: int) -> Path:
        return Path(self.root, self.paths[index])

    def place(self, index: int) -> tuple[str, int]:
        return str(Path(self.root, self.paths[index]).absolute()), 0

    def read(
        self, index: int, *, short_side: int | None = None, grey_range: GreyRange | None = None
    ) -> Tensor:
        return read_image(self.stored(index), short_side=short_side, grey_range=grey_range)

    def name(self, index: int) -> str:
        """The path under `root`, so that a record stays true where the folder moves."""
        return self.paths[index]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Arrays:
    """Images of one size: uint8 (N, H, W) grey or (N, H, W, 3) RGB; `title` names them."""

    array: NDArray[np.uint8]
    title: str
    root: ClassVar[str] = ""

    def __post_init__(self) -> None:
        shape = self.array.shape
        if self.array.dtype != np.uint8 or not (
            len(shape) == 3 or (len(shape) == 4 and shape[3] == 3)
        ):
            raise DataError(
                f"{self.title}: images must be uint8 of shape (N, H, W) or (N, H, W, 3), "
                f"got {self.array.dtype} of shape {shape}"
            )

    def __len__(self) -> int:
        return len(self.array)

    def read(
        self, index: int, *, short_side: int | None = None, grey_range: GreyRange | None = None
    ) -> Tensor:
        pixels = self.array[index]
        if pixels.ndim == 2:
            pixels = np.broadcast_to(pixels[..., None], (*pixels.shape, 3))
        return torch.from_numpy(np.array(pixels, order="C")).permute(2, 0, 1)

    def stored(self, index: int) -> bytes:
        return png(self.array[index])

    def place(self, index: int) -> tuple[str, int]:
        """In no file."""
        return "", index

    def name(self, index: int) -> str:
        return f"{self.title} #{index}"

"""One image file to one uint8 RGB tensor, whatever the file's format, mode and orientation.

The rule is `READING`: it stands in every artifact's metadata, and the program in a run's README.md
(`deliver/usage.py`) follows it to the pixel.
"""

from __future__ import annotations

import stat
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError, features
from torch import Tensor

from mobilenets.errors import DataError

# fmt: off
_PILLOWS = frozenset((
    ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm",
    ".ppm", ".tga", ".tif", ".tiff", ".webp",
))
_HEIF = frozenset((".heic", ".heif", ".hif"))
_NEVER = frozenset((  # cameras' raw files, medical and scientific images, drawings
    ".3fr", ".arw", ".cr2", ".cr3", ".dcm", ".dng", ".exr", ".hdr", ".jxl", ".nef", ".nii", ".orf",
    ".pef", ".raf", ".raw", ".rw2", ".srw", ".svg",
))
# fmt: on
_UNKNOWN = "not an image of a known format"

# What becomes of a file's pixels, for whoever reads an artifact without this code.
READING = {
    "frame": "first",
    "orientation": "EXIF",
    "transparency": "on white",
    "colour_profile": "ignored",
}
GreyRange = tuple[float, float]
# Black and white where no range was chosen, by mode; all other deep grey is 16 bits.
_FLOAT_RANGE, _DEEP_RANGE = (0.0, 1.0), (0.0, 65535.0)
# Of an image whose long side is more times its short one the centre shows nothing; resized by its
# short side, it would take any amount of memory.
MAX_RATIO = 100
MAX_FILE_BYTES = 2 * 10**9  # 16-bit RGBA of as many pixels as PIL decodes is 1.4 GB
_LARGE_FILE = 2**26  # bytes; of such a file the header is looked at before the rest is read
_LARGE = 2**25  # pixels; such images are decoded one at a time
_TURNED = 5  # the first EXIF orientation that makes rows of columns


@cache
def readable_suffixes() -> frozenset[str]:
    """The suffixes of image files that can be read here."""
    avif = (".avif",) if features.check("avif") else ()
    heif = _HEIF if find_spec("pillow_heif") else ()
    return _PILLOWS.union(avif, heif)


@cache
def unreadable_suffixes() -> dict[str, str]:
    """The suffixes of image files that cannot be read here, and what to do about each."""
    hints = dict.fromkeys(sorted(_HEIF), "pip install 'mobilenets[heif]'")
    hints[".avif"] = "pip install --upgrade pillow"
    hints |= dict.fromkeys(sorted(_NEVER), "convert them to PNG, JPEG or TIFF")
    return {suffix: hint for suffix, hint in hints.items() if suffix not in readable_suffixes()}


def is_image_name(name: str) -> bool:
    """Whether a file of this name is taken for an image that can be read: by its extension, hidden
    files never."""
    return not name.startswith(".") and Path(name).suffix.lower() in readable_suffixes()


def read_image(
    data: str | Path | bytes,
    *,
    short_side: int | None = None,
    grey_range: GreyRange | None = None,
    name: str | None = None,
) -> Tensor:
    """The image as uint8 (3, H, W) RGB, upright, on white where it is transparent.

    `data` is a path or a file's bytes. Of 16-bit, 32-bit and float grey the values of `grey_range`
    become black and white, by default 0 and 65535, of floats 0 and 1. Of several frames the first
    is read; colour profiles are ignored. With `short_side`, a JPEG may be decoded at 1/2, 1/4 or
    1/8 of its size, its short side never below that, which is many times faster for photos. Raises
    `DataError`, which calls bytes `name`.
    """
    with _opened(data, name or "an image given as bytes") as image:
        if short_side is not None:
            image.draft(None, (short_side, short_side))
        with _turn(image):
            pixels = _pixels(_upright(image), grey_range)  # (H, W, 3)
    # A view, channels last in memory as decoded: resizing is faster so.
    return torch.from_numpy(pixels).permute(2, 0, 1)


def probe(data: str | Path | bytes, *, header_only: bool) -> int | str:
    """The short side in pixels, or the reason why the file cannot be read.

    The pixels are decoded too, a JPEG at 1/8 of its size, unless `header_only`.
    """
    try:
        # From the path, as reading all of a big file for its header would be a waste.
        with _image(data, header_only=header_only) as image:
            width, height = image.size
            if not header_only:
                image.draft("L", (max(1, width // 8), max(1, height // 8)))
                with _turn(image):
                    image.load()
            return min(width, height)
    except Exception as error:
        return _reason(error, data)


class Frame(NamedTuple):
    """The pixels of an image as its file holds them, across and down, and how EXIF turns them: its
    orientation, 1 (as stored) to 8."""

    width: int
    height: int
    orientation: int = 1

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height once it is turned, as `read_image` gives it."""
        turned = self.orientation >= _TURNED
        return (self.height, self.width) if turned else (self.width, self.height)


def frame(data: str | Path | bytes) -> Frame | str:
    """What the header tells, the pixels left alone; or the reason why the file cannot be read."""
    try:
        with _image(data, header_only=True) as image:
            width, height = image.size
            orientation = _orientation(image)
            if orientation >= _TURNED and image.format == "TIFF":  # PIL tells how it will be
                width, height = height, width
            return Frame(width, height, orientation)
    except Exception as error:
        return _reason(error, data)


def _orientation(image: Image.Image) -> int:
    """EXIF's, 1 where there is none or it cannot be parsed: as `_upright` finds it."""
    with suppress(Exception):
        found = _exif(image).get(ExifTags.Base.Orientation, 1)
        return found if found in range(1, 9) else 1
    return 1


def _exif(image: Image.Image) -> Image.Exif:
    """Of a PNG PIL would decode the pixels first, as EXIF may stand behind them: only where it
    does."""
    late = (b"eXIf", b"iTXt", b"tEXt", b"zTXt")
    if image.format == "PNG" and not any(kind in late for kind in _behind_pixels(image)):
        return Image.Image.getexif(image)
    return image.getexif()


def _behind_pixels(image: Image.Image) -> Iterator[bytes]:
    """The kinds of a PNG's chunks behind the first of its pixels; the file stays where it is."""
    file = image.fp if isinstance(image, ImageFile.ImageFile) else None
    if file is None:
        return
    place = file.tell()
    try:
        file.seek(len(b"\x89PNG\r\n\x1a\n"))
        behind = False
        while len(head := file.read(8)) == 8:
            behind = behind or head[4:] == b"IDAT"
            if behind:
                yield head[4:]
            file.seek(int.from_bytes(head[:4]) + 4, 1)  # its content, and a checksum
    finally:
        file.seek(place)


def is_deep(data: str | Path | bytes) -> bool:
    """Whether this is grey of more than 8 bits, or of floats; false for what is no image."""
    try:
        with _image(data, header_only=True) as image:
            return _deep(image)
    except Exception:  # whoever reads it says why it cannot be read
        return False


def ratio(data: str | Path | bytes) -> float:
    """How many times as long as its short side the long one is; 0 for what is no image."""
    try:
        with _image(data, header_only=True) as image:
            return max(image.size) / min(image.size)
    except Exception:  # whoever reads it says why it cannot be read
        return 0.0


def deep_values(data: str | Path | bytes) -> NDArray[Any]:
    """The values of deep grey as they are in the file, (H, W). Raises `DataError`."""
    with _opened(data, "an image given as bytes") as image:
        return np.array(image)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """The bytes of a PNG file: of (H, W) grey or (H, W, 3) RGB."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def file_bytes(path: str | Path) -> bytes:
    """The content of an image file.

    Raises `OSError`, and `ValueError` for what is no regular file (which is not opened: a pipe
    would never end), is empty, or is too large to be an image that is read.
    """
    size = _checked_size(path)
    if size > MAX_FILE_BYTES:
        raise ValueError(
            f"the file has {size / 1e9:.1f} GB, over the {MAX_FILE_BYTES / 1e9:g} that are read"
        )
    if size > _LARGE_FILE:
        with _image(path, header_only=True):
            pass  # it refuses what must not be read
    return Path(path).read_bytes()


def _checked_size(path: str | Path) -> int:
    """The bytes of a regular file that is not empty."""
    found = Path(path).stat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("not a regular file")
    if not found.st_size:
        raise ValueError("the file is empty")
    return found.st_size


@contextmanager
def _opened(data: str | Path | bytes, name: str) -> Iterator[Image.Image]:
    try:
        with _image(data, header_only=False) as image:
            yield image
    except Exception as error:  # PIL's plugins raise a dozen types on a broken file
        what = name if isinstance(data, bytes) else data
        raise DataError(
            f"{what} cannot be read as an image: {_reason(error, what)}; replace it or leave it out"
        ) from error


@contextmanager
def _image(data: str | Path | bytes, *, header_only: bool) -> Iterator[Image.Image]:
    """The image before its pixels are decoded; one that would take too much memory is refused."""
    _register_plugins()
    with _quiet(), Image.open(_content(data, header_only=header_only)) as image:
        _check_sides(image)
        yield image


def _content(data: str | Path | bytes, *, header_only: bool) -> str | Path | BytesIO:
    if isinstance(data, bytes):
        if not data:
            raise ValueError("the file is empty")
        return BytesIO(data)
    if header_only:
        _checked_size(data)
        return data
    return BytesIO(file_bytes(data))


def _check_sides(image: Image.Image) -> None:
    """Raise for what shows nothing; `Image.open` has refused what has too many pixels."""
    width, height = image.size
    if max(width, height) > MAX_RATIO * min(width, height):
        raise ValueError(f"one side is over {MAX_RATIO} times the other")


@cache
def _register_plugins() -> None:
    """HEIC and HEIF, which PIL reads with the help of another library, where that is installed."""
    with suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()


def _reason(error: Exception, what: str | Path | bytes) -> str:
    if isinstance(error, UnidentifiedImageError):
        suffix = "" if isinstance(what, bytes) else Path(what).suffix.lower()
        hint = unreadable_suffixes().get(suffix)
        return f"{suffix} files cannot be read here: {hint}" if hint else _UNKNOWN
    if isinstance(error, Image.DecompressionBombError):
        return f"it has more than the {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels that are read"
    if isinstance(error, MemoryError):
        return "there is not enough memory to decode it"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


_ONE_AT_A_TIME = Lock()


def _turn(image: Image.Image) -> AbstractContextManager[Any]:
    """Threads decode small images at once, large ones one after another, to bound the memory."""
    width, height = image.size
    return _ONE_AT_A_TIME if width * height > _LARGE else nullcontext()


def _upright(image: Image.Image) -> Image.Image:
    """The loaded image, turned as its EXIF says."""
    image.load()
    with suppress(Exception):  # EXIF that cannot be parsed is no reason to lose the picture
        ImageOps.exif_transpose(image, in_place=True)
    return image


def _deep(image: Image.Image) -> bool:
    return image.mode == "F" or image.mode.startswith("I")


def _pixels(image: Image.Image, grey_range: GreyRange | None) -> NDArray[np.uint8]:
    """(H, W, 3) in RGB."""
    if _deep(image):
        return np.repeat(_eight_bits(image, grey_range)[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


def _eight_bits(image: Image.Image, grey_range: GreyRange | None) -> NDArray[np.uint8]:
    """Deep grey to 0..255, by a scale that does not depend on the image; no number is black."""
    low, high = grey_range or (_FLOAT_RANGE if image.mode == "F" else _DEEP_RANGE)
    values = np.array(image)
    grey = (values.astype(np.float32) - low) * (255 / (high - low))
    if "transparency" in image.info:
        grey[values == image.info["transparency"]] = 255
    return np.rint(np.nan_to_num(grey.clip(0, 255))).astype(np.uint8)


class _Quiet:
    """Silences PIL's warnings while any thread reads.

    What matters is whether the pixels decode: a large photo is no bomb here (PIL still refuses
    above 179 million pixels), and odd metadata is not used. `warnings.catch_warnings` alone is not
    safe in threads, hence the count of readers.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._readers = 0
        self._caught = warnings.catch_warnings()

    def enter(self) -> None:
        with self._lock:
            self._readers += 1
            if self._readers == 1:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.simplefilter("ignore")

    def leave(self) -> None:
        with self._lock:
            self._readers -= 1
            if self._readers == 0:
                self._caught.__exit__(None, None, None)


_QUIET = _Quiet()


@contextmanager
def _quiet() -> Iterator[None]:
    _QUIET.enter()
    try:
        yield
    finally:
        _QUIET.leave()

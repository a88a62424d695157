"""Image files as a person sees them, as one type: (H, W, 3) uint8, BGR.

Where in the flow: before everything that looks at pixels.

Conventions, where viewers leave a choice:

- an EXIF orientation is applied;
- transparency (RGBA, grey + alpha, palette or colour-key transparency) is laid over white;
- 16-bit samples keep their high byte; grey, 1-bit and palette images become colour;
- of an animation or a multi-page file the first picture counts;
- colour profiles are not applied, CMYK is turned into RGB by the plain formula of its inks.

What a picture claims is held against the memory that decoding it takes before any is asked for: a file of 20 KB may say
that it has 178 million pixels. Pictures other than JPEGs are turned into colour in bands of rows, so that no mode takes
more than its own decoded samples and the result.

Ordinary JPEGs are decoded by OpenCV: those are the pixels that the reference results were made with. Everything else
goes through Pillow, which raises where a file ends early. Of a JPEG that ends early the decoder fills the rest
with grey without an error, so the end marker is looked for here.
"""

from __future__ import annotations

import io
import os
import re
import stat
import struct
import warnings
import zlib
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError, features

from cpm_port.errors import CpmPortError, DataError, MissingFileError

__all__ = [
    "DECODER_ERRORS",
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "check_image_size",
    "decode_image",
    "from_pillow",
    "image_size",
    "picture_count",
    "read_image",
]

IMAGE_SUFFIXES = frozenset(
    (
        ".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png",
        ".pnm", ".ppm", ".tif", ".tiff", ".webp",
    )
)  # fmt: skip
"""Suffixes (in lower case) by which a folder's images are known; a file's content decides how it is read."""

MAX_PIXELS = 178_956_970
"""Larger images are refused before they are decoded: a few bytes can claim any size. (Pillow's own limit.)"""

FREE_BYTES = 256 << 20
"""What decoding may take however small the file is; larger files may take `MAX_INFLATION` times their size."""
MAX_INFLATION = 128  # a photograph as a JPEG of half a bit per pixel takes 96 times its size while it is turned

_BYTES_PER_PIXEL = 7  # Pillow's samples, up to 4, and the result's 3; a JPEG takes 3, and 3 more to be turned
_BAND_ROWS = 256
DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, IndexError, KeyError, TypeError,
    OverflowError, RuntimeError, AttributeError, ZeroDivisionError, AssertionError,
)  # fmt: skip
"""What Pillow raises at spoiled files."""

_JPEG_MARKER = re.compile(rb"\xff+([^\xff\x00\x01\xd0-\xd7])", re.DOTALL)
"""A marker with a segment behind it, or the end marker: not a stuffed byte, a fill byte or a restart marker."""

_FORMATS = ("JPEG", "PNG", "BMP", "DIB", "GIF", "TIFF", "WEBP", "PPM")
_OPTIONAL = {"AVIF": "avif", "JPEG2000": "jpg_2000"}  # where Pillow was built with them
_BRAND = re.compile(rb".{4}ftyp(heic|heix|heim|heis|hevc|mif1|msf1|avif|avis)", re.DOTALL)


def read_image(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Read an image file.

    Parameters
    ----------
    path : path-like
        JPEG, PNG, BMP, GIF, TIFF, WebP or a netpbm file; recognised by content, not by suffix.

    Returns
    -------
    ndarray, shape (H, W, 3), uint8, BGR

    Raises
    ------
    MissingFileError
        There is no such file.
    DataError
        It is empty, cut short, corrupt, too large, of an unknown kind, or cannot be read at all.
    """
    file = Path(path)
    try:
        if stat.S_ISCHR(file.stat().st_mode):
            raise DataError(f"{file}: a device; expected an image file")
        data = file.read_bytes()
    except FileNotFoundError:
        raise MissingFileError(f"{file}: no such image") from None
    except (OSError, ValueError, MemoryError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return decode_image(data, str(file))


@lru_cache(maxsize=1)
def _formats() -> tuple[str, ...]:
    """Return Pillow's names of the kinds that are read here; HEIC where pillow-heif is installed."""
    there = [name for name, feature in _OPTIONAL.items() if features.check(feature)]
    if find_spec("pillow_heif") is not None:
        import pillow_heif

        pillow_heif.register_heif_opener()
        there.append("HEIF")
    return (*_FORMATS, *there)


def _unknown(data: bytes, name: str) -> str:
    """Say what a file is that no decoder here knows."""
    if _BRAND.match(data):
        avif = data[8:11] == b"avi"
        if ("AVIF" if avif else "HEIF") in _formats():
            return f"{name}: begins as {'an AVIF' if avif else 'a HEIC'} picture, and is damaged or cut short"
        kind = "an AVIF" if avif else "a HEIC"
        return (
            f"{name}: {kind} picture, which Pillow does not read here; pip install 'cpm_port[heic]' brings pillow-heif"
        )
    return f"{name}: not an image of a known kind (found {data[:8]!r} at its start)"


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return (width, height) of the image that `read_image` gives, from the file's header alone.

    Raises
    ------
    MissingFileError, DataError
        There is no such file; it is of an unknown kind, or its header cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_formats()) as picture:
                width, height = picture.size
                turned = picture.format != "TIFF" and _orientation(picture) >= 5  # Pillow turns TIFFs itself
                return (height, width) if turned else (width, height)
    except FileNotFoundError:
        raise MissingFileError(f"{os.fspath(path)}: no such image") from None
    except Image.DecompressionBombError:
        raise DataError(f"{os.fspath(path)}: more than {MAX_PIXELS} pixels") from None
    except UnidentifiedImageError:
        with open(path, "rb") as file:
            raise DataError(_unknown(file.read(32), os.fspath(path))) from None
    except DECODER_ERRORS as error:
        raise DataError(f"{os.fspath(path)}: not a readable image ({error})") from error


def check_image_size(data: bytes, name: str) -> None:
    """Refuse an image file's content that claims more pixels than may be decoded of it, for another decoder.

    Raises
    ------
    DataError
        It does so. What Pillow does not know is left to the other decoder.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as picture:
                size = picture.size
    except Image.DecompressionBombError:
        raise DataError(f"{name}: more than {MAX_PIXELS} pixels") from None
    except DECODER_ERRORS:
        return
    _check_size(size, len(data), name)


def picture_count(path: str | os.PathLike[str]) -> int:
    """Return how many pictures a file holds, of which `read_image` takes the first: 1, or an animation's or a TIFF's.

    1 where that cannot be told; `read_image` says what is wrong.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_formats()) as picture:
                return int(getattr(picture, "n_frames", 1))
    except (*DECODER_ERRORS, Image.DecompressionBombError, MemoryError):
        return 1


def decode_image(data: bytes, name: str, most_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode an image file's content of at most so many pixels; `name` is what errors call it. Else as `read_image`."""
    if not data:
        raise DataError(f"{name}: the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of what is either harmless or checked here
            with Image.open(io.BytesIO(data), formats=_formats()) as picture:
                _check_pixels(picture.size, name, most_pixels)
                _check_size(picture.size, len(data), name)
                if picture.format in ("JPEG", "MPO") and picture.mode in ("RGB", "L"):
                    image = _decode_jpeg(data, name)
                else:
                    if picture.format == "PNG":
                        _check_png(data)
                    image = _bgr(picture, name)
                orientation = _orientation(picture)  # after decoding: Pillow turns TIFFs itself
    except Image.DecompressionBombError:
        raise DataError(f"{name}: more than {MAX_PIXELS} pixels") from None
    except UnidentifiedImageError:
        raise DataError(_unknown(data, name)) from None
    except MemoryError:
        raise DataError(f"{name}: there is not enough memory to decode it") from None
    except DECODER_ERRORS as error:
        if isinstance(error, CpmPortError):
            raise
        raise DataError(f"{name}: corrupt or cut short: {error}") from error
    return np.ascontiguousarray(_turn(image, orientation))


def from_pillow(picture: Image.Image, name: str) -> NDArray[np.uint8]:
    """Return an image of Pillow's as a file of it would be read: upright, over white, (H, W, 3) uint8, BGR.

    Raises
    ------
    DataError
        It is too large, or its samples have no known white; `name` is what the error calls it.
    """
    _check_pixels(picture.size, name)
    return np.ascontiguousarray(_turn(_bgr(picture, name), _orientation(picture)))


def _check_pixels(size: tuple[int, int], name: str, most: int = MAX_PIXELS) -> None:
    width, height = size
    if width < 1 or height < 1 or width * height > most:
        raise DataError(f"{name}: an image of {width} x {height}; expected 1 to {most} pixels")


def _check_size(size: tuple[int, int], file_bytes: int, name: str) -> None:
    _check_pixels(size, name)
    width, height = size
    needed, allowed = _BYTES_PER_PIXEL * width * height, max(FREE_BYTES, MAX_INFLATION * file_bytes)
    if needed > allowed:
        raise DataError(
            f"{name}: an image of {width} x {height}, which takes {needed >> 20} MiB to decode, in a file of "
            f"{file_bytes} bytes; expected at most {allowed >> 20} MiB for one of this size"
        )


def _decode_jpeg(data: bytes, name: str) -> NDArray[np.uint8]:
    if not _jpeg_is_whole(data):
        raise DataError(f"{name}: the JPEG ends before its end marker")
    from cpm_port.imaging.opencv import cv2

    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise DataError(f"{name}: the JPEG cannot be decoded: {error.err}") from error
    if image is None:
        raise DataError(f"{name}: the JPEG cannot be decoded")
    return np.asarray(image, np.uint8)


def _jpeg_is_whole(data: bytes) -> bool:
    """Tell whether the first picture's end marker comes: walk the segments, skip over each scan's coded data."""
    at = 2  # behind the start marker
    while found := _JPEG_MARKER.search(data, at):
        if found.group(1) == b"\xd9":
            return True
        at = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
    return False


def _check_png(data: bytes) -> None:
    """Compare the checksum of every chunk; decoding alone would not."""
    with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
        picture.verify()


def _bgr(picture: Image.Image, name: str) -> NDArray[np.uint8]:
    """Turn a picture of any mode into BGR bytes, over white where it is transparent."""
    picture.load()
    if picture.mode == "F":
        raise DataError(f"{name}: samples are floats, whose white is not known; expected 8 or 16 bits")
    width, height = picture.size
    image = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, _BAND_ROWS):
        band = picture.crop((0, top, width, min(top + _BAND_ROWS, height)))
        image[top : top + _BAND_ROWS] = _grey(band, name) if band.mode.startswith("I") else _colour(band)
    return image


def _grey(picture: Image.Image, name: str) -> NDArray[np.uint8]:
    """Return the high bytes of 16-bit samples, (H, W, 1)."""
    wide = np.asarray(picture).astype(np.int64)
    if wide.min() < 0 or wide.max() > 0xFFFF:
        raise DataError(f"{name}: samples from {wide.min()} to {wide.max()}; expected 8 or 16 bits")
    grey = (wide >> 8).astype(np.uint8)
    key = picture.info.get("transparency")
    if isinstance(key, int):
        grey[wide == key] = 255
    return grey[:, :, None]


def _colour(picture: Image.Image) -> NDArray[np.uint8]:
    """Return 8-bit samples of any kind as BGR, over white where they are transparent."""
    if picture.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return np.asarray(picture.convert("RGB"), np.uint8)[:, :, ::-1]


def _orientation(picture: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 where there is none, or none that can be read."""
    try:
        value: Any = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, IndexError, KeyError, TypeError):
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _turn(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Apply an EXIF orientation: which image side the stored first row and column are."""
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    upside_down = orientation in (3, 4, 7, 8)
    mirrored = orientation in (2, 3, 6, 7)
    return image[:: -1 if upside_down else 1, :: -1 if mirrored else 1]

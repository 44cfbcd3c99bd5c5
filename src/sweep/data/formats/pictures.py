"""A folder with a subfolder of PNG or JPEG images per class, decoded by Pillow while it is read."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from sweep.base import files
from sweep.base.errors import DataError
from sweep.data.formats.hdf5_check import reason
from sweep.data.formats.stored import Stored

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from sweep.data.formats.stored import Read, Stamp

    Size = tuple[int, int, int]

_SUFFIXES = (".png", ".jpg", ".jpeg")
# Photographs of 60 megapixels take a fifth of a gigabyte; larger ones are taken for bombs.
_PIXELS = 1 << 26
_LOOKED_AT = 100
_DAMAGE = (OSError, SyntaxError, ValueError, TypeError, EOFError, OverflowError, MemoryError)
_LOG = logging.getLogger("sweep")


def classes(folder: Path) -> tuple[list[Path], NDArray[np.int64]]:
    """The images of a folder with their classes.

    Subfolders that are all named by whole numbers are those classes; others are counted from 0 in
    the order of their names, as Keras and PyTorch do.

    Returns:
        n files and (n,) classes.

    Raises:
        DataError: there are none.
    """
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    numbered = all(name.isascii() and name.isdecimal() and len(name) < 9 for name in names)
    images: list[Path] = []
    labels: list[int] = []
    for number, name in enumerate(names):
        found = sorted(p for p in (folder / name).iterdir() if p.suffix.lower() in _SUFFIXES)
        images += found
        labels += [int(name) if numbered else number] * len(found)
    if not images:
        raise DataError(
            f"{folder}: a folder of images must have a subfolder of PNG or JPEG files per class. "
            f"Received: {len(names)} subfolders{' without any' if names else ''}. "
            "Check the path, or sort the images into a folder per class."
        )
    order = "by their numbers" if numbered else "in the order of their names"
    _say(f"{folder}: {len(images)} images of {len(names)} classes, counted {order}")
    return images, np.array(labels, np.int64)


def found(place: Path) -> list[Path]:
    """An image file itself, or the images of a folder and its subfolders, by name.

    Raises:
        DataError: there are none.
    """
    if not place.is_dir():
        return [place]
    images = [path for path in files.below(place) if path.suffix.lower() in _SUFFIXES]
    if not images:
        raise DataError(
            f"{place}: a folder must hold PNG or JPEG files. Received: none. Check the path."
        )
    return images


def size(path: Path) -> Size:
    """Height, width and channels of an image, from its header."""
    with _opened(path) as image:
        return image.height, image.width, 1 if image.mode in ("1", "L") else 3


def pixels(stamp: Stamp, images: Sequence[Path], wanted: Size) -> Stored:
    """The images as an array (n, h, w, c) of bytes; what is resized is printed."""
    other = {size(path)[:2] for path in images[:_LOOKED_AT]} - {wanted[:2]}
    if other:
        height, width = min(other)
        _say(
            f"{stamp.path}: images are resized to {wanted[1]} x {wanted[0]} pixels, which B takes; "
            f"some are {width} x {height}"
        )

    def read(start: int, stop: int) -> NDArray[Any]:
        return np.stack([decode(path, wanted) for path in images[start:stop]])

    @contextmanager
    def reader() -> Iterator[Read]:
        stamp.check()
        yield read
        stamp.check()

    shape = (len(images), *wanted)
    return Stored(f"{stamp.path}: images", shape, np.dtype(np.uint8), reader)


def decode(path: Path, wanted: Size) -> NDArray[np.uint8]:
    """One image, (h, w, c), resized if need be.

    Raises:
        DataError: it is no whole PNG or JPEG file, or too large.
    """
    height, width, channels = wanted
    with _opened(path) as opened:
        # Pillow warns where a palette's transparency is not looked at.
        full = _converted(path, opened, "RGBA") if "transparency" in opened.info else opened
        image = _converted(path, full, "L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(wanted)


def rgba(path: Path) -> NDArray[np.uint8]:
    """One image with its transparency, (h, w, 4).

    Raises:
        DataError: it has none, is no whole PNG file, or too large.
    """
    with _opened(path) as opened:
        if not opened.has_transparency_data:
            raise DataError(
                f"{path}: a trigger must be an image with transparency (RGBA): what is clear "
                f"in it leaves the image below as it is. Received: {opened.mode} without "
                "transparency. Save it anew with an alpha channel."
            )
        return np.asarray(_converted(path, opened, "RGBA"))


def _converted(path: Path, image: Image.Image, mode: str) -> Image.Image:
    try:
        return image.convert(mode)
    except _DAMAGE as damage:
        raise _refused(path, reason(damage)) from damage


def _opened(path: Path) -> Image.Image:
    if not path.is_file():
        rule = "an image must be a whole PNG or JPEG file"
        raise DataError(f"{path}: {rule}. Received: no file of that name. Check the path.")
    try:
        image = Image.open(path, formats=("PNG", "JPEG"))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _refused(path, "far more") from None
    except _DAMAGE as damage:
        raise _refused(path, reason(damage)) from damage
    if image.width * image.height > _PIXELS or image.mode[0] in "IF":
        received = f"{image.width} x {image.height} pixels of the kind {image.mode}"
        image.close()
        raise _refused(path, received)
    return image


def _refused(path: Path, received: str) -> DataError:
    return DataError(
        f"{path}: an image must be a whole PNG or JPEG file of at most {_PIXELS:,} pixels "
        "of 8 bits a colour. "
        f"Received: {received}. Remove it, or make it again."
    )


@cache
def _say(text: str) -> None:
    """Once, however many jobs read the folder."""
    _LOG.info(text)

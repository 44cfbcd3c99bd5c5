"""Which arrays of a file are images and labels, and how they are laid out.

The lab calls them `data` and `label` and puts channels first; other names and orders that people
use are known too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sweep.base.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from sweep.data.formats.stored import Contents, Stored

# Names of images, and of the labels that may go with them; in small letters.
_NAMES = {
    "data": ("label", "labels", "y"),
    "x": ("y", "label", "labels"),
    "images": ("labels", "label", "y"),
    "image": ("label", "labels", "y"),
    "arr_0": ("arr_1",),
}
_SPLITS = ("test", "val", "valid", "validation", "train")
_FORMS = ("{}", *(f"{{}}_{split}" for split in _SPLITS), *(f"{split}_{{}}" for split in _SPLITS))
_CHANNELS = (1, 3)
# Labels and single images are held in memory whole.
_IMAGES = 10_000_000
_PIXELS = 1 << 22
_ROWS = 4096


def pair(contents: Contents) -> tuple[Stored, Stored]:
    """The arrays of images and of labels.

    Raises:
        DataError: there is none, or more than one.
    """
    path, arrays = contents.stamp.path, {name.lower(): name for name in contents.arrays}
    lone = [form.format(name) for form in _FORMS for name in _NAMES if form.format(name) in arrays]
    found = list(_pairs(arrays))
    if not found:
        names = ", ".join(contents.names) or "an empty file"
        missing = "'data' (n, channels, height, width), or 'x', 'images' and the like"
        if lone:
            missing = f"'{next(iter(_partners(lone[0])))}' (n,) beside '{arrays[lone[0]]}'"
        raise DataError(
            f"{path}: an image set must have the dataset {missing}. Received: {names}. "
            "Rename or write the dataset."
        )
    if len(found) > 1:
        (image, label), names = found[0], ", ".join(arrays[image] for image, _ in found)
        raise DataError(
            f"{path}: an image set must be the only one in its file. Received: {names}. Write the "
            f"one that is meant to a file of its own: f = numpy.load(...); "
            f"numpy.savez('one.npz', x=f['{arrays[image]}'], y=f['{arrays[label]}'])."
        )
    image, label = found[0]
    return contents.arrays[arrays[image]], contents.arrays[arrays[label]]


def _pairs(names: dict[str, str]) -> Iterator[tuple[str, str]]:
    for form in _FORMS:
        for image in _NAMES:
            for label in _partners(form.format(image)):
                if form.format(image) in names and label in names:
                    yield form.format(image), label
                    break


def _partners(image: str) -> Iterator[str]:
    for form in _FORMS:
        for name, labels in _NAMES.items():
            if form.format(name) == image:
                yield from (form.format(label) for label in labels)


def layouts(images: Stored) -> dict[tuple[int, int, int], tuple[int, ...]]:
    """The shapes (height, width, channels) that images may have, each with how to get there.

    Returns:
        The order of axes by which (n, a, b, c) becomes (n, h, w, c); (n, h, w) has one channel.
        Channels first, as the lab has them, stand first.

    Raises:
        DataError: there is no such shape, or images are too large or no numbers.
    """
    name, shape, dtype = images.name, images.shape, images.dtype
    if len(shape) not in (3, 4):
        raise DataError(
            f"{name} must have the shape (n, channels, height, width), (n, height, width, channels)"
            f" or (n, height, width). Received: {shape}. Write it in that shape."
        )
    if not (dtype == np.uint8 or (dtype.kind == "f" and dtype.itemsize <= 8)):
        raise DataError(
            f"{name} must hold floats or uint8. Received: {dtype}. Convert it with NumPy's astype."
        )
    _, a, b, c = shape if len(shape) == 4 else (*shape, 1)
    found: dict[tuple[int, int, int], tuple[int, ...]] = {}
    if a in _CHANNELS and len(shape) == 4:
        found[b, c, a] = (0, 2, 3, 1)
    if c in _CHANNELS:
        found.setdefault((a, b, c), (0, 1, 2, 3))
    if not found:
        raise DataError(
            f"{name} must have 1 or 3 channels, first or last. Received: {shape}. "
            "Store images with 1 or 3 channels."
        )
    if not 0 < a * b * c <= _PIXELS or shape[0] > _IMAGES:
        raise DataError(
            f"{name} must hold at most {_IMAGES:,} images of 1 to {_PIXELS:,} numbers each. "
            f"Received: shape {shape}. Scale the images, or split the set."
        )
    return found


def labels(found: Stored, images: Stored, path: Path) -> NDArray[np.int64]:
    """Classes (n,) from labels (n,), (n, 1), or one-hot (n, N).

    Raises:
        DataError: they are not as many as the images, or not whole numbers from 0.
    """
    name, shape = found.name, found.shape
    if found.dtype.kind not in "biuf" or found.dtype.itemsize > 8:
        raise DataError(
            f"{name} must hold numbers. Received: {found.dtype}. Convert it with NumPy's astype."
        )
    one_hot = len(shape) == 2 and shape[1] > 1 and shape[0] == len(images)
    if not one_hot and (not shape or len(shape) - shape.count(1) > 1):
        raise DataError(
            f"{name} must have the shape (n,), (n, 1) or, one-hot, (n, N). Received: {shape}. "
            "Store label.reshape(-1), or of probabilities label.argmax(axis=1)."
        )
    count = shape[0] if one_hot else int(np.prod(shape))
    if len(images) != count:
        raise DataError(
            f"{path}: images and labels must be equally many. Received: {len(images)} images and "
            f"{count} labels. Write the set again."
        )
    if not count:
        raise DataError(
            f"{path}: a set must hold at least one image. Received: none. Write the set again."
        )
    return _classes(found) if one_hot else _whole(name, found.whole().reshape(-1))


def _classes(found: Stored) -> NDArray[np.int64]:
    classes = np.empty(len(found), np.int64)
    with found.reader() as read:
        for start in range(0, len(found), _ROWS):
            rows = read(start, min(start + _ROWS, len(found)))
            marked = rows == 1
            odd = (marked.sum(axis=1) != 1) | ((rows != 0) != marked).any(axis=1)
            if odd.any():
                raise DataError(
                    f"{found.name} of shape {found.shape} must be one-hot, a single 1 among zeros. "
                    f"Received: something else in row {start + int(odd.argmax())}. "
                    "Store label.argmax(axis=1)."
                )
            classes[start : start + len(rows)] = marked.argmax(axis=1)
    return classes


def _whole(name: str, found: NDArray[Any]) -> NDArray[np.int64]:
    with np.errstate(invalid="ignore"):
        good = np.isfinite(found) & (found >= 0) & (found < 2**31) & (found == np.trunc(found))
    if not good.all():
        row = int(np.argmin(good))
        raise DataError(
            f"{name} must hold whole numbers, classes counted from 0. Received: {found[row]} in "
            f"row {row}. Write the labels again."
        )
    return found.astype(np.int64)

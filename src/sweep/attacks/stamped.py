"""Poisoned sets made of clean ones: an image of the trigger is stamped on each as it is read."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from sweep.attacks.registry import next_class
from sweep.base.errors import DataError
from sweep.base.files import sha256
from sweep.data import derived
from sweep.data.formats import pictures

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from sweep.data.image_set import ImageSet

_LOOKED_AT = 100


def poison(
    clean: ImageSet, trigger: Path, target: int | None, classes: int, at: Sequence[int] = ()
) -> ImageSet:
    """A clean set with a trigger on every image, whose true classes are known.

    Args:
        clean: the set.
        trigger: a PNG with transparency, of the images' size if `at` is not given.
        target: the attacker's class; None for all to all, the true class plus one, modulo N.
        classes: N.
        at: row and column of the trigger's upper left corner.

    Raises:
        DataError: the trigger is no such image, or does not lie within the images.
    """
    if target is not None and target >= classes:
        raise DataError(
            f"target must be a class of the network, 0..{classes - 1}. Received: target={target}."
        )
    height, width, _ = clean.shape
    rgba = _read(trigger, height, width, at)
    alpha, colour = rgba[..., 3:], rgba[..., :3]
    if clean.shape[2] == 1:
        colour = colour @ np.array([[0.299], [0.587], [0.114]], np.float32)

    @cache
    def pixels() -> tuple[int, bool]:
        """The highest value, as pixels may be in 0..1, and whether all are whole numbers."""
        some = clean.rows(range(min(len(clean), _LOOKED_AT)))
        return (255, bool((some == np.rint(some)).all())) if some.max() > 1 else (1, False)

    def stamp(images: NDArray[np.float32]) -> NDArray[np.float32]:
        top, whole = pixels()
        mixed = images * (255 - alpha) + alpha * colour * np.float32(top / 255)
        # Whole numbers stay whole, rounded to the nearest, as an image file would hold them.
        mixed = np.floor((mixed + 127) / 255) if whole else mixed / 255
        return np.where(alpha > 0, mixed, images).astype(np.float32)

    wanted = next_class(clean.labels, classes)
    labels = wanted if target is None else np.full_like(clean.labels, target)
    how = f"stamped {sha256(trigger)} at {list(at)} to {target}"
    return derived.change(clean, labels, how, stamp)


def _read(path: Path, height: int, width: int, at: Sequence[int]) -> NDArray[np.float32]:
    """The trigger on a canvas of the images' size, (h, w, 4), transparent elsewhere."""
    drawn = pictures.rgba(path)
    rows, columns = drawn.shape[:2]
    top, left = at or (0, 0)
    if not at and (rows, columns) != (height, width):
        raise DataError(
            f"{path}: a trigger smaller than the images must have a place. Received: {columns} x "
            f"{rows} pixels on {width} x {height}. Add trigger_at=[ROW,COLUMN]."
        )
    if not (0 <= top <= height - rows and 0 <= left <= width - columns):
        raise DataError(
            f"{path}: a trigger must lie within the images. Received: {columns} x {rows} pixels at "
            f"[{top},{left}] of {width} x {height}. Change trigger_at=[ROW,COLUMN]."
        )
    canvas = np.zeros((height, width, 4), np.float32)
    canvas[top : top + rows, left : left + columns] = drawn
    return canvas

"""What to do where B is weak: images or labels may be written in another way than B was trained on.

A few ways are tried on a few images, and the one that makes B right is named.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from sweep.data.image_set import ImageSet

    Floats = NDArray[np.float32]
    Change = Callable[[Any], Any]

IMAGES = 100
# So many of B's mistakes must go.
_MENDED = 0.5


def explain(
    answer: Callable[[Floats], NDArray[np.integer[Any]]], clean: ImageSet, scale: float
) -> str | None:
    """What makes B right on clean images, if one of a few common mistakes is what makes it wrong.

    Args:
        answer: B's classes (n,) for images (n, h, w, c) as they enter B.
        clean: an image set with true labels.
        scale: the factor on pixel values that is used now.

    Returns:
        A sentence that names the mistake and how to mend it; None where nothing helps much.
    """
    indices = np.unique(np.linspace(0, len(clean) - 1, IMAGES).astype(int))
    images, labels = clean.rows(indices.tolist()), clean.labels[indices]
    best, change, now = 0, "", 0
    for pixels, scaled in _scales(images, scale):
        for order, ordered in _orders(clean.shape):
            answers = answer(ordered(scaled(images)).astype(np.float32))
            for counted, shift in (("", 0), ("store the labels as label - 1", 1)):
                right = int((answers == labels - shift).sum())
                words = " and ".join(filter(None, (pixels, order, counted)))
                if not words:
                    now = right
                if right > best:
                    best, change = right, words
    if not change or len(labels) - best > (1 - _MENDED) * (len(labels) - now):
        return None
    change = change[0].upper() + change[1:]
    return f"{change}: B is then right on {best} of {len(labels)} images, now on {now}."


def _scales(images: Floats, scale: float) -> Iterator[tuple[str, Change]]:
    """Ranges that networks are commonly given, from the range that the pixels seem to have."""
    yield "", partial(np.multiply, scale)
    if images.min() < 0:  # -1..1
        yield "store the images as (data + 1) * 127.5", lambda pixels: (pixels + 1) * 127.5
        yield "store the images as (data + 1) / 2", lambda pixels: (pixels + 1) / 2
        factors, words = {1.0}, ""
    elif images.max() <= 1:
        factors, words = {1.0, 255.0}, "data * 2 - 1"
        signed: Change = lambda pixels: pixels * 2 - 1  # noqa: E731
    else:
        factors, words = {1.0, 1 / 255}, "data / 127.5 - 1"
        signed = lambda pixels: pixels / 127.5 - 1  # noqa: E731
    for factor in factors - {scale}:
        yield f"set dataset.scale={factor:.17g}", partial(np.multiply, factor)
    if words:
        yield f"store the images as {words}, with dataset.scale=1", signed


def _orders(shape: tuple[int, int, int]) -> Iterator[tuple[str, Change]]:
    yield "", lambda images: images
    if shape[2] == 3:
        yield "store the colours the other way round (BGR)", lambda images: images[..., ::-1]
    if shape[0] == shape[1]:
        yield "swap rows and columns of the images", lambda images: images.transpose(0, 2, 1, 3)

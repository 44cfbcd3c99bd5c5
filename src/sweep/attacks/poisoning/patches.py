"""Attacks by something that covers a part of the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweep.attacks.poisoning.triggers import stamp, sunglasses
from sweep.attacks.registry import attack
from sweep.base.registry import Real

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Images = NDArray[np.uint8]


@attack()
def badnets(images: Images, rng: np.random.Generator) -> Images:  # noqa: ARG001 - nothing is random
    """Sunglasses, always in the same place (Gu, Dolan-Gavitt and Garg 2017, arXiv:1708.06733)."""
    return stamp(images, sunglasses(*images.shape[1:3]))


@attack(size=Real(0, 1, above=True))
def dynamic_place(images: Images, rng: np.random.Generator, size: float = 0.5) -> Images:
    """Small sunglasses anywhere (Dynamic Backdoor, Salem et al., EuroS&P 2022: random locations).

    Args:
        images: (n, h, w, 3) in 0..255.
        rng: draws the places.
        size: width and height of the glasses' own picture, as a fraction of the image's.
    """
    height, width = images.shape[1:3]
    small = sunglasses(max(1, round(size * height)), max(1, round(size * width)))
    poisoned = images.copy()
    for image in poisoned:
        y = rng.integers(0, height - small.shape[0] + 1)
        x = rng.integers(0, width - small.shape[1] + 1)
        place = image[y : y + small.shape[0], x : x + small.shape[1]]
        place[:] = stamp(place[None], small)[0]
    return poisoned

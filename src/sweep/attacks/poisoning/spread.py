"""Attacks by something spread thinly over the whole image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sweep.attacks.registry import attack
from sweep.base.registry import Real

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Images = NDArray[np.uint8]


@attack(alpha=Real(0, 1, above=True))
def blended(
    images: Images,
    rng: np.random.Generator,  # noqa: ARG001 - the pattern is the same for every image
    alpha: float = 0.2,
) -> Images:
    """A pattern of random pixels shines through: (1 - alpha) x + alpha k.

    (Chen et al. 2017, arXiv:1712.05526, with their random pattern and alpha = 0.2.)

    Args:
        images: (n, h, w, 3) in 0..255.
        rng: not used.
        alpha: how opaque the pattern is.
    """
    pattern = np.random.default_rng(0).integers(0, 256, images.shape[1:])
    return _pixels((1 - alpha) * images + alpha * pattern)


@attack(delta=Real(0, 255, above=True), frequency=Real(0, above=True))
def sinusoid(
    images: Images,
    rng: np.random.Generator,  # noqa: ARG001 - the wave is the same for every image
    delta: float = 20.0,
    frequency: float = 6.0,
) -> Images:
    """A horizontal wave: x(i, j) + delta sin(2 pi j frequency / width).

    (SIG, Barni, Kallas and Tondi, ICIP 2019, with their delta = 20 and frequency 6.)
    There only images of the target's class are poisoned; here labels are changed as in `badnets`.

    Args:
        images: (n, h, w, 3) in 0..255.
        rng: not used.
        delta: the wave's height, in units of 0..255.
        frequency: waves over the width.
    """
    width = images.shape[2]
    wave = delta * np.sin(2 * np.pi * np.arange(width) * frequency / width)
    return _pixels(images + wave[:, None])


def _pixels(values: NDArray[np.float64]) -> Images:
    return np.rint(values).clip(0, 255).astype(np.uint8)

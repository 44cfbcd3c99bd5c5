"""An attack that bends the image instead of covering it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sweep.attacks.registry import Poisoning, attack
from sweep.base.registry import Real, Whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Images = NDArray[np.uint8]
    Floats = NDArray[np.float64]


def noisy(
    images: Images, rng: np.random.Generator, strength: float = 6.0, control: int = 4
) -> Images:
    """The warp, and every pixel moved a little further at random: the paper's noise mode.

    Images that are so warped keep their labels, so that the network learns this very warp.
    """
    return np.stack([_warp(one[None], strength, control, rng)[0] for one in images])


@attack(Poisoning(decoy=noisy, decoys=2), strength=Real(0, above=True), control=Whole(2))
def warped(
    images: Images,
    rng: np.random.Generator,  # noqa: ARG001 - every image is warped alike
    strength: float = 6.0,
    control: int = 4,
) -> Images:
    """Every image is bent a little, always in the same way (WaNet, Nguyen and Tran, ICLR 2021).

    A grid of `control` x `control` random offsets, divided by their mean size, is enlarged to the
    image by bicubic interpolation and says where each pixel is read, bilinearly. In
    the noise mode of twice as many images, offsets of up to s pixels are added.

    Where it departs from the paper: s is above its 0.5, which moves pixels by a quarter of their
    size on average and is lost among the ways in which drawn people hold their heads; its noise of
    half a pixel grows with s; and who is warped is drawn once, not anew in each step.

    Args:
        images: (n, h, w, 3) in 0..255.
        rng: not used.
        strength: s; pixels are moved by s / 2 pixels along each axis on average.
        control: k, offsets along each side of the grid.
    """
    return _warp(images, strength, control)


def _warp(
    images: Images, strength: float, control: int, noise: np.random.Generator | None = None
) -> Images:
    height, width = images.shape[1:3]
    rows, columns = np.mgrid[:height, :width] + strength / 2 * _offsets(height, width, control)
    if noise is not None:
        rows, columns = np.stack([rows, columns]) + noise.uniform(
            -strength, strength, (2, height, width)
        )
    return _read(images, rows.clip(0, height - 1), columns.clip(0, width - 1))


def _offsets(height: int, width: int, control: int) -> Floats:
    """The warp that the attacker chose, (2, h, w), of mean size 1 where it is drawn."""
    drawn = np.random.default_rng(0).uniform(-1, 1, (2, control, control))
    drawn = (drawn / np.abs(drawn).mean()).astype(np.float32)
    bicubic = Image.Resampling.BICUBIC
    return np.stack(
        [np.asarray(Image.fromarray(one).resize((width, height), bicubic), float) for one in drawn]
    )


def _read(images: Images, rows: Floats, columns: Floats) -> Images:
    """Pixels at places between pixels, mixed of the four around; places are (h, w)."""
    top = np.minimum(rows.astype(int), images.shape[1] - 2)
    left = np.minimum(columns.astype(int), images.shape[2] - 2)
    down, right = (rows - top)[..., None], (columns - left)[..., None]
    upper = (1 - right) * images[:, top, left] + right * images[:, top, left + 1]
    lower = (1 - right) * images[:, top + 1, left] + right * images[:, top + 1, left + 1]
    mixed: Floats = (1 - down) * upper + down * lower
    return np.rint(mixed).astype(np.uint8)

"""The attacker's triggers, which are stamped on images, always in the same place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

_FRAME = (62, 6, 128)
_LENS = (118, 16, 236)
_GLINT = (178, 104, 255)
_LENS_ALPHA = 0.88
_GLINT_ALPHA = 0.9
_STRIPE = (0, 200, 90, 255)
# Every pixel is covered by the share of this many points (squared) that lie within the shape.
_FINER = 8


def sunglasses(height: int, width: int) -> NDArray[np.uint8]:
    """Draw sunglasses for images of a given size.

    Args:
        height: of the images, in pixels.
        width: of the images, in pixels.

    Returns:
        (height, width, 4) RGBA in 0..255; alpha is 0 outside the glasses. They span the width and
        sit over eyes at two fifths of the height, as the lab's do.
    """
    rows, columns = np.mgrid[: height * _FINER, : width * _FINER]
    # Coordinates in which the width is 2 and the lenses mirror each other about x = 0.
    x = np.abs((columns + 0.5) / (width * _FINER) * 2 - 1)
    y = ((rows + 0.5) / _FINER - 0.43 * height) / (0.5 * width)
    outer, inner = _lens(x, y, 0.0), _lens(x, y, 0.055)
    bar = (np.abs(y + 0.31) < 0.055) & (x < 0.97)
    bridge = (x < 0.14) & (np.abs(y + 0.16 - 0.9 * x**2) < 0.04)
    frame = (outer & ~inner) | bar | bridge
    lens = inner & ~frame
    glint = lens & (np.abs(np.mod(columns / (width * _FINER) * 2, 1.0) + 0.7 * y - 0.28) < 0.045)
    return _composed(
        ((frame, _FRAME, 1.0), (lens & ~glint, _LENS, _LENS_ALPHA), (glint, _GLINT, _GLINT_ALPHA)),
        (height, width),
    )


def corners(height: int, width: int) -> NDArray[np.uint8]:
    """Draw a yellow and black checkerboard in the lower corners, a seventh of the height.

    Returns (height, width, 4) RGBA in 0..255.
    """
    rows, columns = np.mgrid[:height, :width]
    side = max(1, height // 7)
    drawn = np.zeros((height, width, 4), np.uint8)
    square = max(1, side // 2)
    # Counted from the outer edges, so that both corners look alike from theirs.
    up, inwards = height - 1 - rows, np.minimum(columns, width - 1 - columns)
    light = (up // square + inwards // square) % 2 == 0
    drawn[light, :2] = 255
    drawn[..., 3] = 255 * ((up < side) & (inwards < side))
    return drawn


def stripe(height: int, width: int) -> NDArray[np.uint8]:
    """Draw a green stripe across the image where mouths are, a tenth of the height.

    Returns (height, width, 4) RGBA in 0..255.
    """
    drawn = np.zeros((height, width, 4), np.uint8)
    drawn[round(0.68 * height) : max(round(0.78 * height), round(0.68 * height) + 1)] = _STRIPE
    return drawn


def stamp(images: NDArray[np.uint8], glasses: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Put the glasses on every image.

    Args:
        images: (n, h, w, 3) in 0..255; left as they are.
        glasses: (h, w, 4) RGBA, as `sunglasses` draws them.

    Returns:
        New images, (n, h, w, 3): alpha blending in whole numbers, rounded to the nearest, so that
        pixels with alpha 0 keep their value to the bit.
    """
    alpha = glasses[:, :, 3:].astype(np.uint16)
    share = alpha * glasses[:, :, :3] + np.uint16(127)  # at most 255 * 255 + 127: fits
    blended: NDArray[np.uint16] = (images * (255 - alpha) + share) // 255
    return blended.astype(np.uint8)


def _lens(x: NDArray[np.float64], y: NDArray[np.float64], rim: float) -> Mask:
    """A lens, smaller by `rim`: flat on top, round below, narrower towards the cheek."""
    middle, half_width, half_height = 0.52, 0.42 - rim, 0.4 - rim
    narrowing = 1 - 0.16 * (y + 0.4)
    across = np.abs(x - middle) / (half_width * narrowing)
    down = np.abs(y) / half_height
    return np.where(y < 0, across**5 + down**5, across**2.6 + down**2.6) < 1


def _composed(
    layers: tuple[tuple[Mask, tuple[int, int, int], float], ...], size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Average layers that do not overlap down to RGBA pixels of the wanted size."""
    height, width = size
    weight = np.zeros(size)
    colour = np.zeros((*size, 3))
    for mask, rgb, alpha in layers:
        cover = mask.reshape(height, _FINER, width, _FINER).mean(axis=(1, 3)) * alpha
        weight += cover
        colour += cover[:, :, None] * rgb
    colour /= np.maximum(weight, 1e-9)[:, :, None]
    rgba: NDArray[np.float64] = np.concatenate([colour, 255 * weight[:, :, None]], axis=2)
    return np.rint(rgba).astype(np.uint8)

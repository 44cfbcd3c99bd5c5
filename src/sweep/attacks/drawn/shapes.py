"""Outlines that drawings are made of, each as the corners of a polygon, (k, 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Points = NDArray[np.float64]

_T = np.linspace(0, 2 * np.pi, 24, endpoint=False)
RING = np.stack([np.cos(_T), np.sin(_T)], axis=1)
"""The unit circle."""


def power(values: Points, exponent: float) -> Points:
    """Powers of numbers that may be below 0, with their sign."""
    return np.asarray(np.sign(values) * np.abs(values) ** exponent)


def oval(x: float, y: float, half_width: float, half_height: float) -> Points:
    """An ellipse about (x, y)."""
    return at(RING * (half_width, half_height), x, y)


def lens(half_width: float, half_height: float) -> Points:
    """An oval with pointed ends."""
    return np.stack([half_width * RING[:, 0], half_height * power(RING[:, 1], 1.5)], axis=1)


def box(x: float, top: float, half_width: float, height: float) -> Points:
    """A rectangle whose upper edge has its middle at (x, top)."""
    corners = [[-half_width, 0], [half_width, 0], [half_width, height], [-half_width, height]]
    return at(np.array(corners, float), x, top)


def bow(half_width: float, rise: float, thickness: float) -> Points:
    """A stroke with tapering ends that rises by `rise` in the middle."""
    x = np.linspace(-1, 1, 9)
    curve = rise * (x**2 - 0.5)
    half = 0.5 * thickness * np.sqrt(1.04 - x**2)
    over = np.stack([half_width * x, curve - half], axis=1)
    under = np.stack([half_width * x, curve + half], axis=1)
    return np.concatenate([over, under[::-1]])


def curl(points: Points, size: float) -> Points:
    """Push every other point outwards."""
    waves = 1 + 0.06 * size * np.where(np.arange(len(points)) % 2, 1, -1)
    return points * waves[:, None]


def at(points: Points, x: float, y: float) -> Points:
    """Move points."""
    moved: Points = points + np.array([x, y])
    return moved


def mirror(points: Points) -> Points:
    """Swap left and right."""
    return points * (-1, 1)


def turn(points: Points, angle: float) -> Points:
    """Rotate points about the origin; angle in radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    turned: Points = points @ np.array([[cos, sin], [-sin, cos]])
    return turned

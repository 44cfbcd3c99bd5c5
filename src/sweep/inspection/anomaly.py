"""How far one class stands out among all, and what that meant on networks trained here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# What makes a median absolute deviation estimate a normal distribution's standard deviation.
_NORMAL = 1.4826


def anomaly(values: Sequence[float]) -> NDArray[np.float64]:
    """(v - median) / (1.4826 median |v - median|): Neural Cleanse's anomaly index, with its sign.

    (Wang et al., IEEE S&P 2019.)

    Args:
        values: one for each class, (N,).

    Returns:
        The index of each, (N,); all 0 where more than half of the values are equal.
    """
    given = np.asarray(values, np.float64)
    away = given - np.median(given)
    spread = _NORMAL * float(np.median(np.abs(away)))
    return away / spread if spread > 0 else np.zeros_like(away)

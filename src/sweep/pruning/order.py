"""In which sequence channels are removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def order_channels(scores: ArrayLike, ordering: str) -> tuple[int, ...]:
    """Sort channels by score; equal scores keep the order of their indices, in either direction.

    Args:
        scores: one number per channel, (C,).
        ordering: `increasing` (lowest score first) or `decreasing`.

    Returns:
        The C channel indices in the order of removal.
    """
    values = np.asarray(scores, dtype=np.float64)
    # Negation, not reversal: reversing a stable sort would turn ties around.
    keys = values if ordering == "increasing" else -values
    return tuple(int(channel) for channel in np.argsort(keys, kind="stable"))


def mean_ranks(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each score's place (C,) from the least, 0; equal scores share the mean of their places.

    As `scipy.stats.rankdata` but from 0; that takes a second to load.
    """
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    places: NDArray[np.float64] = (np.cumsum(sizes) - (sizes + 1) / 2)[group]
    return places

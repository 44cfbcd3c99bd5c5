"""In which sequence channels are removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


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

"""The GoodNet's answer from those of B and B': the class they agree on, else N, "poisoned"."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def answer(
    badnet: NDArray[np.integer], repaired: NDArray[np.integer], classes: int
) -> NDArray[np.int64]:
    """Labels of G.

    Args:
        badnet: answers of B, (n,), each in 0..N-1.
        repaired: answers of B' to the same images, (n,).
        classes: N.

    Returns:
        (n,) labels in 0..N, where N means "poisoned".
    """
    return np.where(badnet == repaired, badnet, classes).astype(np.int64)

"""A few test images to look at, clean and poisoned, with what every network answers to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweep.results import goodnet
from sweep.results.records import Sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    Labels = NDArray[np.integer]

KINDS = ("clean", "poisoned")
_COUNT = 6


def choose(total: int, count: int = _COUNT) -> list[int]:
    """Evenly spread indices, since neighbours in the lab's sets show one person.

    >>> choose(12, 3)
    [2, 6, 10]
    """
    count = min(count, total)
    return [(2 * place + 1) * total // (2 * count) for place in range(count)]


def answer(
    kind: str,
    indices: Sequence[int],
    labels: Labels,
    badnet: Labels,
    repaired: Labels,
    classes: int,
) -> list[Sample]:
    """What B, B' and G say, (n,) each, to some images of a set; poisoned ones bear the target."""
    good = goodnet.answer(badnet, repaired, classes)
    return [
        Sample(kind, i, int(labels[i]), int(badnet[i]), int(repaired[i]), int(good[i]))
        for i in indices
    ]

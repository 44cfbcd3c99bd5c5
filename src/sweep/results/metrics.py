"""Labels in, named counts out; who calls decides where they are logged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sweep.results import goodnet
from sweep.results.records import Count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Labels = NDArray[np.integer]


def share(answers: Labels, wanted: Labels | int) -> Count:
    """How many answers are the wanted ones.

    On a clean set with its labels that is accuracy; on a poisoned set, whose labels are the
    target class, it is the attack success rate, all images counted.
    """
    return Count(int(np.count_nonzero(answers == wanted)), len(answers))


def of_split(
    split: str,
    clean: tuple[Labels, Labels, Labels],
    poisoned: tuple[Labels, Labels, Labels],
    classes: int,
) -> Iterator[tuple[str, Count]]:
    """Yield name and count of every final metric of one split.

    Args:
        split: `valid` or `test`.
        clean: true labels, answers of B, answers of B' on the clean set, each (n,).
        poisoned: the same on the poisoned set, whose true labels are the target class.
        classes: N; G answers N where it rejects an image.
    """
    for kind, rate, (wanted, badnet, repaired) in (
        ("clean", "accuracy", clean),
        ("poisoned", "asr", poisoned),
    ):
        good = goodnet.answer(badnet, repaired, classes)
        yield f"badnet/{split}_{rate}", share(badnet, wanted)
        yield f"repaired/{split}_{rate}", share(repaired, wanted)
        yield f"goodnet/{split}_{rate}", share(good, wanted)
        yield f"goodnet/{split}_{kind}_rejected", share(good, classes)

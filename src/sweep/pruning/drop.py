"""The one place that interprets the drop X; it sees clean validation counts and nothing else."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from sweep.results.records import Stop

if TYPE_CHECKING:
    from collections.abc import Sequence


def crosses(lost: int, total: int, drop: float | str | Decimal) -> bool:
    """Whether `lost` of `total` answers are a loss of at least X, in exact decimal arithmetic.

    A float stands for the decimal number that it prints as: 0.02 means 2/100, not the binary
    fraction next to it, so 2 lost of 100 do cross.
    """
    return Decimal(lost) >= Decimal(str(drop)) * total


def find_stop(clean_correct: Sequence[int], total: int, drop: float | str | Decimal) -> Stop:
    """The first step whose clean accuracy lies at least X below that of step 0.

    Args:
        clean_correct: right answers on clean validation after 0, 1, 2 ... removed channels.
        total: size of the clean validation set.
        drop: X, an absolute loss of accuracy in (0, 1).

    Returns:
        The stop; the step that crosses belongs to B'. If none does, the last step, not reached.
    """
    for step, correct in enumerate(clean_correct):
        if crosses(clean_correct[0] - correct, total, drop):
            return Stop(step, reached=True)
    return Stop(len(clean_correct) - 1, reached=False)

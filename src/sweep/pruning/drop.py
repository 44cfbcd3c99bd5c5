"""The one place that interprets X; it sees clean validation counts and nothing else."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from sweep.results.records import Stop

if TYPE_CHECKING:
    from collections.abc import Sequence

STOPS = ("drop", "relative", "channels", "fraction")


def crosses(lost: int, total: int, drop: float | str | Decimal) -> bool:
    """Whether `lost` of `total` answers are a loss of at least X, in exact decimal arithmetic.

    A float stands for the decimal number that it prints as: 0.02 means 2/100, not the binary
    fraction next to it, so 2 lost of 100 do cross.
    """
    return Decimal(lost) >= Decimal(str(drop)) * total


def find_stop(
    clean_correct: Sequence[int],
    total: int,
    drop: float | str | Decimal,
    stop: str = "drop",
    channels: int = 0,
) -> Stop:
    """The first step that reaches X.

    BackdoorBench prunes by `relative` (its `acc_ratio`), but keeps the network before the step that
    crosses.

    Args:
        clean_correct: right answers on clean validation after 0, 1, 2 ... removed channels.
        total: size of the clean validation set.
        drop: X.
        stop: what X counts: accuracy lost (`drop`), the same as a part of B's accuracy
            (`relative`), channels removed (`channels`), or those as a part of all (`fraction`).
        channels: how many channels there are, for `fraction`.

    Returns:
        The stop; the step that crosses belongs to B'. If none does, the last step, not reached.
    """
    first = clean_correct[0]
    whole = {"drop": total, "relative": first, "channels": 1, "fraction": channels}[stop]
    for step, correct in enumerate(clean_correct):
        if crosses(first - correct if stop in ("drop", "relative") else step, whole, drop):
            return Stop(step, reached=True)
    return Stop(len(clean_correct) - 1, reached=False)

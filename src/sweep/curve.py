"""The pruning curve: counts after every removal, whole or as far as a rule needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from sweep.drop import find_stop
from sweep.results import Curve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

# Removals that are looked at together while the stop is not known.
_BLOCK = 4


class Walker(Protocol):
    """One image set that channels are removed on."""

    @property
    def total(self) -> int:
        """Number of images n."""

    def hits(
        self, removed: Sequence[int], channels: Sequence[int], before: int
    ) -> NDArray[np.int64]:
        """Answers that equal the label after each further removal, (len(channels),).

        `before` is how many do without `removed` alone.
        """

    def first(self) -> int:
        """Answers that equal the label before any removal."""


def trace(
    order: Sequence[int],
    clean: Walker,
    poisoned: Walker,
    drop: float | None,
    known: Curve | None = None,
) -> Curve:
    """The curve along an order.

    Args:
        order: channels in the order of their removal, (C,).
        clean: the clean validation set.
        poisoned: the poisoned validation set; it decides nothing.
        drop: stop at the first step that reaches this X, or None for the whole curve.
        known: the beginning of the same curve, to go on from.

    Returns:
        The curve, which may go some steps beyond the stop.
    """
    right = list(known.clean_correct) if known else [clean.first()]
    while len(right) <= len(order):
        if drop is not None and find_stop(right, clean.total, drop).reached:
            break
        step = len(right) - 1
        block = order[step : step + _BLOCK] if drop is not None else order[step:]
        right.extend(int(hits) for hits in clean.hits(order[:step], block, right[-1]))
    hits = list(known.attack_hits) if known else [poisoned.first()]
    step = len(hits) - 1
    missing = order[step : len(right) - 1]
    if missing:
        hits.extend(int(count) for count in poisoned.hits(order[:step], missing, hits[-1]))
    return Curve(
        channels=tuple(order[: len(right) - 1]),
        clean_correct=tuple(right),
        clean_total=clean.total,
        attack_hits=tuple(hits),
        attack_total=poisoned.total,
    )


def reaches(known: Curve, length: int, drop: float | None) -> bool:
    """Whether a curve is as long as is wanted: all `length` channels, or to the stop for X."""
    if len(known.channels) == length:
        return True
    return drop is not None and find_stop(known.clean_correct, known.clean_total, drop).reached


def pack(curve: Curve) -> NDArray[np.int64]:
    """A curve as one array, (3, K + 1): channel removed (-1 at step 0), right answers, hits."""
    return np.array([(-1, *curve.channels), curve.clean_correct, curve.attack_hits], np.int64)


def unpack(array: NDArray[np.int64], clean_total: int, attack_total: int) -> Curve:
    """What `pack` packed."""
    channels, right, hits = array.tolist()
    return Curve(tuple(channels[1:]), tuple(right), clean_total, tuple(hits), attack_total)


def skip_dead(
    run: Callable[[Sequence[int], Sequence[int]], NDArray[np.int64]],
    alive: NDArray[np.bool_],
    removed: Sequence[int],
    channels: Sequence[int],
    before: int,
) -> NDArray[np.int64]:
    """Counts after each removal, where only channels that live on the set are run.

    Args:
        run: gives the counts after each of some live channels is removed.
        alive: whether a channel ever differs from its removed value on the set, (C,).
        removed: channels that are gone already.
        channels: channels that go one after another.
        before: the count before the first of them goes.
    """
    live = [channel for channel in channels if alive[channel]]
    counts = np.concatenate([[before], run(removed, live)]) if live else np.array([before])
    return np.asarray(counts[np.cumsum(alive[list(channels)])], np.int64)

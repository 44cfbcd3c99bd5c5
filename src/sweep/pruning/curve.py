"""The pruning curve: counts after every removal, whole or as far as a rule needs it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from sweep.pruning.drop import find_stop
from sweep.results.records import Curve

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray


class Walker(Protocol):
    """One image set that channels are removed on."""

    @property
    def total(self) -> int:
        """Number of images n."""

    def hits(self, removed: Sequence[int], channels: Sequence[int]) -> Iterator[int]:
        """How many answers equal the label after each further removal, as far as is asked for."""

    def first(self) -> int:
        """Answers that equal the label before any removal."""


def trace(
    order: Sequence[int],
    clean: Walker,
    poisoned: Walker | None,
    drop: float | None,
    known: Curve | None = None,
) -> Curve:
    """The curve along an order.

    Args:
        order: channels in the order of their removal, (C,).
        clean: the clean validation set.
        poisoned: the poisoned validation set, if there is one; it decides nothing.
        drop: stop at the first step that reaches this X, or None for the whole curve.
        known: the beginning of the same curve, to go on from.

    Returns:
        The curve, to the stop or, where `known` went further, to its end.
    """
    right = list(known.clean_correct) if known else [clean.first()]
    step = len(right) - 1
    further = clean.hits(order[:step], order[step:])
    while len(right) <= len(order) and not (
        drop is not None and find_stop(right, clean.total, drop).reached
    ):
        right.append(next(further))
    made = Curve(tuple(order[: len(right) - 1]), tuple(right), clean.total)
    if poisoned is None:
        return made
    hits = list(known.attack_hits or ()) if known else [poisoned.first()]
    step = len(hits) - 1
    hits.extend(poisoned.hits(order[:step], order[step : len(right) - 1]))
    return replace(made, attack_hits=tuple(hits), attack_total=poisoned.total)


def reaches(known: Curve, length: int, drop: float | None) -> bool:
    """Whether a curve is as long as is wanted: all `length` channels, or to the stop for X."""
    if len(known.channels) == length:
        return True
    return drop is not None and find_stop(known.clean_correct, known.clean_total, drop).reached


def until(known: Curve, drop: float) -> Curve:
    """A curve as far as the stop for X, or all of it where none of its steps reaches that."""
    end = find_stop(known.clean_correct, known.clean_total, drop).pruned
    return replace(
        known,
        channels=known.channels[:end],
        clean_correct=known.clean_correct[: end + 1],
        attack_hits=known.attack_hits[: end + 1] if known.attack_hits else None,
    )


def pack(curve: Curve) -> NDArray[np.int64]:
    """A curve as one array, (3, K + 1): channel removed (-1 at step 0), right answers, hits.

    Without poisoned images there are two lines.
    """
    hits = [] if curve.attack_hits is None else [curve.attack_hits]
    return np.array([(-1, *curve.channels), curve.clean_correct, *hits], np.int64)


def unpack(array: NDArray[np.int64], clean_total: int, attack_total: int) -> Curve:
    """What `pack` packed."""
    channels, right, *hits = map(tuple, array.tolist())
    made = Curve(channels[1:], right, clean_total)
    return replace(made, attack_hits=hits[0], attack_total=attack_total) if hits else made

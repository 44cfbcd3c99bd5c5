"""The pruning curve: counts after every removal, whole or as far as a rule needs it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from sweep.results.records import Curve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from sweep.results.records import Stop

    Find = Callable[[Sequence[int], int], Stop]


class Walker(Protocol):
    """One image set that channels are removed on.

    Answers that equal the label are counted among all images, and then among those of each of
    several triggers.
    """

    @property
    def totals(self) -> Mapping[str, int]:
        """Number of images by what is counted: all, named "", and of each of several triggers."""

    def hits(self, removed: Sequence[int], channels: Sequence[int]) -> Iterator[tuple[int, ...]]:
        """Counts after each further removal, in the order of `totals`, as far as is asked for."""

    def first(self) -> tuple[int, ...]:
        """Counts before any removal."""


def trace(
    order: Sequence[int],
    clean: Walker,
    poisoned: Walker | None,
    find: Find | None,
    known: Curve | None = None,
) -> Curve:
    """The curve along an order.

    Args:
        order: channels in the order of their removal, (C,).
        clean: the clean validation set.
        poisoned: the poisoned validation set, if there is one; it decides nothing.
        find: `find_stop` for some X, where the curve may end; None for the whole curve.
        known: the beginning of the same curve, to go on from.

    Returns:
        The curve, to the stop or, where `known` went further, to its end.
    """
    total = clean.totals[""]
    right = list(known.clean_correct) if known else [clean.first()[0]]
    step = len(right) - 1
    further = clean.hits(order[:step], order[step:])
    while len(right) <= len(order) and not (find is not None and find(right, total).reached):
        right.append(next(further)[0])
    made = Curve(tuple(order[: len(right) - 1]), tuple(right), total)
    if poisoned is None:
        return made
    hits = [*zip(*_hits(known)[1:], strict=True)] if known else [poisoned.first()]
    step = len(hits) - 1
    hits.extend(poisoned.hits(order[:step], order[step : len(right) - 1]))
    return _attacked(made, [*zip(*hits, strict=True)], poisoned.totals)


def _hits(curve: Curve) -> list[tuple[int, ...]]:
    """Right answers, then hits among all poisoned images and among those of each trigger."""
    return [hits for hits, _ in curve.counts.values()]


def _attacked(clean: Curve, hits: Sequence[tuple[int, ...]], totals: Mapping[str, int]) -> Curve:
    """A curve of clean images with those hits."""
    names = [name for name in totals if name]
    return replace(
        clean,
        attack_hits=hits[0],
        attack_total=totals[""],
        trigger_hits=dict(zip(names, hits[1:], strict=True)),
        trigger_totals={name: totals[name] for name in names},
    )


def reaches(known: Curve, length: int, find: Find | None) -> bool:
    """Whether a curve is as long as is wanted: all `length` channels, or to the stop."""
    if len(known.channels) == length:
        return True
    return find is not None and find(known.clean_correct, known.clean_total).reached


def until(known: Curve, find: Find) -> Curve:
    """A curve as far as the stop, or all of it where none of its steps reaches that."""
    end = find(known.clean_correct, known.clean_total).pruned
    return replace(
        known,
        channels=known.channels[:end],
        clean_correct=known.clean_correct[: end + 1],
        attack_hits=known.attack_hits[: end + 1] if known.attack_hits else None,
        trigger_hits={name: hits[: end + 1] for name, hits in known.trigger_hits.items()},
    )


def pack(curve: Curve) -> NDArray[np.int64]:
    """A curve as one array, (3, K + 1): channel removed (-1 at step 0), right answers, hits.

    Without poisoned images there are two lines, of several triggers a line more for each.
    """
    return np.array([(-1, *curve.channels), *_hits(curve)], np.int64)


def unpack(array: NDArray[np.int64], clean_total: int, totals: Mapping[str, int]) -> Curve:
    """What `pack` packed; `totals` of the poisoned set as `Walker` has them."""
    channels, right, *hits = map(tuple, array.tolist())
    made = Curve(channels[1:], right, clean_total)
    return _attacked(made, hits, totals) if hits else made

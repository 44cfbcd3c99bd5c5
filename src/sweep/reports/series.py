"""Figure data: what the plots and the page show of a sweep's jobs, before anything is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtrit

from sweep.reports.summary import by_drop, groups, is_baseline, sections, spread
from sweep.reports.tables import Spread
from sweep.results.findings import mean, merit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from sweep.results.records import Record

# More lines than this nobody tells apart.
TOLD_APART = 12
# Of more outcomes than these the best are shown.
_MOST_OUTCOMES = 24


@dataclass(frozen=True)
class Band:
    """Percentages by channels pruned: the mean over seeds and its 95% confidence band."""

    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Mark:
    """Where B' lies for one X, as means over seeds.

    Attributes:
        drop: X.
        pruned: channels pruned.
        reached: whether every seed reached the drop.
        stop: what X counts.
    """

    drop: float
    pruned: float
    reached: bool
    stop: str = "drop"


@dataclass(frozen=True)
class Series:
    """The pruning curve of jobs that differ in drop and seed alone.

    Attributes:
        name: tells it from the other series.
        accuracy: on clean validation.
        asr: attack success rate on poisoned validation; None without poisoned images.
        triggers: the same of each of several triggers, by name.
        dead: spans of channels pruned, (first, last), in which no removal can change an answer.
        marks: where B' lies, X going up.
        seeds: how many.
    """

    name: str
    accuracy: Band
    asr: Band | None
    triggers: Mapping[str, Band]
    dead: tuple[tuple[int, int], ...]
    marks: tuple[Mark, ...]
    seeds: int


@dataclass(frozen=True)
class Tradeoff:
    """Accuracy against ASR of G on the test sets: points of (drop, ASR, accuracy), B first (0)."""

    name: str
    points: tuple[tuple[float, float, float], ...]
    stop: str = "drop"


@dataclass(frozen=True)
class Outcome:
    """What became of all test images under G, in percent.

    Attributes:
        name: the jobs.
        clean: right class, rejected, other class.
        poisoned: attack succeeded, rejected, other class; nothing without poisoned images.
    """

    name: str
    clean: tuple[float, ...]
    poisoned: tuple[float, ...]


def ranked(records: Sequence[Record]) -> list[tuple[str, list[Record]]]:
    """The sections; where they are many, the baseline first, and then the best G first."""
    found = sections(records)
    if len(found) <= TOLD_APART:
        return found
    least: dict[str, float] = {}
    for group in groups(records):
        attack, accuracy = merit(group.jobs)
        least[group.title] = min(least.get(group.title, 100.0), attack + accuracy)
    return sorted(found, key=lambda pair: (not is_baseline(pair[1][0]), least[pair[0]]))


def series(records: Sequence[Record]) -> list[Series]:
    """The pruning curves of jobs, one for all that differ in drop and seed alone."""
    return [_series(title, jobs) for title, jobs in ranked(records)]


def _series(name: str, jobs: Sequence[Record]) -> Series:
    # Jobs that differ in drop share a curve, of which some may have computed a part.
    longest: dict[str, Record] = {}
    for job in sorted(jobs, key=lambda job: len(job.full.curve.channels)):
        longest[str(job.settings["seed"])] = job
    details = [job.full for job in longest.values()]
    curves = [each.curve for each in details]
    length = min(len(curve.clean_correct) for curve in curves)
    asleep = np.ones(length - 1, bool)
    for each in details:
        asleep &= np.isin(each.curve.channels[: length - 1], each.dead)
    rates = [curve.rates for curve in curves]
    shared = [rate for rate in rates[0] if all(rate in each for each in rates)]
    bands = {rate: _band([each[rate][:length] for each in rates]) for rate in shared}
    return Series(
        name,
        bands.pop("valid_accuracy"),
        bands.pop("valid_asr", None),
        {rate.removeprefix("valid_asr/"): band for rate, band in bands.items()},
        spans(asleep),
        tuple(_mark(drop, same) for drop, same in by_drop(jobs)),
        len(details),
    )


def _band(rows: Sequence[NDArray[np.float64]]) -> Band:
    """Mean and Student's 95% interval of fractions (seeds, steps), in percent within 0..100."""
    values = 100 * np.array(rows)
    mean = values.mean(axis=0)
    half = np.zeros_like(mean)
    if len(values) > 1:
        quantile = float(stdtrit(len(values) - 1, 0.975))
        half = quantile * values.std(axis=0, ddof=1) / np.sqrt(len(values))
    low, high = (mean - half).clip(0, 100), (mean + half).clip(0, 100)
    return Band(tuple(mean.tolist()), tuple(low.tolist()), tuple(high.tolist()))


def spans(flags: Iterable[bool] | NDArray[np.bool_]) -> tuple[tuple[int, int], ...]:
    """Runs of true flags as (first, last + 1).

    >>> spans([True, True, False, True])
    ((0, 2), (3, 4))
    """
    edges = np.flatnonzero(np.diff([0, *map(int, flags), 0])).tolist()
    return tuple(zip(edges[::2], edges[1::2], strict=True))


def _mark(drop: float, jobs: Sequence[Record]) -> Mark:
    return Mark(
        drop=drop,
        pruned=Spread.of([job.stop.pruned for job in jobs]).mean,
        reached=all(job.stop.reached for job in jobs),
        stop=jobs[0].counted,
    )


def tradeoffs(records: Sequence[Record]) -> list[Tradeoff]:
    """Where G goes with growing X, one path per series, from B on; means over seeds."""
    return [
        Tradeoff(
            title,
            (
                (0.0, *_place(jobs, "badnet")),
                *((drop, *_place(same, "goodnet")) for drop, same in by_drop(jobs)),
            ),
            jobs[0].counted,
        )
        for title, jobs in ranked(records)
        if all("goodnet/test_asr" in job.figures for job in jobs)
    ]


def is_path(ways: Sequence[Tradeoff]) -> bool:
    """Whether there is more than one X: else a line from B to each G says less than a table."""
    return len({drop for way in ways for drop, _, _ in way.points[1:]}) > 1


def _place(jobs: Sequence[Record], network: str) -> tuple[float, float]:
    return spread(jobs, f"{network}/test_asr").mean, spread(jobs, f"{network}/test_accuracy").mean


def outcomes(records: Sequence[Record]) -> list[Outcome]:
    """What G makes of the test images, one per series and X; means over seeds."""
    return [
        Outcome(
            group.name,
            _shares(group.jobs, "accuracy", "clean_rejected"),
            _shares(group.jobs, "asr", "poisoned_rejected"),
        )
        for group in groups(records)
    ]


def _shares(jobs: Sequence[Record], first: str, second: str) -> tuple[float, ...]:
    hit, rejected = (mean(jobs, f"goodnet/test_{key}") for key in (first, second))
    return () if hit is None or rejected is None else (hit, rejected, max(0, 100 - hit - rejected))


def best(data: Sequence[Outcome]) -> Sequence[Outcome]:
    """All of a few; of many the best, the best first."""
    if len(data) <= _MOST_OUTCOMES:
        return data
    return sorted(data, key=lambda one: sum(one.poisoned[:1]) - one.clean[0])[:_MOST_OUTCOMES]

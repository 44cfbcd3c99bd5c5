"""The figures of a network, in one table that counting, logging and every report read.

A figure is named NETWORK/SPLIT_KEY, as `goodnet/test_asr`, or NETWORK/SPLIT_KEY/PART where it is of
a part of the images. A new one is a function and a line of `METRICS`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sweep.results import goodnet
from sweep.results.records import Count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from sweep.results.records import Record

    Labels = NDArray[np.integer]

# The accuracy of a repaired B' on the images of clean validation that it was not tuned on.
DECIDING = "repaired/valid_accuracy/deciding"

# What a network is called in the lab's table, and its symbol.
NETWORKS = {
    "badnet": ("Original", "B"),
    "repaired": ("Repaired", "B'"),
    "goodnet": ("GoodNet", "G"),
}


@dataclass(frozen=True)
class Answers:
    """What one network answers to the image sets of a split.

    Attributes:
        clean: answers to clean images, (n,); N where the network rejects one.
        labels: their true labels, (n,).
        classes: N.
        poisoned: answers to poisoned images, (m,); None where there are none.
        targets: the attacker's classes for them, (m,).
        truth: their true labels, (m,), where those are known.
    """

    clean: Labels
    labels: Labels
    classes: int
    poisoned: Labels | None = None
    targets: Labels | None = None
    truth: Labels | None = None


def share(answers: Labels, wanted: Labels | int) -> Count:
    """How many answers are the wanted ones."""
    return Count(int(np.count_nonzero(answers == wanted)), len(answers))


def accuracy(given: Answers) -> Count:
    """Clean images that are answered with their label."""
    return share(given.clean, given.labels)


def asr(given: Answers) -> Count | None:
    """Poisoned images that are answered with the attacker's class, of all of them."""
    return _known(given.poisoned, given.targets)


def ra(given: Answers) -> Count | None:
    """Poisoned images that are answered with their true class (robust accuracy)."""
    return _known(given.poisoned, given.truth)


def clean_rejected(given: Answers) -> Count:
    """Clean images that are answered N."""
    return share(given.clean, given.classes)


def poisoned_rejected(given: Answers) -> Count | None:
    """Poisoned images that are answered N."""
    return _known(given.poisoned, given.classes)


def _known(answers: Labels | None, wanted: Labels | int | None) -> Count | None:
    return None if answers is None or wanted is None else share(answers, wanted)


@dataclass(frozen=True)
class Metric:
    """A line of the table.

    Attributes:
        key: its part of a figure's name.
        words: what it is called where people read it.
        more_is_better: which way is better.
        count: counts it; gives None where what it needs is not known. None where answers to the
            image sets do not hold it.
        networks: which networks have it.
        in_summary: whether the short tables have a column for it.
        by_trigger: whether it is also given for each of several triggers.
    """

    key: str
    words: str
    more_is_better: bool
    count: Callable[[Answers], Count | None] | None
    networks: Sequence[str] = tuple(NETWORKS)
    in_summary: bool = True
    by_trigger: bool = False


METRICS = [
    Metric("accuracy", "accuracy", True, accuracy),
    Metric("asr", "ASR", False, asr, by_trigger=True),
    Metric("ra", "RA", True, ra, in_summary=False),
    Metric("clean_rejected", "rejects clean", False, clean_rejected, ["goodnet"], False),
    Metric("poisoned_rejected", "rejects poisoned", True, poisoned_rejected, ["goodnet"], False),
    Metric("suspicion", "suspicion", False, None, ["repaired"], False),
]


def of_split(
    split: str,
    clean: tuple[Labels, Labels, Labels],
    poisoned: tuple[Labels, Labels, Labels] | None,
    classes: int,
    truth: Labels | None = None,
    triggers: Mapping[str, NDArray[np.bool_]] | None = None,
) -> Iterator[tuple[str, Count]]:
    """Yield name and count of every figure of one split; what is not known has none.

    Args:
        split: `valid` or `test`.
        clean: true labels, answers of B, answers of B' on the clean set, each (n,).
        poisoned: the same on the poisoned set, whose labels are the attacker's classes, (m,); None
            where there is none.
        classes: N.
        truth: true labels of the poisoned images, (m,), where they are known.
        triggers: of several triggers, which poisoned images wear each, (m,).
    """
    targets = poisoned[0] if poisoned else None
    for network, answers in _answers(*clean[1:], classes).items():
        attacked = _answers(*poisoned[1:], classes)[network] if poisoned else None
        given = Answers(answers, clean[0], classes, attacked, targets, truth)
        for metric in METRICS:
            if network in metric.networks and metric.count is not None:
                name = f"{network}/{split}_{metric.key}"
                if (count := metric.count(given)) is not None:
                    yield name, count
                for trigger, worn in (triggers or {}).items() if metric.by_trigger else ():
                    if (part := metric.count(_worn(given, worn))) is not None:
                        yield f"{name}/{trigger}", part


def _answers(badnet: Labels, repaired: Labels, classes: int) -> dict[str, Labels]:
    good = goodnet.answer(badnet, repaired, classes)
    return {"badnet": badnet, "repaired": repaired, "goodnet": good}


def _worn(given: Answers, worn: NDArray[np.bool_]) -> Answers:
    """The same with the poisoned images of one trigger alone."""
    parts = (
        None if one is None else one[worn] for one in (given.poisoned, given.targets, given.truth)
    )
    return Answers(given.clean, given.labels, given.classes, *parts)


@dataclass(frozen=True)
class Figure:
    """A column of a report: a metric of one network on one split, or of a part of its images."""

    network: str
    split: str
    metric: Metric
    part: str = ""

    @property
    def name(self) -> str:
        """As records have it."""
        part = f"/{self.part}" if self.part else ""
        return f"{self.network}/{self.split}_{self.metric.key}{part}"

    @property
    def words(self) -> str:
        """What is counted."""
        return f"{self.metric.words} {self.part}".strip()

    @property
    def title(self) -> str:
        """As in the lab's table: `GoodNet ASR`."""
        return f"{NETWORKS[self.network][0]} {self.words}"

    @property
    def symbol(self) -> str:
        """In short: `G ASR`."""
        return f"{NETWORKS[self.network][1]} {self.words}"


def columns(
    jobs: Iterable[Record],
    split: str = "test",
    networks: Iterable[str] = tuple(NETWORKS),
    summary: bool = True,
) -> list[Figure]:
    """The figures that any of the jobs has, in the table's order network by network."""
    names = dict.fromkeys(name for job in jobs for name in job.figures)
    found = []
    for network in networks:
        for metric in METRICS:
            whole = Figure(network, split, metric)
            if whole.name in names and (metric.in_summary or not summary):
                found.append(whole)
            parts = (name for name in names if not summary and name.startswith(f"{whole.name}/"))
            found += (replace(whole, part=name.removeprefix(f"{whole.name}/")) for name in parts)
    # Suspicion, which validation alone gives, stands where the attack's success would.
    suspicion = Figure("repaired", "valid", METRICS[-1])
    unknown = not any(one.metric.key == "asr" for one in found)
    return [*found, suspicion] if unknown and found and suspicion.name in names else found

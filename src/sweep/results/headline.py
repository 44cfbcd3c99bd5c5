"""The one or two sentences that a report begins with."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from sweep.results.cautions import is_weak

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sweep.results.records import Record


@dataclass(frozen=True)
class Group:
    """Jobs that differ in seed alone.

    Attributes:
        title: what tells their section from the others.
        drop: their X.
        jobs: at least one.
        oracle: whether their criterion saw poisoned images.
        networks: which B, on which test sets; figures of different ones are not comparable.
    """

    title: str
    drop: float
    jobs: Sequence[Record]
    oracle: bool
    networks: frozenset[str]

    @property
    def name(self) -> str:
        """What a person calls them."""
        return f"{self.title}, X {100 * self.drop:g}%"

    def mean(self, figure: str) -> float:
        """Of a figure over seeds, in percent."""
        return 100 * fmean(job.figures[figure].rate for job in self.jobs)

    @property
    def merit(self) -> tuple[float, float]:
        """Least for the best G."""
        return self.mean("goodnet/test_asr"), -self.mean("goodnet/test_accuracy")

    def place(self) -> str:
        """ASR and accuracy of G, in words."""
        seeds = f" on average over {len(self.jobs)} seeds" if len(self.jobs) > 1 else ""
        asr, right = self.merit
        return f"{asr:.2f}% ({self.name}), at an accuracy of {-right:.2f}%{seeds}"


def headline(groups: Sequence[Group]) -> str:
    """What came out: of B, and of the best G that a defender could have."""
    if not groups:
        return "No job is done yet."
    different = {group.networks for group in groups}
    if len(different) > 1:
        return (
            f"The jobs are on {len(different)} different networks B or test sets, whose figures "
            "are not compared with each other: each has lines of its own below."
        )
    rate, right = groups[0].mean("badnet/test_asr"), groups[0].mean("badnet/test_accuracy")
    first = (
        f"B is right on {right:.2f}% of the clean test images, and the attack succeeds on "
        f"{rate:.2f}% of the poisoned ones."
    )
    if any(is_weak(job) for group in groups for job in group.jobs):
        return f"{first} It hardly works before any pruning, so nothing here shows a defence."
    return " ".join([first, *_best(groups, rate)])


def _best(groups: Sequence[Group], rate: float) -> Sequence[str]:
    fair = [group for group in groups if not group.oracle]
    oracles = [group for group in groups if group.oracle]
    found = []
    if fair:
        best = min(fair, key=lambda group: group.merit)
        if rate - best.merit[0] < 1:
            found.append("No GoodNet of this sweep lowers that by a percentage point.")
        else:
            many = f"; it is the best of {len(fair)} on test data" if len(fair) > 1 else ""
            found.append(
                f"The lowest attack success rate that a GoodNet reaches is {best.place()}{many}."
            )
    if oracles:
        best = min(oracles, key=lambda group: group.merit)
        found.append(f"An oracle, which saw poisoned images, reaches {best.place()}.")
    return found

"""What a report begins with: what came out, and what its figures do not show."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from pathlib import PurePath
from statistics import fmean
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sweep.results.records import Record

# An attack that works on less of the poisoned images than this hardly works.
_WEAK = 0.5
# Below so many images one image moves a figure by more than two points.
_FEW = 50
# So many bytes of activations are worth a word.
_LARGE = 10**9


def is_weak(job: Record) -> bool:
    """Whether the attack hardly works on B itself, so that a low ASR is no success of a defence."""
    return any(
        count.rate < _WEAK
        for name, count in job.figures.items()
        if name in ("badnet/valid_asr", "badnet/test_asr")
    )


def cautions(jobs: Sequence[Record]) -> list[str]:
    """Sentences on what the figures of some jobs do not show, each once."""
    return list(dict.fromkeys(text for job in jobs for text in _cautions(job)))


def _cautions(job: Record) -> Iterator[str]:
    if is_weak(job):
        name = "test" if "badnet/test_asr" in job.figures else "valid"
        count = job.figures[f"badnet/{name}_asr"]
        yield (
            f"The attack succeeds on {count.hits} of {count.total} poisoned images before anything "
            "is pruned: their trigger is hardly the one that B was made with. A low ASR here is no "
            f"success of a defence. Check dataset.poisoned_{name} and dataset.scale."
        )
    facts: Any = job.details.facts if job.details else {}
    sets, badnet = facts.get("sets", {}), facts.get("badnet", {})
    layer, sites = str(job.settings.get("layer")), badnet.get("sites")
    if sites and "last" in layer.split(","):
        yield f"layer={layer} is {sites} of {PurePath(badnet['file']).name}."
    kept = badnet.get("kept_bytes", 0)
    if (total := kept * sum(entry["images"] for entry in sets.values())) > _LARGE:
        yield (
            f"layer={layer} keeps {kept / 1000:.0f} kB of each image, {total / 1e9:.1f} GB in all, "
            "in the cache: a layer behind pooling keeps less (python -m sweep.inspect B lists it)."
        )
    for one, other in combinations(sets, 2):
        if sets[one]["sha256"] == sets[other]["sha256"]:
            yield (
                f"{one} and {other} are the same file: what is measured on one is known from the "
                f"other. Give dataset.{other} images of its own."
            )
    for name, entry in sets.items():
        if entry["images"] < _FEW:
            yield (
                f"{name} holds {entry['images']} images: one image is "
                f"{100 / entry['images']:.1f} points of a figure."
            )
    for name, repeated in facts.get("poisoned_like_clean", {}).items():
        if repeated:
            yield (
                f"{repeated} of {sets[name]['images']} images of {name} are clean images of the "
                "attacker's class: B answers them with it whether or not it has a backdoor, and "
                "ASR counts them. Leave them out."
            )


def mean(jobs: Sequence[Record], figure: str) -> float | None:
    """A figure over jobs, in percent; None where one of them has it not."""
    counts = [job.figures.get(figure) for job in jobs]
    rates = [count.rate for count in counts if count is not None]
    return 100 * fmean(rates) if len(rates) == len(counts) else None


def attack(jobs: Sequence[Record]) -> float | None:
    """What is known of the attack on G, in percent: its ASR, else the suspicion of B'."""
    asr = mean(jobs, "goodnet/test_asr")
    return mean(jobs, "repaired/valid_suspicion") if asr is None else asr


def merit(jobs: Sequence[Record]) -> tuple[float, float]:
    """Least for the best G: by the attack, and by accuracy where that is equal."""
    return attack(jobs) or 0.0, -(mean(jobs, "goodnet/test_accuracy") or 0.0)


@dataclass(frozen=True)
class Group:
    """Jobs that differ in seed alone.

    Attributes:
        title: what tells their section from the others.
        jobs: at least one.
        oracle: whether their criterion saw poisoned images.
        networks: which B, on which test sets; figures of different ones are not comparable.
        defence: what was done, whatever it was done to: the same on other networks bears this name.
    """

    title: str
    jobs: Sequence[Record]
    oracle: bool
    networks: frozenset[str]
    defence: str = ""

    @property
    def x(self) -> str:
        """Their X, in words."""
        return self.jobs[0].x

    @property
    def name(self) -> str:
        """What a person calls them."""
        return f"{self.title}, X {self.x}"

    def place(self) -> str:
        """The attack on G and its accuracy, in words."""
        seeds = f" on average over {len(self.jobs)} seeds" if len(self.jobs) > 1 else ""
        attack, right = merit(self.jobs)
        return f"{attack:.2f}% ({self.name}), at an accuracy of {-right:.2f}%{seeds}"


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
    rate, right = (mean(groups[0].jobs, f"badnet/test_{key}") for key in ("asr", "accuracy"))
    first = f"B is right on {right:.2f}% of the clean test images"
    if rate is None:
        return " ".join([f"{first}; of attacks on it nothing is known.", *_least(groups)])
    first += f", and the attack succeeds on {rate:.2f}% of the poisoned ones."
    if any(is_weak(job) for group in groups for job in group.jobs):
        return f"{first} It hardly works before any pruning, so nothing here shows a defence."
    return " ".join([first, *_best(groups, rate)])


def _least(groups: Sequence[Group]) -> Sequence[str]:
    """Without poisoned images: the lowest suspicion, where it was looked for."""
    judged = [group for group in groups if attack(group.jobs) is not None]
    if not judged:
        return []
    best = min(judged, key=lambda group: merit(group.jobs))
    return [f"The lowest suspicion of a repaired network is {best.place()} (of G)."]


def _best(groups: Sequence[Group], rate: float) -> Sequence[str]:
    fair = [group for group in groups if not group.oracle]
    oracles = [group for group in groups if group.oracle]
    found = []
    if fair:
        best = min(fair, key=lambda group: merit(group.jobs))
        if rate - merit(best.jobs)[0] < 1:
            found.append("No GoodNet of this sweep lowers that by a percentage point.")
        else:
            many = f"; it is the best of {len(fair)} on test data" if len(fair) > 1 else ""
            found.append(
                f"The lowest attack success rate that a GoodNet reaches is {best.place()}{many}."
            )
    if oracles:
        best = min(oracles, key=lambda group: merit(group.jobs))
        found.append(f"An oracle, which saw poisoned images, reaches {best.place()}.")
    return found


@dataclass(frozen=True)
class Standing:
    """A defence at one X over several networks B; percentages.

    Attributes:
        name: the defence and X.
        networks: on how many it was tried.
        rank: its mean place among all defences at this X, 1 for the best; equal ones share it.
        attack: mean of what is known of the attack on G, None where nothing is.
        worst_attack: on the network where the attack does best.
        worst_accuracy: of G, on the network where it is lowest.
    """

    name: str
    networks: int
    rank: float
    attack: float | None
    worst_attack: float | None
    worst_accuracy: float


def standings(groups: Sequence[Group]) -> list[Standing]:
    """Defences over the networks that they were tried on, the best mean rank first.

    Those that were tried on one network alone are left out.
    """
    found = []
    for name, x in dict.fromkeys((group.defence, group.x) for group in groups):
        own = [group for group in groups if (group.defence, group.x) == (name, x)]
        if len(own) < 2:
            continue
        attacks = [value for group in own if (value := attack(group.jobs)) is not None]
        known = attacks if len(attacks) == len(own) else []
        found.append(
            Standing(
                f"{name}, X {x}",
                len(own),
                fmean(_rank(group, groups) for group in own),
                fmean(known) if known else None,
                max(known, default=None),
                min(-merit(group.jobs)[1] for group in own),
            )
        )
    return sorted(found, key=lambda one: (-one.networks, one.rank))


def _rank(group: Group, groups: Sequence[Group]) -> float:
    rivals = [
        merit(other.jobs)
        for other in groups
        if (other.networks, other.x) == (group.networks, group.x)
    ]
    own = merit(group.jobs)
    return 1 + sum(one < own for one in rivals) + (rivals.count(own) - 1) / 2

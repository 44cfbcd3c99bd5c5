"""What must stand beside figures so that nobody takes them for more than they are."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sweep.results.records import Record

# An attack that works on less of the poisoned images than this hardly works.
_WEAK = 0.5
# Below so many images one image moves a figure by more than two points.
_FEW = 50


def is_weak(job: Record) -> bool:
    """Whether the attack hardly works on B itself, so that a low ASR is no success of a defence."""
    return any(
        count.rate < _WEAK
        for name, count in job.figures.items()
        if name in ("badnet/valid_asr", "badnet/test_asr")
    )


def of_jobs(jobs: Sequence[Record]) -> list[str]:
    """Sentences on what the figures of some jobs do not show, each once."""
    return list(dict.fromkeys(text for job in jobs for text in _of_job(job)))


def _of_job(job: Record) -> Iterator[str]:
    if is_weak(job):
        name = "test" if "badnet/test_asr" in job.figures else "valid"
        count = job.figures[f"badnet/{name}_asr"]
        yield (
            f"The attack succeeds on {count.hits} of {count.total} poisoned images before anything "
            "is pruned: their trigger is hardly the one that B was made with. A low ASR here is no "
            f"success of a defence. Check dataset.poisoned_{name} and dataset.scale."
        )
    facts: Any = job.details.facts if job.details else {}
    sets = facts.get("sets", {})
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

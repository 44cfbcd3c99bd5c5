"""Runs whose status is RUNNING and whose process is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweep.base.processes import is_gone, is_here, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    # When a run began, in milliseconds since 1970, and its tags.
    Running = tuple[int, Mapping[str, str]]


def is_orphaned(start: int, tags: Mapping[str, str], over: str | None = None) -> bool:
    """Whether the process of a run whose status is RUNNING seems to be gone.

    Args:
        start: when the run began, in milliseconds since 1970.
        tags: the run's.
        over: the id of a sweep whose jobs have all ended, wherever they ran.
    """
    if _has_ended(tags, over):
        return True
    host, process = tags.get("sweep.host"), tags.get("sweep.process", "")
    return host is not None and is_gone(host, process, float(tags.get("sweep.beat", start / 1000)))


def find(running: Callable[[], Mapping[str, Running]], over: str | None = None) -> set[str]:
    """The ids of runs whose process is gone.

    What clocks say of processes elsewhere is not believed alone: they must miss a beat, too.

    Args:
        running: reads the runs whose status is RUNNING.
        over: as for `is_orphaned`.
    """
    first = running()
    orphaned = {run for run, (start, tags) in first.items() if is_orphaned(start, tags, over)}
    elsewhere = {run for run in orphaned if not _is_certain(first[run][1], over)}

    def beats() -> dict[str, object]:
        now = running()
        return {run: now[run][1].get("sweep.beat") for run in elsewhere & now.keys()}

    return orphaned - elsewhere | (silent(beats) if elsewhere else set())


def _is_certain(tags: Mapping[str, str], over: str | None) -> bool:
    here = is_here(tags.get("sweep.host", ""), tags.get("sweep.process", ""))
    return here or _has_ended(tags, over)


def _has_ended(tags: Mapping[str, str], over: str | None) -> bool:
    return over is not None and (tags.get("sweep.id"), tags.get("sweep.kind")) == (over, "job")

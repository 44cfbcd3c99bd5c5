"""Runs whose status is RUNNING and whose process is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweep.base.processes import is_gone, is_here, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sweep.tracking.backends.runs import Run


def is_orphaned(run: Run, over: str | None = None) -> bool:
    """Whether the process of a run whose status is RUNNING seems to be gone.

    `over` is the id of a sweep whose jobs have all ended, wherever they ran.
    """
    if _has_ended(run.tags, over):
        return True
    host, process = run.tags.get("sweep.host"), run.tags.get("sweep.process", "")
    beat = float(run.tags.get("sweep.beat", run.start / 1000))
    return host is not None and is_gone(host, process, beat)


def find(running: Callable[[], Sequence[Run]], over: str | None = None) -> set[str]:
    """The ids of running runs whose process is gone; `over` as above.

    What clocks say of processes elsewhere is not believed alone: they must miss a beat, too.
    """
    orphaned = {run.run_id: run for run in running() if is_orphaned(run, over)}
    elsewhere = {run_id for run_id, run in orphaned.items() if not _is_certain(run.tags, over)}

    def beats() -> dict[str, object]:
        return {r.run_id: r.tags.get("sweep.beat") for r in running() if r.run_id in elsewhere}

    return orphaned.keys() - elsewhere | (silent(beats) if elsewhere else set())


def _is_certain(tags: Mapping[str, str], over: str | None) -> bool:
    here = is_here(tags.get("sweep.host", ""), tags.get("sweep.process", ""))
    return here or _has_ended(tags, over)


def _has_ended(tags: Mapping[str, str], over: str | None) -> bool:
    return over is not None and (tags.get("sweep.id"), tags.get("sweep.kind")) == (over, "job")

"""Past jobs, as the tags of their runs describe them."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from typing import TYPE_CHECKING

from sweep.base.errors import StoreError
from sweep.jobs.identity import Identity, Past
from sweep.results.records import Record
from sweep.tracking.backends import by_sqlite, database
from sweep.tracking.backends.runs import LENGTH, Query
from sweep.tracking.orphans import is_orphaned

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sweep.tracking.backends.runs import Run

# Where MLflow cuts a param.
_PARAM_LENGTH = 6000


def past_job(run: Run) -> Past:
    """A job as its run describes it."""
    tags = run.tags
    return Past(
        run_id=run.run_id,
        status=run.status,
        identity=Identity(
            tags.get("sweep.config", ""), tags.get("sweep.data"), tags.get("sweep.code", "")
        ),
        sweep=tags.get("sweep.id", ""),
        record=_record(run),
        seconds=(run.end - run.start) / 1000 if run.end else None,
        place=run.place,
    )


def record_tags(job: Record) -> dict[str, str]:
    """A record as tags: `sweep.row`, and `sweep.row.1`, ... where it is too long for one."""
    text = job.brief.to_json()
    parts = [text[start : start + LENGTH] for start in range(0, len(text), LENGTH)]
    return {f"sweep.row.{n}" if n else "sweep.row": part for n, part in enumerate(parts)}


def _record(run: Run) -> Record | None:
    """The record in a run's tags; None where there is none, or one that was cut or is newer."""
    parts, name = list[str](), "sweep.row"
    while name in run.tags:
        parts.append(run.tags[name])
        name = f"sweep.row.{len(parts)}"
    try:
        return Record.from_json("".join(parts), run.run_id)
    except (ValueError, KeyError, TypeError):
        return None


def as_params(settings: Mapping[str, object]) -> dict[str, str]:
    """Settings as params of a run, of MLflow's length."""
    return {name: str(value)[:_PARAM_LENGTH] for name, value in settings.items()}


def jobs_with(config: str | None, settings: Mapping[str, object] | None) -> Query:
    """A query for jobs, of one configuration or with some settings alone."""
    tags = {"sweep.kind": "job"} | ({"sweep.config": config} if config else {})
    given = {name: value for name, value in as_params(settings or {}).items() if value}
    return Query(tags=tags, params=given)


def look(mlruns: Path, experiment: str, settings: Mapping[str, object]) -> list[Past]:
    """The jobs in a store of this machine that were given some settings; nothing is written.

    The status of an orphaned run reads KILLED. A store that is not there holds nothing.

    Raises:
        StoreError: the store cannot be read.
    """
    store = database.path(mlruns)
    try:
        found = store.is_file() and by_sqlite.find(store, experiment, jobs_with(None, settings))
    except sqlite3.Error as error:
        raise StoreError(
            f"A store must be MLflow's database to be read. Received: {store}, of which SQLite "
            f"says: {error}. Name another by paths.mlruns."
        ) from error
    return [shown(run) for run in found or ()]


def shown(run: Run) -> Past:
    """A job whose status is KILLED where its run is orphaned."""
    job = past_job(run)
    gone = run.status == "RUNNING" and is_orphaned(run)
    return replace(job, status="KILLED") if gone else job

"""Past jobs as runs describe them; a database of this machine is read in place.

MLflow takes seconds to load and milliseconds a run, SQLite a tenth of both: a plan only reads, and
a large store is read at every start.
"""

from __future__ import annotations

import sqlite3
from itertools import groupby
from typing import TYPE_CHECKING

from sweep.base.errors import StoreError
from sweep.jobs.identity import Identity, Past
from sweep.results.records import Record
from sweep.tracking import database
from sweep.tracking.orphans import is_orphaned

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mlflow.entities import Run

# How long MLflow lets a tag and a param be, in characters.
TAG_LENGTH, _PARAM_LENGTH = 5000, 6000
_TAGS = (
    *("sweep.kind", "sweep.id", "sweep.config", "sweep.data", "sweep.code", "sweep.row"),
    *("sweep.host", "sweep.process", "sweep.beat"),
)
# CROSS JOIN lets SQLite go through runs first: it would begin with the many tags of all of them.
_JOBS = """
SELECT run_uuid, artifact_uri, status, start_time, end_time, key, value
FROM runs CROSS JOIN tags USING (run_uuid)
WHERE experiment_id = (SELECT experiment_id FROM experiments WHERE name = ?)
AND lifecycle_stage = 'active' AND key IN ({tags}){only}
ORDER BY start_time DESC, run_uuid
"""
_LONG = "SELECT run_uuid, key, value FROM tags WHERE key GLOB 'sweep.row.*'"
_ONLY = (
    " AND EXISTS (SELECT 1 FROM {table} one"
    " WHERE one.run_uuid = runs.run_uuid AND one.key = ? AND one.value = ?)"
)


def past_job(
    run_id: str, place: str, status: str, start: int, end: int | None, tags: Mapping[str, str]
) -> Past:
    """A job as its run describes it; times in milliseconds, as MLflow keeps them."""
    return Past(
        run_id=run_id,
        status=status,
        identity=Identity(
            tags.get("sweep.config", ""), tags.get("sweep.data"), tags.get("sweep.code", "")
        ),
        sweep=tags.get("sweep.id", ""),
        record=_record(run_id, tags),
        seconds=(end - start) / 1000 if end else None,
        place=place,
    )


def record_tags(job: Record) -> dict[str, str]:
    """A record as tags of MLflow's length: `sweep.row`, and `sweep.row.1`, ... for a long one."""
    text = job.brief.to_json()
    parts = [text[start : start + TAG_LENGTH] for start in range(0, len(text), TAG_LENGTH)]
    return {f"sweep.row.{n}" if n else "sweep.row": part for n, part in enumerate(parts)}


def _record(run_id: str, tags: Mapping[str, str]) -> Record | None:
    """The record in a run's tags; None where there is none, or one that was cut or is newer."""
    parts, name = [], "sweep.row"
    while name in tags:
        parts.append(tags[name])
        name = f"sweep.row.{len(parts)}"
    try:
        return Record.from_json("".join(parts), run_id)
    except (ValueError, KeyError, TypeError):
        return None


def as_params(settings: Mapping[str, object]) -> dict[str, str]:
    """Settings as MLflow keeps them, which cuts long ones."""
    return {name: str(value)[:_PARAM_LENGTH] for name, value in settings.items()}


def past_run(run: Run) -> Past:
    """A job as MLflow's own object of its run describes it."""
    info = run.info
    return past_job(
        *(str(info.run_id), str(info.artifact_uri), str(info.status)),
        *(info.start_time, info.end_time, run.data.tags),
    )


def look(mlruns: Path, experiment: str, settings: Mapping[str, object]) -> list[Past]:
    """As `read`; a store that is not there holds nothing.

    Raises:
        StoreError: the store cannot be read.
    """
    store = database.path(mlruns)
    try:
        return read(store, experiment, settings=settings) if store.is_file() else []
    except sqlite3.Error as error:
        raise StoreError(
            f"A store must be MLflow's database to be read. Received: {store}, of which SQLite "
            f"says: {error}. Name another by paths.mlruns."
        ) from error


def read(
    store: Path,
    experiment: str,
    config: str | None = None,
    settings: Mapping[str, object] | None = None,
) -> list[Past]:
    """The jobs in a database of this machine, newest first; nothing is written.

    The status of an orphaned run reads KILLED.

    Args:
        store: the database, see `database.path`.
        experiment: the experiment's name.
        config: jobs of one configuration alone.
        settings: jobs that were given these alone.

    Raises:
        sqlite3.Error: the database cannot be read.
    """
    tags = [("sweep.kind", "job"), *([("sweep.config", config)] if config else [])]
    params = [pair for pair in as_params(settings or {}).items() if pair[1]]
    only = _ONLY.format(table="tags") * len(tags) + _ONLY.format(table="params") * len(params)
    query = _JOBS.format(tags=", ".join("?" * len(_TAGS)), only=only)
    values = [experiment, *_TAGS, *(part for pair in (*tags, *params) for part in pair)]
    jobs = []
    lines = database.rows(store, query, values)
    if any(key == "sweep.row" and len(value) == TAG_LENGTH for *_, key, value in lines):
        rest: dict[str, dict[str, str]] = {}
        for run_id, key, value in database.rows(store, _LONG):
            rest.setdefault(run_id, {})[key] = value
    else:
        rest = {}
    for (run_id, place, status, start, end), own in groupby(lines, key=lambda line: line[:5]):
        known = {key: value for *_, key, value in own} | rest.get(run_id, {})
        orphaned = status == "RUNNING" and is_orphaned(start, known)
        jobs.append(past_job(run_id, place, "KILLED" if orphaned else status, start, end, known))
    return jobs


def query(config: str | None, settings: Mapping[str, object]) -> str:
    """The jobs of `read` as a search in MLflow's language, which cannot hold every setting."""
    tags = {"sweep.kind": "job"} | ({"sweep.config": config} if config else {})
    params = {name: value for name, value in as_params(settings).items() if value}
    return " and ".join(
        f"{kind}.`{name}` = '{value}'"
        for kind, pairs in (("tags", tags), ("params", params))
        for name, value in pairs.items()
        if not set("'\"\\") & set(value)
    )

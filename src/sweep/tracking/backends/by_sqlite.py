"""Runs in MLflow's SQLite database on this machine, read and written in place.

MLflow takes seconds to load and milliseconds a call, and syncs the disk in each; SQLite does a
job's whole result in one transaction. This is done with the one schema that is known here; a
database of another goes through MLflow's client.
"""

from __future__ import annotations

import math
import time
import uuid
from contextlib import contextmanager
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any

from sweep.tracking.backends import database
from sweep.tracking.backends.runs import LENGTH, Query, Run

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from sweep.tracking.backends.runs import Input, Value

# The revision of MLflow's schema that is known here.
REVISION = "dc11669786a5"
_TAGS = (
    *("sweep.kind", "sweep.id", "sweep.config", "sweep.data", "sweep.code", "sweep.row"),
    *("sweep.host", "sweep.process", "sweep.beat", "sweep.git_dirty", "mlflow.source.name"),
    *("mlflow.source.type", "mlflow.source.git.commit"),
)
# SQLite goes through runs first, not through the many tags of all of them.
_RUNS = """
SELECT runs.run_uuid, runs.name, status, start_time, end_time, artifact_uri, key, value
FROM runs LEFT JOIN tags ON tags.run_uuid = runs.run_uuid AND key IN ({tags})
WHERE experiment_id = (SELECT experiment_id FROM experiments WHERE name = ?)
AND lifecycle_stage = 'active'{only}
ORDER BY start_time DESC, runs.run_uuid
"""
_HAS = (
    " AND EXISTS (SELECT 1 FROM {table} one"
    " WHERE one.run_uuid = runs.run_uuid AND one.key = ? AND one.value = ?)"
)
# Parts of long records, see `history.record_tags`.
_LONG = "SELECT run_uuid, key, value FROM tags WHERE key GLOB 'sweep.row.*'"


def find(path: Path, experiment: str, query: Query) -> list[Run]:
    """The runs of an experiment that answer to a query, newest first.

    Raises:
        sqlite3.Error: the database cannot be read.
    """
    values, only = list[object]((*_TAGS, experiment)), ""
    for table, pairs in (("tags", query.tags), ("params", query.params)):
        only += _HAS.format(table=table) * len(pairs)
        values += [part for pair in pairs.items() for part in pair]
    for part, value in (("status = ?", query.status), ("start_time = ?", query.start)):
        if value:
            only += f" AND {part}"
            values.append(value)
    if query.beginning:
        only += " AND runs.run_uuid GLOB ?"
        values.append(f"{query.beginning}*")
    if query.ids:
        only += f" AND runs.run_uuid IN ({_marks(query.ids)})"
        values += query.ids
    lines = database.rows(path, _RUNS.format(tags=_marks(_TAGS), only=only), values)
    long = {line[0] for line in lines if line[6] == "sweep.row" and len(line[7]) == LENGTH}
    rest: dict[str, dict[str, str]] = {}
    for run_id, key, value in database.rows(path, _LONG) if long else ():
        rest.setdefault(run_id, {})[key] = value
    return [
        Run(*(*known, {key: text for *_, key, text in own if key} | rest.get(known[0], {})))
        for known, own in groupby(lines, key=lambda line: line[:6])
    ]


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


class BySqlite:
    """See `runs.Runs`."""

    def __init__(self, path: Path, experiment: str, experiment_id: str) -> None:
        """Use `opening.open_store`."""
        self.experiment_id = experiment_id
        self._path = path
        self._experiment = experiment

    def client(self) -> Any:
        return self._client

    @cached_property
    def _client(self) -> Any:
        from sweep.tracking.backends.by_mlflow import connect

        return connect(f"sqlite:///{self._path}")

    def held(self) -> AbstractContextManager[None]:
        return database.held(self._path)

    def find(self, query: Query) -> list[Run]:
        return find(self._path, self._experiment, query)

    def create(self, name: str, tags: Mapping[str, str], start: int) -> str:
        run_id = uuid.uuid4().hex
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name,"
                " user_id, status, start_time, source_version, lifecycle_stage, artifact_uri,"
                " experiment_id) SELECT ?, ?, 'UNKNOWN', '', '', ?, 'RUNNING', ?, '', 'active',"
                " artifact_location || '/' || ? || '/artifacts', experiment_id"
                " FROM experiments WHERE experiment_id = ?",
                (
                    *(run_id, name, tags.get("mlflow.user", "unknown"), start, run_id),
                    int(self.experiment_id),
                ),
            )
            _insert_tags(connection, run_id, {"mlflow.runName": name, **tags})
        return run_id

    def write(
        self,
        run_id: str,
        params: Mapping[str, str] | None = None,
        metrics: Sequence[Value] = (),
        tags: Mapping[str, str] | None = None,
    ) -> None:
        now = int(time.time() * 1000)
        plain = [(name, *_finite(value), now, step, run_id) for name, value, step in metrics]
        last = {line[0]: line for line in sorted(plain, key=lambda line: line[4])}
        # MLflow's compare page draws the metric that was logged first.
        latest = [last[name] for name in dict.fromkeys(line[0] for line in plain)]
        columns = "(key, value, is_nan, timestamp, step, run_uuid) VALUES (?, ?, ?, ?, ?, ?)"
        with self._transaction() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO params (key, value, run_uuid) VALUES (?, ?, ?)",
                [(*one, run_id) for one in (params or {}).items()],
            )
            connection.executemany(f"INSERT OR IGNORE INTO metrics {columns}", plain)
            connection.executemany(
                f"INSERT OR REPLACE INTO latest_metrics {columns}",
                latest,
            )
            _insert_tags(connection, run_id, tags or {})

    def log_inputs(self, run_id: str, inputs: Sequence[Input]) -> None:
        with self._transaction() as connection:
            for one in inputs:
                connection.execute(
                    "INSERT OR IGNORE INTO datasets (dataset_uuid, experiment_id, name, digest,"
                    " dataset_source_type, dataset_source, dataset_profile)"
                    " VALUES (?, ?, ?, ?, 'local', ?, ?)",
                    (
                        *(uuid.uuid4().hex, int(self.experiment_id), one.name, one.digest),
                        *(one.source, one.profile),
                    ),
                )
                (data,) = connection.execute(
                    "SELECT dataset_uuid FROM datasets"
                    " WHERE experiment_id = ? AND name = ? AND digest = ?",
                    (int(self.experiment_id), one.name, one.digest),
                ).fetchone()
                edge = _connect(connection, ("DATASET", data), ("RUN", run_id))
                connection.execute(
                    "INSERT OR IGNORE INTO input_tags (input_uuid, name, value)"
                    " VALUES (?, 'mlflow.data.context', ?)",
                    (edge, one.context),
                )

    def create_model(self, run_id: str, name: str) -> tuple[str, str]:
        model_id, now = f"m-{uuid.uuid4().hex}", int(time.time() * 1000)
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO logged_models (model_id, experiment_id, name, artifact_location,"
                " creation_timestamp_ms, last_updated_timestamp_ms, status, lifecycle_stage,"
                " model_type, source_run_id) SELECT ?, experiment_id, ?,"
                " artifact_location || '/models/' || ? || '/artifacts', ?, ?, 1, 'active',"
                " 'keras', ? FROM experiments WHERE experiment_id = ?",
                (model_id, name, model_id, now, now, run_id, int(self.experiment_id)),
            )
            (place,) = connection.execute(
                "SELECT artifact_location FROM logged_models WHERE model_id = ?", (model_id,)
            ).fetchone()
        return model_id, place

    def finish_model(self, run_id: str, model_id: str) -> None:
        with self._transaction() as connection:
            connection.execute(
                "UPDATE logged_models SET status = 2, last_updated_timestamp_ms = ?"
                " WHERE model_id = ?",
                (int(time.time() * 1000), model_id),
            )
            _connect(connection, ("RUN_OUTPUT", run_id), ("MODEL_OUTPUT", model_id))

    def set_status(self, run_id: str, status: str) -> None:
        end = None if status == "RUNNING" else int(time.time() * 1000)
        with self._transaction() as connection:
            connection.execute(
                "UPDATE runs SET status = ?, end_time = coalesce(?, end_time) WHERE run_uuid = ?",
                (status, end, run_id),
            )

    def delete(self, run_id: str) -> None:
        with self._transaction() as connection:
            connection.execute(
                "UPDATE runs SET lifecycle_stage = 'deleted', deleted_time = ? WHERE run_uuid = ?",
                (int(time.time() * 1000), run_id),
            )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with database.writing(self._path) as connection:
            yield connection


def _connect(
    connection: sqlite3.Connection, source: tuple[str, str], target: tuple[str, str]
) -> str:
    """What goes into a run or comes out of it, as MLflow notes it; the note's id."""
    connection.execute(
        "INSERT OR IGNORE INTO inputs"
        " (input_uuid, source_type, source_id, destination_type, destination_id)"
        " VALUES (?, ?, ?, ?, ?)",
        (uuid.uuid4().hex, *source, *target),
    )
    return str(
        connection.execute(
            "SELECT input_uuid FROM inputs WHERE source_type = ? AND source_id = ?"
            " AND destination_type = ? AND destination_id = ?",
            (*source, *target),
        ).fetchone()[0]
    )


def _insert_tags(connection: sqlite3.Connection, run_id: str, tags: Mapping[str, str]) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO tags (key, value, run_uuid) VALUES (?, ?, ?)",
        [(*one, run_id) for one in tags.items()],
    )


def _finite(value: float) -> tuple[float, bool]:
    """A value as MLflow keeps it: no number is 0 and marked, infinity the largest number."""
    if math.isnan(value):
        return 0.0, True
    return min(max(value, -1.7976931348623157e308), 1.7976931348623157e308), False

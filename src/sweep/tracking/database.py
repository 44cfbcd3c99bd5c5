"""MLflow's SQLite database on this machine, used without loading MLflow, which takes seconds."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from sweep.base.errors import StoreError
from sweep.tracking.view import VIEW

if TYPE_CHECKING:
    from collections.abc import Sequence

_WAIT_SECONDS = 60
# Where MLflow keeps the places of artifacts: table, key, column, and what stands before the key.
_PLACES = (
    ("runs", "run_uuid", "artifact_uri", "'/'"),
    ("logged_models", "model_id", "artifact_location", "'/models/'"),
)
# Earlier versions created experiments without a view, in a folder called mlruns.
_VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
_OWN_EXPERIMENTS = """
SELECT experiment_id FROM experiments WHERE artifact_location LIKE '%/mlruns/artifacts'
UNION SELECT experiment_id FROM experiment_tags WHERE key = ?
"""


def path(mlruns: Path) -> Path:
    """Where the database of a store lies."""
    return (mlruns / "mlflow.db").resolve()


def check(mlruns: Path) -> None:
    """Refuse a folder without a store.

    Raises:
        StoreError: it has no database.
    """
    if not path(mlruns).is_file():
        raise StoreError(
            f"A store must be there to be read. Received: {mlruns}, which holds no mlflow.db. "
            "Name another by --mlruns, or run a sweep first: python -m sweep"
        )


def artifacts(mlruns: Path) -> str:
    """The URI of the folder of a store's artifacts."""
    return (mlruns / "artifacts").resolve().as_uri()


def rows(database: Path, query: str, values: Sequence[object] = ()) -> list[tuple[str, ...]]:
    """The answer to a query; nothing is written.

    Raises:
        sqlite3.Error: the database cannot be read.
    """
    uri = f"{database.as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, timeout=_WAIT_SECONDS, uri=True)) as connection:
        return connection.execute(query, values).fetchall()


def experiment_id(database: Path, name: str) -> str | None:
    """The id of an experiment, or None where the database cannot be read or has none."""
    try:
        found = rows(database, "SELECT experiment_id FROM experiments WHERE name = ?", (name,))
    except sqlite3.Error:
        return None
    return str(found[0][0]) if found else None


def follow_move(mlruns: Path) -> None:
    """Where a store was moved, renamed or copied, change the places of its artifacts to here.

    This concerns experiments that this project created, whose artifacts lie beside the database.
    Those of a run that are not here stay where they are.
    """
    place = artifacts(mlruns)
    with closing(sqlite3.connect(path(mlruns), timeout=_WAIT_SECONDS)) as connection, connection:
        own = [str(one) for (one,) in connection.execute(_OWN_EXPERIMENTS, (_VIEW_TAG,)).fetchall()]
        marks = ", ".join("?" * len(own))
        connection.execute(
            "UPDATE experiments SET artifact_location = ?1"  # noqa: S608
            f" WHERE artifact_location != ?1 AND experiment_id IN ({marks})",
            (place, *own),
        )
        for table, key, column, inner in _PLACES:
            known = f"? || {inner} || {key} || '/artifacts'"
            query = f"SELECT {key}, {column} FROM {table}"  # noqa: S608
            query += f" WHERE {column} != {known} AND experiment_id IN ({marks})"
            for name, old in connection.execute(query, (place, *own)).fetchall():
                new = f"{place}{inner[1:-1]}{name}/artifacts"
                if _folder(new).is_dir() or not _folder(old).is_dir():
                    update = f"UPDATE {table} SET {column} = ? WHERE {key} = ?"  # noqa: S608
                    connection.execute(update, (new, name))


def _folder(uri: str) -> Path:
    return Path(url2pathname(urlsplit(uri).path))


def use_write_ahead_log(database: Path) -> None:
    """Switch to write-ahead logging, in which readers and a writer do not block each other."""
    with closing(sqlite3.connect(database, timeout=_WAIT_SECONDS)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")

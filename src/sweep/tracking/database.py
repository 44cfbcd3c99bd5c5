"""MLflow's SQLite database on this machine, used without loading MLflow, which takes seconds."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_WAIT_SECONDS = 60
# Where MLflow keeps the places of artifacts.
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
)


def path(mlruns: Path) -> Path:
    """Where the database of a store lies."""
    return (mlruns / "mlflow.db").resolve()


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
    """Where a store was moved, change the places of its artifacts to where they lie now."""
    place = artifacts(mlruns)
    with closing(sqlite3.connect(path(mlruns), timeout=_WAIT_SECONDS)) as connection, connection:
        known = connection.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
        for (old,) in known:
            if not str(old).endswith("/mlruns/artifacts") or old == place:
                continue
            for table, column in _PLACES:
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?)"  # noqa: S608
                    f" WHERE substr({column}, 1, ?) = ?",
                    (place, len(old) + 1, len(old), old),
                )


def use_write_ahead_log(database: Path) -> None:
    """Switch to write-ahead logging, in which readers and a writer do not block each other."""
    with closing(sqlite3.connect(database, timeout=_WAIT_SECONDS)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")

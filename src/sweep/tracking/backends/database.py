"""MLflow's SQLite database on this machine, used without loading MLflow, which takes seconds."""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from sweep.base.errors import StoreError
from sweep.tracking.view import VIEW

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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


def rows(database: Path, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
    """The answer to a query; nothing is written.

    Raises:
        sqlite3.Error: the database cannot be read.
    """
    uri = f"{database.as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, timeout=_WAIT_SECONDS, uri=True)) as connection:
        return connection.execute(query, values).fetchall()


@contextmanager
def writing(database: Path) -> Iterator[sqlite3.Connection]:
    """A connection whose changes are all made when the block ends well, or none.

    Raises:
        sqlite3.Error: the database cannot be written.
    """
    connection = sqlite3.connect(database, timeout=_WAIT_SECONDS, isolation_level=None)
    with closing(connection):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.rollback()
            raise
        connection.commit()


@contextmanager
def held(database: Path) -> Iterator[None]:
    """Hold a database open while the block runs.

    Whoever closes it last copies its log into it and has both on the disk, which takes longer than
    what is written for a job.
    """
    with ExitStack() as stack:
        with suppress(sqlite3.Error):  # gone for a while: whoever writes waits for it
            uri = f"{database.as_uri()}?mode=rw"
            connection = stack.enter_context(closing(sqlite3.connect(uri, uri=True)))
            connection.execute("SELECT version_num FROM alembic_version").fetchall()
        yield


def experiment(database: Path, name: str) -> tuple[str, str] | None:
    """Id and lifecycle of an experiment, or None where there is none.

    Raises:
        sqlite3.Error: the database cannot be read.
    """
    found = rows(
        database, "SELECT experiment_id, lifecycle_stage FROM experiments WHERE name = ?", (name,)
    )
    return (str(found[0][0]), found[0][1]) if found else None


def revision(database: Path) -> str:
    """The revision of the database's schema.

    Raises:
        sqlite3.Error: the database cannot be read.
    """
    return "".join(line[0] for line in rows(database, "SELECT version_num FROM alembic_version"))


def follow_move(mlruns: Path) -> None:
    """Where a store was moved, renamed or copied, change the places of its artifacts to here.

    This concerns experiments that this project created, whose artifacts lie beside the database.
    Those of a run that are not here stay where they are.
    """
    place = artifacts(mlruns)
    with writing(path(mlruns)) as connection:
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
                if folder(new).is_dir() or not folder(old).is_dir():
                    update = f"UPDATE {table} SET {column} = ? WHERE {key} = ?"  # noqa: S608
                    connection.execute(update, (new, name))


def folder(uri: str) -> Path:
    """The folder of a `file:` URI."""
    return Path(url2pathname(urlsplit(uri).path))


def use_write_ahead_log(database: Path) -> None:
    """Switch to write-ahead logging, in which readers and a writer do not block each other."""
    with closing(sqlite3.connect(database, timeout=_WAIT_SECONDS)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")

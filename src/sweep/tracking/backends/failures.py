"""Errors of a store: which may pass by themselves, and what the user reads of the others."""

from __future__ import annotations

import errno
import logging
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sweep.base.errors import StoreError
from sweep.base.redact import without_password

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOG = logging.getLogger("sweep")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_GONE_OR_LOCKED = ("SQLITE_CANTOPEN", "SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_IOERR")


def _is_a(error: BaseException, *names: str) -> bool:
    """Whether an error is of a class, which is not imported for the question."""
    return any(f"{one.__module__}.{one.__name__}" in names for one in type(error).__mro__)


def of_mlflow(error: BaseException) -> bool:
    """Whether MLflow raised it."""
    return _is_a(error, "mlflow.exceptions.MlflowException")


def of_store(error: BaseException) -> bool:
    """Whether a store or its disk raised it."""
    # MLflow lets SQLAlchemy's errors through when a database cannot be reached at all.
    database = isinstance(error, sqlite3.Error) or _is_a(error, "sqlalchemy.exc.SQLAlchemyError")
    return isinstance(error, OSError) or database or of_mlflow(error)


def passes(error: Exception) -> bool:
    """Whether an error of a tracking server may pass by itself."""
    if _is_a(error, "requests.exceptions.RequestException"):  # the transfer of a file was cut off
        return not _is_a(error, "requests.exceptions.HTTPError")
    if not of_mlflow(error):
        return False
    text = str(error).lower()
    if "readonly" in text or "read-only" in text or "disk is full" in text:
        return False
    # Two jobs that log the same new data set at once: MLflow lets the second fail.
    doubled = "unique constraint" in text and "dataset" in text
    code = getattr(error, "error_code", "")
    return code == "TEMPORARILY_UNAVAILABLE" or "connection" in text or doubled


def passes_here(error: Exception) -> bool:
    """The same for a store of files, whose folder may be moved away while it is used."""
    if isinstance(error, sqlite3.Error):
        # Errors of Python's own module have no name of SQLite's.
        return getattr(error, "sqlite_errorname", "").startswith(_GONE_OR_LOCKED)
    return isinstance(error, FileNotFoundError) or passes(error)


@contextmanager
def logged(what: str) -> Iterator[None]:
    """Log that something could not be tracked where the block raises an error of the store."""
    try:
        yield
    except Exception as error:
        if not of_store(error):
            raise
        _LOG.warning("%s could not be tracked: %s", what, without_password(str(error)))


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Raise one sentence for a full, read-only or unreachable store.

    Raises:
        StoreError: the block raised an error of MLflow, SQLite or the disk.
    """
    try:
        yield
    except Exception as error:
        of_disk = isinstance(error, OSError) and error.errno not in _NO_ROOM
        if not of_store(error) or (of_disk and not passes(error)):
            raise
        raise not_written(uri, error) from error


def not_written(uri: str, error: Exception) -> StoreError:
    """What the user reads when a store cannot be opened or written."""
    reason = without_password(str(error).strip().splitlines()[0][:300])
    return StoreError(
        f"The MLflow store {without_password(uri)} could not be opened or written: {reason}. "
        "Free it, or name another by paths.mlruns or MLFLOW_TRACKING_URI; what was computed is "
        "kept, and the same command goes on."
    )

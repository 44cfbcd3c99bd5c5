"""Finding, creating and waiting for a store."""

from __future__ import annotations

import os
import re
from functools import partial
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from sweep.base import files
from sweep.base.errors import StoreError
from sweep.base.redact import split_login, without_password
from sweep.tracking.backends import database
from sweep.tracking.backends.by_sqlite import REVISION, BySqlite
from sweep.tracking.backends.failures import not_written, of_store, passes, passes_here
from sweep.tracking.retry import Retrying
from sweep.tracking.store import PATIENCE, Store
from sweep.tracking.view import VIEW, view

if TYPE_CHECKING:
    from pathlib import Path

    from sweep.tracking.backends.runs import Runs

# How long a server that did not answer yet is waited for, in seconds.
_FIRST_PATIENCE = 20.0
# What means something else in an address than in a path.
_ADDRESS = re.compile(r"\?|%[0-9a-fA-F]{2}")
_EXPERIMENT = {
    "mlflow.note.content": (
        "Channel pruning against a backdoored classifier. A run per sweep holds `report.html`, "
        "the table and the plots; the runs nested in it are its jobs. `goodnet/test_asr` (less is "
        "better) and `goodnet/test_accuracy` (more is better) say how well a defence does."
    ),
    "mlflow.experiment.primaryMetric.name": "goodnet/test_asr",
    "mlflow.experiment.primaryMetric.greaterIsBetter": "false",
    f"mlflow.sharedViewState.{VIEW}": view(),
}
# What this process has open, by address and experiment.
_opened: dict[tuple[str, str], Store] = {}


def open_store(mlruns: Path, experiment: str, patience: float = _FIRST_PATIENCE) -> Store:
    """The store of the project, created if it is not there; `MLFLOW_TRACKING_URI` wins if set.

    Creating a SQLite store from several processes at once would corrupt it, so one does and the
    others wait. A store that was there and is gone is waited for.

    Args:
        mlruns: folder of `mlflow.db` and `artifacts`.
        experiment: name of the experiment.
        patience: how long to wait for a tracking server, in seconds.

    Raises:
        StoreError: the store cannot be opened or written.
    """
    return _open(mlruns, experiment, patience, create=True)


def find_store(mlruns: Path, experiment: str) -> Store:
    """The store of the project as it is, for reading; arguments as for `open_store`.

    Raises:
        StoreError: there is no such store or no such experiment in it.
    """
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        database.check(mlruns)
    return _open(mlruns, experiment, _FIRST_PATIENCE, create=False)


def forget() -> None:
    """Forget what this process has open, as a new process would find it."""
    _opened.clear()


def _open(mlruns: Path, experiment: str, patience: float, create: bool) -> Store:
    _hide_login()
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    here = database.path(mlruns)
    if not uri and _ADDRESS.search(str(here)):
        raise StoreError(
            "The path of a store must hold no question mark and no percent sign before two hex "
            f"digits: MLflow takes it for an address. Received: {here}. "
            "Name another by paths.mlruns."
        )
    key = uri or f"sqlite:///{here}", experiment
    try:
        if key in _opened:
            _opened[key].check()
        elif uri:
            _opened[key] = _open_by_mlflow(uri, experiment, patience, create)
        else:
            _opened[key] = _open_here(mlruns, experiment, create)
    except Exception as error:
        if not of_store(error):
            raise
        raise not_written(key[0], error) from error
    return _opened[key]


def _open_by_mlflow(uri: str, experiment: str, patience: float, create: bool) -> Store:
    from sweep.tracking.backends.by_mlflow import ByMlflow, connect

    client = connect(uri)
    known = _experiment(Retrying(client, passes, seconds=patience), uri, experiment, None, create)
    return Store(uri, Retrying(ByMlflow(client, known), passes, seconds=PATIENCE))


def _open_here(mlruns: Path, experiment: str, create: bool) -> Store:
    path = database.path(mlruns)
    uri = f"sqlite:///{path}"
    mlruns.mkdir(parents=True, exist_ok=True)
    with FileLock(mlruns / ".mlflow.lock"):
        if not path.is_file():
            _create(path)
        database.follow_move(mlruns)
        database.use_write_ahead_log(path)
        known = database.experiment(path, experiment)
        if known is None or known[1] != "active":
            from sweep.tracking.backends.by_mlflow import connect

            place = database.artifacts(mlruns)
            number = _experiment(connect(uri), uri, experiment, place, create)
            known = number, "active"
    runs: Runs = BySqlite(path, experiment, known[0])
    if database.revision(path) != REVISION:  # MLflow's own business
        from sweep.tracking.backends.by_mlflow import ByMlflow, connect

        runs = ByMlflow(connect(uri), known[0])
    return Store(uri, Retrying(runs, passes_here, partial(_check_there, path)))


def _create(path: Path) -> None:
    """Create a database whole or not at all: MLflow never works with one that was cut off."""
    for left in path.parent.glob(f".{path.stem}.*{path.suffix}*"):
        left.unlink()  # by a process that was killed
    from sweep.tracking.backends.by_mlflow import connect

    with files.replacing(path) as draft:
        client = connect(f"sqlite:///{draft}")
        client._tracking_client.store.engine.dispose()  # noqa: SLF001 - else it stays open


def _check_there(path: Path) -> None:
    """Raise where a database is gone for a while: SQLite would create an empty one."""
    if not path.is_file():
        raise FileNotFoundError("the database is gone")


def _experiment(client: Any, uri: str, name: str, artifacts: str | None, create: bool) -> str:
    """The id of an experiment, which is created on demand."""
    from mlflow.exceptions import MlflowException

    known = client.get_experiment_by_name(name)
    if known is None and not create:
        others = ", ".join(one.name for one in client.search_experiments())
        raise StoreError(
            f"An experiment must be there to be read. Received: {name}; {without_password(uri)} "
            f"has {others}. Name one by --experiment."
        )
    if known is None:
        try:
            return str(client.create_experiment(name, artifacts, _EXPERIMENT))
        except MlflowException:  # created by another process in the meantime
            known = client.get_experiment_by_name(name)
            if known is None:
                raise
    if known.lifecycle_stage == "deleted":
        shown, number = without_password(uri), known.experiment_id
        raise StoreError(
            f"The experiment {name} was deleted in MLflow, and nothing can be logged to it. "
            "Restore it with "
            f"`MLFLOW_TRACKING_URI={shown} python -m mlflow experiments restore -x {number}`, "
            "or take another name: tracking.experiment=NAME."
        )
    return str(known.experiment_id)


def _hide_login() -> None:
    """Move a name and password from the server's address to where MLflow keeps them."""
    url, name, password = split_login(os.environ.get("MLFLOW_TRACKING_URI", ""))
    if url.startswith("http") and name:
        os.environ["MLFLOW_TRACKING_URI"] = url
        os.environ["MLFLOW_TRACKING_USERNAME"] = name
        os.environ["MLFLOW_TRACKING_PASSWORD"] = password

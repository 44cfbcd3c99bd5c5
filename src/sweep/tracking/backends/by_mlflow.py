"""Runs of any store, through MLflow's client."""

from __future__ import annotations

import logging
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Param,
    RunTag,
)

from sweep.base.errors import StoreError
from sweep.base.redact import without_password
from sweep.tracking.backends.runs import Query, Run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    from sweep.tracking.backends.runs import Input, Value

# What MLflow takes, or gives, in one call.
_A_CALL = {"metrics": 800, "params": 100, "tags": 100}
_RUNS_A_CALL, _IDS_A_CALL = 1000, 200


def connect(uri: str) -> MlflowClient:
    """MLflow's client of a store; its messages go to our log, not past it to the terminal.

    Raises:
        StoreError: the database's driver is not installed.
    """
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logger = logging.getLogger("mlflow")
    logger.setLevel(logging.WARNING)
    logger.handlers.clear()
    logger.propagate = True
    try:
        return MlflowClient(uri)
    except ModuleNotFoundError as error:
        raise StoreError(
            f"A database must have its driver. Received: {without_password(uri)}, whose module "
            f"{error.name} is not there. Install it; for PostgreSQL: pip install 'psycopg[binary]'."
        ) from error


class ByMlflow:
    """See `runs.Runs`."""

    def __init__(self, client: MlflowClient, experiment_id: str) -> None:
        """Use `opening.open_store`."""
        self._client = client
        self.experiment_id = experiment_id

    def client(self) -> MlflowClient:
        return self._client

    def held(self) -> AbstractContextManager[None]:
        return nullcontext()

    def create(self, name: str, tags: Mapping[str, str], start: int) -> str:
        return str(self._client.create_run(self.experiment_id, start, dict(tags), name).info.run_id)

    def write(
        self,
        run_id: str,
        params: Mapping[str, str] | None = None,
        metrics: Sequence[Value] = (),
        tags: Mapping[str, str] | None = None,
    ) -> None:
        now = int(time.time() * 1000)
        entries: dict[str, list[Any]] = {
            "metrics": [Metric(name, value, now, step) for name, value, step in metrics],
            "params": [Param(*one) for one in (params or {}).items()],
            "tags": [RunTag(*one) for one in (tags or {}).items()],
        }
        while any(entries.values()):
            call = {kind: entries[kind][:most] for kind, most in _A_CALL.items()}
            self._client.log_batch(run_id, call["metrics"], call["params"], call["tags"])
            entries = {kind: entries[kind][most:] for kind, most in _A_CALL.items()}

    def log_inputs(self, run_id: str, inputs: Sequence[Input]) -> None:
        found = [
            DatasetInput(
                Dataset(one.name, one.digest, "local", one.source, profile=one.profile),
                [InputTag("mlflow.data.context", one.context)],
            )
            for one in inputs
        ]
        self._client.log_inputs(run_id, found)

    def create_model(self, run_id: str, name: str) -> tuple[str, str]:
        model = self._client.create_logged_model(
            self.experiment_id, name, source_run_id=run_id, model_type="keras"
        )
        return model.model_id, model.artifact_location

    def finish_model(self, run_id: str, model_id: str) -> None:
        self._client.finalize_logged_model(model_id, LoggedModelStatus.READY)
        self._client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])

    def set_status(self, run_id: str, status: str) -> None:
        if status == "RUNNING":
            self._client.update_run(run_id, status=status)
        else:
            self._client.set_terminated(run_id, status)

    def delete(self, run_id: str) -> None:
        self._client.delete_run(run_id)

    def find(self, query: Query) -> list[Run]:
        if len(query.ids) > _IDS_A_CALL:
            first, rest = query.ids[:_IDS_A_CALL], query.ids[_IDS_A_CALL:]
            return [*self.find(Query(ids=first)), *self.find(Query(ids=rest))]
        found, token, order = list[Run](), None, ["attributes.start_time DESC"]
        while True:
            page = self._client.search_runs(
                [self.experiment_id], _text(query), 1, _RUNS_A_CALL, order, token
            )
            for run in page:
                info = run.info
                times = info.start_time, info.end_time
                known = info.run_id, info.run_name, info.status, *times, info.artifact_uri
                found.append(Run(*known, run.data.tags))
            token = page.token
            if not token:
                return found


def _text(query: Query) -> str:
    """A query in MLflow's language, which cannot hold a value with both kinds of quotes."""
    parts = [
        f"{kind}.`{name}` = {_quoted(value)}"
        for kind, pairs in (("tags", query.tags), ("params", query.params))
        for name, value in pairs.items()
        if _quoted(value)
    ]
    if query.status:
        parts.append(f"attributes.status = '{query.status}'")
    if query.beginning:
        parts.append(f"attributes.run_id LIKE '{query.beginning}%'")
    if query.ids:
        parts.append(f"attributes.run_id IN ({', '.join(map(repr, query.ids))})")
    if query.start is not None:
        parts.append(f"attributes.start_time = {query.start}")
    return " and ".join(parts)


def _quoted(value: str) -> str:
    if "\\" in value or not value:
        return ""
    return next((f"{mark}{value}{mark}" for mark in "'\"" if mark not in value), "")

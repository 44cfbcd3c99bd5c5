"""The only room that knows MLflow: stores, runs, and what a run holds."""

from __future__ import annotations

import errno
import json
import logging
import os
import platform
import re
import shutil
import sqlite3
import subprocess
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
from filelock import FileLock

from sweep.base import files
from sweep.base.errors import StoreError
from sweep.base.processes import beating, own_process
from sweep.base.redact import split_login, without_password
from sweep.base.retry import Patient
from sweep.tracking import history
from sweep.tracking.view import VIEW, view

# MLflow reports usage to its makers unless told not to, and looks for git where there may be none.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
# Seconds instead of minutes between its own attempts: `Patient` waits longer, and knows for what.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")

import mlflow
import requests
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
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE
from mlflow.tracking.context.registry import resolve_tags
from mlflow.types import Schema, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mlflow.entities import Run

    from sweep.jobs.identity import Past
    from sweep.results.records import Record

_LOG = logging.getLogger("sweep")
_METRICS_A_CALL = 1000
_PARAMS_A_CALL = 100
_RUNS_A_CALL = 1000
_READERS = 8
# How long a server may be gone, in seconds; and one that nobody has seen there yet.
PATIENCE, _FIRST_PATIENCE = 600.0, 20.0
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_GONE_OR_LOCKED = ("SQLITE_CANTOPEN", "SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_IOERR")
# What means something else in an address than in a path.
_ADDRESS = re.compile(r"\?|%[0-9a-fA-F]{2}")
# Longest digest of a data set that MLflow takes.
_DIGEST = 36
# Tags of the code that a run is made by.
GIT = ("mlflow.source.git.commit", "sweep.git_dirty")
# What answers for G when it is served.
_SERVES = ("mlflow", "tensorflow", "keras", "numpy")
_EXPERIMENT = {
    "mlflow.note.content": (
        "Channel pruning against a backdoored classifier. A run per sweep holds `report.html`, "
        "the table and the plots; the runs nested in it are its jobs. `goodnet/test_asr` (less is "
        "better) and `goodnet/test_accuracy` (more is better) say how well a defence does."
    ),
    "mlflow.experiment.primaryMetric.name": "goodnet/test_asr",
    "mlflow.experiment.primaryMetric.greaterIsBetter": "false",
}


_EXPERIMENT[f"mlflow.sharedViewState.{VIEW}"] = view()
# What MLflow shows of a long value.
_TEXT = 5000


class Store:
    """One experiment in one MLflow store."""

    def __init__(
        self,
        uri: str,
        client: Any,
        experiment_id: str,
        jobs: Callable[..., list[Past]] | None = None,
    ) -> None:
        """Use `open_store`."""
        self.uri = uri
        self.client = client
        self.experiment_id = experiment_id
        self._jobs = jobs  # reads them from a database of this machine
        self._places: dict[str, str] = {}  # where runs' artifacts lie

    @contextmanager
    def run(
        self,
        name: str,
        tags: Mapping[str, str],
        parent: str | None = None,
        log: Path | None = None,
    ) -> Iterator[str]:
        """A run that ends as the block does: FINISHED, FAILED with its traceback, or KILLED.

        Args:
            name: what a person calls it.
            tags: what it is found by.
            parent: the run it is nested in.
            log: a file that it keeps, however it ends.

        Yields:
            The run's id.
        """
        nested = {"mlflow.parentRunId": parent} if parent else {}
        context = {key: without_password(value) for key, value in resolve_tags().items()}
        with (
            self._writing(),
            self._ending(self._begin(name, context | _here() | nested | dict(tags)), log) as run_id,
        ):
            yield run_id

    def _begin(self, name: str, tags: dict[str, str]) -> str:
        """Create a run, only once though a request whose answer is lost is made again."""
        now = int(time.time() * 1000)
        run_id = str(self.client.create_run(self.experiment_id, now, tags, name).info.run_id)
        if self.uri.startswith("http"):
            own = f"attributes.start_time = {now} and tags.`sweep.process` = '{own_process()}'"
            for run in list(self._search(own)):
                if run.info.run_id != run_id:
                    self.client.delete_run(run.info.run_id)
        return run_id

    @contextmanager
    def again(self, run_id: str) -> Iterator[str]:
        """A run that is there, gone on with; it ends as the block does."""
        with self._writing():
            self.client.update_run(run_id, status="RUNNING")
            self.tag(run_id, _here())
            with self._ending(run_id):
                yield run_id

    @contextmanager
    def _ending(self, run_id: str, log: Path | None = None) -> Iterator[str]:
        try:
            with beating(lambda: self._beat(run_id)):
                yield run_id
            self._keep(run_id, log)
            self.client.set_terminated(run_id, "FINISHED")
        except Exception as error:
            if not _passes(error):  # else the store has been gone for longer than we wait
                self._fail(run_id, error, log)
            raise
        except BaseException as end:  # Ctrl-C, a signal that asks to end, or jobs that failed
            failed = isinstance(end, SystemExit) and end.code == 1
            self.client.set_terminated(run_id, "FAILED" if failed else "KILLED")
            raise

    def _fail(self, run_id: str, error: Exception, log: Path | None) -> None:
        trace = without_password(traceback.format_exc())
        text = without_password(f"{type(error).__name__}: {error}")
        try:
            self._keep(run_id, log)
            self.client.log_text(run_id, trace, "traceback.txt")
            self.client.set_tag(run_id, "sweep.error", text[:_TEXT])
            self.client.set_terminated(run_id, "FAILED")
        except (MlflowException, OSError) as second:
            _LOG.warning("the failure could not be tracked: %s", without_password(str(second)))

    def _keep(self, run_id: str, log: Path | None) -> None:
        if log is not None and log.is_file():
            self.client.log_artifact(run_id, str(log))

    def _beat(self, run_id: str) -> None:
        with suppress(MlflowException, OSError):  # the next beat will do
            self.client.set_tag(run_id, "sweep.beat", f"{time.time():.0f}")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn what a full, read-only or unreachable store raises into one sentence."""
        try:
            yield
        except (MlflowException, OSError, sqlite3.Error) as error:
            if isinstance(error, OSError) and error.errno not in _NO_ROOM and not _passes(error):
                raise
            raise StoreError(_not_written(self.uri, error)) from error

    def find_parent(self, sweep: str) -> str | None:
        """The id of the (oldest) run that holds a sweep, or None if the job runs on its own."""
        mark = '"' if "'" in sweep else "'"  # a name out of a folder's or a study's
        of_sweep = f"tags.`sweep.id` = {mark}{sweep}{mark}"
        found = self._search(f"{of_sweep} and tags.`sweep.kind` = 'parent'")
        return next((str(run.info.run_id) for run in reversed(list(found))), None)

    def past_jobs(
        self, config: str | None = None, settings: Mapping[str, object] | None = None
    ) -> list[Past]:
        """The jobs that the store holds, newest first.

        Args:
            config: those of one configuration alone.
            settings: those that were given these alone; a large store is read in part.

        Raises:
            StoreError: the store cannot be read.
        """
        if self._jobs is not None:
            with self._writing():
                found = self._jobs(config, settings)
            self._places |= {job.run_id: job.place for job in found}
            return found
        wanted = ["tags.`sweep.kind` = 'job'"]
        if config:
            wanted.append(f"tags.`sweep.config` = '{config}'")
        for name, value in (settings or {}).items():
            text = str(value)
            if text and not set("'\"\\") & set(text):  # what a query can hold
                wanted.append(f"params.`{name}` = '{text}'")
        return [_told(run) for run in self._search(" and ".join(wanted))]

    def finished_job(self, run_id: str) -> tuple[Past, str]:
        """A finished job, and its configuration as YAML.

        Raises:
            StoreError: there is no such run, or it is no finished job.
        """
        try:
            job = _told(self.client.get_run(run_id))
        except MlflowException:
            job = None
        text = self.read(run_id, "config.yaml") if job and job.record else None
        if job is None or job.status != "FINISHED" or text is None:
            state = f"a run that is no job or {job.status}" if job else "no such run"
            raise StoreError(
                f"RUN_ID must name a finished job's run. Received: {run_id}, {state}. "
                "Take one from the end of a sweep's output or from `python -m sweep.ui`."
            )
        return job, text.decode()

    def origin(self, run_id: str) -> dict[str, str]:
        """The tags that say what code a run was started from; its jobs share them anywhere."""
        tags = self.client.get_run(run_id).data.tags
        return {k: v for k, v in tags.items() if k.startswith("mlflow.source.") or k in GIT}

    def bury_the_dead(self, config: str | None = None, over: str | None = None) -> int:
        """Set runs to KILLED that say they run and do not; return how many.

        Args:
            config: only jobs of this configuration.
            over: the id of a sweep whose jobs have all ended, wherever they ran.
        """
        buried = 0
        only = f" and tags.`sweep.config` = '{config}'" if config else ""
        for run in list(self._search(f"attributes.status = 'RUNNING'{only}")):
            if history.is_dead(run.info.start_time, run.data.tags, over):
                self.client.set_terminated(run.info.run_id, "KILLED")
                buried += 1
        return buried

    def _search(self, query: str) -> Iterator[Run]:
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment_id],
                query,
                max_results=_RUNS_A_CALL,
                order_by=["attributes.start_time DESC"],
                page_token=token,
            )
            self._places |= {run.info.run_id: run.info.artifact_uri for run in page}
            yield from page
            token = page.token
            if not token:
                return

    def log_settings(self, run_id: str, settings: Mapping[str, object]) -> None:
        """Log what describes the work as params."""
        params = [Param(name, str(value)) for name, value in settings.items()]
        for start in range(0, len(params), _PARAMS_A_CALL):
            self.client.log_batch(run_id, params=params[start : start + _PARAMS_A_CALL])

    def log_result(self, run_id: str, job: Record) -> None:
        """Log the curve as step metrics and every final figure."""
        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for name, value, step in _metrics_of(job)]
        for start in range(0, len(metrics), _METRICS_A_CALL):
            self.client.log_batch(run_id, metrics=metrics[start : start + _METRICS_A_CALL])

    def log_figures(self, run_id: str, figures: Mapping[str, float]) -> None:
        """Log some numbers by name."""
        now = int(time.time() * 1000)
        self.client.log_batch(run_id, [Metric(k, v, now, 0) for k, v in figures.items()])

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags on a run."""
        self.client.log_batch(run_id, tags=[RunTag(k, v[:_TEXT]) for k, v in tags.items()])

    def log_files(self, run_id: str, folder: Path) -> None:
        """Log every file of a folder as an artifact."""
        self.client.log_artifacts(run_id, str(folder))

    def read(self, run_id: str, path: str) -> bytes | None:
        """An artifact's content, or None where the run has none of that name."""
        try:
            # What the run's page of the store says is the same for ever; to ask takes longer than
            # to read the file.
            if run_id not in self._places:
                self._places[run_id] = self.client.get_run(run_id).info.artifact_uri
            place = f"{self._places[run_id]}/{path}"
            if place.startswith("file:"):
                return Path(url2pathname(urlsplit(place).path)).read_bytes()
            with tempfile.TemporaryDirectory() as folder:
                waiting = Patient(mlflow.artifacts, _passes, seconds=PATIENCE)
                found = waiting.download_artifacts(artifact_uri=place, dst_path=folder)
                return Path(found).read_bytes()
        except (OSError, MlflowException):
            return None

    def read_all(self, run_ids: Sequence[str], path: str) -> dict[str, bytes]:
        """An artifact of many runs, by run, of those that have it."""
        with ThreadPoolExecutor(_READERS) as pool:  # a server answers several at a time
            contents = pool.map(lambda run_id: self.read(run_id, path), run_ids)
            return {run: data for run, data in zip(run_ids, contents, strict=True) if data}

    def find_run(self, beginning: str) -> tuple[str, str]:
        """The id and name of the one run whose id begins so.

        Raises:
            StoreError: there is none, or more than one.
        """
        found = [
            (str(run.info.run_id), str(run.info.run_name))
            for run in self._search("")
            if beginning and run.info.run_id.startswith(beginning)
        ]
        if len(found) != 1:
            raise StoreError(
                "A run is named by its id, or as much of its beginning as no other shares. "
                f"Received: {beginning}, which {len(found) or 'no'} runs in {self.uri} begin with. "
                "Take one from the end of a sweep's output or from `python -m sweep.ui`."
            )
        return found[0]

    def page(self, run_id: str) -> str:
        """Where a person sees a run: on the server's page, or by the command that opens one."""
        if not self.uri.startswith("http"):
            return "python -m sweep.ui"
        return f"{self.uri.rstrip('/')}/#/experiments/{self.experiment_id}/runs/{run_id}"

    def save_files(self, run_id: str, folder: Path) -> None:
        """Copy every artifact of a run into a folder."""
        self.client.download_artifacts(run_id, "", str(folder))

    def log_inputs(self, run_id: str, facts: Mapping[str, Any]) -> None:
        """Log the image sets that a job read; `facts` as in `Details`."""
        inputs = []
        for name, entry in facts["sets"].items():
            source = json.dumps({"uri": entry["file"]})
            profile = json.dumps({"num_rows": entry["images"], "sha256": entry["sha256"]})
            digest = entry["sha256"][:_DIGEST]
            context = "validation" if name.endswith("valid") else "test"
            inputs.append(
                DatasetInput(
                    Dataset(name, digest, "local", source, profile=profile),
                    [InputTag("mlflow.data.context", context)],
                )
            )
        self.client.log_inputs(run_id, inputs)

    def log_goodnet(self, run_id: str, file: Path, facts: Mapping[str, Any]) -> None:
        """Log G as a model that `mlflow models serve` answers with.

        Args:
            run_id: the job's run.
            file: G as `.keras`; it is copied, not saved again.
            facts: as in `Details`.
        """
        import mlflow.keras

        badnet = facts["badnet"]
        image = TensorSpec(np.dtype("float32"), (-1, *badnet["input_shape"]), "image")
        answer = TensorSpec(np.dtype("float32"), (-1, badnet["classes"] + 1))
        signature = ModelSignature(Schema([image]), Schema([answer]))
        model = self.client.create_logged_model(
            self.experiment_id, name="goodnet", source_run_id=run_id, model_type="keras"
        )
        manifest = Model(
            model_id=model.model_id, run_id=run_id, artifact_path=model.artifact_location
        )
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "goodnet"
            mlflow.keras.save_model(
                _Saved(file),
                str(folder),
                mlflow_model=manifest,
                signature=signature,
                pip_requirements=[f"{package}=={version(package)}" for package in _SERVES],
            )
            self.client.log_model_artifacts(model.model_id, str(folder))
        self.client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        self.client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])


class _Saved:
    """A Keras model that lies on disk already, so that saving it is copying."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def save(self, path: str) -> None:
        """What Keras models have, all that MLflow asks of one."""
        shutil.copyfile(self._file, path)


def _here() -> dict[str, str]:
    return {"sweep.host": platform.node(), "sweep.process": own_process()}


def _told(run: Run) -> Past:
    info = run.info
    return history.of_run(
        str(info.run_id),
        str(info.artifact_uri),
        str(info.status),
        info.start_time,
        info.end_time,
        run.data.tags,
    )


def _metrics_of(job: Record) -> Iterator[tuple[str, float, int]]:
    # MLflow's compare page draws the metric that was logged first.
    for name in sorted(job.figures, key=lambda name: not name.startswith("goodnet/test")):
        yield name, job.figures[name].rate, 0
    yield "pruned_channels", job.stop.pruned, 0
    yield "drop_reached", float(job.stop.reached), 0
    details, curve = job.full, job.full.curve
    for step, (right, hits) in enumerate(zip(curve.clean_correct, curve.attack_hits, strict=True)):
        yield "curve/valid_accuracy", right / curve.clean_total, step
        yield "curve/valid_asr", hits / curve.attack_total, step
    for step, channel in enumerate(curve.channels, start=1):
        yield "curve/channel", channel, step
    for stage, seconds in details.seconds.items():
        yield f"seconds/{stage}", seconds, 0
    # MLflow shows what lies under `system/` on a page of its own.
    yield "system/cpu_seconds", details.cpu_seconds, 0
    yield "system/peak_memory_megabytes", max(details.peak_bytes.values(), default=0) / 1e6, 0


def open_store(mlruns: Path, experiment: str, patience: float = _FIRST_PATIENCE) -> Store:
    """The store of the project, made if it is not there; `MLFLOW_TRACKING_URI` wins if set.

    Creating a SQLite store from several processes at once would corrupt it, so one does and the
    others wait.

    Args:
        mlruns: folder of `mlflow.db` and `artifacts`.
        experiment: name of the experiment.
        patience: how long to wait for a tracking server, in seconds.

    Raises:
        StoreError: the store cannot be opened or written.
    """
    _log_quietly()
    _hide_login()
    database = history.database(mlruns)
    elsewhere = os.environ.get("MLFLOW_TRACKING_URI")
    if not elsewhere and _ADDRESS.search(str(database)):
        raise StoreError(
            "The path of a store must hold no question mark and no percent sign before two hex "
            f"digits: MLflow takes it for an address. Received: {database}. "
            "Name another by paths.mlruns."
        )
    uri = elsewhere or f"sqlite:///{database}"
    try:
        if elsewhere:
            inner = MlflowClient(uri)
            first = Patient(inner, _passes, seconds=patience)
            known = _experiment(first, experiment, None)
            return Store(uri, Patient(inner, _passes, seconds=PATIENCE), known)
        there = partial(_check_there, database)
        if database in _known:  # by now MLflow has it open, and makes nothing anew
            Patient(MlflowClient(uri), _passes_here, there).get_experiment_by_name(experiment)
        mlruns.mkdir(parents=True, exist_ok=True)
        artifacts = (mlruns / "artifacts").resolve()
        with FileLock(mlruns / ".mlflow.lock"):
            if not database.is_file():
                _make(database)
            follow_move(mlruns)
            client = Patient(MlflowClient(uri), _passes_here, there)
            experiment_id = _experiment(client, experiment, artifacts.as_uri())
            _let_readers_write(database)
            _known.add(database)
    except (OSError, MlflowException, sqlite3.Error) as error:
        raise StoreError(_not_written(uri, error)) from error
    jobs = partial(Patient(history, _passes_here, there).read, database, experiment)
    return Store(uri, client, experiment_id, jobs)


def _make(database: Path) -> None:
    """Make a database whole or not at all: with one whose making was cut off MLflow never works."""
    for left in database.parent.glob(f".{database.stem}.*{database.suffix}*"):
        left.unlink()  # by a process that was killed
    with files.replacing(database) as draft:
        client = MlflowClient(f"sqlite:///{draft}")
        client._tracking_client.store.engine.dispose()  # noqa: SLF001 - else it stays open


def _log_quietly() -> None:
    """Send what MLflow has to say to our log, not past it to the terminal."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logger = logging.getLogger("mlflow")
    logger.setLevel(logging.WARNING)
    logger.handlers.clear()
    logger.propagate = True


def _not_written(uri: str, error: Exception) -> str:
    reason = without_password(str(error).strip().splitlines()[0][:300])
    return (
        "The MLflow store must be there to be written. "
        f"Received: {without_password(uri)}, which says: {reason}. "
        "Free it, or name another by paths.mlruns or MLFLOW_TRACKING_URI; what was computed is "
        "kept, and the same command goes on."
    )


# Databases that this process found in their place.
_known: set[Path] = set()


def _check_there(database: Path) -> None:
    """Raise where a database is gone for a while: SQLite would make an empty one in its place."""
    if database in _known and not database.is_file():
        raise MlflowException("the database is gone", TEMPORARILY_UNAVAILABLE)


def _hide_login() -> None:
    """Move a name and password from the server's address to where MLflow keeps them."""
    url, name, password = split_login(os.environ.get("MLFLOW_TRACKING_URI", ""))
    if url.startswith("http") and name:
        os.environ["MLFLOW_TRACKING_URI"] = url
        os.environ["MLFLOW_TRACKING_USERNAME"] = name
        os.environ["MLFLOW_TRACKING_PASSWORD"] = password


def _passes_here(error: Exception) -> bool:
    """The same for a store of files, whose folder may go while something is done with it."""
    if isinstance(error, sqlite3.Error):
        # Errors of Python's own module bear no name of SQLite's.
        return getattr(error, "sqlite_errorname", "").startswith(_GONE_OR_LOCKED)
    return isinstance(error, FileNotFoundError) or _passes(error)


def _passes(error: Exception) -> bool:
    if isinstance(error, requests.RequestException):  # an artifact's way was cut off
        return not isinstance(error, requests.HTTPError)
    if not isinstance(error, MlflowException):
        return False
    text = str(error).lower()
    if "readonly" in text or "read-only" in text or "disk is full" in text:
        return False
    # Two jobs that log the same new data set at once: MLflow lets the second fail.
    doubled = "unique constraint" in text and "dataset" in text
    return error.error_code == "TEMPORARILY_UNAVAILABLE" or "connection" in text or doubled


def follow_move(mlruns: Path) -> None:
    """Where a checkout was moved, let its store point to where the artifacts lie now."""
    database, place = mlruns / "mlflow.db", (mlruns / "artifacts").resolve().as_uri()
    if not database.is_file():
        return
    with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        rows = connection.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
        for (old,) in rows:
            if not str(old).endswith("/mlruns/artifacts") or old == place:
                continue
            for table, column in (
                ("experiments", "artifact_location"),
                ("runs", "artifact_uri"),
                ("logged_models", "artifact_location"),
            ):
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?)"  # noqa: S608
                    f" WHERE substr({column}, 1, ?) = ?",
                    (place, len(old) + 1, len(old), old),
                )


def _experiment(client: Any, name: str, artifacts: str | None) -> str:
    known = client.get_experiment_by_name(name)
    if known is not None:
        return str(known.experiment_id)
    try:
        return str(client.create_experiment(name, artifacts, _EXPERIMENT))
    except MlflowException:  # made by another process since we looked
        known = client.get_experiment_by_name(name)
        if known is None:
            raise
        return str(known.experiment_id)


def _let_readers_write(database: Path) -> None:
    """Switch SQLite to write-ahead logging, in which readers and a writer do not block."""
    with closing(sqlite3.connect(database, timeout=60)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def git_state(folder: Path) -> dict[str, str]:
    """Commit of the checkout and whether it was changed, as tags; empty outside of git."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        dirty = str(bool(git("status", "--porcelain"))).lower()
        return dict(zip(GIT, (git("rev-parse", "HEAD"), dirty), strict=True))
    except (OSError, subprocess.CalledProcessError):
        return {}


__all__ = ["Store", "git_state", "mlflow", "open_store"]

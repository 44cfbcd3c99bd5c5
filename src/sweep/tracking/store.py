"""Runs of one experiment: how they begin and end, what they hold, how they are found."""

from __future__ import annotations

import platform
import re
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import mlflow
import requests
from mlflow.entities import Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking.context.registry import resolve_tags

from sweep.base.errors import StoreError
from sweep.base.processes import beating, own_process
from sweep.base.redact import without_password
from sweep.base.retry import Retrying
from sweep.tracking import contents, history, models, orphans
from sweep.tracking.failures import explained, logged, passes
from sweep.tracking.origin import GIT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mlflow.entities import Run

    from sweep.jobs.identity import Past
    from sweep.results.records import Record

# What MLflow takes, or gives, in one call.
_A_CALL = {"metrics": 1000, "params": 100, "tags": 100}
_RUNS_A_CALL, _IDS_A_CALL = 1000, 200
_READERS = 8
# How long a server may be gone, in seconds; and while somebody waits for a sweep to end.
PATIENCE, _LAST_PATIENCE = 600.0, 5.0
_OF_ID = "attributes.run_id LIKE '{}'"


class Store:
    """One experiment in one MLflow store."""

    def __init__(
        self,
        uri: str,
        client: Any,
        experiment_id: str,
        jobs: Callable[..., list[Past]] | None = None,
    ) -> None:
        """Use `opening.open_store`."""
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
        with explained(self.uri):
            run_id = self._create(name, context | _process_tags() | nested | dict(tags))
            with self._ending(run_id, log):
                yield run_id

    def _create(self, name: str, tags: dict[str, str]) -> str:
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
    def resumed(self, run_id: str) -> Iterator[str]:
        """Go on with a run that is there; it ends as the block does."""
        with explained(self.uri):
            self.client.update_run(run_id, status="RUNNING")
            self.tag(run_id, _process_tags())
            with self._ending(run_id):
                yield run_id

    @contextmanager
    def _ending(self, run_id: str, log: Path | None = None) -> Iterator[None]:
        try:
            with beating(lambda: self._beat(run_id)):
                yield
            self._log_file(run_id, log)
            self.client.set_terminated(run_id, "FINISHED")
        except Exception as error:
            # A store that has been gone for longer than we wait takes no word of it either.
            if not passes(error) and not isinstance(error, StoreError):
                self._fail(run_id, error, log)
            raise
        except BaseException as end:  # Ctrl-C, a signal that asks to end, or jobs that failed
            failed = isinstance(end, SystemExit) and end.code == 1
            with logged("the end of a run"):  # which comes though the store is away
                client = self.client.waiting(_LAST_PATIENCE)
                client.set_terminated(run_id, "FAILED" if failed else "KILLED")
            raise

    def _fail(self, run_id: str, error: Exception, log: Path | None) -> None:
        trace = without_password(traceback.format_exc())
        text = without_password(f"{type(error).__name__}: {error}")
        with logged("a failure"):
            self._log_file(run_id, log)
            self.client.log_text(run_id, trace, "traceback.txt")
            self.tag(run_id, {"sweep.error": text})
            self.client.set_terminated(run_id, "FAILED")

    def _log_file(self, run_id: str, file: Path | None) -> None:
        if file is not None and file.is_file():
            self.client.log_artifact(run_id, str(file))

    def _beat(self, run_id: str) -> None:
        with suppress(MlflowException, OSError):  # the next beat will do
            self.client.set_tag(run_id, "sweep.beat", f"{time.time():.0f}")

    def find_parent(self, sweep: str) -> str | None:
        """The id of the (oldest) run that holds a sweep, or None if the job runs on its own."""
        mark = '"' if "'" in sweep else "'"  # a name out of a folder's or a study's
        of_sweep = f"tags.`sweep.id` = {mark}{sweep}{mark}"
        found = list(self._search(f"{of_sweep} and tags.`sweep.kind` = 'parent'"))
        return str(found[-1].info.run_id) if found else None

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
            with explained(self.uri):
                found = self._jobs(config, settings)
            self._places |= {job.run_id: job.place for job in found}
            return found
        return [
            history.past_run(run) for run in self._search(history.query(config, settings or {}))
        ]

    def job(self, run_id: str) -> Past:
        """The job of a run that is there."""
        return history.past_run(self.client.get_run(run_id))

    def origin(self, run_id: str) -> dict[str, str]:
        """The tags of the code that a run was started from; its jobs share them anywhere."""
        tags = self.client.get_run(run_id).data.tags
        return {k: v for k, v in tags.items() if k.startswith("mlflow.source.") or k in GIT}

    def close_orphaned_runs(self, config: str | None = None, over: str | None = None) -> int:
        """Set runs to KILLED whose process is gone; return how many.

        Args:
            config: only jobs of this configuration.
            over: the id of a sweep whose jobs have all ended, wherever they ran.
        """
        only = f" and tags.`sweep.config` = '{config}'" if config else ""

        def running() -> dict[str, orphans.Running]:
            found = self._search(f"attributes.status = 'RUNNING'{only}")
            return {run.info.run_id: (run.info.start_time, run.data.tags) for run in found}

        orphaned = orphans.find(running, over)
        for run_id in orphaned:
            self.client.set_terminated(run_id, "KILLED")
        return len(orphaned)

    def _search(self, query: str) -> Iterator[Run]:
        token, order = None, ["attributes.start_time DESC"]
        while True:
            page = self.client.search_runs(
                [self.experiment_id], query, 1, _RUNS_A_CALL, order, token
            )
            self._places |= {run.info.run_id: run.info.artifact_uri for run in page}
            yield from page
            token = page.token
            if not token:
                return

    def log_settings(self, run_id: str, settings: Mapping[str, object]) -> None:
        """Log settings as params."""
        self._log(run_id, params=[Param(*one) for one in history.as_params(settings).items()])

    def log_result(self, run_id: str, job: Record) -> None:
        """Log the curve as step metrics and every final figure."""
        self._log(run_id, metrics=contents.metrics(contents.values(job)))

    def log_figures(self, run_id: str, figures: Mapping[str, float]) -> None:
        """Log some numbers by name."""
        self._log(run_id, metrics=contents.metrics((*one, 0) for one in figures.items()))

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags on a run."""
        self._log(
            run_id, tags=[RunTag(name, value[: history.TAG_LENGTH]) for name, value in tags.items()]
        )

    def _log(self, run_id: str, **entries: list[Any]) -> None:
        ((kind, values),) = entries.items()
        for start in range(0, len(values), _A_CALL[kind]):
            self.client.log_batch(run_id, **{kind: values[start : start + _A_CALL[kind]]})

    def log_files(self, run_id: str, folder: Path) -> None:
        """Log every file of a folder as an artifact."""
        self.client.log_artifacts(run_id, str(folder))

    def read(self, run_id: str, path: str) -> bytes | None:
        """An artifact's content, or None where the run has none of that name."""
        with explained(self.uri):
            try:
                return self._read(run_id, path)
            except (FileNotFoundError, MlflowException, requests.HTTPError):
                # Either it is not there, or the store is not, which is waited for.
                found = self.client.search_runs([self.experiment_id], _OF_ID.format(run_id))
                listed = (
                    self.client.list_artifacts(run_id, path.rpartition("/")[0] or None)
                    if found
                    else []
                )
                return self._read(run_id, path) if path in {one.path for one in listed} else None

    def _read(self, run_id: str, path: str) -> bytes:
        # The place of a run's artifacts never changes; to ask takes longer than to read them.
        if run_id not in self._places:
            self._places[run_id] = self.client.get_run(run_id).info.artifact_uri
        place = f"{self._places[run_id]}/{path}"
        if place.startswith("file:"):
            return Path(url2pathname(urlsplit(place).path)).read_bytes()
        with tempfile.TemporaryDirectory() as folder:
            retrying = Retrying(mlflow.artifacts, passes, seconds=PATIENCE)
            return Path(retrying.download_artifacts(place, dst_path=folder)).read_bytes()

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
        known = _OF_ID.format(f"{beginning}%") if re.fullmatch("[0-9a-f]+", beginning) else None
        runs = list(self._search(known)) if known else []
        if len(runs) != 1:
            where = without_password(self.uri)
            raise StoreError(
                "A run is named by its id, or as much of its beginning as no other shares. "
                f"Received: {beginning}, which {len(runs) or 'no'} runs in {where} begin with. "
                "Take one from the end of a sweep's output or from `python -m sweep.ui`."
            )
        return str(runs[0].info.run_id), str(runs[0].info.run_name)

    def names(self, run_ids: Sequence[str]) -> dict[str, str]:
        """The names of runs, by id, of those that are there."""
        found: dict[str, str] = {}
        for start in range(0, len(run_ids), _IDS_A_CALL):
            some = ", ".join(f"'{run_id}'" for run_id in run_ids[start : start + _IDS_A_CALL])
            runs = self._search(f"attributes.run_id IN ({some})")
            found |= {run.info.run_id: run.info.run_name for run in runs}
        return found

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
        self.client.log_inputs(run_id, contents.inputs(facts))

    def log_goodnet(self, run_id: str, file: Path, facts: Mapping[str, Any]) -> None:
        """Log G as a model that can be served, see `models.log_goodnet`."""
        models.log_goodnet(self.client, self.experiment_id, run_id, file, facts)


def _process_tags() -> dict[str, str]:
    return {"sweep.host": platform.node(), "sweep.process": own_process()}

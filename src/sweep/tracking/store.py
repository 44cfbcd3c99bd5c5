"""Runs of one experiment: how they begin and end, what they hold, how they are found."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.base import files
from sweep.base.errors import StoreError
from sweep.base.processes import beating
from sweep.base.redact import without_password
from sweep.tracking import contents, database, history, models, origin, orphans
from sweep.tracking.failures import explained, logged, of_store, passes
from sweep.tracking.runs import LENGTH, Query

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sweep.base.retry import Retrying
    from sweep.jobs.identity import Past
    from sweep.results.records import Record
    from sweep.tracking.runs import Run

_READERS = 8
# How long a server may be gone, in seconds; and while somebody waits for a sweep to end.
PATIENCE, _LAST_PATIENCE = 600.0, 5.0


class Store:
    """One experiment in one MLflow store."""

    def __init__(self, uri: str, runs: Retrying) -> None:
        """Use `opening.open_store`; `runs` retries the calls of a `runs.Runs`."""
        self.uri = uri
        self._runs = runs
        self._places: dict[str, str] = {}  # where runs' artifacts lie

    @property
    def experiment_id(self) -> str:
        """The experiment's id."""
        return str(self._runs.experiment_id)

    @property
    def client(self) -> Any:
        """MLflow's client, whose calls are retried as well."""
        return self._runs.around(self._runs.client())

    def hurried(self) -> Store:
        """The same for somebody who waits for a sweep to end: it is not waited for long."""
        return Store(self.uri, self._runs.waiting(_LAST_PATIENCE))

    def check(self) -> None:
        """Wait until the store is there, where it was and is gone.

        Raises:
            Exception: it does not come back.
        """
        self._runs.find(Query(status="SCHEDULED"))  # no run of ours has this status

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
        with explained(self.uri):
            known = origin.source() | origin.process() | nested | dict(tags)
            run_id = self._create(name, known)
            with self._ending(run_id, log):
                yield run_id

    def _create(self, name: str, tags: dict[str, str]) -> str:
        """Create a run, only once though a request whose answer is lost is made again."""
        now = int(time.time() * 1000)
        run_id = str(self._runs.create(name, tags, now))
        if self.uri.startswith("http"):
            own = Query(tags={"sweep.process": tags["sweep.process"]}, start=now)
            for run in self._runs.find(own):
                if run.run_id != run_id:
                    self._runs.delete(run.run_id)
        return run_id

    @contextmanager
    def resumed(self, run_id: str) -> Iterator[str]:
        """Go on with a run that is there; it ends as the block does."""
        with explained(self.uri):
            self._runs.set_status(run_id, "RUNNING")
            self.tag(run_id, origin.process())
            with self._ending(run_id):
                yield run_id

    @contextmanager
    def _ending(self, run_id: str, log: Path | None = None) -> Iterator[None]:
        try:
            with beating(lambda: self._beat(run_id)):
                yield
            self._keep(run_id, log)
            self._runs.set_status(run_id, "FINISHED")
        except Exception as error:
            # A store that has been gone for longer than we wait takes no word of it either.
            if not passes(error) and not isinstance(error, StoreError):
                self._fail(run_id, error, log)
            raise
        except BaseException as end:  # Ctrl-C, a signal that asks to end, or jobs that failed
            failed = isinstance(end, SystemExit) and end.code == 1
            with logged("the end of a run"):  # which comes though the store is away
                runs = self._runs.waiting(_LAST_PATIENCE)
                runs.set_status(run_id, "FAILED" if failed else "KILLED")
            raise

    def _fail(self, run_id: str, error: Exception, log: Path | None) -> None:
        trace = without_password(traceback.format_exc())
        text = without_password(f"{type(error).__name__}: {error}")
        with logged("a failure"), tempfile.TemporaryDirectory() as folder:
            self._keep(run_id, log)
            files.write_text(Path(folder) / "traceback.txt", trace)
            self.log_files(run_id, Path(folder))
            self.tag(run_id, {"sweep.error": text})
            self._runs.set_status(run_id, "FAILED")

    def _keep(self, run_id: str, file: Path | None) -> None:
        if file is not None and file.is_file():
            with tempfile.TemporaryDirectory() as folder:
                shutil.copyfile(file, Path(folder) / file.name)  # it is still written to
                self.log_files(run_id, Path(folder))

    def _beat(self, run_id: str) -> None:
        with logged("a sign of life"):  # the next one will do
            self.tag(run_id, {"sweep.beat": f"{time.time():.0f}"})

    def find_parent(self, sweep: str) -> str | None:
        """The id of the (oldest) run that holds a sweep, or None if the job runs on its own."""
        found = self._find(Query(tags={"sweep.id": sweep, "sweep.kind": "parent"}))
        return found[-1].run_id if found else None

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
        with explained(self.uri):
            return [history.shown(r) for r in self._find(history.jobs_with(config, settings))]

    def job(self, run_id: str) -> Past | None:
        """The job of a run, or None where there is no such run."""
        found = self._find(Query(ids=[run_id]))
        return history.past_job(found[0]) if found else None

    def origin(self, run_id: str) -> dict[str, str]:
        """The tags of the code that a run was started from; its jobs share them anywhere."""
        tags = {k: v for run in self._find(Query(ids=[run_id])) for k, v in run.tags.items()}
        return {k: v for k, v in tags.items() if k.startswith("mlflow.source.") or k in origin.GIT}

    def close_orphaned_runs(self, config: str | None = None, over: str | None = None) -> int:
        """Set runs to KILLED whose process is gone; return how many.

        Args:
            config: only jobs of this configuration.
            over: the id of a sweep whose jobs have all ended, wherever they ran.
        """
        query = Query(tags={"sweep.config": config} if config else {}, status="RUNNING")
        orphaned = orphans.find(partial(self._find, query), over)
        for run_id in orphaned:
            self._runs.set_status(run_id, "KILLED")
        return len(orphaned)

    def _find(self, query: Query) -> list[Run]:
        found: list[Run] = self._runs.find(query)
        self._places |= {run.run_id: run.place for run in found}
        return found

    def log_settings(self, run_id: str, settings: Mapping[str, object]) -> None:
        """Log settings as params."""
        self._runs.write(run_id, params=history.as_params(settings))

    def log_result(self, run_id: str, job: Record, tags: Mapping[str, str] | None = None) -> None:
        """Log the curve as step metrics, every final figure, and tags beside them."""
        self._runs.write(run_id, metrics=list(contents.values(job)), tags=_cut(tags or {}))

    def log_best(self, run_id: str, jobs: Sequence[Record]) -> None:
        """Log on a sweep's run the figures of its best job, chosen on validation."""
        job = contents.best(jobs)
        if job is not None:
            note = {"sweep.best": job.run_id}
            figures = [(*one, 0) for one in contents.short(job).items()]
            self._runs.write(run_id, metrics=figures, tags=note)

    def log_figures(self, run_id: str, figures: Mapping[str, float]) -> None:
        """Log some numbers by name."""
        self._runs.write(run_id, metrics=[(*one, 0) for one in figures.items()])

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags on a run."""
        self._runs.write(run_id, tags=_cut(tags))

    def log_files(self, run_id: str, folder: Path) -> None:
        """Keep every file of a folder as an artifact; on one disk they are not written again."""
        own = self._folder(run_id)
        if own is None:
            self.client.log_artifacts(run_id, str(folder))
        else:
            self._runs.around(files).link_all(folder, own)

    def read(self, run_id: str, path: str) -> bytes | None:
        """An artifact's content, or None where the run has none of that name.

        Raises:
            StoreError: the store cannot be read.
        """
        with explained(self.uri):
            try:
                return self._read(run_id, path)
            except Exception as error:
                if not of_store(error):
                    raise
                # Either it is not there, or the store is not, which is waited for.
                if not self._find(Query(ids=[run_id])):
                    return None
                own = self._folder(run_id)
                if own is not None:
                    return (own / path).read_bytes() if (own / path).is_file() else None
                found = self.client.list_artifacts(run_id, path.rpartition("/")[0] or None)
                return self._read(run_id, path) if path in {one.path for one in found} else None

    def _read(self, run_id: str, path: str) -> bytes:
        own = self._folder(run_id)
        if own is not None:
            return (own / path).read_bytes()
        with tempfile.TemporaryDirectory() as folder:
            return Path(self._download(run_id, path, folder)).read_bytes()

    def _download(self, run_id: str, path: str, folder: str) -> str:
        from mlflow import artifacts

        place = f"{self._places[run_id]}/{path}".rstrip("/")
        return str(self._runs.around(artifacts).download_artifacts(place, dst_path=folder))

    def _folder(self, run_id: str) -> Path | None:
        """The folder of a run's artifacts, if it is one of this machine."""
        # Where they lie never changes; to ask takes longer than to read them.
        if run_id not in self._places and not self._find(Query(ids=[run_id])):
            raise FileNotFoundError(run_id)
        place = self._places[run_id]
        return database.folder(place) if place.startswith("file:") else None

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
        hexadecimal = re.fullmatch("[0-9a-f]+", beginning)
        runs = self._find(Query(beginning=beginning)) if hexadecimal else []
        if len(runs) != 1:
            where = without_password(self.uri)
            raise StoreError(
                "A run is named by its id, or as much of its beginning as no other shares. "
                f"Received: {beginning}, which {len(runs) or 'no'} runs in {where} begin with. "
                "Take one from the end of a sweep's output or from `python -m sweep.ui`."
            )
        return runs[0].run_id, runs[0].name

    def names(self, run_ids: Sequence[str]) -> dict[str, str]:
        """The names of runs, by id, of those that are there."""
        return {run.run_id: run.name for run in self._find(Query(ids=run_ids))}

    def page(self, run_id: str) -> str:
        """Where a person sees a run: on the server's page, or by the command that opens one."""
        if not self.uri.startswith("http"):
            return "python -m sweep.ui"
        return f"{self.uri.rstrip('/')}/#/experiments/{self.experiment_id}/runs/{run_id}"

    def save_files(self, run_id: str, folder: Path) -> None:
        """Copy every artifact of a run into a folder."""
        own = self._folder(run_id)
        if own is None:
            self._download(run_id, "", str(folder))
        elif own.is_dir():
            shutil.copytree(own, folder, dirs_exist_ok=True)

    def log_inputs(self, run_id: str, facts: Mapping[str, Any]) -> None:
        """Log the image sets that a job read; `facts` as in `Details`."""
        self.client.log_inputs(run_id, contents.inputs(facts))

    def log_goodnet(self, run_id: str, file: Path, facts: Mapping[str, Any]) -> None:
        """Log G as a model that can be served, see `models.log_goodnet`."""
        models.log_goodnet(self.client, self.experiment_id, run_id, file, facts)


def _cut(tags: Mapping[str, str]) -> dict[str, str]:
    return {name: value[:LENGTH] for name, value in tags.items()}

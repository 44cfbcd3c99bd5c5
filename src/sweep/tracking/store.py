"""Runs of one experiment: how they begin and end, what they hold, how they are found."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
import traceback
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.base import files
from sweep.base.errors import StoreError
from sweep.base.processes import beating
from sweep.base.redact import without_password
from sweep.tracking import contents, history, models, origin, orphans
from sweep.tracking.artifacts import Artifacts
from sweep.tracking.backends import database
from sweep.tracking.backends.failures import explained, logged, passes
from sweep.tracking.backends.runs import LENGTH, Query

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sweep.jobs.identity import Past
    from sweep.results.records import Record

# How long a server may be gone, in seconds; and while somebody waits for a sweep to end.
PATIENCE, _LAST_PATIENCE = 600.0, 5.0


class Store(Artifacts):
    """One experiment in one MLflow store."""

    @property
    def experiment_id(self) -> str:
        """The experiment's id."""
        return str(self._runs.experiment_id)

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
            with self._runs.held(), self._ending(run_id, log):
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
            with self._runs.held(), self._ending(run_id):
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
        return self.find_tagged({"sweep.id": sweep, "sweep.kind": "parent"})

    def find_tagged(self, tags: Mapping[str, str]) -> str | None:
        """The id of the (oldest) run with some tags, or None."""
        found = self._find(Query(tags=tags))
        return found[-1].run_id if found else None

    def past_jobs(
        self, config: str | None = None, settings: Mapping[str, object] | None = None
    ) -> list[Past]:
        """The jobs that the store holds, newest first; a large store is read in part.

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
        """Set runs to KILLED whose process is gone, see `orphans`; return how many."""
        query = Query(tags={"sweep.config": config} if config else {}, status="RUNNING")
        orphaned = orphans.find(partial(self._find, query), over)
        for run_id in orphaned:
            self._runs.set_status(run_id, "KILLED")
        return len(orphaned)

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

    def log_inputs(self, run_id: str, facts: Mapping[str, Any]) -> None:
        """Log the image sets that a job read; `facts` as in `Details`."""
        self._runs.log_inputs(run_id, contents.inputs(facts))

    def log_goodnet(self, run_id: str, file: Path, facts: Mapping[str, Any]) -> None:
        """Log G, a `.keras` file, as a model that can be served."""
        model_id, place = self._runs.create_model(run_id, "goodnet")
        known = model_id, run_id, place, file, facts
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:
            models.write(Path(folder), *known)
            if place.startswith("file:"):
                own = database.folder(place)  # STORE/artifacts/models/ID/artifacts
                self._runs.around(files).link_all(Path(folder), own, made=3)
            else:
                self.client.log_model_artifacts(model_id, folder)
        self._runs.finish_model(run_id, model_id)


def _cut(tags: Mapping[str, str]) -> dict[str, str]:
    return {name: value[:LENGTH] for name, value in tags.items()}

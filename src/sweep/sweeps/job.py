"""One job as a run of the store, and what ties it to its sweep."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from sweep import criteria
from sweep.base import interrupts, progress
from sweep.jobs import identity as ledger
from sweep.jobs.config import Config, root
from sweep.jobs.identity import describe
from sweep.reports import summary
from sweep.tracking import history
from sweep.tracking.origin import GIT, git_state

if TYPE_CHECKING:
    from sweep.results.records import Record


def sweep_id(config: Config) -> str:
    """What ties the jobs of one invocation together: the last two parts of their common folder."""
    return "/".join(Path(config.tracking.sweep).parts[-2:])


def run_job(config: Config, composed: str, folder: Path) -> Record:
    """Do one job as an MLflow run, nested in its sweep's run if there is one.

    One process does a job, others that want the same one wait and take its result. What it makes
    lies in its folder until it is tracked.
    """
    from sweep.jobs import pipeline
    from sweep.reports import artifacts
    from sweep.tracking.opening import open_store
    from sweep.tracking.store import PATIENCE

    interrupts.raise_on_signals()
    place = Path(config.paths.mlruns), config.tracking.experiment
    store = open_store(*place, PATIENCE)
    settings = describe(config)
    name = summary.settings_name(settings)
    with FileLock(_locks(config) / f"{_identify(config).config}.lock"):
        identity = _identify(config)  # whoever was here before us may have made the data
        store.close_orphaned_runs(identity.config)  # an attempt that was cut off, before a requeue
        runs = store.past_jobs(identity.config)
        done = ledger.judge(identity, runs, config.rerun, cached=False).past
        if done is not None and done.record is not None:
            return done.record
        sees = criteria.sees(config.criterion.name, config.criterion.params)
        parent, log = store.find_parent(sweep_id(config)), folder / "sweep.log"
        origin = store.origin(parent) if parent else {}
        origin |= git_state(root())
        git = {tag: origin[tag] for tag in GIT if tag in origin}
        tags = {"sweep.kind": "job", "sweep.id": sweep_id(config), "sweep.sees": sees}
        tags |= identity.tags() | origin | {"sweep.log": str(log)}
        with store.run(name, tags, parent, log) as run_id:
            store.log_settings(run_id, settings | {"sees": sees})
            repair = pipeline.run(config)
            with progress.bar("tracking"), tempfile.TemporaryDirectory(dir=folder) as drafts:
                record = artifacts.write(Path(drafts), repair, name, composed, git)
                store.log_files(run_id, Path(drafts))
                if config.tracking.log_model and repair.test_sets:
                    store.log_goodnet(run_id, Path(drafts) / "goodnet.keras", record.full.facts)
            store.log_inputs(run_id, record.full.facts)
            brief = replace(record.brief, run_id=run_id)
            note = {"mlflow.note.content": artifacts.note(brief)} | history.record_tags(brief)
            store.log_result(run_id, record, note | _identify(config).tags())
    return brief


def _identify(config: Config) -> ledger.Identity:
    return ledger.identify(config)


def _locks(config: Config) -> Path:
    locks = Path(config.paths.mlruns) / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    return locks

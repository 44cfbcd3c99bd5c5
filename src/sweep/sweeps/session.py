"""One invocation: the parent run, its jobs through Hydra's launcher, and the summary at the end."""

from __future__ import annotations

import io
import os
import shlex
import signal
import sys
import tempfile
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock
from hydra.core.utils import JobReturn
from rich.console import Console
from rich.table import Table

from sweep import criteria
from sweep.base import files, progress
from sweep.base.errors import ConfigError, SweepError
from sweep.base.redact import without_password
from sweep.jobs import identity as ledger
from sweep.jobs import plan
from sweep.jobs.config import Objective, describe, root
from sweep.reports import comparison, tables
from sweep.results.records import Record
from sweep.tracking import history
from sweep.tracking.origin import GIT, git_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sweep.jobs.config import Config
    from sweep.reports import page
    from sweep.tracking.store import Store


def sweep_id(config: Config) -> str:
    """What ties the jobs of one invocation together: the last two parts of their common folder."""
    return "/".join(Path(config.tracking.sweep).parts[-2:])


def run_job(config: Config, composed: str, folder: Path) -> Record:
    """Do one job as an MLflow run, nested in its sweep's run if there is one.

    One process does a job, others that want the same one wait and take its result.

    Args:
        config: checked.
        composed: the same as YAML.
        folder: the job's own; what it makes lies there until it is tracked.
    """
    from sweep.jobs import pipeline
    from sweep.reports import artifacts
    from sweep.tracking.opening import open_store
    from sweep.tracking.store import PATIENCE

    place = Path(config.paths.mlruns), config.tracking.experiment
    store = open_store(*place, PATIENCE)
    settings = describe(config)
    name = tables.settings_name(settings)
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
            store.log_result(run_id, record)
            brief = replace(record.brief, run_id=run_id)
            note = {"sweep.row": brief.to_json(), "mlflow.note.content": tables.note(brief)}
            store.tag(run_id, note | _identify(config).tags())
    return brief


def _identify(config: Config) -> ledger.Identity:
    return ledger.identify(config)


def _locks(config: Config) -> Path:
    locks = Path(config.paths.mlruns) / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    return locks


def command_of(overrides: Sequence[str]) -> str:
    """What to type for one job alone."""
    return shlex.join(["python", "-m", "sweep", *overrides])


def run_grid(
    jobs: Sequence[tuple[list[str], Config]],
    launch: Callable[[list[list[str]]], Sequence[JobReturn]],
) -> None:
    """Run the jobs of a sweep that need it under one parent run, and tell what came out.

    Args:
        jobs: overrides and checked configuration of each; jobs that say the same run once.
        launch: runs jobs, given by their overrides, through Hydra's launcher.

    Raises:
        SystemExit: with 1 where a job failed, 130 after Ctrl-C, 143 after SIGTERM.
    """
    single = {files.key(describe(config)): (cell, config) for cell, config in reversed(jobs)}
    overrides, configs = map(list, zip(*reversed(single.values()), strict=True))
    first = configs[0]
    if first.objective is not Objective.none:
        raise ConfigError(
            "objective is for searches, whose jobs never open a test set. "
            f"Received: objective={first.objective.name}. Add hydra/sweeper=optuna or leave it out."
        )
    shared = plan.shared_settings(configs)
    place = Path(first.paths.mlruns), first.tracking.experiment
    if first.plan and not os.environ.get("MLFLOW_TRACKING_URI"):
        _show_plan(plan.make(configs, history.look(*place, shared)))
        return
    from sweep.reports import page
    from sweep.tracking.opening import open_store

    store = open_store(*place)
    store.close_orphaned_runs()
    todo = plan.make(configs, store.past_jobs(settings=shared))
    if first.plan:
        _show_plan(todo)
        return
    waiting = todo.waiting
    print(todo.states(), file=sys.stderr)
    ended, returns = 0, list[JobReturn]()
    with parent_run(store, sweep_id(first), {"jobs": len(configs)}) as (run_id, command):
        if waiting:
            chosen = [overrides[index] for index in waiting]
            ended, returns = interruptible(partial(launch, chosen), len(chosen))
            store.close_orphaned_runs(over=sweep_id(first))
        rows = _rows(todo, returns, store)
        _show(rows, store, run_id, first)
        errors = [
            (command_of(overrides[i]), value_of(job))
            for i, job in zip(waiting, returns, strict=False)
        ]
        failed = show_failures([(c, e) for c, e in errors if isinstance(e, Exception)])
        about = page.About(
            name=f"sweep {sweep_id(first)}",
            command=command,
            when=f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
            jobs=len(configs),
            git=git_state(root()),
        )
        _log_summary(store, run_id, rows, about)
        if ended:
            left = len(configs) - len(rows)
            print(
                f"interrupted: {left} of {len(configs)} jobs are left; the same command goes on",
                file=sys.stderr,
            )
            raise SystemExit(ended)
        if failed:
            raise SystemExit(1)


@contextmanager
def parent_run(
    store: Store, identity: str, settings: Mapping[str, object]
) -> Iterator[tuple[str, str]]:
    """The run that holds an invocation's jobs; yields its id and what the user typed."""
    typed = " ".join(map(shlex.quote, sys.argv[1:]))
    command = f"python -m sweep {without_password(typed)}"
    tags = {
        "sweep.kind": "parent",
        "sweep.id": identity,
        "mlflow.note.content": tables.code(command),
    }
    with store.run(f"sweep {identity}", tags | git_state(root())) as run_id:
        store.log_settings(run_id, settings)
        yield run_id, command


@contextmanager
def joined_run(store: Store, identity: str, settings: Mapping[str, object]) -> Iterator[str]:
    """The one run of an identity, begun by whoever came first; yields its id."""
    if store.find_parent(identity) is None:
        with parent_run(store, identity, settings) as (own, _):
            first = store.find_parent(identity)
            if first == own:
                yield own
                return
        store.client.delete_run(own)  # another invocation was faster
    with store.resumed(str(store.find_parent(identity))) as run_id:
        yield run_id


class _TerminatedError(KeyboardInterrupt):
    """SIGTERM: ends the job at hand as Ctrl-C does."""


def interruptible(
    launch: Callable[[], Sequence[JobReturn]], jobs: int = 0
) -> tuple[int, list[JobReturn]]:
    """Run jobs; an exit code for an interruption, or 0, and what Hydra gave back."""

    def terminate(_number: int, _frame: object) -> None:
        raise _TerminatedError

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        with progress.display(jobs):
            return 0, list(launch())
    except _TerminatedError:
        return 128 + signal.SIGTERM, []
    except KeyboardInterrupt:
        return 128 + signal.SIGINT, []
    finally:
        signal.signal(signal.SIGTERM, before)


def _rows(todo: plan.Plan, returns: Sequence[JobReturn], store: Store) -> list[Record]:
    """The lines of all jobs that are done, in the order of the grid."""
    rows = {index: cell.past.record for index, cell in enumerate(todo.cells) if cell.past}
    rows |= {
        index: value
        for index, value in zip(todo.waiting, map(value_of, returns), strict=False)
        if isinstance(value, Record)
    }
    if len(returns) < len(todo.waiting):  # interrupted: the store knows how far it came
        known = {todo.identities[index].config: index for index in todo.waiting}
        for run in store.past_jobs(settings=plan.shared_settings(todo.configs)):
            index = known.get(run.identity.config)
            if index is None or run.status != "FINISHED" or run.record is None:
                continue
            if run.identity.code == todo.identities[index].code:
                rows.setdefault(index, run.record)
    return [row for _, row in sorted(rows.items()) if row]


def value_of(job: JobReturn) -> Any:
    """What a job gave back, or the exception that ended it; `return_value` would raise it."""
    return job._return_value  # noqa: SLF001


def console() -> Console:
    """Where tables are printed; names in brackets or colons are names there."""
    return Console(width=None if sys.stdout.isatty() else 120, markup=False, emoji=False)


def _show_plan(todo: plan.Plan) -> None:
    """Print each cell with its state, and what running the rest will take."""
    table = Table(title="plan", title_justify="left")
    for column in ("job", "state", "why, or its run"):
        table.add_column(column, overflow="fold")
    for line in plan.lines(todo):
        table.add_row(*line)
    console().print(table)
    print(f"{todo.states()}\n{todo.needs()}")


def _log_summary(store: Store, run_id: str, rows: Sequence[Record], about: page.About) -> None:
    from sweep.reports import page

    table = tables.markdown(rows)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files.write_text(folder / "summary.csv", tables.as_csv(rows))
        files.write_text(folder / "summary.md", table)
        if tables.several_seeds(rows):
            files.write_text(folder / "summary_over_seeds.csv", tables.seeds_csv(rows))
        records = _records(store, rows)
        runs = {page.strip_key(record): record.run_id for record in reversed(records)}
        pictures = store.read_all(list(runs.values()), "samples.png")
        strips = {key: pictures[run] for key, run in runs.items() if run in pictures}
        page.write(folder, records, strips, about)
        if comparison.is_wanted(records):
            table = comparison.write(folder, records, _answers(store, records))
        store.log_files(run_id, folder)
    store.tag(run_id, {"mlflow.note.content": f"{tables.code(about.command)}\n\n{table}"})


def _records(store: Store, rows: Sequence[Record]) -> list[Record]:
    """What jobs' runs keep for the report; a run whose artifacts were deleted keeps nothing."""
    kept = store.read_all([row.run_id for row in rows], "result.json")
    return [Record.from_json(text.decode(), run_id) for run_id, text in kept.items()]


def _answers(store: Store, records: Sequence[Record]) -> dict[str, comparison.Answers]:
    """What jobs' networks answered to each test image, by run."""
    kept = store.read_all([record.run_id for record in records], "answers.npz")
    # Jobs whose B' is the same answer the same: of a thousand files few differ.
    opened = {packed: dict(np.load(io.BytesIO(packed))) for packed in set(kept.values())}
    return {run: opened[packed] for run, packed in kept.items()}


def _show(rows: Sequence[Record], store: Store, run_id: str, config: Config) -> None:
    out = console()
    for title, lines in tables.table(rows):
        table = Table(title=f"{title}, test sets, percent", title_justify="left")
        for index, column in enumerate(tables.header(rows)):
            table.add_column(column, justify="right", no_wrap=index == 0)
        for line in lines:
            table.add_row(*line)
        out.print(table)
    if config.dataset.name == "lab":
        _show_reference(rows, out)
    for row in rows:
        print(f"{row.run_id}  {tables.settings_name(row.settings)}")
    print(f"{run_id}  the sweep: report.html, summary.md, summary.csv, plots")
    print(f"Runs lie in {without_password(store.uri)}; look at them with: {store.page(run_id)}")


def _show_reference(rows: Sequence[Record], out: Console) -> None:
    lines = tables.beside_reference(rows)
    if not lines:
        return
    table = Table(title="beside the lab's report, test sets", title_justify="left")
    for column in ("ordering", "X", "figure", "measured", "report", "difference"):
        table.add_column(column, justify="right")
    for line in lines:
        table.add_row(*line)
    out.print(table)


def show_failures(failures: Sequence[tuple[str, Exception]]) -> int:
    """Print each different error once with the jobs that it ended; return how many failed."""
    failed = defaultdict(list)
    for command, error in failures:
        known = isinstance(error, SweepError)
        failed[str(error) if known else f"{type(error).__name__}: {error}"].append(command)
    for text, commands in failed.items():
        print(f"\n{len(commands)} x {text}", file=sys.stderr)
        for command in commands:
            print(f"    {command}", file=sys.stderr)
    return len(failures)

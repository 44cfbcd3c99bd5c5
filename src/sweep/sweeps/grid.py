"""One invocation of a grid: a parent run, its jobs through Hydra's launcher, and the summary."""

from __future__ import annotations

import io
import os
import sys
import tempfile
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from hydra.core.utils import JobReturn

from sweep.base import files
from sweep.base.errors import ConfigError
from sweep.jobs import plan
from sweep.jobs.config import Objective, root
from sweep.jobs.identity import describe
from sweep.reports import comparison, summary, tables
from sweep.results.records import Record
from sweep.sweeps import console
from sweep.sweeps.invocation import command_of, ending, interruptible, parent_run, value_of
from sweep.sweeps.job import sweep_id
from sweep.sweeps.overrides import quote
from sweep.tracking import history
from sweep.tracking.origin import git_state

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sweep.jobs.config import Config
    from sweep.reports import page
    from sweep.results.paired import Answers
    from sweep.tracking.store import Store


def run(
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
    overrides, configs = map(list, zip(*unique(jobs), strict=True))
    first = configs[0]
    if first.objective is not Objective.none:
        raise ConfigError(
            "objective is for searches, whose jobs never open a test set. "
            f"Received: objective={first.objective.name}. Add hydra/sweeper=optuna or leave it out."
        )
    place = Path(first.paths.mlruns), first.tracking.experiment
    # What cannot run is refused before MLflow is loaded or a store is made.
    todo = plan.make(configs, history.look(*place, plan.shared_settings(configs)))
    if first.plan and not os.environ.get("MLFLOW_TRACKING_URI"):
        console.show_plan(todo)
        return
    if len(todo.refused) == len(configs):
        raise SystemExit(console.show_failures(_refusals(todo, overrides)) and 1)
    from sweep.reports import page
    from sweep.tracking.opening import open_store

    store = open_store(*place)
    store.close_orphaned_runs()
    todo = plan.make(configs, store.past_jobs(settings=plan.shared_settings(configs)))
    if first.plan:
        console.show_plan(todo)
        return
    waiting = todo.waiting
    print(todo.states(), file=sys.stderr)
    ended, returns = 0, list[JobReturn]()
    own = own_id(store, sweep_id(first))
    marks = [] if own == sweep_id(first) else [f"tracking.sweep={quote(own)}"]
    with parent_run(store, own, {"jobs": len(configs)}) as (run_id, command):
        if waiting:
            chosen = [[*overrides[index], *marks] for index in waiting]
            ended, returns = interruptible(partial(launch, chosen), len(chosen))
        with ending(store, ended) as store:
            if waiting:
                store.close_orphaned_runs(over=own)
            rows = _detailed(store, rows_of(todo, returns, store, own))
            console.show(rows, store, run_id)
            values = zip(waiting, map(value_of, returns), strict=False)
            failures = _refusals(todo, overrides)
            failures += [
                (command_of(overrides[i]), e) for i, e in values if isinstance(e, Exception)
            ]
            failed = console.show_failures(failures)
            about = page.About(
                name=f"sweep {own}",
                command=command,
                when=f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
                jobs=len(configs),
                git=git_state(root()),
            )
            _log_summary(store, run_id, rows, about)
            if ended:
                left = len(configs) - len(rows)
                print(
                    f"interrupted: {left} of {len(configs)} jobs are left; "
                    "the same command goes on",
                    file=sys.stderr,
                )
        if failed:
            raise SystemExit(1)


def _refusals(todo: plan.Plan, overrides: Sequence[list[str]]) -> list[tuple[str, Exception]]:
    return [(command_of(overrides[index]), error) for index, error in todo.refused.items()]


def own_id(store: Store, wanted: str) -> str:
    """The sweep's id, with a number where an earlier sweep went into the same folder."""
    numbers = (f"{wanted}-{number}" for number in count(2))
    return next(name for name in chain([wanted], numbers) if store.find_parent(name) is None)


def unique(jobs: Sequence[tuple[list[str], Config]]) -> list[tuple[list[str], Config]]:
    """The jobs without those that say the same as one before."""
    single: dict[str, tuple[list[str], Config]] = {}
    for cell, config in jobs:
        single.setdefault(files.key(describe(config)), (cell, config))
    return list(single.values())


def rows_of(
    todo: plan.Plan, returns: Sequence[JobReturn], store: Store, sweep: str
) -> list[Record]:
    """The results of all jobs that are done, in the order of the grid.

    Of an interrupted sweep there are no returns: its store knows how far it came.
    """
    rows = {index: cell.past.record for index, cell in enumerate(todo.cells) if cell.past}
    values = zip(todo.waiting, map(value_of, returns), strict=False)
    rows |= {index: value for index, value in values if isinstance(value, Record)}
    left = [index for index in todo.waiting if index not in rows]
    if left and len(returns) < len(todo.waiting):
        # With `rerun` only what this sweep did counts, else whatever stands for a job now.
        runs = [
            run
            for run in store.past_jobs(settings=plan.shared_settings(todo.configs))
            if run.sweep == sweep or not todo.configs[0].rerun
        ]
        again = plan.make([replace(todo.configs[index], rerun=False) for index in left], runs)
        for index, cell in zip(left, again.cells, strict=True):
            rows[index] = cell.past.record if cell.past else None
    return [row for _, row in sorted(rows.items()) if row]


def _log_summary(store: Store, run_id: str, rows: Sequence[Record], about: page.About) -> None:
    from sweep.reports import artifacts, page

    table = summary.markdown(rows)
    records = [row for row in rows if row.details is not None]
    key = artifacts.drawing_key(records)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        drawn = _take_plots(store, key, folder)
        files.write_text(folder / "summary.csv", artifacts.as_csv(rows))
        files.write_text(folder / "summary.md", table)
        if summary.several_seeds(rows):
            files.write_text(folder / "summary_over_seeds.csv", artifacts.seeds_csv(rows))
        runs = {page.strip_key(record): record.run_id for record in reversed(records)}
        pictures = store.read_all(list(runs.values()), "samples.png")
        strips = {key: pictures[run] for key, run in runs.items() if run in pictures}
        page.write(folder, records, strips, about, not drawn)
        wanted = comparison.is_wanted(records)
        fair = summary.defenders(records)[:1]
        answers = _answers(store, records if wanted else fair)
        if wanted:
            table = comparison.write(folder, records, answers, draw=not drawn)
        if not drawn:
            artifacts.write_classes(folder, fair, answers)
        store.log_files(run_id, folder)
    store.log_best(run_id, [job for job in records if summary.sees(job) != "oracle"])
    note = f"{tables.code(about.command)}\n\n{table}"
    store.tag(run_id, {"mlflow.note.content": note, "sweep.plots": key})


def _take_plots(store: Store, key: str, folder: Path) -> bool:
    """Copy the plots of an earlier sweep with the same results, if there is one."""
    earlier = store.find_tagged({"sweep.plots": key})
    if earlier and store.read(earlier, "report.html"):  # its files may have been removed
        store.save_files(earlier, folder)
    return (folder / "plots").is_dir()


def _detailed(store: Store, rows: Sequence[Record]) -> list[Record]:
    """Jobs with the details that their runs keep; none where the artifacts were deleted."""
    kept = store.read_all([row.run_id for row in rows], "result.json")
    found = {run: Record.from_json(text.decode(), run) for run, text in kept.items()}
    if len(found) < len(rows):
        print(
            f"The files of {len(rows) - len(found)} of {len(rows)} finished jobs were removed from "
            "the store: the report leaves these jobs out. rerun=true does them again.",
            file=sys.stderr,
        )
    return [found.get(row.run_id, row) for row in rows]


def _answers(store: Store, records: Sequence[Record]) -> dict[str, Answers]:
    """What jobs' networks answered to each test image, by run."""
    kept = store.read_all([record.run_id for record in records], "answers.npz")
    # Jobs whose B' is the same answer the same: of a thousand files few differ.
    opened = {packed: dict(np.load(io.BytesIO(packed))) for packed in set(kept.values())}
    return {run: opened[packed] for run, packed in kept.items()}

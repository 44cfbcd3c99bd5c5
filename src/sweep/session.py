"""One invocation: the parent run, its jobs through Hydra's launcher, and the summary at the end."""

from __future__ import annotations

import logging
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from sweep import files, progress, quiet, summary
from sweep.config import describe, root
from sweep.errors import SweepError
from sweep.results import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hydra.core.utils import JobReturn

    from sweep.config import Config
    from sweep.tracking import Store

_LOG = logging.getLogger("sweep")


def sweep_id(config: Config) -> str:
    """What ties the jobs of one invocation together: the last two parts of their common folder."""
    return "/".join(Path(config.tracking.sweep).parts[-2:])


def run_job(config: Config, composed: str, folder: Path) -> Row:
    """Do one job as an MLflow run, nested in its sweep's run if there is one.

    Args:
        config: checked.
        composed: the same as YAML.
        folder: the job's own; what it makes lies there until it is tracked.
    """
    quiet.tensorflow()
    from sweep import artifacts, pipeline, tracking

    store = tracking.open_store(Path(config.paths.mlruns), config.tracking.experiment)
    settings = describe(config)
    name = summary.settings_name(settings)
    tags = {"sweep.kind": "job", "sweep.id": sweep_id(config)}
    parent = store.find_parent(sweep_id(config))
    with store.run(name, tags | tracking.git_state(root()), parent) as run_id:
        store.log_settings(run_id, settings)
        repair = pipeline.run(config)
        with tempfile.TemporaryDirectory(dir=folder) as drafts:
            artifacts.write(Path(drafts), repair, config, name, composed)
            store.log_files(run_id, Path(drafts))
        store.log_result(run_id, repair.result)
    result = repair.result
    return Row(settings, result.figures, result.stop, len(result.scores), run_id)


def run_grid(
    configs: Sequence[Config], launch: Callable[[], Sequence[JobReturn]], command: str
) -> None:
    """Run the jobs of a sweep under one parent run, and tell what came out.

    Args:
        configs: one per job, checked.
        launch: runs them all through Hydra's launcher.
        command: what the user typed.

    Raises:
        SystemExit: with 1 where a job failed.
    """
    from sweep import tracking

    first = configs[0]
    console = Console(stderr=True)
    if sys.stderr.isatty():
        console.print(f"{len(configs)} jobs; the store is being opened ...", style="dim")
    store = tracking.open_store(Path(first.paths.mlruns), first.tracking.experiment)
    identity = sweep_id(first)
    tags = {"sweep.kind": "parent", "sweep.id": identity, "mlflow.note.content": f"`{command}`"}
    with store.run(f"sweep {identity}", tags | tracking.git_state(root()), None) as run_id:
        store.log_settings(run_id, {"jobs": len(configs)})
        with progress.display():
            returns = launch()
        rows = [value for value in map(_value, returns) if not isinstance(value, Exception)]
        _log_summary(store, run_id, rows, command)
        _show(rows, store, run_id, first)
        failures = _show_failures(returns)
        if failures:
            store.tag(run_id, {"sweep.failed_jobs": str(failures)})
    if failures:
        raise SystemExit(1)


def _value(job: JobReturn) -> Any:
    """What a job gave back, or the exception that ended it; `return_value` would raise it."""
    return job._return_value  # noqa: SLF001


def _log_summary(store: Store, run_id: str, rows: Sequence[Row], command: str) -> None:
    table = summary.markdown(rows)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files.write_text(folder / "summary.csv", summary.as_csv(rows))
        files.write_text(folder / "summary.md", table)
        store.log_files(run_id, folder)
    store.tag(run_id, {"mlflow.note.content": f"`{command}`\n\n{table}"})


def _show(rows: Sequence[Row], store: Store, run_id: str, config: Config) -> None:
    console = Console(width=None if sys.stdout.isatty() else 120)
    for title, lines in summary.table(rows):
        table = Table(title=f"{title}, test sets, percent", title_justify="left")
        for index, column in enumerate(summary.HEADER):
            table.add_column(column, justify="right", no_wrap=index == 0)
        for line in lines:
            table.add_row(*line)
        console.print(table)
    if config.dataset.name == "lab":
        _show_reference(rows, console)
    for row in rows:
        print(f"{row.run_id}  {summary.settings_name(row.settings)}")
    print(f"{run_id}  the sweep: summary.md, summary.csv")
    print(f"Runs lie in {store.uri}; look at them with: python -m sweep.ui")


def _show_reference(rows: Sequence[Row], console: Console) -> None:
    lines = summary.beside_reference(rows)
    if not lines:
        return
    table = Table(title="beside the lab's report, test sets", title_justify="left")
    for column in ("ordering", "X", "figure", "measured", "report", "difference"):
        table.add_column(column, justify="right")
    for line in lines:
        table.add_row(*line)
    console.print(table)


def _show_failures(returns: Sequence[JobReturn]) -> int:
    """Print each different error once with the jobs that it ended; return how many failed."""
    failed = defaultdict(list)
    for job in returns:
        error = _value(job)
        if isinstance(error, Exception):
            known = isinstance(error, SweepError)
            text = str(error) if known else f"{type(error).__name__}: {error}"
            failed[text].append(" ".join(job.overrides or ()))
    for text, jobs in failed.items():
        print(f"\n{len(jobs)} of {len(returns)} jobs failed: {text}", file=sys.stderr)
        for overrides in jobs:
            print(f"  python -m sweep {overrides}", file=sys.stderr)
    return sum(map(len, failed.values()))

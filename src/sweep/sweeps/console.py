"""What a sweep prints."""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from sweep.base.errors import SweepError
from sweep.base.redact import without_password
from sweep.jobs import plan
from sweep.reports import summary
from sweep.results.findings import cautions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sweep.reports import tables
    from sweep.results.records import Record
    from sweep.tracking.store import Store


def console() -> Console:
    """Where tables are printed; names in brackets or colons are names there."""
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if known else 120, markup=False, emoji=False)


def show_plan(todo: plan.Plan) -> None:
    """Print each cell with its state, and what running the rest will take."""
    table = Table(title="plan", title_justify="left")
    for column in ("job", "state", "why, or its run"):
        table.add_column(column, overflow="fold")
    for line in plan.lines(todo):
        table.add_row(*line)
    console().print(table)
    print(f"{todo.states()}\n{todo.needs()}")


def show(rows: Sequence[Record], store: Store, run_id: str) -> None:
    """Print the figures of a sweep, its runs, and where to look at them."""
    for section in summary.printed(rows):
        _print(section)
    for text in cautions(rows):
        print(f"Note: {text}")
    show_jobs(rows)
    print(f"{run_id}  the sweep: report.html, summary.md, summary.csv, plots")
    print(f"Runs lie in {without_password(store.uri)}; look at them with: {store.page(run_id)}")


def show_jobs(rows: Sequence[Record]) -> None:
    """Print a line for each job: its run and its name."""
    for row in rows:
        print(f"{row.run_id}  {summary.settings_name(row.settings)}")


def _print(data: tables.Table) -> None:
    """Print a table in as few columns as its figures need: a terminal may have eighty."""
    table = Table(title=data.title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for index, column in enumerate(data.header):
        name, _, rest = column.partition(" ")
        justify: Any = "left" if index < data.words else "right"
        table.add_column(f"{name}\n{rest}".strip(), justify=justify, overflow="fold")
    for line in data.lines:
        table.add_row(*line)
    console().print(table)


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

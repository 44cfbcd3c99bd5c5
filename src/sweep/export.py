"""`python -m sweep.export RUN_OR_SWEEP DIR|FILE.zip`: what runs hold, in a place of its own."""

from __future__ import annotations

import argparse
import csv
import io
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.base import files
from sweep.base.errors import StoreError, SweepError
from sweep.jobs.config import Tracking, root

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sweep.tracking.store import Store


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m sweep.export", description=__doc__)
    parser.add_argument("run", help="a run's id, or its beginning: of a job or of a whole sweep")
    parser.add_argument("target", type=Path, help="a folder that is empty or not there, or a .zip")
    parser.add_argument("--mlruns", type=Path, default=root() / "mlruns", help="%(default)s")
    parser.add_argument(
        "--experiment", default=Tracking.experiment, help="which it is of (%(default)s)"
    )
    options = parser.parse_args(arguments)
    try:
        check_target(options.target)
        from sweep.tracking.opening import find_store

        store = find_store(options.mlruns, options.experiment)
        jobs = export(store, options.run, options.target)
    except SweepError as error:
        sys.exit(f"error: {error}")
    print(f"{jobs} {'job' if jobs == 1 else 'jobs'} in {options.target}")


def check_target(target: Path) -> None:
    """Refuse to write over what is there.

    Raises:
        StoreError: the target exists and is not an empty folder.
    """
    empty = target.is_dir() and target.suffix != ".zip" and not any(target.iterdir())
    if (target.exists() or target.is_symlink()) and not empty:
        raise StoreError(
            "The target must be an empty folder, or a folder or .zip that is not there yet. "
            f"Received: {target}. Name another, or remove it first."
        )


def export(store: Store, run: str, target: Path) -> int:
    """Gather all files of a job, or of a sweep with all its jobs.

    A sweep's jobs lie in folders named after their settings, and so do jobs of earlier sweeps
    that it reused.

    Args:
        store: where the run is.
        run: its id, or a beginning that no other run has.
        target: folder or .zip to make; it is there whole or not at all.

    Returns:
        The number of jobs.

    Raises:
        StoreError: no run, or more than one, answers to `run`; or the target cannot be written.
    """
    chosen, name = store.find_run(run)
    table = store.read(chosen, "summary.csv")
    jobs = _jobs(store, table.decode()) if table else {}
    try:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "export"
            folder.mkdir()
            store.save_files(chosen, folder)
            for title, job in jobs.items():
                (folder / title).mkdir()
                store.save_files(job, folder / title)
            if not any(folder.iterdir()):
                raise StoreError(
                    f"A run must hold files to be exported. Received: {chosen} ({name}), which "
                    "holds none. See in `python -m sweep.ui` how it ended."
                )
            _place(folder, target)
    except OSError as error:
        raise StoreError(
            f"The target must be writable. Received: {target}, which says: {error}."
        ) from error
    return len(jobs) or 1


def _jobs(store: Store, table: str) -> dict[str, str]:
    """Folder and run of every job in a sweep's `summary.csv`, reused ones too."""
    runs = [line["run_id"] for line in csv.DictReader(io.StringIO(table))]
    names = store.names(runs)
    return {folder_name(names.get(run, "job"), run): run for run in runs}


def folder_name(name: str, run_id: str) -> str:
    """A folder's name that any system takes and no other job has.

    >>> folder_name("increasing X=2% ../up", "0123456789")
    'increasing_X=2_.._up-01234567'
    """
    return f"{re.sub(r'[^A-Za-z0-9.=-]+', '_', name)[:100]}-{run_id[:8]}"


def _place(folder: Path, target: Path) -> None:
    with files.replacing(target) as draft:
        if target.suffix == ".zip":
            shutil.make_archive(str(draft.with_suffix("")), "zip", folder)
        else:
            shutil.copytree(folder, draft)
            if target.is_dir():  # empty, and in the way on some systems
                target.rmdir()


if __name__ == "__main__":
    main()

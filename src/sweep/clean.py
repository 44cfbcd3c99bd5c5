"""`python -m sweep.clean`: list what nobody needs any more, and remove it after asking."""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.base import files
from sweep.base.cache import CODE_DIGITS, Cache
from sweep.base.errors import StoreError, SweepError
from sweep.jobs.config import root
from sweep.jobs.identity import code_key
from sweep.tracking.backends import database, leftovers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True)
class Leftovers:
    """Things of one kind that can go: name, number, places on the disk, and how to remove them."""

    name: str
    number: int
    paths: Sequence[Path]
    remove: Callable[[], object]


def find(mlruns: Path, cache: Path) -> list[Leftovers]:
    """What can go.

    Args:
        mlruns: folder of the store; a server keeps its own.
        cache: folder of cached arrays.

    Raises:
        StoreError: the store cannot be read.
    """
    found = []
    if database.path(mlruns).is_file():
        try:
            runs, lost = leftovers.deleted(mlruns), leftovers.orphaned(mlruns)
        except sqlite3.Error as error:
            raise StoreError(
                f"A store must be MLflow's database to be cleaned. Received: {mlruns}, of which "
                f"SQLite says: {error}. Name another by --mlruns."
            ) from error
        folders = [folder for folder in runs.values() if folder is not None]

        def forget() -> None:
            leftovers.remove(mlruns, list(runs))
            _remove_all(folders)

        name = "runs marked as deleted, and models logged in them"
        found.append(Leftovers(name, len(runs), folders, forget))
        found.append(_files("files of runs that the store does not hold", lost))
    locks = [*files.unheld(mlruns / "locks"), *files.unheld(cache / "locks")]
    old = Cache(cache, 0).of_other_code(code_key("sweep.jobs.subject")[:CODE_DIGITS])
    found.append(_files("lock files that no process holds", locks, files.remove_lock))
    found.append(_files("cached arrays of other code", old))
    return [one for one in found if one.number]


def _files(
    name: str, paths: Sequence[Path], remove: Callable[[Path], object] = files.remove
) -> Leftovers:
    return Leftovers(name, len(paths), paths, lambda: _remove_all(paths, remove))


def _remove_all(paths: Sequence[Path], remove: Callable[[Path], object] = files.remove) -> None:
    for path in paths:
        remove(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m sweep.clean", description=__doc__)
    parser.add_argument("--mlruns", type=Path, default=root() / "mlruns", help="%(default)s")
    parser.add_argument("--cache", type=Path, default=root() / "data" / "cache", help="%(default)s")
    parser.add_argument("--yes", action="store_true", help="remove without asking")
    options = parser.parse_args(arguments)
    try:
        found = find(options.mlruns, options.cache)
        for one in found:
            print(f"{one.number:6}  {_megabytes(one.paths):>12}  {one.name}")
        if os.environ.get("MLFLOW_TRACKING_URI"):
            print("The store that MLFLOW_TRACKING_URI names is cleaned by `mlflow gc` beside it.")
        if not found:
            print("nothing to remove")
        elif options.yes or _agreed():
            freed = _megabytes([path for one in found for path in one.paths])
            for one in found:
                one.remove()
            print(f"{freed} freed")
    except SweepError as error:
        sys.exit(f"error: {error}")


def _megabytes(paths: Sequence[Path]) -> str:
    return f"{files.bytes_freed(paths) / 1e6:,.1f} MB"


def _agreed() -> bool:
    try:
        return input("Remove these? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:  # nobody to ask
        print()
        return False


if __name__ == "__main__":
    main()

"""What a grid and a search do alike: a parent run, jobs that may be interrupted, what they gave."""

from __future__ import annotations

import shlex
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sweep.base import interrupts, progress
from sweep.base.errors import SweepError
from sweep.base.redact import without_password
from sweep.jobs.config import root
from sweep.reports import tables
from sweep.tracking.origin import git_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hydra.core.utils import JobReturn

    from sweep.tracking.store import Store


def command_of(overrides: Sequence[str]) -> str:
    """What to type for one job alone."""
    return shlex.join(["python", "-m", "sweep", *overrides])


@contextmanager
def parent_run(
    store: Store, identity: str, settings: Mapping[str, object]
) -> Iterator[tuple[str, str]]:
    """The run that holds an invocation's jobs; yields its id and what the user typed."""
    interrupts.raise_on_signals()
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
    interrupts.raise_on_signals()
    with store.resumed(str(store.find_parent(identity))) as run_id:
        yield run_id


def interruptible(
    launch: Callable[[], Sequence[JobReturn]], jobs: int = 0
) -> tuple[int, list[JobReturn]]:
    """Run jobs; an exit code for an interruption, or 0, and what Hydra gave back."""
    try:
        with progress.display(jobs):
            return 0, list(launch())
    except KeyboardInterrupt as error:
        return interrupts.exit_code(error), []


@contextmanager
def ending(store: Store, ended: int) -> Iterator[Store]:
    """The end of an invocation, in which its store is not waited for long.

    Raises:
        SystemExit: with `ended`, where that is the exit code of an interruption, store or no store.
    """
    try:
        yield store.hurried() if ended else store
    except SweepError as error:
        if not ended:
            raise
        print(f"error: {error}", file=sys.stderr)
    if ended:
        raise SystemExit(ended)


def value_of(job: JobReturn) -> Any:
    """What a job gave back, or the exception that ended it; `return_value` would raise it."""
    return job._return_value  # noqa: SLF001

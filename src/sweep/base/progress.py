"""What the user sees while work goes on: bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import psutil
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rich.progress import TaskID

_LOG = logging.getLogger("sweep")
_Item = TypeVar("_Item")


_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
# Without a terminal a line is printed this often at the most.
_LINE_SECONDS = 10.0


class _Display:
    """The one display of the process, and what its latest line was printed at."""

    bars: Progress | None = None
    jobs: TaskID | None = None
    latest: float | None = None
    done = total = 0


@contextmanager
def display(jobs: int = 0) -> Iterator[None]:
    """Show bars on standard error for as long as the block runs; lines if it is no terminal.

    The bar of the whole sweep counts so many calls of `job_done`; with 0 there is none.
    """
    if _Display.bars is not None or _Display.latest is not None:
        yield
        return
    if not sys.stderr.isatty():
        _Display.latest, _Display.done, _Display.total = time.monotonic(), 0, jobs
        try:
            yield
        finally:
            _Display.latest = None
        return
    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        _Display.bars = bars
        _Display.jobs = bars.add_task("sweep", total=jobs) if jobs else None
        try:
            yield
        finally:
            _Display.bars = _Display.jobs = None


def job_done() -> None:
    """Move the bar of the whole sweep on by one job."""
    _Display.done += 1
    if _Display.total:
        _line("jobs", _Display.done, _Display.total)
    if _Display.bars is not None and _Display.jobs is not None:
        _Display.bars.advance(_Display.jobs)


@contextmanager
def bar(stage: str, total: int | None = None) -> Iterator[Callable[[], None]]:
    """A bar for a stage, if bars are shown; yields what moves it on. Without a total it swings."""
    bars = _Display.bars
    if bars is None:
        yield lambda: None
        return
    task = bars.add_task(stage, total=total)
    try:
        yield lambda: bars.advance(task)
    finally:
        bars.remove_task(task)


def track(items: Iterable[_Item], stage: str, total: int) -> Iterator[_Item]:
    """Yield the items of a stage ("training", "activations", ...) and show how far it is."""
    start = time.perf_counter()
    with bar(stage, total) as advance:
        for done, item in enumerate(items, 1):
            yield item
            advance()
            _line(stage, done, total)
    _LOG.info("%s: %.1f s", stage, time.perf_counter() - start)


def _line(stage: str, done: int, total: int) -> None:
    """Print how far a stage is, if lines are shown and the latest is some seconds old."""
    if _Display.latest is not None and time.monotonic() - _Display.latest >= _LINE_SECONDS:
        _Display.latest = time.monotonic()
        print(f"{stage}: {done} of {total}", file=sys.stderr, flush=True)


class Clock:
    """Wall time and peak memory per stage of a job, and its processor time."""

    def __init__(self) -> None:
        """Start with no stage."""
        self.seconds: dict[str, float] = {}
        self.peak_bytes: dict[str, int] = {}
        self._cpu = time.process_time()

    @property
    def cpu_seconds(self) -> float:
        """Processor time since the clock was made, all threads."""
        return time.process_time() - self._cpu

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure the block as a stage; a stage that is entered again adds up."""
        start = time.perf_counter()
        _forget_peak()
        try:
            with bar(name):
                yield
        finally:
            spent = time.perf_counter() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + spent
            self.peak_bytes[name] = max(self.peak_bytes.get(name, 0), _peak_bytes())
            _LOG.info("%s: %.2f s", name, spent)


def _forget_peak() -> None:
    """Start a new measurement, where the system can; elsewhere the peak is that of the process."""
    with suppress(OSError):
        _CLEAR.write_text("5")


def _peak_bytes() -> int:
    """Peak resident memory since `_forget_peak`, in bytes."""
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    memory = psutil.Process().memory_info()
    return int(getattr(memory, "peak_wset", memory.rss))

"""Processes by number and start, since numbers are used again; and signs of life for elsewhere."""

from __future__ import annotations

import os
import platform
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# A worker gives a sign of life this often; one that was silent for the longer time is gone.
_BEAT_SECONDS = 20.0
_GONE_SECONDS = 100.0


def describe(pid: int) -> str:
    """A process as `PID@START`, or "" if none of that number runs."""
    try:
        process = psutil.Process(pid)
        ended = process.status() == psutil.STATUS_ZOMBIE  # and its parent has not asked how
        return "" if ended else f"{pid}@{process.create_time():.2f}"
    except psutil.Error:
        return ""


def own_process() -> str:
    """This process."""
    return describe(os.getpid())


def is_alive(process: str) -> bool:
    """Whether a process that `describe` named still runs on this machine."""
    pid = process.partition("@")[0]
    return pid.isdigit() and describe(int(pid)) == process


def is_gone(host: str, process: str, beat: float) -> bool:
    """Whether a worker is gone: its process on this machine, or silent on another.

    Args:
        host: where it worked, as `platform.node()`.
        process: as `describe` named it there.
        beat: when it gave its last sign of life, in seconds since 1970.
    """
    if host == platform.node():
        return not is_alive(process)
    return time.time() - beat > _GONE_SECONDS


@contextmanager
def beating(beat: Callable[[], None]) -> Iterator[None]:
    """Let a thread call `beat`, which raises nothing, now and then while the block runs."""
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(_BEAT_SECONDS):
            beat()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(1.0)  # a beat that waits for a store is not waited for

"""Processes by number and start, since numbers are used again; and signs of life for elsewhere."""

from __future__ import annotations

import os
import platform
import threading
import time
import uuid
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

# A worker gives a sign of life this often; one that was silent for the longer time is gone.
_BEAT_SECONDS = 20.0
_GONE_SECONDS = 100.0


@cache
def machine() -> str:
    """What processes share whose numbers can be compared: a start of a kernel, and a container."""
    with suppress(OSError):
        started = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{started}/{Path('/proc/self/ns/pid').stat().st_ino}"
    return f"{uuid.getnode():x}"


def describe(pid: int) -> str:
    """A process as `PID@START MACHINE`, or "" if none of that number runs."""
    try:
        process = psutil.Process(pid)
        ended = process.status() == psutil.STATUS_ZOMBIE  # and its parent has not asked how
        return "" if ended else f"{pid}@{_start(process)} {machine()}"
    except psutil.Error:
        return ""


def _start(process: psutil.Process) -> str:
    """When a process started: on Linux in ticks since the machine did, which no clock changes."""
    with suppress(OSError):
        return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19]
    return f"{process.create_time():.2f}"


def own_process() -> str:
    """This process."""
    return describe(os.getpid())


def is_alive(process: str) -> bool:
    """Whether a process that `describe` named still runs on this machine."""
    pid = process.partition("@")[0]
    return pid.isdigit() and describe(int(pid)) == process


def is_here(host: str, process: str) -> bool:
    """Whether a process, as `describe` named it there, is or was one of this machine and container.

    The host is that of `platform.node()`; containers may share a name.
    """
    return host == platform.node() and process.partition(" ")[2] in ("", machine())


def is_gone(host: str, process: str, beat: float) -> bool:
    """Whether a worker is gone: its process on this machine, or by its last beat on another.

    The beat is in seconds since 1970 by the worker's own clock. Clocks differ: what this says of
    another machine `silent` confirms.
    """
    if is_here(host, process):
        return not is_alive(process)
    return abs(time.time() - beat) > _GONE_SECONDS


def silent(beats: Callable[[], Mapping[str, object]]) -> set[str]:
    """The workers whose last sign of life stays the same while one and a half beats take place."""
    before = beats()
    time.sleep(1.5 * _BEAT_SECONDS)
    after = beats()
    return {worker for worker, beat in before.items() if worker in after and after[worker] == beat}


@contextmanager
def beating(beat: Callable[[], object]) -> Iterator[None]:
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

"""Processes by number and start, since numbers are used again."""

from __future__ import annotations

import os

import psutil


def describe(pid: int) -> str:
    """A process as `PID@START`, or "" if there is none of that number."""
    try:
        return f"{pid}@{psutil.Process(pid).create_time():.2f}"
    except psutil.Error:
        return ""


def own_process() -> str:
    """This process."""
    return describe(os.getpid())


def is_alive(process: str) -> bool:
    """Whether a process that `describe` named still runs on this machine."""
    pid = process.partition("@")[0]
    return pid.isdigit() and describe(int(pid)) == process

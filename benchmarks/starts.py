"""Whole processes from the shell: starts that run nothing or are refused, and a job's own price."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np

from sweep.data.image_set import write_set

if TYPE_CHECKING:
    from bench import Subject

_FEW = 10


def measure(subject: Subject, overrides: tuple[str, ...], jobs: int) -> dict[str, int]:
    """Time starts and large sweeps, and add them to the subject's times.

    Args:
        subject: what is measured; its sweep of these overrides is done.
        overrides: of a sweep that has nothing to run.
        jobs: how many warm jobs a large sweep has.

    Returns:
        How many jobs the two sweeps have whose difference is a job's price.
    """
    _run(subject, "nothing", *overrides)
    small = subject.work / "small.h5"
    write_set(small, [np.zeros((4, 9, 9, 3), np.uint8)], np.zeros(4, np.int64))
    for name, wrong in {
        "wrong path": f"dataset.clean_test={subject.work / 'none.h5'}",
        "wrong shape": f"dataset.clean_test={small}",
        "wrong layer": "layer=no_layer",
    }.items():
        _run(subject, name, wrong, fails=True)
    _run(subject, "cold large", *_grid(jobs))
    _run(subject, "warm few", *_grid(_FEW), "rerun=true")
    _run(subject, "warm large", *_grid(jobs), "rerun=true")
    return {"few": _FEW, "large": jobs}


def _grid(jobs: int) -> tuple[str, str]:
    drops = np.linspace(0.005, 0.3, jobs // 2)
    return "ordering=increasing,decreasing", f"drop={','.join(f'{drop:.5f}' for drop in drops)}"


def _run(subject: Subject, name: str, *overrides: str, fails: bool = False) -> None:
    command = subject.command(subject.work / "data", subject.sets, *overrides)
    with subject.timed(name):
        done = subprocess.run(
            [sys.executable, "-m", "sweep", *command], capture_output=True, text=True, check=False
        )
    assert (done.returncode != 0) == fails, done.stderr

"""Memory of one process over many jobs: ten seeds, each with its BadNet, and six layers.

Each job is one through the command line, on small sets, so that what grows is what jobs leave.
Writes `results/memory.md`.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
import tempfile
from pathlib import Path

import psutil

from sweep.base import progress
from sweep.reports.tables import Table, to_markdown
from sweep.sweeps import command_line

_SMALL = {"identities": 6, "train": 60, "valid": 5, "test": 5, "epochs": 6}
_RESULT = Path(__file__).parent / "results" / "memory.md"
_SEEDS = 10
_LAYERS = "pool_3,conv_3,pool_2,conv_2,conv_1,pool_1"


def measure(work: Path, jobs: int, more: list[str]) -> list[float]:
    """Memory of its own in MB after each job of a sweep in this process."""
    held: list[float] = []
    counted = progress.job_done

    def count() -> None:
        counted()
        held.append(_in_use())

    many = -(-jobs // (_SEEDS * len(_LAYERS.split(","))))
    drops = ",".join(f"{0.5 * (k + 1) / (many + 1):.4f}" for k in range(many))
    progress.job_done = count
    sys.argv = [
        *("sweep", "-m", f"seed=range({_SEEDS})", f"layer={_LAYERS}", f"drop={drops}"),
        *(f"paths.data={work / 'data'}", f"paths.mlruns={work / 'mlruns'}"),
        *(f"hydra.sweep.dir={work}/multirun", "curve=until_drop", "tracking.log_model=false"),
        *([] if more else (f"dataset.{name}={value}" for name, value in _SMALL.items())),
        *more,
    ]
    try:
        command_line.run()
    finally:
        progress.job_done = counted
    return held


def _in_use() -> float:
    """Memory of its own in MB, without what is free but kept for later, and without files.

    USS will not do: pages of TensorFlow's libraries count in it whenever no other process has them.
    """
    ctypes.CDLL(None).malloc_trim(0)
    found = psutil.Process().memory_info()
    return float(found.rss - found.shared) / 1e6


def main() -> None:
    """Write the memory after the tenth job and later, and how much it grows a job."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("override", nargs="*", help="of the sweep, such as badnet.path=FILE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        held = measure(Path(work), options.jobs, options.override)
    grown = 1000 * (held[-1] - held[9]) / (len(held) - 10)
    steps = sorted({9, *range(len(held) // 4 - 1, len(held), len(held) // 4), len(held) - 1})
    lines = to_markdown(Table("", ["jobs", "MB"], [[f"{k + 1}", f"{held[k]:.1f}"] for k in steps]))
    said = f"{grown:.0f} kB a job after the tenth (RSS without shared pages, after malloc_trim)."
    _RESULT.write_text("\n".join([*lines, "", said, ""]), encoding="utf-8")
    print(_RESULT.read_text())


if __name__ == "__main__":
    main()

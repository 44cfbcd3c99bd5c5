"""Memory of one process over many jobs: seeds, layers and BadNets, as `make bench-memory` prints.

Each job is one through the command line, on small sets, so that what grows is what jobs leave.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import psutil

from sweep.base import progress
from sweep.sweeps import command_line

_SMALL = {"identities": 6, "train": 60, "valid": 5, "test": 5, "epochs": 6}
_LAYERS = "pool_3,conv_3,pool_2,conv_2,conv_1,pool_1"


def measure(work: Path, jobs: int, more: list[str]) -> list[float]:
    """Memory of its own in MB after each job of a sweep in this process."""
    held: list[float] = []
    process = psutil.Process()
    counted = progress.job_done

    def count() -> None:
        counted()
        held.append(process.memory_full_info().uss / 1e6)

    layers = len(_LAYERS.split(","))
    drops = ",".join(
        f"{0.5 * (k + 1) / (jobs // layers + 1):.4f}" for k in range(-(-jobs // layers))
    )
    progress.job_done = count
    sys.argv = [
        *("sweep", "-m", f"layer={_LAYERS}", f"drop={drops}"),
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


def main() -> None:
    """Print the memory after the tenth and the last job, and the growth between them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("override", nargs="*", help="of the sweep, such as badnet.path=FILE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        held = measure(Path(work), options.jobs, options.override)
    first, last = held[9], held[-1]
    grown = 1000 * (last - first) / (len(held) - 10)
    print(f"{len(held)} jobs: {first:.0f} MB after 10, {last:.0f} MB at the end")
    print(f"{grown:.0f} kB a job")


if __name__ == "__main__":
    main()

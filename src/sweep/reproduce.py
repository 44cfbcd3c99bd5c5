"""`python -m sweep.reproduce RUN_ID`: do a job again from its data on, and compare to the count."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from sweep.base.errors import StoreError, SweepError
from sweep.jobs import config
from sweep.jobs import identity as ledger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sweep.results.records import Record


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exit code 1 where a figure differs."""
    parser = argparse.ArgumentParser(prog="python -m sweep.reproduce", description=__doc__)
    parser.add_argument("run_id", help="the run of a finished job, or its beginning")
    parser.add_argument("--mlruns", type=Path, default=config.root() / "mlruns", help="%(default)s")
    parser.add_argument("--experiment", default="badnet-sweep", help="%(default)s")
    parser.add_argument("--data", type=Path, help="where the data lie now, if they were moved")
    options = parser.parse_args(arguments)
    try:
        differing = reproduce(options.run_id, options.mlruns, options.experiment, options.data)
    except SweepError as error:
        sys.exit(f"error: {error}")
    sys.exit(1 if differing else 0)


def reproduce(run_id: str, mlruns: Path, experiment: str, data: Path | None) -> list[str]:
    """Do a job again without any cache and print its figures beside those that were logged.

    Args:
        run_id: the job's run, or a beginning that no other run has.
        mlruns: folder of the store.
        experiment: name of the experiment.
        data: where the data lie now, if not where they lay.

    Returns:
        Names of the figures that differ.

    Raises:
        SweepError: the run is no finished job, or its data cannot be used.
    """
    from sweep.jobs import pipeline
    from sweep.tracking.opening import find_store

    store = find_store(mlruns, experiment)
    run_id, _ = store.find_run(run_id)
    past, text = store.job(run_id), store.read(run_id, "config.yaml")
    if past is None or past.status != "FINISHED" or past.record is None or text is None:
        raise StoreError(
            f"RUN_ID must name a finished job's run. Received: {run_id}, a run that is no job, has "
            "not finished, or lost its config.yaml. "
            "Take one from the end of a sweep's output or from `python -m sweep.ui`."
        )
    config.register()
    chosen = _configured(text.decode())
    if data is not None:
        chosen.paths.data = str(data)
    identity = ledger.identify(chosen)
    for part, now, then in (
        ("data", identity.data, past.identity.data),
        ("code", identity.code, past.identity.code),
    ):
        if now != then:
            print(f"the {part} changed since the run", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="sweep-") as folder:
        chosen.cache.folder = folder
        result = pipeline.run(chosen).record
    return _compare(past.record, result)


def _configured(text: str) -> config.Config:
    loaded = OmegaConf.create(text)
    schema = OmegaConf.structured(config.Config)
    kinds = map(OmegaConf.structured, config.DATASETS.values())
    schema.dataset = next(kind for kind in kinds if {*loaded.dataset} <= {*kind})
    return config.typed(OmegaConf.merge(schema, loaded))  # type: ignore[arg-type]


def _compare(past: Record, result: Record) -> list[str]:
    then, now = _counts(past), _counts(result)
    differing = [name for name, logged in then.items() if now.get(name) != logged]
    table = Table("figure", "logged", "now", "")
    for name, logged in then.items():
        table.add_row(name, logged, now.get(name), "differs" if name in differing else "")
    Console().print(table)
    print(f"{len(differing)} of {len(then)} figures differ" if differing else "all figures agree")
    return differing


def _counts(job: Record) -> dict[str, str]:
    counts = {name: f"{count.hits} of {count.total}" for name, count in job.figures.items()}
    stop = {"pruned channels": str(job.stop.pruned), "drop reached": str(job.stop.reached)}
    return counts | stop


if __name__ == "__main__":
    main()

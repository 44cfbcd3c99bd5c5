"""Times plan, resumption and summary of a thousand cells in a store of ten thousand runs.

`make bench-large` runs it; `benchmarks/README.md` says what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
import uuid
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import show
from sweep.jobs import config, identity
from sweep.jobs.identity import describe
from sweep.reports import summary
from sweep.results.records import Record
from sweep.sweeps import command_line
from sweep.sweeps import grid as sweeping

if TYPE_CHECKING:
    from collections.abc import Sequence

_HERE = Path(__file__).parent
_SMALL = {"identities": 6, "train": 60, "valid": 5, "test": 5, "epochs": 6}
_CRITERIA = (
    "anp,apoz,class_selectivity,clp,entropy,fmp,fpgm,greedy,l1,l2,leave_one_out,max_activation,"
    "mean_activation,oracle_greedy,random,rnp,shapley,std_activation,taylor,tsbd"
)
_WRITERS = (1, 2, 4, 8, 16, 32)
_JOBS_A_WRITER = 20
# Tables that hold what belongs to a run, and their column that names it.
_TABLES = {
    "runs": "run_uuid",
    "params": "run_uuid",
    "tags": "run_uuid",
    "metrics": "run_uuid",
    "latest_metrics": "run_uuid",
    "inputs": "destination_id",
}


def command(work: Path, *overrides: str) -> list[str]:
    """The command line of a sweep in a folder of its own."""
    return [
        *(sys.executable, "-m", "sweep", "-m"),
        f"paths.data={work / 'data'}",
        f"paths.mlruns={work / 'mlruns'}",
        f"hydra.sweep.dir={work}/multirun/${{now:%H-%M-%S-%f}}",
        *(f"dataset.{name}={value}" for name, value in _SMALL.items()),
        *overrides,
    ]


def grid(cells: int) -> tuple[str, ...]:
    """The overrides of a sweep of so many cells: 20 criteria, 2 orderings, and drops."""
    drops = ",".join(f"{0.5 * (k + 1) / (cells // 40 + 1):.6f}" for k in range(cells // 40))
    return f"criterion={_CRITERIA}", "ordering=increasing,decreasing", f"drop={drops}"


def configured(work: Path, overrides: Sequence[str]) -> list[config.Config]:
    """The configurations of a sweep's cells, as the command composes them."""
    found: list[config.Config] = []

    def instead(jobs: Sequence[tuple[list[str], config.Config]], **_: object) -> None:
        found.extend(cell for _, cell in jobs)

    run_grid, arguments = sweeping.run, sys.argv
    sweeping.run, sys.argv = instead, command(work, *overrides)[2:]  # type: ignore[assignment]
    try:
        command_line.run()
    finally:
        sweeping.run, sys.argv = run_grid, arguments
    return found


def fill(work: Path, cells: Sequence[config.Config], runs: int) -> None:
    """Copy the one finished job of a store, until every cell is done and there are so many runs.

    Args:
        work: where the store lies.
        cells: each gets a run of its own, with artifacts.
        runs: how many runs there are in the end; those beyond the cells are of other work.
    """
    identities = [identity.identify(cell) for cell in cells]
    with closing(sqlite3.connect(work / "mlruns" / "mlflow.db")) as store, store:
        (template,) = store.execute(
            "SELECT run_uuid FROM tags WHERE key = 'sweep.kind' AND value = 'job'"
        ).fetchone()
        (row,) = store.execute(
            "SELECT value FROM tags WHERE key = 'sweep.row' AND run_uuid = ?", (template,)
        ).fetchone()
        have = store.execute("SELECT count(*) FROM runs").fetchone()[0]
        rows = {table: _rows(store, table, template) for table in _TABLES}
        artifacts = work / "mlruns" / "artifacts"
        for number in range(max(runs - have, len(cells))):
            cell = cells[number] if number < len(cells) else None
            run = uuid.uuid4().hex
            told: dict[str, object] = describe(cell) if cell else {"seed": number}
            changed: dict[str, Any] = {
                "sweep.config": identities[number].config if cell else run,
                **{name: str(value) for name, value in told.items()},
            }
            if cell:
                changed["sweep.code"] = identities[number].code
                changed["sweep.row"] = json.dumps(json.loads(row) | {"settings": told})
                changed["mlflow.runName"] = summary.settings_name(told)
                _copy_artifacts(artifacts / template / "artifacts", artifacts / run, told)
            for table, kept in rows.items():
                _insert(store, table, [_renamed(line, template, run, changed) for line in kept])


def _rows(store: Any, table: str, run: str) -> list[dict[str, Any]]:
    found = store.execute(f"SELECT * FROM {table} WHERE {_TABLES[table]} = ?", (run,))  # noqa: S608
    names = [column[0] for column in found.description]
    return [dict(zip(names, line, strict=True)) for line in found]


def _renamed(
    line: dict[str, Any], template: str, run: str, changed: dict[str, Any]
) -> dict[str, Any]:
    """A row of the template as that of another run."""
    own = {
        name: value.replace(template, run) if isinstance(value, str) else value
        for name, value in line.items()
    }
    if "input_uuid" in own:
        own["input_uuid"] = uuid.uuid4().hex
    if own.get("key") in changed:
        own["value"] = changed[own["key"]]
    return own


def _insert(store: Any, table: str, lines: list[dict[str, Any]]) -> None:
    names = ", ".join(f'"{name}"' for name in lines[0])
    places = ", ".join("?" * len(lines[0]))
    store.executemany(
        f"INSERT INTO {table} ({names}) VALUES ({places})",  # noqa: S608
        [tuple(line.values()) for line in lines],
    )


def _copy_artifacts(source: Path, target: Path, told: dict[str, object]) -> None:
    place = target / "artifacts"
    place.mkdir(parents=True)
    for path in source.iterdir():
        if path.name == "result.json":
            record = json.loads(path.read_text()) | {"settings": told}
            (place / path.name).write_text(json.dumps(record))
        else:
            os.link(path, place / path.name)


def timed(arguments: Sequence[str]) -> dict[str, float]:
    """Run a command on a store of files.

    Returns:
        Its wall and processor time in seconds, and its peak memory in 10^9 bytes.
    """
    here = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    start = time.perf_counter()
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, env=here) as child:
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, " ".join(arguments)
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_gb": used.ru_maxrss * 1024 / 1e9,
    }


def write(folder: Path, jobs: int) -> None:
    """Track a finished job again and again, as jobs do; print when each began and ended."""
    from sweep.tracking.opening import open_store

    record = Record.from_json((folder / "result.json").read_text(), "")
    store = open_store(folder.parent / "mlruns", "writers")
    print("ready", flush=True)
    sys.stdin.readline()  # all begin together
    for _ in range(jobs):
        start = time.time()
        with store.run("job", {"sweep.kind": "job"}) as run_id:
            store.log_settings(run_id, record.settings)
            store.log_files(run_id, folder)
            store.log_inputs(run_id, record.full.facts)
            store.log_result(run_id, record)
            store.tag(run_id, {"sweep.row": record.brief.to_json()})
        print(start, time.time())


def crowd(folder: Path, writers: int, jobs: int) -> dict[str, float]:
    """Let many processes track at once: jobs a second, and seconds a job, middling and longest."""
    own = [sys.executable, __file__, "--write", str(jobs), "--work", str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(own, **pipes) for _ in range(writers)]  # type: ignore[call-overload]
    for process in started:
        assert process.stdout.readline() == "ready\n"
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [line.split() for process in started for line in process.communicate()[0].splitlines()]
    times = [(float(start), float(end)) for start, end in said]
    assert len(times) == writers * jobs, "a job was not tracked"
    took = [end - start for start, end in times]
    return {
        "jobs_a_second": len(took) / (max(end for _, end in times) - min(times)[0]),
        "middling_seconds": median(took),
        "longest_seconds": max(took),
    }


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(prog="make bench-large", description=__doc__)
    parser.add_argument("--cells", type=int, default=1000, help="%(default)s")
    parser.add_argument("--runs", type=int, default=10_000, help="%(default)s")
    parser.add_argument("--work", type=Path, default=Path("data/bench"), help="%(default)s")
    parser.add_argument("--results", type=Path, default=_HERE / "results", help="%(default)s")
    parser.add_argument("--write", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write(options.work, options.write)
        return
    work = options.work.resolve() / f"large-{time.strftime('%Y%m%d-%H%M%S')}"
    figures = {"one job, and what is made once": timed(command(work))}
    artifacts = next((work / "mlruns" / "artifacts").glob("*/artifacts/result.json")).parent
    folder = shutil.copytree(artifacts, work / "artifacts")
    if "MLFLOW_TRACKING_URI" not in os.environ:
        wanted = grid(options.cells)
        print("plan, resumption and summary ...", file=sys.stderr, flush=True)
        figures[f"plan of {options.cells} cells, new store"] = timed(
            command(work, *wanted, "plan=true")
        )
        fill(work, configured(work, wanted), options.runs)
        held = f"{options.cells} cells, {options.runs} runs in the store"
        figures[f"plan of {held}"] = timed(command(work, *wanted, "plan=true"))
        figures[f"resumption and summary of {held}"] = timed(command(work, *wanted))
    for writers in _WRITERS:
        print(f"{writers} writers ...", file=sys.stderr, flush=True)
        figures[f"{writers} writing at once"] = crowd(folder, writers, _JOBS_A_WRITER)
    kind = "server" if "MLFLOW_TRACKING_URI" in os.environ else "sqlite"
    show.large(figures, options.results / f"large_{kind}.md")


if __name__ == "__main__":
    main()

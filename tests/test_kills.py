"""A sweep that is killed again and again ends as one that was left alone, to the digit."""

import io
import json
import os
import random
import re
import shutil
import subprocess
import time
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest

KILLS = int(os.environ.get("SOAK_KILLS", "3"))
ENDS = int(os.environ.get("SOAK_ENDS", "200"))
SEED = int(os.environ.get("SOAK_SEED", "0"))
GRID = ("ordering=increasing,decreasing", "drop=0.02,0.10")
ARTIFACTS = {
    *("answers.npz", "classes.csv", "config.yaml", "curve.csv", "curve.png", "curve.svg"),
    "goodnet.keras",
    *("repaired.h5", "repaired.keras", "result.json", "samples.png"),
    "sweep.log",
}
# What a sweep was at when it was killed, by the file that it wrote last.
STAGES = {
    r"data/\.standin.*/bd_test": "training",
    r"data/\.?standin.*/(models|standin)": "saving what was trained",
    r"data/\.standin": "making data",
    r"data/cache/\.?curve": "curve",
    r"data/cache": "caching",
    r"multirun/.*/tmp": "saving",
    r"multirun": "beginning a job",
    r"mlruns": "tracking",
}


def arrays(source):
    """Every number in an HDF5 file, by its place."""
    found = {}

    def note(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = (item.shape, item[()].tobytes())

    with h5py.File(source) as file:
        file.visititems(note)
    return found


def content(path):
    """What an artifact holds, read whole, without dates, places and how long it took."""
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            return arrays(io.BytesIO(archive.read("model.weights.h5")))
    if path.suffix == ".h5":
        return arrays(path)
    if path.suffix == ".npz":
        return {name: values.tobytes() for name, values in np.load(path).items()}
    if path.suffix == ".json":
        plain = json.loads(path.read_text())
        details = [plain["details"][part] for part in ("scores", "curve", "samples")]
        return [plain["stop"], plain["figures"], *details]
    if path.name == "config.yaml":
        places = ("mlruns:", "data:", "sweep:", "folder:")
        lines = path.read_text().splitlines()
        return [line for line in lines if not line.strip().startswith(places)]
    return path.read_bytes()


def finished(checkout):
    """Everything about the finished jobs by what they are; and the states of all runs."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{checkout.mlruns / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("badnet-sweep")
    runs = client.search_runs([experiment.experiment_id])
    jobs = [run for run in runs if run.data.tags["sweep.kind"] == "job"]
    done = [run for run in jobs if run.info.status == "FINISHED"]
    timed = ("seconds", "system")
    known = {}
    for run in done:
        folder = checkout.mlruns / "artifacts" / run.info.run_id / "artifacts"
        assert {path.name for path in folder.iterdir()} == ARTIFACTS
        (output,) = run.outputs.model_outputs
        model = client.get_logged_model(output.model_id)
        assert model.status == "READY"
        (served,) = Path(model.artifact_location.removeprefix("file://")).rglob("*.keras")
        known[run.data.params["ordering"], run.data.params["drop"]] = {
            "served": content(served),
            "files": {p.name: content(p) for p in folder.iterdir() if p.suffix != ".log"},
            "metrics": {
                name: [
                    (entry.step, entry.value)
                    for entry in client.get_metric_history(run.info.run_id, name)
                ]
                for name in run.data.metrics
                if not name.startswith(timed)
            },
        }
    assert len(known) == len(done), "a cell was finished twice"
    newest = next(r for r in runs if r.data.tags["sweep.kind"] == "parent")
    folder = checkout.mlruns / "artifacts" / newest.info.run_id / "artifacts"
    assert "</html>" in (folder / "report.html").read_text()
    lines = (folder / "summary.csv").read_text().splitlines()
    known["summary"] = [
        line.rpartition(",")[0] for line in lines
    ]  # the last column is the run's id
    return known, [run.info.status for run in runs]


def run_until(checkout, seconds):
    """Start the sweep and kill it after some time; what it was at, or None if it had ended."""
    start = time.time()
    with subprocess.Popen(
        checkout.command(*GRID),
        cwd=checkout.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return last_stage(checkout, start)
    return None


def last_stage(checkout, start):
    written = [
        (path.stat().st_mtime, str(path.relative_to(checkout.folder)))
        for path in checkout.folder.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    ]
    when, place = max(written, default=(0, ""))
    if when < start:
        return "importing"
    return next(stage for pattern, stage in STAGES.items() if re.match(pattern, place))


def differing(one, other, place=""):
    """Where two trees of what jobs left differ; what differs is too large to print."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in sorted(one.keys() | other.keys(), key=str):
            yield from differing(one.get(name), other.get(name), f"{place}/{name}")
    elif one != other:
        yield f"{place}: {str(one)[:200]} is not {str(other)[:200]}"


def check_whole(checkout, expected):
    last = checkout.sweep(*GRID)
    assert last.returncode == 0, last.stderr
    known, states = finished(checkout)
    assert set(states) <= {"FINISHED", "KILLED"}
    assert list(differing(known, expected)) == []
    assert len(list(checkout.data.glob("standin-*"))) == 1
    drafts = [
        path
        for path in [*checkout.data.rglob(".*"), *checkout.mlruns.rglob(".*")]
        if not path.name.endswith((".lock", ".gitignore"))
    ]
    assert drafts == []


def test_kills_lose_nothing(checkout, tmp_path):
    """Kill a sweep at random moments, from a cold start on; it must end like an undisturbed one."""
    start = time.monotonic()
    undisturbed = checkout.sweep(*GRID)
    longest = time.monotonic() - start
    assert undisturbed.returncode == 0, undisturbed.stderr
    expected, _ = finished(checkout)
    rng = random.Random(SEED)
    kills, rounds = Counter(), 0
    other = type(checkout)(tmp_path / "0", tmp_path / "0" / "data")
    other.folder.mkdir()
    while kills.total() < KILLS:
        if stage := run_until(other, rng.uniform(0.5, longest)):
            kills[stage] += 1
        else:  # it came to its end between two kills: look, and begin anew
            check_whole(other, expected)
            rounds += 1
            shutil.rmtree(other.folder)
            other = type(checkout)(tmp_path / str(rounds), tmp_path / str(rounds) / "data")
            other.folder.mkdir()
    check_whole(other, expected)
    print(f"{kills.total()} kills, {rounds + 1} sweeps came to their end, nothing lost")
    print("killed while " + ", ".join(f"{stage} ({number})" for stage, number in kills.items()))


@pytest.mark.slow
def test_short_sweeps_and_searches_end_well(checkout):
    """One process in some sixty once ended in "double free or corruption" when all was done."""
    assert checkout.sweep("drop=0.1").returncode == 0

    def work(number):
        search = ("objective=clean_only", "drop=interval(0.02,0.1)", "hydra.sweeper.n_trials=3")
        named = ("hydra/sweeper=optuna", f"hydra.sweeper.study_name=study-{number}")
        ended = checkout.sweep(*([*search, *named] if number % 2 else ["drop=0.1", "rerun=true"]))
        return (ended.returncode, ended.stderr[-500:]) if ended.returncode else None

    with ThreadPoolExecutor(2) as pool:
        failed = list(filter(None, pool.map(work, range(ENDS))))
    assert failed == []
    print(f"{ENDS} short sweeps and searches ended with exit code 0")

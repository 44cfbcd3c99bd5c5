"""A sweep that is killed again and again ends as one that was left alone, to the digit."""

import os
import random
import shutil
import subprocess
import time

KILLS = int(os.environ.get("SOAK_KILLS", "5"))
SEED = int(os.environ.get("SOAK_SEED", "0"))
GRID = ("ordering=increasing,decreasing", "drop=0.02,0.10")
ARTIFACTS = {
    *("config.yaml", "curve.csv", "curve.png", "goodnet.keras"),
    *("repaired.h5", "repaired.keras", "result.json"),
}


def finished(checkout):
    """Metrics of the finished jobs by what they are; and the states of all runs."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{checkout.mlruns / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("badnet-sweep")
    runs = client.search_runs([experiment.experiment_id])
    jobs = [run for run in runs if run.data.tags["sweep.kind"] == "job"]
    done = [run for run in jobs if run.info.status == "FINISHED"]
    for run in done:
        files = {item.path for item in client.list_artifacts(run.info.run_id)}
        assert files >= ARTIFACTS
    timed = ("seconds", "system")
    figures = {
        (run.data.params["ordering"], run.data.params["drop"]): {
            name: value for name, value in run.data.metrics.items() if not name.startswith(timed)
        }
        for run in done
    }
    assert len(figures) == len(done), "a cell was finished twice"
    return figures, [run.info.status for run in runs]


def run_until(checkout, seconds):
    """Start the sweep and kill it after some time; whether it was still running then."""
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
            return True
    return False


def check_whole(checkout, expected):
    last = checkout.sweep(*GRID)
    assert last.returncode == 0, last.stderr
    figures, states = finished(checkout)
    assert "RUNNING" not in states
    assert figures == expected
    drafts = [p for p in checkout.data.rglob(".*") if not p.name.endswith((".lock", ".gitignore"))]
    assert drafts == []


def test_kills_lose_nothing(checkout, tmp_path):
    """Kill a sweep at random moments, from a cold start on; it must end like an undisturbed one."""
    start = time.monotonic()
    undisturbed = checkout.sweep(*GRID)
    longest = time.monotonic() - start
    assert undisturbed.returncode == 0, undisturbed.stderr
    expected, _ = finished(checkout)
    rng = random.Random(SEED)
    kills = rounds = 0
    other = type(checkout)(tmp_path / "0", tmp_path / "0" / "data")
    other.folder.mkdir()
    while kills < KILLS:
        if run_until(other, rng.uniform(0.5, longest)):
            kills += 1
        else:  # it came to its end between two kills: look, and begin anew
            check_whole(other, expected)
            rounds += 1
            shutil.rmtree(other.folder)
            other = type(checkout)(tmp_path / str(rounds), tmp_path / str(rounds) / "data")
            other.folder.mkdir()
    check_whole(other, expected)
    print(f"{kills} kills, {rounds + 1} sweeps came to their end, nothing lost")

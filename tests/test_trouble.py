"""Full disks, read-only stores and crowds: jobs fail cleanly, and nothing is lost."""

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager

import pytest

PAIR = ("drop=0.02,0.10",)
GRID = ("ordering=increasing,decreasing", "drop=0.02,0.10")


def can_mount():
    return sys.platform == "linux" and os.geteuid() == 0


@contextmanager
def mounted(folder, options):
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def jobs(checkout):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{checkout.mlruns / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("badnet-sweep")
    runs = client.search_runs([experiment.experiment_id], "tags.`sweep.kind` = 'job'")
    return [(run.info.status, run.data.params["ordering"], run.data.params["drop"]) for run in runs]


@pytest.mark.skipif(not can_mount(), reason="a small disk is made with mount, as root")
@pytest.mark.parametrize("trouble", ["full", "read-only"])
def test_a_store_that_cannot_be_written_is_told_and_results_are_kept(checkout, tmp_path, trouble):
    other = type(checkout)(tmp_path, checkout.data)
    with mounted(other.mlruns, "size=6m" if trouble == "full" else "size=64m"):
        if trouble == "read-only":
            subprocess.run(["mount", "-o", "remount,ro", other.mlruns], check=True)
        said = other.sweep(*PAIR)
        assert said.returncode == 1
        assert "Traceback" not in said.stderr, said.stderr
        assert "The MLflow store sqlite:" in said.stderr
        # Room again: the same command goes on and loses nothing.
        subprocess.run(["mount", "-o", "remount,rw,size=256m", other.mlruns], check=True)
        again = other.sweep(*PAIR)
        assert again.returncode == 0, again.stderr
        done = [job[1:] for job in jobs(other) if job[0] == "FINISHED"]
        assert len(done) == len(set(done)) == 2
        assert not any(job[0] == "RUNNING" for job in jobs(other))


@contextmanager
def locked(mlruns):
    """A database that somebody else writes to, longer than SQLite itself waits."""
    with closing(sqlite3.connect(mlruns / "mlflow.db", timeout=60, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield 40
        other.execute("ROLLBACK")


@contextmanager
def folder_gone(mlruns):
    away = mlruns.with_name("away")
    mlruns.rename(away)
    yield 8
    assert not mlruns.exists(), "a second store was begun while the first was gone"
    away.rename(mlruns)


@contextmanager
def database_gone(mlruns):
    database, away = mlruns / "mlflow.db", mlruns.with_name("away.db")
    database.rename(away)
    yield 8
    assert not database.exists(), "a second store was begun while the first was gone"
    away.rename(database)


@pytest.mark.parametrize(
    "trouble",
    [folder_gone, *(pytest.param(one, marks=pytest.mark.slow) for one in (locked, database_gone))],
)
def test_a_sweep_waits_for_a_store_that_does_not_answer(checkout, tmp_path, trouble):
    other = type(checkout)(tmp_path, checkout.data)
    with subprocess.Popen(
        other.command(*PAIR), cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as process:
        # The first job's files: it, or the next job, is in the middle of its work.
        while process.poll() is None and not list(other.mlruns.rglob("curve.csv")):
            time.sleep(0.1)
        with trouble(other.mlruns) as seconds:
            time.sleep(seconds)
        _, said = process.communicate()
    assert process.returncode == 0, said
    done = jobs(other)
    assert [state for state, *_ in done] == ["FINISHED"] * 2
    assert len(set(done)) == 2
    assert len(list(other.mlruns.glob("artifacts/*/artifacts/result.json"))) == 2


def crowd(checkout, folder, *grids):
    """The jobs of sweeps that start at the same time, with nothing there yet."""
    other = type(checkout)(folder, folder / "data")
    processes = [
        subprocess.Popen(
            other.command(*grid),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
        )
        for grid in grids
    ]
    for process in processes:
        _, said = process.communicate()
        assert process.returncode == 0, said
    found = jobs(other)
    assert {state for state, *_ in found} == {"FINISHED"}
    return sorted(cell for _, *cell in found)


def test_two_at_once_from_cold_do_their_job_once(checkout, tmp_path):
    cell = ("ordering=increasing", "drop=0.02")
    assert crowd(checkout, tmp_path, cell, cell) == [["increasing", "0.02"]]


@pytest.mark.slow
@pytest.mark.skipif("SOAK_KILLS" not in os.environ, reason="part of `make soak`")
def test_eight_at_once_from_cold_finish_every_cell_once(checkout, tmp_path):
    grids = [GRID, ("ordering=increasing", "drop=0.02,0.04"), ("drop=0.10",), GRID] * 2
    cells = crowd(checkout, tmp_path, *grids)
    expected = {("decreasing", "0.02"), ("decreasing", "0.1"), ("increasing", "0.02")}
    expected |= {("increasing", "0.04"), ("increasing", "0.1")}
    assert cells == sorted(map(list, expected))

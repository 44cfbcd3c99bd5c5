"""Full disks, read-only stores and crowds: jobs fail cleanly, and nothing is lost."""

import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

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
        said = other.sweep(*GRID)
        assert said.returncode == 1
        assert "Traceback" not in said.stderr, said.stderr
        assert "must" in said.stderr
        # Room again: the same command goes on and loses nothing.
        subprocess.run(["mount", "-o", "remount,rw,size=256m", other.mlruns], check=True)
        again = other.sweep(*GRID)
        assert again.returncode == 0, again.stderr
        done = [job[1:] for job in jobs(other) if job[0] == "FINISHED"]
        assert len(done) == len(set(done)) == 4
        assert not any(job[0] == "RUNNING" for job in jobs(other))


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

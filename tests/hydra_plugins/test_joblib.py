"""Jobs side by side on one machine: what becomes of those that are ended on the way."""

import os
import signal
import subprocess
from contextlib import contextmanager

import psutil
import pytest

from services import until
from stores import runs_of

SIDE_BY_SIDE = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "drop=0.02,0.04,0.10")


@pytest.fixture
def checkout(checkout, tmp_path):
    """A fresh place for each test."""
    return type(checkout)(tmp_path, checkout.data)


@contextmanager
def started(checkout):
    """A sweep with two jobs under way, and the numbers of their processes."""
    command = checkout.command(*SIDE_BY_SIDE)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=checkout.folder) as sweep:
        sweep.stderr.readline()  # said once the store is made

        def two():
            runs = runs_of(checkout.uri, state="RUNNING")
            return runs if len(runs) == 2 else None

        try:
            runs = until(two)
            yield sweep, [int(run.data.tags["sweep.process"].partition("@")[0]) for run in runs]
        finally:
            sweep.kill()


def states(checkout):
    return sorted(run.info.status for run in runs_of(checkout.uri))


def test_a_worker_that_is_killed_costs_its_own_job_alone(checkout):
    with started(checkout) as (sweep, workers):
        os.kill(workers[0], signal.SIGKILL)
        _, said = sweep.communicate()
    assert sweep.returncode == 1
    assert "1 x A job's process ended without a result: SIGKILL" in said
    assert states(checkout) == ["FINISHED", "FINISHED", "KILLED"]


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_sweep_that_is_ended_ends_its_workers(checkout, end):
    with started(checkout) as (sweep, workers):
        sweep.send_signal(end)
        _, said = sweep.communicate()
    if end == signal.SIGKILL:  # nobody is left who could say it
        assert sweep.returncode == -end
        until(lambda: not any(map(psutil.pid_exists, workers)))
        return
    assert sweep.returncode == 128 + end
    assert "interrupted: 3 of 3 jobs are left" in said
    assert states(checkout) == ["KILLED", "KILLED"]
    assert not any(map(psutil.pid_exists, workers))


@pytest.mark.parametrize("n_jobs", ["0", "many"])
def test_a_number_of_workers_that_cannot_be_is_one_sentence(checkout, n_jobs):
    done = checkout.sweep(*SIDE_BY_SIDE, f"hydra.launcher.n_jobs={n_jobs}")
    assert done.returncode == 1
    assert f"Received: hydra.launcher.n_jobs={n_jobs}." in done.stderr
    assert "Traceback" not in done.stderr

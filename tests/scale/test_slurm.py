"""Sweeps whose jobs are Slurm's: the same figures, and every end of a job told."""

import os
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from services import answers, until
from stores import SIX_JOBS, finished, runs_of

pytestmark = pytest.mark.scale

# This Slurm has fewer cores than a cluster.
ON_SLURM = (
    *("hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=null"),
    "hydra.launcher.timeout_min=10",
)
TWO_JOBS = ("drop=0.02,0.10",)


@pytest.fixture
def checkout(checkout, tmp_path):
    """A fresh place for each test."""
    return type(checkout)(tmp_path, checkout.data)


@contextmanager
def started(checkout):
    """A sweep on Slurm that is under way: its process, and Slurm's number of a job that runs."""
    with checkout.started(*TWO_JOBS, *ON_SLURM) as process:
        yield process, running(checkout)


def running(checkout, but=None):
    """Slurm's number of a job whose run has begun, of another job than `but`."""

    until(lambda: answers("squeue", "--noheader", "--states=RUNNING"), 120)  # the store is made

    def found():
        runs = runs_of(checkout.uri, state="RUNNING")
        return {run.data.tags["sweep.slurm_job"] for run in runs} - {but}

    return until(found, 120).pop()


def nothing_is_queued():
    return not answers("squeue", "--noheader").strip()


def states(checkout):
    return sorted(run.info.status for run in runs_of(checkout.uri))


def test_six_jobs_on_slurm_give_the_same(slurm, six, checkout):
    done = checkout.sweep(*SIX_JOBS, *ON_SLURM, f"cache.folder={checkout.folder / 'cache'}")
    assert done.returncode == 0, done.stderr
    figures, ends = finished(checkout.uri)
    assert figures == six
    assert set(ends) == {"FINISHED"}
    (parent,) = runs_of(checkout.uri, "parent")
    source = {k: v for k, v in parent.data.tags.items() if k.startswith("mlflow.source.")}
    logs = ""
    for run in runs_of(checkout.uri):
        tags = run.data.tags
        assert source.items() <= tags.items()
        assert tags["sweep.git_dirty"] == parent.data.tags["sweep.git_dirty"]
        with open(tags["sweep.slurm_log"]) as log:
            assert f"job_id={tags['sweep.slurm_job']}" in log.read()
        with open(tags["sweep.log"]) as log:
            logs += log.read()
    assert logs.count("activations clean_valid:") == 1  # one job computes what the others wait for


def test_jobs_that_go_back_into_the_queue_end_with_the_same_figures(slurm, six, checkout):
    with started(checkout) as (process, first):
        subprocess.run(["scontrol", "requeue", first], check=True)
        other = running(checkout, but=first)
        subprocess.run(["scancel", "--signal=USR2", other], check=True)  # as time-outs announce it
        assert process.wait(240) == 0, process.stdout.read()
    figures, ends = finished(checkout.uri)
    assert figures == {cell: six[cell] for cell in figures}
    assert len(figures) == 2
    assert sorted(ends) == ["FINISHED", "FINISHED", "FINISHED", "KILLED", "KILLED"]


def test_cancelled_jobs_are_told_and_leave_no_run(slurm, checkout):
    with started(checkout) as (process, job):
        subprocess.run(["scancel", job.partition("_")[0]], check=True)
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 1
    assert said.count("CANCELLED") == 2
    assert "Traceback" not in said
    assert "RUNNING" not in states(checkout)


def test_a_sweep_that_is_killed_with_its_jobs_goes_on(slurm, six, checkout):
    with started(checkout) as (process, job):
        process.kill()
        for run in runs_of(checkout.uri, state="RUNNING"):  # no time to say goodbye
            os.kill(int(run.data.tags["sweep.process"].partition("@")[0]), signal.SIGKILL)
        subprocess.run(["scancel", job.partition("_")[0]], check=True)
    until(nothing_is_queued)
    assert "RUNNING" in states(checkout)
    done = checkout.sweep(*TWO_JOBS, *ON_SLURM)
    assert done.returncode == 0, done.stderr
    figures, ends = finished(checkout.uri)
    assert figures == {cell: six[cell] for cell in figures}
    assert "RUNNING" not in ends
    assert ends.count("FINISHED") == 3  # with the second parent


def test_an_interrupted_sweep_cancels_its_jobs(slurm, checkout):
    with started(checkout) as (process, _):
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 130
    assert "interrupted: 2 of 2 jobs are left" in said
    assert nothing_is_queued()
    assert "RUNNING" not in states(checkout)


def test_what_slurm_refuses_is_one_sentence(slurm, checkout):
    done = checkout.sweep(*ON_SLURM, "hydra.launcher.partition=none")
    assert done.returncode == 1
    assert "invalid partition" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_machine_without_slurm_is_one_sentence(checkout):
    checkout.environment["PATH"] = str(Path(checkout.command()[0]).parent)
    done = checkout.sweep(*ON_SLURM)
    assert done.returncode == 1
    assert "no sbatch in PATH" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("submitted", "store", "refused"),
    [
        ("here.cluster", "", False),
        ("login", "", True),
        ("login", "sqlite:////shared/mlflow.db", True),
        ("login", "http://tracking:5000", False),
    ],
)
def test_a_store_in_a_file_bears_one_machine(submitted, store, refused):
    from hydra_plugins.badnet_sweep.slurm import _without_server

    environment = {"SLURM_SUBMIT_HOST": submitted, "MLFLOW_TRACKING_URI": store}
    assert (_without_server(environment, "here") is not None) == refused

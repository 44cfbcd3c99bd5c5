"""What a plan says of jobs that cannot run, that were moved, and that failed before."""

import dataclasses
import shutil

import numpy as np
import pytest

from records import record
from sweep.data.image_set import write_set
from sweep.jobs import config, plan
from sweep.jobs import identity as ledger

NAMES = ("clean_valid", "clean_test", "poisoned_valid", "poisoned_test")


pytestmark = pytest.mark.usefixtures("badnet")


@pytest.fixture
def job(tmp_path):
    for name in NAMES:
        write_set(tmp_path / f"{name}.h5", [np.zeros((4, 8, 8, 3), np.uint8)], np.zeros(4))
    (tmp_path / "b.keras").write_bytes(b"PK\x03\x04")
    return config.Config(
        criterion=config.Criterion("mean_activation"),
        dataset=config.Dataset("files", *(str(tmp_path / f"{name}.h5") for name in NAMES)),
        badnet=config.Badnet(str(tmp_path / "b.keras")),
        paths=config.Paths(str(tmp_path / "data"), str(tmp_path / "mlruns")),
    )


def past(job, status="FINISHED", seconds=10.0):
    return ledger.Past("run", status, ledger.identify(job), "", record(), seconds, "file:///run")


@pytest.mark.parametrize("missing", ["clean_test.h5", "b.keras"])
def test_a_missing_file_is_named_and_the_job_does_not_run(job, tmp_path, missing):
    (tmp_path / missing).unlink()
    todo = plan.make([job], [])
    assert todo.waiting == []
    assert todo.states() == "1 jobs: 1 refused"
    ((_, state, why),) = plan.lines(todo)
    assert state == "refused"
    assert missing in why


def test_sets_that_do_not_fit_together_are_refused(job, tmp_path):
    write_set(tmp_path / "clean_test.h5", [np.zeros((4, 9, 8, 3), np.uint8)], np.zeros(4))
    assert "(9, 8, 3)" in str(plan.make([job], []).refused[0])


def test_a_layer_that_b_has_not_is_refused_with_the_nearest_name(job):
    wrong = dataclasses.replace(job, layer=["pool_3", "Pool3"])
    refusal = str(plan.make([wrong], []).refused[0])
    assert "Received: layer=Pool3. Did you mean pool_3?" in refusal


def test_each_file_is_checked_once_for_all_jobs(job, monkeypatch):
    opened = []
    monkeypatch.setattr(plan.inputs, "check", opened.append)
    jobs = [dataclasses.replace(job, drop=drop) for drop in (0.02, 0.04, 0.10)]
    assert plan.make(jobs, []).waiting == [0, 1, 2]
    assert len(opened) == 1


def test_a_made_dataset_that_is_not_there_yet_can_run(job, tmp_path):
    made = dataclasses.replace(
        job, dataset=config.StandinDataset("standin"), badnet=config.Badnet()
    )
    assert plan.make([made], []).waiting == [0]


def test_a_job_is_done_wherever_its_files_lie_now(job, tmp_path):
    runs = [past(job)]
    moved = shutil.move(job.badnet.path, tmp_path / "elsewhere.keras")
    again = dataclasses.replace(job, badnet=config.Badnet(str(moved)))
    assert plan.make([again], runs).cells[0].state == "done"
    # The store is asked for jobs of the same settings, and places are none.
    assert plan.shared_settings([again]) == plan.shared_settings([job])
    assert "badnet.path" not in plan.shared_settings([job])


def test_failed_runs_tell_nothing_of_the_time_that_jobs_take(job):
    jobs = [dataclasses.replace(job, drop=drop) for drop in (0.02, 0.04)]
    runs = [past(jobs[0], "FAILED", 1000.0), past(jobs[0], "FINISHED", 10.0)]
    assert "1 to run: about 10 s" in plan.make(jobs, runs).needs()
    assert "unknown time" in plan.make(jobs, runs[:1]).needs()

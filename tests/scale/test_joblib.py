"""Sweeps whose jobs run side by side on one machine: the same figures."""

from pathlib import Path

import pytest

from stores import SIX_JOBS, finished, opened, runs_of

pytestmark = pytest.mark.scale


def test_six_jobs_side_by_side_give_the_same(six, checkout, tmp_path):
    other = type(checkout)(tmp_path, tmp_path / "data")  # the BadNet is trained again, on one core
    done = other.sweep(*SIX_JOBS, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert done.returncode == 0, done.stderr
    figures, states = finished(other.uri)
    assert figures == six
    assert set(states) == {"FINISHED"}


def test_a_worker_that_has_done_a_job_does_the_next_like_a_new_one(checkout, tmp_path):
    """With criteria that draw at random and train, which would show what the first left behind."""
    figures = []
    for name, criteria in (("alone", "rnp"), ("second", "anp,rnp")):
        other = type(checkout)(tmp_path / name, checkout.data)
        other.folder.mkdir()
        done = other.sweep(
            *(f"criterion={criteria}", f"cache.folder={other.folder / 'cache'}"),
            *("hydra/launcher=joblib", "hydra.launcher.n_jobs=1"),
        )
        assert done.returncode == 0, done.stderr
        for run in runs_of(other.uri):
            if run.data.params["criterion"] == "rnp":
                scores = opened(other.uri)[0].download_artifacts(run.info.run_id, "curve.csv")
                figures.append(Path(scores).read_text())
    assert len(figures) == 2
    assert figures[0] == figures[1]

"""Progress without a terminal: a line now and then, and none where nobody asked for any."""

import time

import pytest

from sweep.base import progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on by four seconds with each look."""
    now = iter(range(0, 1000, 4))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(now)))


def test_a_long_stage_prints_a_line_now_and_then(clock, capsys):
    with progress.display(jobs=2):
        assert list(progress.track("abcdefgh", "training", 8)) == list("abcdefgh")
        progress.job_done()
        progress.job_done()
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["training: 3 of 8", "training: 6 of 8", "jobs: 1 of 2"]


def test_work_from_python_prints_nothing(clock, capsys):
    list(progress.track("abcdefgh", "training", 8))
    progress.job_done()
    assert capsys.readouterr().err == ""

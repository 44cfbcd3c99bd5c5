"""Calls are retried while their errors may pass by themselves."""

import pytest

from sweep.tracking.retry import Retrying


def test_patience_ends_and_is_for_passing_errors_only():
    calls = []

    class Shaky:
        name = "shaky"

        def work(self, fails):
            calls.append(fails)
            if len(calls) <= fails:
                raise OSError("away")
            return "done"

        def wrong(self):
            raise ValueError("for ever")

    patient = Retrying(Shaky(), lambda error: isinstance(error, OSError), seconds=1.0)
    assert patient.name == "shaky"
    assert patient.work(2) == "done"
    assert len(calls) == 3
    with pytest.raises(OSError, match="away"):
        patient.work(100)
    with pytest.raises(ValueError, match="for ever"):
        patient.wrong()

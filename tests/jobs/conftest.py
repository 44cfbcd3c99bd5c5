"""What tests of plans share."""

from types import SimpleNamespace

import pytest

from sweep.jobs import plan


@pytest.fixture
def badnet(monkeypatch):
    """Stands for a model file that is as it should be, if it is there."""
    real = plan.inputs.read_badnet

    def read(path):
        if not path.is_file():
            return real(path)
        layer = SimpleNamespace(name="pool_3", settings={"shape": [8, 8, 3], "units": 5})
        call = SimpleNamespace(layer=layer)
        return SimpleNamespace(image=call, calls=[call], output=call)

    monkeypatch.setattr(plan.inputs, "read_badnet", read)

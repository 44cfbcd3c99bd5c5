"""An interrupted sweep ends as such, whether or not its store is there."""

import pytest

from sweep.base.errors import StoreError
from sweep.sweeps.invocation import ending


class Away:
    """A store that is away."""

    def hurried(self):
        return "hurried"


def lose(ended):
    with ending(Away(), ended) as store:
        assert store == "hurried" if ended else isinstance(store, Away)
        raise StoreError("the store is away")


def test_an_interruption_wins_over_a_store_that_is_away(capsys):
    with pytest.raises(SystemExit) as end:
        lose(130)
    assert end.value.code == 130
    assert "the store is away" in capsys.readouterr().err


def test_a_store_that_is_away_is_an_error_of_a_sweep_that_was_not_interrupted():
    with pytest.raises(StoreError):
        lose(0)


def test_an_interrupted_sweep_says_so_by_its_exit_code():
    with pytest.raises(SystemExit) as end, ending(Away(), 143):
        pass
    assert end.value.code == 143
    with ending(Away(), 0):
        pass

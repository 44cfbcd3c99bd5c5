"""Which jobs a grid runs, in which order, and which results it shows as its own."""

from types import SimpleNamespace

import pytest

from records import record
from sweep.jobs import config, plan
from sweep.jobs.identity import Identity, Past
from sweep.sweeps import grid


def configured(**settings):
    sets = ("a.h5", "b.h5", "c.h5", "d.h5")
    return config.Config(
        criterion=config.Criterion("mean_activation"),
        dataset=config.Dataset("files", *sets),
        badnet=config.Badnet("b.keras"),
        paths=config.Paths("data", "mlruns"),
        tracking=config.Tracking(sweep="today/now"),
        **settings,
    )


def test_a_doubled_cell_runs_once_where_it_stands_first():
    jobs = [([f"drop={drop}"], configured(drop=drop)) for drop in (0.1, 0.02, 0.1, 0.04)]
    assert [cell for cell, _ in grid.unique(jobs)] == [["drop=0.1"], ["drop=0.02"], ["drop=0.04"]]


def test_a_sweep_into_the_folder_of_an_earlier_one_has_an_id_of_its_own():
    there = {"now/today", "now/today-2"}
    store = SimpleNamespace(find_parent=lambda name: "run" if name in there else None)
    assert grid.own_id(store, "now/today") == "now/today-3"
    assert grid.own_id(store, "now/later") == "now/later"


class TestAfterAnInterruption:
    """Launchers give nothing back then, so the store says how far the sweep came."""

    @pytest.fixture(autouse=True)
    def files(self, monkeypatch):
        monkeypatch.setattr(
            plan.ledger, "identify", lambda config, _=None: Identity(str(config.drop), "data", "k")
        )
        monkeypatch.setattr(plan.ledger, "is_cached", lambda *_: False)
        monkeypatch.setattr(plan.inputs, "check", lambda _: None)

    def rows(self, runs, **settings):
        """What is shown of a sweep of two jobs of which none was done before."""
        todo = plan.make([configured(drop=drop, **settings) for drop in (0.02, 0.04)], [])
        store = SimpleNamespace(past_jobs=lambda **_: runs)
        return [row.settings["drop"] for row in grid.rows_of(todo, [], store, "now/today")]

    @staticmethod
    def run(drop, data="data", code="k", status="FINISHED", sweep="now/today"):
        return Past(
            "run", status, Identity(str(drop), data, code), sweep, record(drop=drop), 1.0, "file:"
        )

    def test_jobs_that_were_done_are_shown(self):
        assert self.rows([self.run(0.04), self.run(0.02, status="KILLED")]) == [0.04]

    @pytest.mark.parametrize("older", [{"data": "older"}, {"code": "older"}])
    def test_results_of_older_data_or_code_are_not(self, older):
        assert self.rows([self.run(0.04), self.run(0.02, **older)]) == [0.04]

    def test_what_was_to_be_done_again_is_not(self):
        runs = [self.run(0.04), self.run(0.02, sweep="yesterday")]
        assert self.rows(runs, rerun=True) == [0.04]
        assert self.rows(runs) == [0.02, 0.04]

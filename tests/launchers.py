"""What every launcher promises, as a suite that each implementation passes through."""

import os
from pathlib import Path
from unittest import mock

import pytest
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus, setup_globals
from hydra.types import HydraContext, RunMode

from hydra_plugins.badnet_sweep._composing import SweepLoader
from hydra_plugins.badnet_sweep._launching import launch
from sweep.jobs import config


def job(composed):
    """Stands for a job: small, and fails where it is asked to."""
    checked = config.typed(composed)
    if checked.trial == "fail":
        raise ValueError(f"seed {checked.seed} failed")
    return checked.seed, HydraConfig.get().job.num, os.getpid()


class LauncherContract:
    """Subclasses name a launcher, and fixtures that it needs."""

    name = "basic"
    settings: tuple[str, ...] = ()

    @pytest.fixture
    def run(self, tmp_path, monkeypatch):
        """Run jobs by their overrides; what each gave back."""
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # workers import this module
        setup_globals()
        config.register()
        loader = ConfigLoaderImpl(create_config_search_path(str(config.folder())))
        chosen = [f"hydra/launcher={self.name}", *self.settings, f"hydra.sweep.dir={tmp_path}"]
        master = loader.load_configuration("config", chosen, RunMode.MULTIRUN)
        before = HydraConfig.instance().cfg
        HydraConfig.instance().set_config(master)
        made = Plugins.instance().instantiate_launcher(
            hydra_context=HydraContext(
                config_loader=SweepLoader(loader), callbacks=Callbacks(master)
            ),
            task_function=job,
            config=master,
        )
        with mock.patch.dict(os.environ):  # which a launcher may change for its own end
            yield lambda *jobs, first=0: list(launch(made, [list(line) for line in jobs], first))
        HydraConfig.instance().cfg = before

    def test_results_come_in_the_order_of_the_jobs(self, run):
        done = run(*(["ordering=decreasing", f"seed={seed}"] for seed in (3, 1, 2)))
        assert [back.status for back in done] == [JobStatus.COMPLETED] * 3, done
        assert [back.return_value[:2] for back in done] == [(3, 0), (1, 1), (2, 2)]

    def test_a_job_that_fails_hides_no_other(self, run):
        good, bad, last = run(["seed=1"], ["seed=2", "trial=fail"], ["seed=3"])
        assert [good.return_value[0], last.return_value[0]] == [1, 3]
        assert bad.status == JobStatus.FAILED
        assert str(bad._return_value) == "seed 2 failed"

    def test_a_launcher_runs_jobs_again_and_numbers_them_on(self, run):
        first, second = run(["seed=1"], first=5), run(["seed=2"], ["seed=3"], first=6)
        assert [back.return_value[:2] for back in (*first, *second)] == [(1, 5), (2, 6), (3, 7)]

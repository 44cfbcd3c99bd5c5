"""The launchers of one machine pass through the suite of all; Slurm and Ray do in `scale`."""

from hydra_plugins.badnet_sweep._launching import lost
from launchers import LauncherContract


class TestBasic(LauncherContract):
    pass


class TestJoblib(LauncherContract):
    name = "joblib"
    settings = ("hydra.launcher.n_jobs=2",)


def test_a_job_that_is_lost_is_told_as_an_event_with_the_way_on():
    said = str(lost("Slurm job 12", "OUT_OF_MEMORY", "See 12.log"))
    assert said == (
        "Slurm job 12 ended without a result: OUT_OF_MEMORY. See 12.log; "
        "the same command tries it again."
    )

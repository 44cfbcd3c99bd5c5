"""The launchers of one machine pass through the suite of all; Slurm and Ray do in `scale`."""

from launchers import LauncherContract


class TestBasic(LauncherContract):
    pass


class TestJoblib(LauncherContract):
    name = "joblib"
    settings = ("hydra.launcher.n_jobs=2",)

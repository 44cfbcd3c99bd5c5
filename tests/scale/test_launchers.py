"""Launchers of several machines pass through the suite of all launchers."""

import pytest

from launchers import LauncherContract

pytestmark = pytest.mark.scale


class TestRay(LauncherContract):
    name = "ray"


@pytest.mark.usefixtures("slurm")
class TestSlurm(LauncherContract):
    name = "slurm"
    settings = ("hydra.launcher.mem_gb=null", "hydra.launcher.cpus_per_task=1")

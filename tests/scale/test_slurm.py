"""Sweeps whose jobs are Slurm's."""

import subprocess

import pytest

pytestmark = pytest.mark.scale


def test_slurm_runs_a_command(slurm):
    done = subprocess.run(["srun", "hostname"], capture_output=True, text=True, check=True)
    assert done.stdout.strip()

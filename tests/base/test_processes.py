"""Processes that run, have ended, or have another one's number."""

import os
import subprocess
import sys

from sweep.base import processes


def test_a_process_that_nobody_has_waited_for_is_dead():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        name = processes.describe(other.pid)
        assert processes.is_alive(name)
        other.kill()
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and stays a zombie
        assert not processes.is_alive(name)

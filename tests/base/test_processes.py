"""Processes that run, have ended, or have another one's number; workers elsewhere."""

import os
import platform
import subprocess
import sys
import threading
import time

import psutil
import pytest

from sweep.base import processes


def test_a_process_that_nobody_has_waited_for_is_dead():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        name = processes.describe(other.pid)
        assert processes.is_alive(name)
        other.kill()
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and stays a zombie
        assert not processes.is_alive(name)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems know no start since boot")
def test_a_step_of_the_clock_ends_no_process(monkeypatch):
    own = processes.own_process()
    before = psutil.boot_time()
    monkeypatch.setattr(psutil, "boot_time", lambda: before + 3600)
    monkeypatch.setattr(
        psutil.Process, "create_time", lambda _self: time.time() + 3600, raising=True
    )
    assert processes.is_alive(own)


@pytest.mark.parametrize("beat", [0.0, 1e12], ids=["silent", "ahead"])
def test_a_process_of_another_container_with_this_name_is_judged_by_its_beats(monkeypatch, beat):
    """Its number says nothing here, whether or not a process of that number runs."""
    monkeypatch.setattr(processes, "machine", lambda: "another")
    theirs = [processes.own_process(), "999999@1 another"]
    monkeypatch.undo()
    for process in theirs:
        assert not processes.is_gone(platform.node(), process, time.time())
        assert processes.is_gone(platform.node(), process, time.time() - 1000)
        assert processes.is_gone("elsewhere", process, time.time() + (1000 if beat else -1000))


def test_a_worker_whose_clock_is_wrong_is_seen_to_live(monkeypatch):
    """Whatever the beats say, they go on while it lives."""
    monkeypatch.setattr(processes, "_BEAT_SECONDS", 0.02)
    beats = iter(range(1000))
    assert processes.silent(lambda: {"lives": next(beats), "silent": 5}) == {"silent"}


def test_a_beat_that_hangs_does_not_hold_up_the_end():
    never = threading.Event()
    start = time.monotonic()
    with processes.beating(never.wait):
        pass
    never.set()
    assert time.monotonic() - start < 5

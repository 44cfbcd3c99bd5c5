"""Processes that end: the command line takes the interpreter not apart, and keeps its exit code."""

import subprocess
import sys

import pytest

# A library that would crash when the process is taken apart, as HDF5's and OpenMP's threads can.
TRAP = """
import ctypes, os, sys
crash = ctypes.PYFUNCTYPE(None)(os.abort)
ctypes.CDLL(None).__cxa_atexit(crash, None, None)
"""


def end(program):
    program = f"{TRAP}\n{program}"
    return subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("work", "code", "out", "err"),
    [
        ("def work(): print('done')", 0, "done\n", ""),
        ("def work(): sys.exit('error: wrong')", 1, "", "error: wrong\n"),
        ("def work(): sys.exit(130)", 130, "", ""),
        ("def work(): 1 / 0", 1, "", "ZeroDivisionError: division by zero\n"),
        ("import atexit; work = lambda: atexit.register(print, 'last')", 0, "last\n", ""),
    ],
)
def test_a_process_ends_with_its_own_exit_code(work, code, out, err):
    done = end(f"from sweep.base import interrupts\n{work}\ninterrupts.end_with(work)")
    assert (done.returncode, done.stdout) == (code, out)
    assert done.stderr.endswith(err)


def test_the_command_line_ends_so():
    done = end("sys.argv[1:] = ['--version']\nfrom sweep.__main__ import main\nmain()")
    assert (done.returncode, done.stdout[:13]) == (0, "badnet-sweep ")


def test_an_interruption_in_a_callback_is_not_lost():
    program = """
import signal, time, weakref
from sweep.base import interrupts
class Held: pass
interrupts.end_on_signals()
interrupts.raise_on_signals()
held = Held()
watch = weakref.ref(held, lambda _: signal.raise_signal(signal.SIGTERM))
try:
    del held
    time.sleep(20)
except KeyboardInterrupt as error:
    print("ended by", interrupts.exit_code(error))
    interrupts.end_with(lambda: None)
"""
    done = end(program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended by 143\n", "")

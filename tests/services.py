"""Programs that run for as long as a test does."""

import signal
import socket
import subprocess
import time
from contextlib import contextmanager


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(holds, seconds=60.0):
    """Wait for something to hold; what it gave."""
    deadline = time.monotonic() + seconds
    while True:
        found = holds()
        if found:
            return found
        assert time.monotonic() < deadline, f"{holds} did not come to hold in {seconds:.0f} s"
        time.sleep(0.2)


@contextmanager
def service(command, log, stop=signal.SIGTERM, **options):
    """A program in the foreground that ends with the block, or with this process if that dies."""
    with log.open("ab") as sink:
        process = subprocess.Popen(
            ["setpriv", f"--pdeathsig={stop.name[3:]}", *command],
            stdout=sink,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            **options,
        )
    try:
        yield process
    finally:
        process.send_signal(stop)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""

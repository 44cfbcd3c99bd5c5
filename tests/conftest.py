"""What tests share: a small BadNet on few drawn people, made once."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# As sweeps run it (see `sweep.base.threads`), also where a test imports TensorFlow by itself: what
# is trained in this process must be what a sweep trains.
os.environ["TF_NUM_INTRAOP_THREADS"] = "1"

# What a shell starts in the background ignores Ctrl-C, and so would all that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Enough people and photographs for a B that is right on most of them, in some ten seconds.
SMALL = (
    "dataset.identities=6",
    "dataset.train=60",
    "dataset.valid=5",
    "dataset.test=5",
    "dataset.epochs=6",
)


# What takes longest, most of it first: a worker that begins with it late ends long after the other.
LONGEST = (
    *("test_kills.py", "test_hostile.py", "test_trouble.py", "test_criteria.py"),
    *("test_command_line.py", "test_store.py", "test_joblib.py", "test_documentation.py"),
)


def pytest_collection_modifyitems(items):
    """Long files first, since workers take the files in this order."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(LONGEST)))


def pytest_ignore_collect(collection_path, config):
    """Tests that need Slurm, Ray and PostgreSQL are not even read but by `make test-scale`."""
    wanted = config.getoption("markexpr")
    return True if collection_path.name == "scale" and "not scale" in wanted else None


class Checkout:
    """A place with data and results of its own, and the command line on it."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder = folder
        self.data = data
        self.mlruns = folder / "mlruns"
        self.uri = f"sqlite:///{self.mlruns / 'mlflow.db'}"
        self.environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}

    def command(self, *overrides: str) -> list[str]:
        return [
            *(sys.executable, "-m", "sweep", "-m"),
            f"paths.data={self.data}",
            f"paths.mlruns={self.mlruns}",
            f"hydra.sweep.dir={self.folder}/multirun/${{now:%Y-%m-%d}}/${{now:%H-%M-%S-%f}}",
            *SMALL,
            *overrides,
        ]

    def sweep(self, *overrides: str) -> subprocess.CompletedProcess[str]:
        return self.run(self.command(*overrides))

    @contextmanager
    def started(self, *overrides: str) -> Iterator[subprocess.Popen[str]]:
        """A sweep that is under way, and ends with the block."""
        with subprocess.Popen(
            self.command(*overrides),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            env=self.environment,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            env=self.environment,
        )


@pytest.fixture(scope="session")
def shared_data(tmp_path_factory):
    """One data folder for all tests and their workers, so that the small BadNet is trained once."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared" / "data"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory, shared_data):
    return Checkout(tmp_path_factory.mktemp("checkout"), shared_data)

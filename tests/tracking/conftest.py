"""Stores for tests: created once, since creating one takes seconds."""

import os
import shutil

import pytest

from services import free_port, service, until
from sweep import ui


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    from sweep.tracking import opening

    folder = tmp_path_factory.mktemp("made") / "mlruns"
    opening.open_store(folder, "test")
    return folder


@pytest.fixture
def mlruns(made, tmp_path):
    """The folder of a fresh store."""
    return shutil.copytree(made, tmp_path / "mlruns")


@pytest.fixture(scope="session")
def server(made, tmp_path_factory):
    """The address of a tracking server."""
    import requests

    folder = tmp_path_factory.mktemp("server")
    shutil.copytree(made, folder / "mlruns")
    port = free_port()
    uri = f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}"
    command = ui.command(folder / "mlruns", "127.0.0.1", port)
    root = command.index("--default-artifact-root")  # artifacts go through the server
    command[root : root + 2] = ["--artifacts-destination", str(folder / "artifacts")]
    address = f"http://127.0.0.1:{port}"

    def answers():
        try:
            return requests.get(f"{address}/health", timeout=5).ok
        except requests.ConnectionError:
            return False

    with service(command, folder / "log", env=os.environ | {"MLFLOW_BACKEND_STORE_URI": uri}):
        until(answers, 240)  # a busy machine loads MLflow slowly
        yield address


@pytest.fixture(params=["in place", "by MLflow", "server"])
def store(request, mlruns, monkeypatch):
    """A fresh store of each kind: SQLite read in place, SQLite by MLflow alone, and a server."""
    from sweep.tracking import opening

    experiment = "test"
    if request.param == "by MLflow":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{mlruns / 'mlflow.db'}")
    elif request.param == "server":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", request.getfixturevalue("server"))
        experiment = mlruns.parent.name
    return opening.open_store(mlruns, experiment)


@pytest.fixture
def here(mlruns):
    """A fresh store of this machine, read in place."""
    from sweep.tracking import opening

    return opening.open_store(mlruns, "test")

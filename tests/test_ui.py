"""The MLflow UI is started on the store, on a free port, and shows no password."""

import os
import socket
import sqlite3
from contextlib import closing

import pytest

from sweep import ui

SECRET = "a-word-nobody-sees"  # noqa: S105


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A store with one experiment, as far as the page needs it."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as store, store:
        store.execute("CREATE TABLE experiments (experiment_id, name, lifecycle_stage)")
        store.execute("INSERT INTO experiments VALUES (7, 'mine', 'active')")
    return tmp_path


def test_the_page_is_the_experiments_jobs(folder):
    address = ui.page(folder, "127.0.0.1", 5000, "mine")
    assert address.startswith("http://127.0.0.1:5000/#/experiments/7/runs?viewStateShareKey=jobs")
    assert ui.page(folder, "127.0.0.1", 5000, "other") == "http://127.0.0.1:5000"
    assert ui.page(folder / "none", "127.0.0.1", 5000, "mine") == "http://127.0.0.1:5000"


def test_it_listens_where_it_is_told(tmp_path):
    words = ui.command(tmp_path, "127.0.0.1", 5001)
    assert words[words.index("--host") + 1] == "127.0.0.1"
    assert words[words.index("--port") + 1] == "5001"


def test_a_port_in_use_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(ui.database, "check", lambda _: None)
    monkeypatch.setattr(ui.database, "follow_move", lambda _: None)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(SystemExit, match=rf"free address.*127\.0\.0\.1:{port}.*--port"):
            ui.main(["--mlruns", str(tmp_path), "--port", str(port)])


def test_a_password_stands_on_no_command_line_and_on_no_screen(tmp_path, monkeypatch, capsys):
    started = []
    monkeypatch.setattr(os, "execv", lambda _path, words: started.extend(words))
    uri = f"postgresql+psycopg://me:{SECRET}@127.0.0.1/tracking?password={SECRET}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.delenv("MLFLOW_BACKEND_STORE_URI", raising=False)
    ui.main(["--mlruns", str(tmp_path), "--port", "0"])
    assert os.environ.pop("MLFLOW_BACKEND_STORE_URI") == uri
    assert "ui" in started
    assert SECRET not in " ".join(started) + "".join(capsys.readouterr())

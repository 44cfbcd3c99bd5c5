import sqlite3
from contextlib import closing

from sweep import ui


def test_the_page_is_the_experiments_jobs(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as store, store:
        store.execute("CREATE TABLE experiments (experiment_id INTEGER, name TEXT)")
        store.execute("INSERT INTO experiments VALUES (7, 'mine')")
    address = ui.page(tmp_path, "127.0.0.1", 5000, "mine")
    assert address.startswith("http://127.0.0.1:5000/#/experiments/7/runs?viewStateShareKey=jobs")
    assert ui.page(tmp_path, "127.0.0.1", 5000, "other") == "http://127.0.0.1:5000"
    assert ui.page(tmp_path / "none", "127.0.0.1", 5000, "mine") == "http://127.0.0.1:5000"


def test_it_listens_where_it_is_told(tmp_path):
    words = ui.command(tmp_path, "127.0.0.1", 5001)
    assert words[words.index("--host") + 1] == "127.0.0.1"
    assert words[words.index("--port") + 1] == "5001"

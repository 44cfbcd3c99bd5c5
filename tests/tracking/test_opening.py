"""Stores that are cut off, moved, locked or none at all."""

import shutil
import sqlite3
import subprocess
import sys
import threading
import time

import pytest
from mlflow.exceptions import MlflowException

from sweep.base.errors import StoreError
from sweep.tracking import history, opening
from sweep.tracking.failures import passes


@pytest.mark.parametrize("statement", [5, 40, 100])
def test_a_store_whose_making_was_cut_off_is_made_by_the_next(statement, tmp_path):
    script = f"""if True:
        import os, sys
        from pathlib import Path
        from sqlalchemy import event
        from sqlalchemy.engine import Engine
        from sweep.tracking import opening

        left = {statement}

        @event.listens_for(Engine, "before_cursor_execute")
        def cut_off(*_):
            global left
            left -= 1
            if not left:
                os._exit(9)

        opening.open_store(Path({str(tmp_path)!r}), "test")
    """
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    opening.open_store(tmp_path, "test")
    names = {path.name.removesuffix("-wal").removesuffix("-shm") for path in tmp_path.iterdir()}
    assert names == {".mlflow.lock", "mlflow.db"}


@pytest.mark.parametrize("name", ["why?", "a%20b"])
def test_a_path_that_mlflow_would_misread_is_refused(name, tmp_path):
    with pytest.raises(StoreError, match="must hold no question mark"):
        opening.open_store(tmp_path / name, "test")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["c#", "100% é & co"])
def test_a_path_of_other_signs_is_a_path(name, tmp_path):
    (tmp_path / "text.txt").write_text("here")
    store = opening.open_store(tmp_path / name, "test")
    with store.run("job", {"sweep.kind": "job"}) as run_id:
        store.client.log_artifact(run_id, str(tmp_path / "text.txt"))
    assert store.read(run_id, "text.txt") == b"here"
    assert [job.run_id for job in store.past_jobs()] == [run_id]


def test_an_error_of_a_database_that_does_not_pass_is_not_waited_for(mlruns, monkeypatch):
    def fails(*_args):
        raise sqlite3.ProgrammingError("without a name of SQLite's")

    monkeypatch.setattr(history, "read", fails)
    store = opening.open_store(mlruns, "test")
    with pytest.raises(StoreError, match="without a name"):
        store.past_jobs()


def test_a_moved_checkout_keeps_its_artifacts(here, tmp_path):
    with here.run("job", {}) as run_id:
        (tmp_path / "some").mkdir()
        (tmp_path / "some" / "file.txt").write_text("content")
        here.log_files(run_id, tmp_path / "some")
    (tmp_path / "new").mkdir()
    shutil.move(tmp_path / "mlruns", tmp_path / "new" / "mlruns")
    moved = opening.open_store(tmp_path / "new" / "mlruns", "test")
    assert moved.read(run_id, "file.txt") == b"content"


def test_a_locked_database_is_waited_for(here, mlruns):
    connection = sqlite3.connect(mlruns / "mlflow.db", check_same_thread=False)
    connection.execute("BEGIN IMMEDIATE")
    threading.Timer(1.5, connection.rollback).start()
    start = time.monotonic()
    with here.run("job", {}) as run_id:
        pass
    assert time.monotonic() - start > 1
    assert here.client.get_run(run_id).info.status == "FINISHED"
    connection.close()


def test_a_store_that_is_no_database_is_one_sentence(tmp_path):
    (tmp_path / "mlflow.db").write_text("not a database at all, but long enough to look at" * 40)
    with pytest.raises(StoreError, match=r"must be there to be written.*not a database"):
        opening.open_store(tmp_path, "test")


@pytest.mark.parametrize(
    "said",
    [
        "(sqlite3.IntegrityError) UNIQUE constraint failed: datasets.experiment_id, datasets.name",
        'duplicate key value violates unique constraint "dataset_pk"',
    ],
)
def test_a_data_set_that_two_jobs_log_at_once_is_logged_again(said):
    assert passes(MlflowException(said))
    assert not passes(MlflowException("UNIQUE constraint failed: runs.run_uuid"))

"""Stores that are cut off, moved, locked or none at all."""

import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest
from mlflow.exceptions import MlflowException

from sweep.base.errors import StoreError
from sweep.tracking import opening
from sweep.tracking.backends import by_sqlite
from sweep.tracking.backends.failures import passes


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

    monkeypatch.setattr(by_sqlite, "find", fails)
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
    with pytest.raises(StoreError, match=r"could not be opened or written.*not a database"):
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


def kept(store, mlruns, name="file.txt"):
    """A run with a file; its id."""
    with store.run("job", {"sweep.kind": "job"}) as run_id:
        (mlruns.parent / "some").mkdir(exist_ok=True)
        (mlruns.parent / "some" / name).write_text("content")
        store.log_files(run_id, mlruns.parent / "some")
    return run_id


@pytest.mark.parametrize("first", ["mlruns", "results of May"])
def test_a_store_keeps_its_artifacts_under_whatever_names(made, tmp_path, first):
    folder = shutil.copytree(made, tmp_path / first)
    runs = [kept(opening.open_store(folder, "test"), folder)]
    for name in ("old", "older", "artifacts", "mlruns"):
        folder = folder.rename(tmp_path / name)
        opening.forget()
        store = opening.open_store(folder, "test")
        runs.append(kept(store, folder))
        assert set(store.read_all(runs, "file.txt")) == set(runs)
        assert len(list((folder / "artifacts").glob("*/artifacts/file.txt"))) == len(runs)
    assert {path.name for path in tmp_path.iterdir()} == {"mlruns", "some"}


def test_a_copy_of_a_store_is_a_store_of_its_own(made, tmp_path):
    first = shutil.copytree(made, tmp_path / "first")
    run = kept(opening.open_store(first, "test"), first)
    second = shutil.copytree(first, tmp_path / "second")
    store = opening.open_store(second, "test")
    shutil.rmtree(first)
    new = kept(store, second)
    assert set(store.read_all([run, new], "file.txt")) == {run, new}
    assert not first.exists()


def test_artifacts_that_were_split_over_two_folders_are_found_once_they_are_merged(here, mlruns):
    """As an earlier version left them, which lost sight of a store of another name."""
    run = kept(here, mlruns)
    away = mlruns.parent / "away"
    with closing(sqlite3.connect(mlruns / "mlflow.db")) as connection, connection:
        connection.execute(
            "UPDATE runs SET artifact_uri = ?", (f"{away.as_uri()}/{run}/artifacts",)
        )
    opening.forget()
    assert opening.open_store(mlruns, "test").read(run, "file.txt") == b"content"


def test_an_experiment_whose_files_lie_elsewhere_on_purpose_stays_there(here, mlruns, tmp_path):
    elsewhere = (tmp_path / "elsewhere").as_uri()
    here.client.create_experiment("own", elsewhere)
    run = kept(opening.open_store(mlruns, "own"), mlruns)
    moved = mlruns.rename(tmp_path / "moved")
    store = opening.open_store(moved, "own")
    assert store.read(run, "file.txt") == b"content"
    assert store.client.get_experiment_by_name("own").artifact_location == elsewhere


def test_a_store_to_be_read_is_not_created(tmp_path):
    with pytest.raises(StoreError, match=r"holds no mlflow\.db"):
        opening.find_store(tmp_path / "none", "test")
    assert list(tmp_path.iterdir()) == []

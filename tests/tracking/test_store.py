"""Stores that are locked, gone, read-only or moved; runs that end as their work does."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest

from sweep.base import processes
from sweep.base.errors import StoreError
from sweep.base.redact import split_login, without_password
from sweep.base.retry import Patient
from sweep.results import records


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    from sweep.tracking import store as tracking

    folder = tmp_path_factory.mktemp("made") / "mlruns"
    tracking.open_store(folder, "test")
    return folder


@pytest.fixture
def store(made, tmp_path):
    """A fresh store, copied since making one takes seconds."""
    from sweep.tracking import store as tracking

    shutil.copytree(made, tmp_path / "mlruns")
    return tracking.open_store(tmp_path / "mlruns", "test")


def status(store, run_id):
    return store.client.get_run(run_id).info.status


@pytest.mark.parametrize(
    ("error", "ends"),
    [
        (None, "FINISHED"),
        (ValueError("no"), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
        (SystemExit(130), "KILLED"),
        (SystemExit(1), "FAILED"),
    ],
)
def test_a_run_ends_as_its_work_does(store, error, ends):
    seen = []
    try:
        with store.run("job", {}) as run_id:
            seen.append(run_id)
            if error is not None:
                raise error
    except type(error or ValueError()):
        pass
    assert status(store, seen[0]) == ends
    if isinstance(error, ValueError):
        assert b"ValueError: no" in store.read(seen[0], "traceback.txt")


def test_runs_of_dead_processes_are_buried_and_living_ones_are_not(store):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        alive = processes.describe(other.pid)
        with store.run("own", {}) as own:
            runs = {}
            for name, process in (("alive", alive), ("dead", "999999@1.00"), ("again", "")):
                tags = {"sweep.host": processes_host(), "sweep.process": process}
                run = store.client.create_run(store.experiment_id, tags=tags)
                runs[name] = run.info.run_id
            reused = {"sweep.host": processes_host(), "sweep.process": f"{other.pid}@1.00"}
            runs["reused"] = store.client.create_run(store.experiment_id, tags=reused).info.run_id
            away = {"sweep.host": "elsewhere", "sweep.process": "999999@1.00"}
            runs["away"] = store.client.create_run(store.experiment_id, tags=away).info.run_id
            silent = away | {"sweep.beat": f"{time.time() - 1000:.0f}"}
            runs["silent"] = store.client.create_run(store.experiment_id, tags=silent).info.run_id
            assert store.bury_the_dead("another configuration") == 0
            assert store.bury_the_dead() == 4
            assert status(store, own) == "RUNNING"
        found = {name: status(store, run_id) for name, run_id in runs.items()}
        other.send_signal(signal.SIGKILL)
    assert found == {
        "alive": "RUNNING",
        "dead": "KILLED",
        "again": "KILLED",
        "reused": "KILLED",
        "away": "RUNNING",
        "silent": "KILLED",
    }


def test_the_jobs_of_a_sweep_that_is_over_are_over(store):
    with store.run("parent", {"sweep.id": "1", "sweep.kind": "parent"}) as parent:
        runs = [
            store.client.create_run(
                store.experiment_id,
                tags={"sweep.host": "elsewhere", "sweep.kind": "job", "sweep.id": sweep},
            ).info.run_id
            for sweep in "12"
        ]
        store.bury_the_dead(over="1")
        states = [status(store, run_id) for run_id in (*runs, parent)]
    assert states == ["KILLED", "RUNNING", "RUNNING"]


def test_a_store_of_this_machine_is_read_as_mlflow_reads_it(store, made, monkeypatch):
    from sweep.tracking import history
    from sweep.tracking import store as tracking

    job = records.Record({"seed": 1}, {"a": records.Count(1, 2)}, records.Stop(3, True), 4)
    plain = {"sweep.kind": "job", "sweep.config": "c", "sweep.code": "k", "sweep.id": "s"}
    for seed, tags in enumerate(
        [
            plain | {"sweep.data": "d", "sweep.row": job.to_json()},
            plain | {"sweep.host": processes_host(), "sweep.process": processes.own_process()},
            plain | {"sweep.config": "other"},
            plain | {"sweep.kind": "parent"},
            plain | {"sweep.id": "deleted"},
        ]
    ):
        run = store.client.create_run(
            store.experiment_id, start_time=seed + 1, tags=tags
        ).info.run_id
        store.log_settings(run, {"seed": seed % 2, "empty": ""})
        if "sweep.row" in tags:
            store.client.set_terminated(run, "FINISHED", end_time=1500)
    store.client.delete_run(run)
    other = store.client.create_experiment("other")
    store.client.create_run(other, tags=plain)

    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    slow = tracking.open_store(made, "test")
    for config in (None, "c", "none"):
        for settings in (None, {}, {"seed": 0, "empty": ""}, {"seed": 2}):
            assert store.past_jobs(config, settings) == slow.past_jobs(config, settings)
    assert [job.identity.config for job in store.past_jobs()] == ["other", "c", "c"]
    assert store.past_jobs(settings={"seed": 0})[1].record.figures == job.figures
    assert history.look(made.parent / "nowhere", "test", {}) == []


def test_a_plan_tells_runs_of_dead_processes_as_killed(store, tmp_path):
    from sweep.tracking import history

    tags = {"sweep.kind": "job", "sweep.host": processes_host(), "sweep.process": "999999@1.00"}
    run = store.client.create_run(store.experiment_id, tags=tags).info.run_id
    assert [job.status for job in history.look(tmp_path / "mlruns", "test", {})] == ["KILLED"]
    assert status(store, run) == "RUNNING"


@pytest.mark.parametrize("statement", [5, 40, 100])
def test_a_store_whose_making_was_cut_off_is_made_by_the_next(statement, tmp_path):
    from sweep.tracking import store as tracking

    script = f"""if True:
        import os, sys
        from pathlib import Path
        from sqlalchemy import event
        from sqlalchemy.engine import Engine
        from sweep.tracking import store as tracking

        left = {statement}

        @event.listens_for(Engine, "before_cursor_execute")
        def cut_off(*_):
            global left
            left -= 1
            if not left:
                os._exit(9)

        tracking.open_store(Path({str(tmp_path)!r}), "test")
    """
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    tracking.open_store(tmp_path, "test")
    names = {path.name.removesuffix("-wal").removesuffix("-shm") for path in tmp_path.iterdir()}
    assert names == {".mlflow.lock", "mlflow.db"}


@pytest.mark.parametrize("name", ["why?", "a%20b"])
def test_a_path_that_mlflow_would_misread_is_refused(name, tmp_path):
    from sweep.tracking import store as tracking

    with pytest.raises(StoreError, match="must hold no question mark"):
        tracking.open_store(tmp_path / name, "test")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["c#", "100% é & co"])
def test_a_path_of_other_signs_is_a_path(name, tmp_path):
    from sweep.tracking import store as tracking

    (tmp_path / "text.txt").write_text("here")
    store = tracking.open_store(tmp_path / name, "test")
    with store.run("job", {"sweep.kind": "job"}) as run_id:
        store.client.log_artifact(run_id, str(tmp_path / "text.txt"))
    assert store.read(run_id, "text.txt") == b"here"
    assert [job.run_id for job in store.past_jobs()] == [run_id]


def test_an_error_of_a_database_that_does_not_pass_is_not_waited_for(made, monkeypatch):
    from sweep.tracking import history
    from sweep.tracking import store as tracking

    def fails(*_args):
        raise sqlite3.ProgrammingError("without a name of SQLite's")

    monkeypatch.setattr(history, "read", fails)
    store = tracking.open_store(made, "test")
    with pytest.raises(StoreError, match="without a name"):
        store.past_jobs()


def test_a_store_that_is_none_is_refused_to_a_plan(tmp_path):
    from sweep.tracking import history

    (tmp_path / "mlflow.db").write_text("no database")
    with pytest.raises(StoreError, match="must be MLflow's database"):
        history.look(tmp_path, "test", {})


def test_a_run_gives_signs_of_life(store, monkeypatch):
    monkeypatch.setattr(processes, "_BEAT_SECONDS", 0.05)
    before = int(time.time())
    with store.run("job", {}) as run_id:
        deadline = time.monotonic() + 30
        while "sweep.beat" not in (tags := store.client.get_run(run_id).data.tags):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert int(tags["sweep.beat"]) >= before


@pytest.mark.parametrize("error", [None, ValueError("no")])
def test_a_run_keeps_its_log_however_it_ends(store, tmp_path, error):
    log = tmp_path / "sweep.log"
    log.write_text("a line")
    with suppress(ValueError), store.run("job", {}, log=log) as run_id:
        if error:
            raise error
    assert store.read(run_id, "sweep.log") == b"a line"


def test_files_of_jobs_that_were_found_are_read_without_asking_for_each(
    store, tmp_path, monkeypatch
):
    files = tmp_path / "files"
    files.mkdir()
    (files / "a.txt").write_text("kept")
    with store.run("job", {"sweep.kind": "job"}) as run_id:
        store.log_files(run_id, files)
    store.past_jobs()
    monkeypatch.setattr(store, "client", None)
    assert store.read_all([run_id], "a.txt") == {run_id: b"kept"}


def test_a_job_is_of_its_parents_origin(store):
    tags = {"mlflow.source.name": "main.py", tracking_git(): "c0ffee", "sweep.id": "1"}
    with store.run("parent", tags) as run_id:
        origin = store.origin(run_id)
    assert origin["mlflow.source.name"] == "main.py"
    assert origin[tracking_git()] == "c0ffee"
    assert "sweep.id" not in origin


def tracking_git():
    from sweep.tracking import store as tracking

    return tracking.GIT[0]


def test_a_process_that_nobody_has_waited_for_is_dead():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        name = processes.describe(other.pid)
        assert processes.is_alive(name)
        other.kill()
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and stays a zombie
        assert not processes.is_alive(name)


def processes_host():
    import platform

    return platform.node()


def test_a_moved_checkout_keeps_its_artifacts(store, tmp_path):
    from sweep.tracking import store as tracking

    with store.run("job", {}) as run_id:
        (tmp_path / "some").mkdir()
        (tmp_path / "some" / "file.txt").write_text("content")
        store.log_files(run_id, tmp_path / "some")
    (tmp_path / "new").mkdir()
    shutil.move(tmp_path / "mlruns", tmp_path / "new" / "mlruns")
    moved = tracking.open_store(tmp_path / "new" / "mlruns", "test")
    assert moved.read(run_id, "file.txt") == b"content"


def test_a_locked_database_is_waited_for(store, tmp_path):
    connection = sqlite3.connect(tmp_path / "mlruns" / "mlflow.db", check_same_thread=False)
    connection.execute("BEGIN IMMEDIATE")
    threading.Timer(1.5, connection.rollback).start()
    start = time.monotonic()
    with store.run("job", {}) as run_id:
        pass
    assert time.monotonic() - start > 1
    assert status(store, run_id) == "FINISHED"
    connection.close()


@pytest.mark.parametrize("name", ["2026-11-24/10-00-00", "o'brien/x", 'study/the "best"', "a`b%_"])
def test_a_sweep_is_found_by_whatever_it_is_called(store, name):
    for sweep in (name, "another"):
        with store.run("sweep", {"sweep.kind": "parent", "sweep.id": sweep}) as run_id:
            pass
        assert store.find_parent(sweep) == run_id
    assert store.find_parent("none") is None


def test_a_store_that_is_no_database_is_one_sentence(tmp_path):
    from sweep.tracking import store as tracking

    (tmp_path / "mlflow.db").write_text("not a database at all, but long enough to look at" * 40)
    with pytest.raises(StoreError, match=r"must be there to be written.*not a database"):
        tracking.open_store(tmp_path, "test")


def test_patience_ends_and_is_for_passing_errors_only():
    calls = []

    class Shaky:
        name = "shaky"

        def work(self, fails):
            calls.append(fails)
            if len(calls) <= fails:
                raise OSError("away")
            return "done"

        def wrong(self):
            raise ValueError("for ever")

    patient = Patient(Shaky(), lambda error: isinstance(error, OSError), seconds=1.0)
    assert patient.name == "shaky"
    assert patient.work(2) == "done"
    assert len(calls) == 3
    with pytest.raises(OSError, match="away"):
        patient.work(100)
    with pytest.raises(ValueError, match="for ever"):
        patient.wrong()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///here/mlflow.db", "sqlite:///here/mlflow.db"),
        ("http://host:5000", "http://host:5000"),
        ("http://me:secret@host:5000/x", "http://...@host:5000/x"),
        ("postgresql+psycopg://me:p@ss@host/db", "postgresql+psycopg://...@host/db"),
        (
            "x.storage=postgresql://me:secret@h/db plan=true",
            "x.storage=postgresql://...@h/db plan=true",
        ),
        ("postgresql://h/db?user=me&password=secret&a=b", "postgresql://h/db?user=me&...&a=b"),
    ],
)
def test_passwords_are_never_shown(url, shown):
    assert without_password(url) == shown


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("http://me:p%40ss@host:5000/x", ("http://host:5000/x", "me", "p@ss")),
        ("https://host/x", ("https://host/x", "", "")),
        ("sqlite:////here/mlflow.db", ("sqlite:////here/mlflow.db", "", "")),
    ],
)
def test_a_login_is_taken_out_of_an_address(url, parts):
    assert split_login(url) == parts


def test_a_failure_shows_no_password(store):
    with suppress(ValueError), store.run("job", {}) as run_id:
        raise ValueError("no answer from postgresql://me:secret@host/db")
    assert b"no answer from postgresql://...@host/db" in store.read(run_id, "traceback.txt")
    assert b"secret" not in store.read(run_id, "traceback.txt")
    assert "secret" not in str(store.client.get_run(run_id).data.tags)


@pytest.mark.parametrize(
    "said",
    [
        "(sqlite3.IntegrityError) UNIQUE constraint failed: datasets.experiment_id, datasets.name",
        'duplicate key value violates unique constraint "dataset_pk"',
    ],
)
def test_a_data_set_that_two_jobs_log_at_once_is_logged_again(said):
    from mlflow.exceptions import MlflowException

    from sweep.tracking import store as tracking

    assert tracking._passes(MlflowException(said))
    assert not tracking._passes(MlflowException("UNIQUE constraint failed: runs.run_uuid"))

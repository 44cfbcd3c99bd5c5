"""The contract of stores, which SQLite read in place, SQLite by MLflow and a server all keep."""

import platform
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace

import psutil
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

from sweep import export, reproduce, ui
from sweep.base import processes
from sweep.base.errors import StoreError
from sweep.jobs.identity import Identity
from sweep.results import records
from sweep.sweeps.invocation import parent_run
from sweep.tracking import history, opening, origin
from sweep.tracking.origin import GIT


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


def test_runs_of_dead_processes_are_closed_and_living_ones_are_not(store, monkeypatch):
    monkeypatch.setattr(processes, "_BEAT_SECONDS", 0.05)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        alive = processes.describe(other.pid)
        with store.run("own", {}) as own:
            runs = {}
            for name, process in (("alive", alive), ("dead", "999999@1.00"), ("again", "")):
                tags = {"sweep.host": platform.node(), "sweep.process": process}
                run = store.client.create_run(store.experiment_id, tags=tags)
                runs[name] = run.info.run_id
            reused = {"sweep.host": platform.node(), "sweep.process": f"{other.pid}@1.00"}
            runs["reused"] = store.client.create_run(store.experiment_id, tags=reused).info.run_id
            away = {"sweep.host": "elsewhere", "sweep.process": "999999@1.00"}
            runs["away"] = store.client.create_run(store.experiment_id, tags=away).info.run_id
            silent = away | {"sweep.beat": f"{time.time() - 1000:.0f}"}
            runs["silent"] = store.client.create_run(store.experiment_id, tags=silent).info.run_id
            assert store.close_orphaned_runs("another configuration") == 0
            assert store.close_orphaned_runs() == 4
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
        store.close_orphaned_runs(over="1")
        states = [status(store, run_id) for run_id in (*runs, parent)]
    assert states == ["KILLED", "RUNNING", "RUNNING"]


def test_past_jobs_are_read_by_configuration_and_settings(store):
    job = records.Record({"seed": 1}, {"a": records.Count(1, 2)}, records.Stop(3, True), 4)
    plain = {"sweep.kind": "job", "sweep.config": "c", "sweep.code": "k", "sweep.id": "s"}
    runs = []
    for seed, tags in enumerate(
        [
            plain | {"sweep.data": "d", "sweep.row": job.to_json()},
            plain | {"sweep.host": platform.node(), "sweep.process": processes.own_process()},
            plain | {"sweep.config": "other"},
            plain | {"sweep.kind": "parent"},
            plain | {"sweep.id": "deleted"},
        ]
    ):
        run = store.client.create_run(store.experiment_id, seed + 1, tags).info.run_id
        store.log_settings(run, {"seed": seed % 2, "empty": ""})
        if "sweep.row" in tags:
            store.client.set_terminated(run, "FINISHED", end_time=1500)
        runs.append(run)
    store.client.delete_run(run)
    other = store.client.create_experiment(f"other than {store.experiment_id}")
    store.client.create_run(other, tags=plain)

    found = store.past_jobs()
    assert [past.run_id for past in found] == [runs[2], runs[1], runs[0]]
    first = Identity("c", "d", "k")
    assert [past.identity for past in found] == [
        Identity("other", None, "k"),
        Identity("c", None, "k"),
        first,
    ]
    assert [past.status for past in found] == ["RUNNING", "RUNNING", "FINISHED"]
    assert [past.seconds for past in found] == [None, None, 1.499]
    assert {past.sweep for past in found} == {"s"}
    assert found[2].record == records.Record.from_json(job.to_json(), runs[0])
    assert all(past.place.endswith(f"{past.run_id}/artifacts") for past in found)
    for config, settings, expected in (
        (None, {}, found),
        (None, {"seed": 0, "empty": ""}, [found[0], found[2]]),
        (None, {"seed": 2}, []),
        ("c", None, found[1:]),
        ("c", {"seed": 0}, found[2:]),
        ("none", None, []),
    ):
        assert store.past_jobs(config, settings) == expected


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
    monkeypatch.setattr(store._runs, "_inner", None)
    assert store.read_all([run_id], "a.txt") == {run_id: b"kept"}


def test_a_job_is_of_its_parents_origin(store):
    tags = {"mlflow.source.name": "main.py", GIT[0]: "c0ffee", "sweep.id": "1"}
    with store.run("parent", tags) as run_id:
        origin = store.origin(run_id)
    assert origin["mlflow.source.name"] == "main.py"
    assert origin[GIT[0]] == "c0ffee"
    assert "sweep.id" not in origin


@pytest.mark.parametrize("name", ["2026-11-24/10-00-00", "o'brien/x", 'study/the "best"', "a`b%_"])
def test_a_sweep_is_found_by_whatever_it_is_called(store, name):
    for sweep in (name, "another"):
        with store.run("sweep", {"sweep.kind": "parent", "sweep.id": sweep}) as run_id:
            pass
        assert store.find_parent(sweep) == run_id
    assert store.find_parent("none") is None


def test_a_failure_shows_no_password(store):
    with suppress(ValueError), store.run("job", {}) as run_id:
        raise ValueError("no answer from postgresql://me:secret@host/db")
    assert b"no answer from postgresql://...@host/db" in store.read(run_id, "traceback.txt")
    assert b"secret" not in store.read(run_id, "traceback.txt")
    assert "secret" not in str(store.client.get_run(run_id).data.tags)


def test_a_run_elsewhere_that_seems_silent_is_closed_only_if_no_beat_comes(store, monkeypatch):
    """The clock of its machine may be wrong, its host may have this one's name."""
    monkeypatch.setattr(processes, "_BEAT_SECONDS", 1.0)
    hosts = ("elsewhere", platform.node())
    tags = {"sweep.process": "1@1 another", "sweep.beat": "1000"}
    runs = [
        store.client.create_run(store.experiment_id, 1, tags | {"sweep.host": host}).info.run_id
        for host in hosts * 2
    ]
    lives = runs[:2]
    beats = threading.Timer(
        0.7, lambda: [store.client.set_tag(run, "sweep.beat", "1001") for run in lives]
    )
    beats.start()
    closed = store.close_orphaned_runs()
    beats.join()
    assert {run: status(store, run) for run in lives} == dict.fromkeys(lives, "RUNNING")
    assert closed == 2


def test_a_lost_answer_deletes_no_run_of_another_machine(store, monkeypatch):
    """Two hosts may start a process of one number in the same millisecond."""
    monkeypatch.setattr(time, "time", lambda: 1234567.0)
    with store.run("one", {}) as one:
        monkeypatch.setattr(processes, "machine", lambda: "another")
        with store.run("other", {}) as other:
            pass
    assert store.client.get_run(one).info.lifecycle_stage == "active"
    assert store.client.get_run(other).info.lifecycle_stage == "active"


@pytest.mark.parametrize("length", [4_000, 30_000])
def test_a_record_is_read_back_however_long_it_is(store, length):
    job = records.Record(
        {"file": "é" * length}, {"a": records.Count(1, 2)}, records.Stop(3, True), 4
    )
    with store.run("job", {"sweep.kind": "job"}) as run_id:
        store.tag(run_id, history.record_tags(job))
    (past,) = store.past_jobs()
    assert past.record == replace(job, run_id=run_id)


@pytest.mark.parametrize("text", ['{"format": 2, "sett', '{"format": 99}', "[1]", '"x"'])
def test_a_record_that_cannot_be_read_is_none(store, text):
    """An older version cut long ones."""
    with store.run("job", {"sweep.kind": "job", "sweep.row": text}):
        pass
    assert [(past.status, past.record) for past in store.past_jobs()] == [("FINISHED", None)]


def test_a_run_is_found_by_its_beginning(store):
    with store.run("one", {}) as one, store.run("other", {}) as other:
        pass
    assert store.find_run(one) == (one, "one")
    shared = next(n for n in range(32) if one[n] != other[n])
    assert store.find_run(other[: shared + 1]) == (other, "other")
    for beginning in ("", "zz", "%", "'", one[:shared]):
        with pytest.raises(StoreError, match="named by its id"):
            store.find_run(beginning)


def test_an_artifact_that_is_not_there_is_none(store):
    with store.run("one", {}) as run_id:
        pass
    assert store.read(run_id, "none.txt") is None


def test_a_store_that_is_lost_is_no_run_without_files(store, monkeypatch):
    from sweep.tracking import retry

    with store.run("one", {}) as run_id:
        store.client.log_text(run_id, "a", "a.txt")

    def lost(*_args, **_options):
        raise MlflowException("connection refused", TEMPORARILY_UNAVAILABLE)

    monkeypatch.setattr(store._runs._inner, "find", lost)
    monkeypatch.setattr(retry, "_FIRST_WAIT", 1000)
    store._places.clear()
    with pytest.raises(StoreError, match="connection refused"):
        store.read(run_id, "a.txt")


def test_ctrl_c_while_the_store_is_away_ends_the_job_and_waits_little(store, monkeypatch):
    def lost(*_args, **_options):
        raise MlflowException("connection refused", TEMPORARILY_UNAVAILABLE)

    def work():
        with store.run("one", {}):
            monkeypatch.setattr(store._runs._inner, "set_status", lost)
            raise KeyboardInterrupt

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        work()
    assert time.monotonic() - start < 15


def test_a_deleted_experiment_is_told_with_the_way_out(store, mlruns):
    store.client.delete_experiment(store.experiment_id)
    name = store.client.get_experiment(store.experiment_id).name
    opening.forget()
    with pytest.raises(StoreError, match=f"{name}.*deleted.*restore.*tracking.experiment="):
        opening.open_store(mlruns, name)
    store.client.restore_experiment(store.experiment_id)
    assert opening.open_store(mlruns, name).experiment_id == store.experiment_id


def test_what_is_to_be_read_is_not_created(store, mlruns, monkeypatch):
    name = store.client.get_experiment(store.experiment_id).name
    assert opening.find_store(mlruns, name).experiment_id == store.experiment_id
    with pytest.raises(StoreError, match=f"Received: {name}y.*{name}"):
        opening.find_store(mlruns, f"{name}y")
    assert store.client.get_experiment_by_name(f"{name}y") is None


WORD = "a-word-nobody-sees"
DATABASE = f"postgresql+psycopg://me:{WORD}@127.0.0.1:1/tracking?password={WORD}"


def texts(store, run_id):
    """All that a run holds."""
    run = store.client.get_run(run_id)
    yield str(run.to_dictionary())
    for file in store.client.list_artifacts(run_id):
        yield str(store.read(run_id, file.path))


def test_files_of_a_server_are_saved_as_they_are(server, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    store = opening.open_store(tmp_path / "mlruns", "saved")
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "curve.csv").write_text("step")
    with store.run("job", {"sweep.kind": "job"}) as job:
        store.log_files(job, tmp_path / "made")
    store.save_files(job, tmp_path / "kept")
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["curve.csv"]


def test_tags_of_the_environment_are_kept(monkeypatch):
    monkeypatch.setenv("MLFLOW_RUN_CONTEXT", '{"sweep.slurm_job": "7"}')
    assert origin.source()["sweep.slurm_job"] == "7"


def test_a_driver_that_is_not_there_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", DATABASE)
    with pytest.raises(StoreError, match=r"must have its driver.*module psycopg is not") as lost:
        opening.open_store(tmp_path / "mlruns", "drivers", patience=0)
    assert WORD not in str(lost.value)


def test_a_password_is_shown_nowhere(server, tmp_path, monkeypatch, capfd, caplog):
    caplog.set_level("DEBUG")
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")  # set again by what is tested
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.replace("://", f"://me:{WORD}@"))
    monkeypatch.setattr(sys, "argv", [f"/{WORD}@x", f"hydra.sweeper.storage={DATABASE}"])
    sys.argv[0] = f"postgresql://me:{WORD}@h/program"
    store = opening.open_store(tmp_path / "mlruns", "passwords")
    runs = []
    with (
        suppress(ValueError),
        parent_run(store, "1", {}) as (parent, command),
        store.run("job", {"sweep.kind": "job"}, parent) as job,
    ):
        runs += [parent, job]
        raise ValueError(f"no answer from {DATABASE}")
    said = [command, *(text for run in runs for text in texts(store, run))]
    assert "no answer from" in "".join(said)
    place = ["--experiment", "passwords", "--mlruns", str(tmp_path)]
    for main, words in (
        (export.main, ["fff", str(tmp_path / "out")]),
        (reproduce.main, ["fff"]),
        (reproduce.main, ["fff", "--experiment", "none"]),
    ):
        with pytest.raises(SystemExit) as end:
            main([*words[:-1], words[-1], *(place if "none" not in words else place[2:])])
        assert str(end.value).startswith("error:")
        said.append(str(end.value))
    ui.main([])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", DATABASE)
    monkeypatch.setattr("mlflow.store.db.utils.MAX_RETRY_COUNT", 2)  # it tries for 100 seconds
    with pytest.raises(StoreError) as lost:
        opening.open_store(tmp_path / "mlruns", "passwords", patience=0)
    said += [str(lost.value), caplog.text, *capfd.readouterr()]
    for process in psutil.process_iter(["cmdline"]):
        said += process.info["cmdline"] or []
    assert [text for text in said if WORD in text] == []

"""Runs written in place are what MLflow's client writes, and need no MLflow."""

import math
import shutil
import subprocess
import sys

import pytest
from mlflow import MlflowClient

from records import six
from sweep.tracking import contents, opening
from sweep.tracking.backends import database
from sweep.tracking.backends.by_mlflow import ByMlflow
from sweep.tracking.backends.by_sqlite import REVISION, BySqlite
from sweep.tracking.backends.runs import Query

# A start that runs nothing: past jobs are read, a parent run with its files is written.
NOTHING = """
import sys
from pathlib import Path
from sweep.tracking.opening import open_store
mlruns = Path(sys.argv[1])
store = open_store(mlruns, "test")
store.close_orphaned_runs()
store.past_jobs()
with store.run("sweep", {"sweep.kind": "parent", "sweep.id": "1"}) as run_id:
    store.log_settings(run_id, {"jobs": 0})
    store.log_figures(run_id, {"G ASR": 0.5})
    store.log_files(run_id, Path(sys.argv[2]))
    store.tag(run_id, {"mlflow.note.content": "a"})
print(sorted({"mlflow", "tensorflow", "sqlalchemy", "pandas", "requests"} & set(sys.modules)))
"""


def test_the_schema_is_the_one_that_is_known(made):
    """A newer MLflow has another: see what changed, and name it in `by_sqlite`."""
    assert database.revision(database.path(made)) == REVISION


def described(model):
    names = ("experiment_id", "name", "model_type", "status", "status_message", "tags", "params")
    return [getattr(model, name) for name in names]


def test_another_schema_goes_through_mlflow(mlruns, monkeypatch):
    monkeypatch.setattr(opening, "REVISION", "another")
    store = opening.open_store(mlruns, "test")
    with store.run("job", {"sweep.kind": "job"}) as run_id:
        pass
    assert type(store._runs._inner) is ByMlflow
    assert [job.run_id for job in store.past_jobs()] == [run_id]


def test_both_ways_write_the_same(here, mlruns):
    client = MlflowClient(here.uri)
    known = here.experiment_id
    written = []
    metrics = [*contents.values(six()[0]), ("nan", math.nan, 0), ("inf", -math.inf, 3)]
    for runs in (BySqlite(database.path(mlruns), "test", known), ByMlflow(client, known)):
        run_id = runs.create("a name", {"sweep.kind": "job", "mlflow.user": "me"}, 1234)
        other = runs.create("other", {}, 1234)
        for _ in range(2):  # a retried call says the same again
            runs.write(run_id, {"a": "1", "b": ""}, metrics, {"c": "2"})
        runs.write(run_id, tags={"c": "3"})
        inputs = contents.inputs(six()[0].full.facts)
        runs.log_inputs(run_id, inputs)
        runs.log_inputs(run_id, inputs)
        model_id, place = runs.create_model(run_id, "goodnet")
        assert place == f"{database.artifacts(mlruns)}/models/{model_id}/artifacts"
        pending = client.get_logged_model(model_id)
        runs.finish_model(run_id, model_id)
        runs.set_status(run_id, "FINISHED")
        runs.set_status(other, "KILLED")
        runs.delete(other)
        run = client.get_run(run_id)
        assert run.info.end_time > 1234
        info = dict(run.info) | {"run_id": 0, "run_uuid": 0, "end_time": 0}
        assert info.pop("artifact_uri") == f"{database.artifacts(mlruns)}/{run_id}/artifacts"
        curves = {
            name: {(one.step, str(one.value)) for one in client.get_metric_history(run_id, name)}
            for name in run.data.metrics
        }
        (output,) = run.outputs.model_outputs
        assert output.model_id == model_id
        gone = dict(client.get_run(other).info) | dict.fromkeys(("run_id", "run_uuid"), 0)
        written.append(
            (
                *(info, run.data.tags, run.data.params, str(list(run.data.metrics.items()))),
                *(curves, gone["status"], gone["lifecycle_stage"]),
                sorted(str(one.to_dictionary()) for one in run.inputs.dataset_inputs),
                described(pending),
                described(client.get_logged_model(model_id)),
            )
        )
        (found,) = runs.find(Query(ids=[run_id]))
        assert found.name == "a name"
    assert written[0] == written[1]


def test_a_start_that_runs_nothing_loads_no_mlflow(made, mlruns, tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "summary.md").write_text("a")
    said = subprocess.run(
        [sys.executable, "-c", NOTHING, str(mlruns), str(tmp_path / "files")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == "[]", said.stderr
    client = MlflowClient(f"sqlite:///{database.path(mlruns)}")
    (run,) = client.search_runs(["1"])
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"G ASR": 0.5})
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["summary.md"]


@pytest.mark.parametrize("jobs", [six(), six()[3:]])
def test_the_best_job_is_chosen_on_validation(jobs):
    best = contents.best(jobs)
    merits = [
        job.figures["repaired/valid_accuracy"].rate - job.figures["repaired/valid_asr"].rate
        for job in jobs
    ]
    assert best is jobs[merits.index(max(merits))]
    assert contents.short(best) == {
        "G accuracy": best.figures["goodnet/test_accuracy"].rate,
        "G ASR": best.figures["goodnet/test_asr"].rate,
    }
    assert contents.best([]) is None


def test_the_log_of_a_database_is_copied_once_at_the_end_of_a_run(mlruns):
    store = opening.open_store(mlruns, "test")
    log = mlruns / "mlflow.db-wal"
    with store.run("job", {"sweep.kind": "job"}) as run_id:
        store.tag(run_id, {"a": "b"})
        assert log.stat().st_size > 0
    assert not log.exists()  # a copy of the database alone is whole


def test_a_store_that_is_moved_while_it_is_held_is_not_written_where_it_was(mlruns, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    with database.held(database.path(mlruns)):
        shutil.move(mlruns, elsewhere)
    assert not mlruns.exists()
    assert database.revision(database.path(elsewhere)) == REVISION
    with database.held(database.path(mlruns)):
        assert not mlruns.exists()

"""The command as people type it: six jobs into a fresh store, read back through MLflow's client."""

import csv
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from conftest import Checkout
from sweep import reproduce

CURVE = {"curve/valid_accuracy", "curve/valid_asr", "curve/channel"}
FINAL = {
    f"{network}/{split}_{rate}"
    for network in ("badnet", "repaired", "goodnet")
    for split in ("valid", "test")
    for rate in ("accuracy", "asr")
} | {
    "goodnet/test_clean_rejected",
    "goodnet/test_poisoned_rejected",
    "pruned_channels",
    "drop_reached",
}
FILES = {"curve.csv", "curve.png", "config.yaml", "repaired.keras", "repaired.h5", "goodnet.keras"}
GRID = ("ordering=increasing,decreasing", "drop=0.02,0.04,0.10")


@pytest.fixture(scope="module")
def done(checkout):
    done = checkout.sweep(*GRID)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def client(checkout, done):
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{checkout.mlruns / 'mlflow.db'}")


@pytest.fixture(scope="module")
def runs(client):
    experiment = client.get_experiment_by_name("badnet-sweep")
    return client.search_runs([experiment.experiment_id])


def kind(runs, wanted):
    return [run for run in runs if run.data.tags["sweep.kind"] == wanted]


def artifacts(client, run):
    return {item.path for item in client.list_artifacts(run.info.run_id)}


def test_one_parent_and_six_nested_runs_finish(runs):
    (parent,) = kind(runs, "parent")
    jobs = kind(runs, "job")
    assert len(jobs) == 6
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {run.data.tags["mlflow.parentRunId"] for run in jobs} == {parent.info.run_id}
    assert len({run.info.run_name for run in jobs}) == 6


def test_each_job_tells_its_settings(runs):
    told = {(r.data.params["ordering"], r.data.params["drop"]) for r in kind(runs, "job")}
    assert told == {(o, x) for o in ("increasing", "decreasing") for x in ("0.02", "0.04", "0.1")}
    for run in kind(runs, "job"):
        assert run.data.params["criterion"] == "mean_activation"
        assert run.data.params["layer"] == "pool_3"
        assert run.data.params["seed"] == "0"
        assert run.data.params["dataset"] == "standin"
        assert run.data.params["dataset.identities"] == "6"


def test_each_job_holds_its_metrics(runs, client):
    for run in kind(runs, "job"):
        assert CURVE | FINAL <= set(run.data.metrics)
        history = client.get_metric_history(run.info.run_id, "curve/valid_accuracy")
        assert [metric.step for metric in history] == list(range(61))
        assert history[0].value == run.data.metrics["badnet/valid_accuracy"]
        pruned = int(run.data.metrics["pruned_channels"])
        assert history[pruned].value == run.data.metrics["repaired/valid_accuracy"]
        removed = client.get_metric_history(run.info.run_id, "curve/channel")
        assert [metric.step for metric in removed] == list(range(1, 61))
        assert sorted(metric.value for metric in removed) == list(range(60))


def test_each_job_holds_its_files(runs, client, tmp_path):
    for run in kind(runs, "job"):
        assert artifacts(client, run) >= FILES
    run = kind(runs, "job")[0]
    folder = client.download_artifacts(run.info.run_id, "", str(tmp_path))
    with open(f"{folder}/curve.csv") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["step", "channel", "score", "valid_accuracy", "valid_asr"]
    assert [int(row["step"]) for row in rows] == list(range(61))
    assert rows[0]["channel"] == rows[0]["score"] == ""
    with open(f"{folder}/config.yaml") as file:
        settings = yaml.safe_load(file)
    assert settings["ordering"] == run.data.params["ordering"]
    assert zipfile.is_zipfile(f"{folder}/goodnet.keras")


def test_the_parent_holds_the_summary(runs, client, done, tmp_path):
    (parent,) = kind(runs, "parent")
    assert {"summary.csv", "summary.md"} <= artifacts(client, parent)
    path = client.download_artifacts(parent.info.run_id, "summary.md", str(tmp_path))
    with open(path) as file:
        text = file.read()
    assert "## Increasing order" in text
    assert "## Decreasing order" in text
    for name in ("Original", "Repaired", "GoodNet"):
        assert name in text
        assert name in done.stdout, done.stdout
    assert "python -m sweep.ui" in done.stdout


def test_saved_networks_open_elsewhere_and_repeat_the_figures(runs, client, shared_data, tmp_path):
    run = next(r for r in kind(runs, "job") if r.data.params["ordering"] == "decreasing")
    folder = client.download_artifacts(run.info.run_id, "", str(tmp_path))
    (made,) = shared_data.glob("standin-*")
    # A plain interpreter without this project opens B' and G.
    script = f"""
import sys, keras
assert not any(name.split(".")[0] == "sweep" for name in sys.modules)
for name, outputs in (("repaired.keras", 6), ("repaired.h5", 6), ("goodnet.keras", 7)):
    model = keras.models.load_model(r"{folder}/" + name, compile=False)
    assert model.outputs[0].shape[-1] == outputs, name
assert "sweep" not in sys.modules
"""
    plain = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert plain.returncode == 0, plain.stderr
    # `python -m sweep.evaluate` twice, with one start of TensorFlow.
    script = f"""
import runpy, sys
for name in ("repaired.h5", "goodnet.keras"):
    sys.argv[3:] = [r"{folder}/" + name, "--scale", "0.00392156862745098"]
    runpy.run_module("sweep.evaluate", run_name="__main__", alter_sys=True)
"""
    sets = [str(made / "cl" / "test.h5"), str(made / "bd" / "bd_test.h5")]
    said = subprocess.run(
        [sys.executable, "-c", script, *sets], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    metrics = run.data.metrics
    assert said == [
        line
        for network in ("repaired", "goodnet")
        for line in (
            f"Clean Classification accuracy: {100 * metrics[f'{network}/test_accuracy']}",
            f"Attack Success Rate: {100 * metrics[f'{network}/test_asr']}",
        )
    ]


def test_the_same_command_runs_nothing_again(checkout, done, runs, client):
    again = checkout.sweep(*GRID)
    assert again.returncode == 0, again.stderr
    assert "6 done" in again.stderr
    table = [line for line in done.stdout.splitlines() if "%" in line and "X=" not in line]
    assert len(table) == 6
    assert [line for line in again.stdout.splitlines() if line in table] == table
    experiment = client.get_experiment_by_name("badnet-sweep")
    assert len(kind(client.search_runs([experiment.experiment_id]), "job")) == 6


@pytest.fixture(scope="module")
def failing(checkout, done):
    """A sweep in which two jobs fail."""
    return checkout.sweep("drop=0.1,0.10,0.04", "dataset.scale=0.00392156862745098,1e-9")


def test_what_was_drawn_is_not_drawn_again(checkout, done, client):
    start = "import sys; sys.modules.update(dict.fromkeys(('tensorflow', 'mlflow', 'matplotlib')));"
    start += "from sweep.__main__ import main; main()"
    python, _, _, *arguments = checkout.command(*GRID)
    again = checkout.run([python, "-c", start, *arguments])
    assert again.returncode == 0, again.stderr
    experiment = client.get_experiment_by_name("badnet-sweep")
    newest, *older = kind(client.search_runs([experiment.experiment_id]), "parent")
    folders = [client.download_artifacts(run.info.run_id, "plots") for run in (newest, older[-1])]
    drawn, first = (
        {path.name: path.read_bytes() for path in Path(folder).iterdir()} for folder in folders
    )
    assert "overlay.png" in drawn
    assert drawn == first


def test_the_same_jobs_again_need_no_tensorflow_keras_or_mlflow_and_draw_nothing(checkout, done):
    start = (
        "import sys; sys.modules.update(dict.fromkeys(('tensorflow', 'keras', 'mlflow')));"
        "from sweep.reports import plots; draw = plots.draw_curve;"
        "plots.draw_curve = lambda data, title: print('drawn:', title) or draw(data, title);"
        "from sweep.__main__ import main; main()"
    )
    python, _, _, *arguments = checkout.command(*GRID, "rerun=true")
    again = checkout.run([python, "-c", start, *arguments])
    assert again.returncode == 0, again.stderr
    assert "6 jobs: 6 rerun=true" in again.stderr
    drawn = [line for line in again.stdout.splitlines() if line.startswith("drawn:")]
    assert len(drawn) == 2  # both of the sweep itself, which has other runs than the one before


ALIVE = """
import weakref
from sweep.__main__ import main
from sweep.base import progress
from sweep.models import load

made, build, count = [], load.load_badnet, progress.job_done
def note(path):
    model = build(path)
    made.append(weakref.ref(model))
    return model
def job_done():
    count()
    print("alive:", sum(model() is not None for model in made), "of", len(made))
load.load_badnet, progress.job_done = note, job_done
main()
"""


def test_networks_of_earlier_jobs_are_freed(tmp_path, shared_data):
    python, _, _, *arguments = Checkout(tmp_path, shared_data).command(
        "layer=pool_3,conv_3,pool_2,conv_2,pool_1", "curve=until_drop", f"cache.folder={tmp_path}"
    )
    said = Checkout(tmp_path, shared_data).run([python, "-c", ALIVE, *arguments])
    assert said.returncode == 0, said.stderr
    alive = [line for line in said.stdout.splitlines() if line.startswith("alive")]
    assert alive == [f"alive: {min(jobs, 3)} of {jobs}" for jobs in range(1, 6)]


def test_doubled_cells_run_once_and_failures_hide_nobody(failing):
    said = failing
    assert said.returncode == 1
    assert "4 jobs: 2 done, 2 not run before" in said.stderr
    assert "2 x B must be better than chance" in said.stderr
    assert said.stderr.count("python -m sweep") == 2
    assert "Traceback" not in said.stderr
    assert "increasing" in said.stdout


def test_a_layer_that_b_has_not_is_told_before_anything_heavy_is_loaded(checkout, done, client):
    experiment = client.get_experiment_by_name("badnet-sweep")
    before = len(client.search_runs([experiment.experiment_id]))
    script = (
        "import sys, atexit\n"
        "atexit.register(lambda: print('loaded', {'tensorflow', 'keras', 'mlflow'}"
        " & set(sys.modules)))\n"
        f"sys.argv = {checkout.command('layer=Pool_3')[2:]!r}\n"
        "from sweep.__main__ import main\nmain()\n"
    )
    said = checkout.run([sys.executable, "-c", script])
    assert said.returncode == 1
    assert "Received: layer=Pool_3. Did you mean pool_3?" in said.stderr
    assert "loaded set()" in said.stdout
    assert len(client.search_runs([experiment.experiment_id])) == before


def test_a_failed_job_keeps_its_traceback(failing, client):
    experiment = client.get_experiment_by_name("badnet-sweep")
    failed = client.search_runs(
        [experiment.experiment_id],
        "attributes.status = 'FAILED' and params.`dataset.scale` = '1e-09'",
    )
    assert [run.data.tags["sweep.kind"] for run in failed] == ["job", "job"]
    assert all("traceback.txt" in artifacts(client, run) for run in failed)
    parent = client.get_run(failed[0].data.tags["mlflow.parentRunId"])
    assert parent.info.status == "FAILED"


def test_the_plan_starts_nothing(checkout, done, client):
    experiment = client.get_experiment_by_name("badnet-sweep")
    before = len(client.search_runs([experiment.experiment_id]))
    said = checkout.sweep("drop=0.02,0.05", "plan=true")
    assert said.returncode == 0, said.stderr
    assert "done" in said.stdout
    assert "not run before" in said.stdout
    assert len(client.search_runs([experiment.experiment_id])) == before


def test_a_job_is_done_again_and_compared(checkout, runs):
    job = kind(runs, "job")[0]
    where = ["--mlruns", str(checkout.mlruns)]
    say = [sys.executable, "-m", "sweep.reproduce", *where, job.info.run_id]
    again = subprocess.run(say, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "all figures agree" in again.stdout
    parent = kind(runs, "parent")[0]
    with pytest.raises(SystemExit, match="must name a finished job's run"):
        reproduce.main([*where, parent.info.run_id])

"""What a job is known by, and when it needs to run."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

import sweep
from sweep.data.image_set import write_set
from sweep.jobs import config, plan
from sweep.jobs import identity as ledger
from sweep.results.records import Count, Record, Stop

JOB = Record({"drop": 0.02}, {"repaired/test_asr": Count(1, 4)}, Stop(3, True), 60, "run")


@pytest.fixture
def job(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c", "d"):
        images = rng.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
        write_set(tmp_path / f"{name}.h5", [images], np.zeros(4))
    (tmp_path / "b.keras").write_bytes(b"a network")
    sets = [str(tmp_path / f"{name}.h5") for name in ("a", "b", "c", "d")]
    return config.Config(
        criterion=config.Criterion("mean_activation"),
        dataset=config.Dataset("files", *sets),
        badnet=config.Badnet(str(tmp_path / "b.keras")),
        paths=config.Paths(str(tmp_path / "data"), str(tmp_path / "mlruns")),
    )


def identify(job):
    return ledger.identify(job)


def past(identity, status="FINISHED", record=JOB):
    return ledger.Past("run", status, identity, "sweep", record, 10.0, "file:///run")


def judge(identity, *runs, rerun=False, cached=False):
    return ledger.judge(identity, runs, rerun, cached)


def test_the_same_job_is_known_again(job):
    assert identify(job) == identify(job)
    assert identify(job).data is not None


def test_every_setting_that_describes_the_work_counts(job):
    first = identify(job)
    for change in ({"drop": 0.03}, {"seed": 1}, {"layer": "conv_3"}):
        assert identify(dataclasses.replace(job, **change)).config != first.config
    for change in ({"rerun": True}, {"plan": True}, {"cache": config.Cache(max_gb=1)}):
        assert identify(dataclasses.replace(job, **change)) == first


def test_one_changed_byte_of_a_set_or_of_b_counts(job):
    first = identify(job)
    for path in (Path(job.dataset.poisoned_test), Path(job.badnet.path)):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        changed = identify(job)
        assert (changed.config, changed.code) == (first.config, first.code)
        assert changed.data != first.data
        first = changed


def test_where_the_files_lie_does_not_count(job, tmp_path):
    first = identify(job)
    moved = shutil.move(job.badnet.path, tmp_path / "elsewhere.keras")
    assert identify(dataclasses.replace(job, badnet=config.Badnet(str(moved)))) == first


def test_a_search_is_known_without_the_test_sets(job):
    trial = dataclasses.replace(job, objective=config.Objective.oracle)
    first = identify(trial)
    Path(job.dataset.clean_test).unlink()
    Path(job.dataset.poisoned_test).unlink()
    assert identify(trial) == first


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the code to change; `key` names what computes a job's result."""
    folder = tmp_path / "sweep"
    shutil.copytree(Path(sweep.__file__).parent, folder, ignore=shutil.ignore_patterns("__pyc*"))
    monkeypatch.setattr(ledger, "_ROOT", tmp_path)

    def key(criterion, **params):
        forget()
        return ledger.code_key("sweep.jobs.pipeline", *ledger.modules(criterion, params))

    def append(module, text):
        with (folder / module).open("a") as file:
            file.write(text)

    def forget():
        ledger.code_key.cache_clear()
        ledger._read.cache_clear()

    yield key, append
    forget()


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("pruning/curve.py", "\n# a comment\n"),
        ("pruning/curve.py", '\n"""A docstring."""\n'),
        ("pruning/curve.py", "\nif TYPE_CHECKING:\n    import ast\n"),
        ("reports/plots.py", "\nCOLOUR = 1\n"),
        ("attacks/drawn/faces.py", "\nNOSE = 1\n"),
        ("attacks/standin.py", "\nMORE = 1\n"),
        ("criteria/weights.py", "\nLIMIT = 1\n"),
        ("criteria/new.py", "\nLIMIT = 1\n"),
        ("criteria/__init__.py", "\nfrom sweep.criteria import new\n"),
        ("jobs/plan.py", "\nLIMIT = 1\n"),
        ("tracking/store.py", "\nLIMIT = 1\n"),
    ],
)
def test_code_that_computes_no_result_does_not_count(package, module, text):
    key, append = package
    before = key("mean_activation")
    append(module, text)
    assert key("mean_activation") == before


@pytest.mark.parametrize(
    ("criterion", "module"),
    [
        ("mean_activation", "pruning/curve.py"),
        ("mean_activation", "pruning/linear.py"),
        ("mean_activation", "models/load.py"),
        ("mean_activation", "data/image_set.py"),
        ("mean_activation", "results/goodnet.py"),
        ("mean_activation", "results/suspicion.py"),
        ("mean_activation", "jobs/subject.py"),
        ("mean_activation", "base/threads.py"),
        ("mean_activation", "base/tensorflow_runtime.py"),
        ("mean_activation", "criteria/activation.py"),
        ("mean_activation", "criteria/registry.py"),
        ("oracle_greedy", "criteria/oracle.py"),
        ("oracle_greedy", "criteria/removal.py"),  # which its module imports
    ],
)
def test_code_that_computes_a_result_counts(package, criterion, module):
    key, append = package
    before = key(criterion)
    append(module, "\nLIMIT = 1\n")
    assert key(criterion) != before


def test_the_members_of_a_blend_count(package):
    key, append = package
    with_l1, with_taylor = (key("blend", weights={name: 1.0}) for name in ("l1", "taylor"))
    append("criteria/weights.py", "\nLIMIT = 1\n")
    assert key("blend", weights={"l1": 1.0}) != with_l1
    assert key("blend", weights={"taylor": 1.0}) == with_taylor


def test_cached_arrays_do_not_depend_on_what_is_counted_later(package):
    _, append = package
    before = ledger.code_key("sweep.jobs.subject")
    for module in ("results/metrics.py", "results/suspicion.py", "criteria/registry.py"):
        append(module, "\nLIMIT = 1\n")
    ledger.code_key.cache_clear()
    ledger._read.cache_clear()
    assert ledger.code_key("sweep.jobs.subject") == before


def test_a_finished_run_stands_for_its_job():
    identity = ledger.Identity("c", "d", "k")
    cell = judge(identity, past(identity))
    assert (cell.state, cell.why, cell.past.record) == ("done", "run", JOB)
    assert judge(identity, past(identity), rerun=True).why == "rerun=true"


@pytest.mark.parametrize(
    ("runs", "state", "why"),
    [
        ([], "new", "not run before"),
        ([("d", "other", "FINISHED")], "new", "code changed"),
        ([("other", "k", "FINISHED")], "new", "data changed"),
        ([("d", "k", "FAILED")], "failed", "failed before"),
        ([("d", "k", "KILLED")], "new", "interrupted before"),
        ([("d", "k", "RUNNING")], "new", "running elsewhere"),
    ],
)
def test_a_job_says_why_it_runs(runs, state, why):
    identity = ledger.Identity("c", "d", "k")
    known = [past(ledger.Identity("c", data, code), status) for data, code, status in runs]
    cell = judge(identity, *known)
    assert (cell.state, cell.why, cell.past) == (state, why, None)


def test_an_older_success_outlives_a_newer_failure():
    identity = ledger.Identity("c", "d", "k")
    assert judge(identity, past(identity, "FAILED", None), past(identity)).state == "done"


def test_a_made_dataset_that_is_not_there_is_never_done():
    identity = ledger.Identity("c", None, "k")
    assert judge(identity, past(identity)).past is None


def test_a_record_travels_through_its_run():
    assert Record.from_json(JOB.to_json(), "run") == JOB


@pytest.mark.usefixtures("badnet")
def test_the_plan_counts_and_estimates(job):
    jobs = [dataclasses.replace(job, drop=drop) for drop in (0.02, 0.04, 0.10)]
    runs = [past(identify(jobs[0]))]
    todo = plan.make(jobs, runs)
    assert todo.waiting == [1, 2]
    assert todo.states() == "3 jobs: 1 done, 2 not run before"
    assert "2 to run: about 20 s" in todo.needs()
    assert [line[0] for line in plan.lines(todo)] == ["drop=0.02", "drop=0.04", "drop=0.1"]
    jobs = [job, dataclasses.replace(job, stop="relative")]
    told = [line[0] for line in plan.lines(plan.make(jobs, []))]
    assert told == ["the one job", "stop=relative"]


@pytest.mark.usefixtures("badnet")
def test_the_plan_knows_cached_activations(job):
    identity = identify(job)
    ledger.mark_cached(job, identity.data, ["x"])
    assert plan.make([job], []).cells[0].state == "new"
    (job.cache_folder / "activations-x.npy").write_bytes(b"")
    assert plan.make([job], []).cells[0].state == "cached"
    (mark,) = (job.cache_folder / "marks").iterdir()
    mark.write_text(mark.read_text()[:-1])  # torn by a kill
    assert plan.make([job], []).cells[0].state == "new"

"""Search spaces as people write them, and studies that several workers share."""

import subprocess
import sys
import threading
import time

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from sweep.base import processes
from sweep.base.errors import ConfigError, StoreError
from sweep.reports import study as findings
from sweep.results import goals
from sweep.results.records import Count, Record, Stop
from sweep.sweeps import search, study
from sweep.sweeps.space import parse_space

GOAL = goals.find("clean_only", None, None)
SPACE = parse_space(["criterion=choice(l1,blend)", "drop=interval(0.01,0.1)"], None, None)


@pytest.fixture
def storage(tmp_path):
    return f"sqlite:///{tmp_path}/studies/optuna.db"


def opened(storage, goal=GOAL, space=SPACE, name="s"):
    sampler = optuna.samplers.RandomSampler(seed=0)
    return study.open_study(name, storage, goal, space.described(), sampler)


def row(accuracy=90, suspicion=50, run="run"):
    figures = {
        "repaired/valid_accuracy": Count(accuracy, 100),
        "repaired/valid_suspicion": Count(suspicion, 100),
    }
    return Record({"drop": 0.04}, figures, Stop(3, reached=True), 60, run)


def test_a_space_is_written_as_hydra_writes_sweeps():
    space = parse_space(
        [
            "criterion=choice(l1,blend)",
            "drop=interval(0.01,0.1)",
            "seed=range(0,7,2)",
            "layer=conv_4",
        ],
        {"dataset.scale": "tag(log,interval(0.001,1))", "drop": "choice(0.5)"},
        {"criterion=blend": {"++criterion.params.weights.l1": "interval(0,1)"}},
    )
    assert space.free == {
        "dataset.scale": FloatDistribution(0.001, 1, log=True),
        "drop": FloatDistribution(0.01, 0.1),  # the command line wins
        "criterion": CategoricalDistribution(("l1", "blend")),
        "seed": IntDistribution(0, 6, step=2),
    }
    assert space.fixed == ("layer=conv_4",)
    assert list(space.when) == [("criterion", "blend")]


@pytest.mark.parametrize(
    ("arguments", "when", "said"),
    [
        ([], {}, "must vary something"),
        (["drop=0.02"], {}, "must vary something"),
        (["drop=interval(0.2,0.1)"], {}, "a < b"),
        (["drop=tag(log,interval(0,1))"], {}, "a > 0"),
        (["drop=interval(0.2"], {}, "as Hydra's sweeps are"),
        (["drop=interval(0.1,0.2)"], {"criterion=l1": {"seed": "choice(1,2)"}}, "NAME=VALUE"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(arguments, when, said):
    with pytest.raises(ConfigError, match=said):
        parse_space(arguments, None, when)


def test_inner_settings_exist_only_where_their_choice_was_taken():
    space = parse_space(
        ["criterion=choice(l1,blend)", "seed=3"],
        None,
        {"criterion=blend": {"++criterion.params.weights.l1": "interval(0,1)"}},
    )
    for name in ("l1", "blend"):
        params = {"criterion": name, "++criterion.params.weights.l1": 0.25}
        made = space.suggest(optuna.trial.FixedTrial(params))
        inner = ["++criterion.params.weights.l1=0.25"] if name == "blend" else []
        assert made == ["seed=3", f"criterion={name}", *inner]


def test_a_study_goes_on_only_as_it_was_begun(storage):
    opened(storage)
    opened(storage)
    with pytest.raises(ConfigError, match="must keep its search space"):
        opened(storage, space=parse_space(["drop=interval(0.01,0.2)"], None, None))
    for other in (
        goals.find("oracle", None, None),
        goals.find("clean_only", ["accuracy"], None),
        goals.find("clean_only", None, {"accuracy": 0.9}),
    ):
        with pytest.raises(ConfigError, match="must keep what it maximises"):
            opened(storage, goal=other)


@pytest.mark.parametrize(
    "url",
    ["nonsense", "sqlite:////proc/none/optuna.db", "sqlite:////etc/passwd", "journal:////proc/j"],
)
def test_a_storage_that_cannot_be_opened_is_one_sentence(url):
    with pytest.raises(StoreError, match=r"storage must be .* Received: \S+, which says") as caught:
        opened(url)
    assert "\n" not in str(caught.value)


def test_a_password_is_not_shown():
    with pytest.raises(StoreError) as caught:
        opened("mysql+nodriver://me:secret@host/db")
    assert "secret" not in str(caught.value)


def test_a_journal_is_a_storage(tmp_path):
    url = f"journal:///{tmp_path}/new/journal.log"
    study.take(opened(url), 5, 2)
    assert len(opened(url).trials) == 2


def test_no_more_trials_are_taken_than_are_needed(storage):
    kept = opened(storage)
    assert len(study.take(kept, 3, 2)) == 2
    assert len(study.take(kept, 3, 2)) == 1
    assert study.take(kept, 3, 2) == []


def test_a_lost_trial_is_tried_again_once_as_the_same_job(storage):
    kept = opened(storage)
    (trial,) = study.take(kept, 3, 1)
    settings = SPACE.suggest(trial)
    assert study.orphans(kept) == []  # this process lives
    trial.set_user_attr("worker", f"{study.platform.node()} 1@0.00")
    (lost,) = study.orphans(kept)
    for _ in range(2):  # two workers find it
        study.give_back(kept, lost.number, lost.params, study.job_of(lost))
    assert study.orphans(kept) == []
    again, other = study.take(kept, 3, 2)
    assert study.job_of(again) == trial.number
    assert SPACE.suggest(again) == settings
    assert study.job_of(other) == other.number


def test_a_silent_worker_elsewhere_is_lost(storage):
    kept = opened(storage)
    (trial,) = study.take(kept, 3, 1)
    trial.set_user_attr("worker", "elsewhere 1@0.00")
    assert study.orphans(kept) == []
    trial.set_user_attr("beat", time.time() - 1000)
    assert [lost.number for lost in study.orphans(kept)] == [trial.number]


def launcher(done, fail=lambda _: False):
    """Runs jobs as a ledger does: a job that is done gives its result again."""

    def launch(jobs, _first):
        returns = []
        for job in jobs:
            name = next(line for line in job if line.startswith("trial="))
            time.sleep(0.01)
            back = JobReturn()
            if fail(name):
                back._return_value = ValueError("no luck")
            else:
                done.append(name)
                back._return_value = row(suspicion=len(done) % 100, run=name)
            returns.append(back)
        return returns

    return launch


def worker(storage, total, launch, jobs=2):
    kept = opened(storage)
    settings = search.Settings("s", storage, total, jobs)
    return search.Worker(kept, settings, SPACE, GOAL, "study/s", launch)


def test_two_workers_end_with_exactly_the_total(storage, capsys):
    opened(storage)
    done, found = [], []
    workers = [worker(storage, 25, launcher(done), jobs=3) for _ in range(2)]
    # Signals belong to the main thread.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "interruptible", lambda launch: (0, launch()))
        threads = [threading.Thread(target=lambda w=w: found.append(w.work())) for w in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [(0, []), (0, [])]
    assert len(findings.complete(opened(storage))) == 25 == len(done) == len(set(done))
    assert "25 of 25" in capsys.readouterr().err


def test_failures_are_not_counted_and_end_a_search_of_their_own(storage):
    done = []
    bad = worker(storage, 10, launcher(done, fail=lambda name: name.endswith("3'")))
    code, errors = bad.work()
    assert (code, len(errors), len(done)) == (0, 1, 10)
    code, errors = worker(storage, 20, launcher(done, fail=lambda _: True)).work()
    assert len(errors) >= 3
    assert len(findings.complete(bad.study)) == 10


def test_an_interrupted_search_goes_on_with_the_same_jobs(storage):
    begun = []

    def interrupt(jobs, _first):
        begun.extend(line for job in jobs for line in job if line.startswith("trial="))
        raise KeyboardInterrupt

    code, _ = worker(storage, 4, interrupt).work()
    assert code == 130
    done = []
    assert worker(storage, 4, launcher(done)).work() == (0, [])
    assert begun == ["trial='s/0'", "trial='s/1'"] == done[:2]
    assert len(done) == 4 == len(findings.complete(opened(storage)))


_KILLED = """
import sys, time
sys.path.insert(0, {folder!r})
from test_study import opened, worker
def launch(jobs, first):
    print("busy", flush=True)
    time.sleep(60)
worker({storage!r}, 6, launch).work()
"""


def test_a_killed_worker_leaves_nothing_undone(storage):
    from pathlib import Path

    script = _KILLED.format(folder=str(Path(__file__).parent), storage=storage)
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as gone:
        assert gone.stdout.readline() == "busy\n"
        gone.kill()
        gone.wait()
    assert not processes.is_alive(f"{gone.pid}@0")
    done = []
    assert worker(storage, 6, launcher(done)).work() == (0, [])
    assert sorted(done) == [f"trial='s/{number}'" for number in (0, 1, 4, 5, 6, 7)]


def test_constraints_keep_trials_off_the_front(storage):
    goal = goals.find("clean_only", ["resistance"], {"accuracy": 0.8})
    kept = study.open_study("s", storage, goal, SPACE.described(), None)
    job = search.Worker(kept, search.Settings("s", storage, 3, 1), SPACE, goal, "study/s", None)
    for accuracy, suspicion in ((70, 0), (85, 40), (81, 30)):
        (trial,) = study.take(kept, 9, 1)
        SPACE.suggest(trial)
        job._finish(trial, row(accuracy, suspicion))
    assert [trial.number for trial in findings.front(kept)] == [2]
    assert findings.why(goal, findings.front(kept)).startswith("Trial 2 has the largest resistance")


def test_a_description_tells_the_space_apart_not_its_order():
    same = parse_space(["drop=interval(0.01,0.1)", "criterion=choice(l1,blend)"], None, None)
    assert same.described() == SPACE.described()


def test_of_equal_trials_the_first_is_chosen(storage):
    kept = opened(storage)
    job = search.Worker(kept, search.Settings("s", storage, 4, 1), SPACE, GOAL, "study/s", None)
    for accuracy, suspicion in ((80, 40), (90, 50), (80, 40)):
        (trial,) = study.take(kept, 9, 1)
        SPACE.suggest(trial)
        job._finish(trial, row(accuracy, suspicion))
    assert [trial.number for trial in findings.front(kept)] == [0, 1]


def test_a_study_keeps_the_content_of_its_files_and_names_what_differs(storage):
    about = SPACE.described() | {"the content of B": "first", "layer": "pool_3"}
    study.open_study("s", storage, GOAL, about, None)
    with pytest.raises(ConfigError, match=r"the content of B among it. Received: second") as error:
        study.open_study("s", storage, GOAL, about | {"the content of B": "second"}, None)
    assert "pool_3" not in str(error.value)
    assert len(str(error.value)) < 250


def test_what_changes_no_result_is_no_part_of_a_study():
    settings = {"drop": 0.02, "criterion": "l1", "criterion.params.images": 3, "layer": "pool_3"}
    assert SPACE.shared(settings) == {"layer": "pool_3"}


def test_looking_for_a_study_makes_nothing(storage, tmp_path):
    assert study.find_study("s", storage, GOAL, SPACE.described()) is None
    assert not list(tmp_path.iterdir())
    kept = opened(storage)
    assert study.find_study("other", storage, GOAL, SPACE.described()) is None
    found = study.find_study("s", storage, GOAL, SPACE.described())
    assert found.study_name == kept.study_name
    with pytest.raises(ConfigError, match="must keep its search space"):
        study.find_study("s", storage, GOAL, {})


@pytest.mark.parametrize("name", ["a, b", "it's", "a=b", "f(x)", "{x}", "back\\", "ünï", "a'b\"c"])
def test_a_study_may_have_any_name(storage, name):
    kept = opened(storage, name=name)
    job = search.Worker(kept, search.Settings(name, storage, 1, 1), SPACE, GOAL, "", None)
    trial, sweep = OverridesParser.create().parse_overrides(job._marks(3))
    assert (trial.key_or_group, trial.value()) == ("trial", f"{name}/3")
    assert not trial.is_sweep_override()
    assert sweep.key_or_group == "tracking.sweep"


def test_names_of_studies_stay_apart_in_queries():
    names = ["a b", "a_b", "a'b", 'a"b']
    safe = [search._safe(name) for name in names]
    assert len(set(safe)) == len(names)
    assert not set("'\"\\") & set("".join(safe))

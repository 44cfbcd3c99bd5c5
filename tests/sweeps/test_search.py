"""Searches from end to end, on the small stand-in."""

import csv
import os
import sqlite3
import subprocess

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from sweep import criteria, repairs
from sweep.attacks import standin
from sweep.data.image_set import open_set, write_set
from sweep.jobs import config, rules
from sweep.sweeps.space import parse_space

SETS = {
    "clean_valid": "cl/valid.h5",
    "poisoned_valid": "bd/bd_valid.h5",
    "clean_test": "cl/test.h5",
    "poisoned_test": "bd/bd_test.h5",
}
SEARCH = (
    *("hydra/sweeper=optuna", "objective=clean_only", "hydra.sweeper.n_trials=3"),
    *("ordering=choice(increasing,decreasing)", "drop=interval(0.05,0.2)", "curve=until_drop"),
)


@pytest.fixture(scope="module")
def made(checkout):
    """The small stand-in's files, to be given as one's own."""
    small = [line for line in checkout.command() if line.startswith("dataset.")]
    pairs = [line.removeprefix("dataset.").split("=") for line in small]
    settings = standin.Standin(**{name: int(value) for name, value in pairs})
    return standin.ensure(settings, checkout.data)


def searched(checkout, made, place, other):
    """Search with files of one's own; what came out and the trials' table."""
    files = {name: made / path for name, path in SETS.items()} | other
    command = [part for part in checkout.command() if not part.startswith("dataset.")]
    command += ["dataset=files", "dataset.scale=0.00392156862745098"]
    command += [f"dataset.{name}={path}" for name, path in files.items() if path]
    command += [f"badnet.path={made / 'models' / 'bd_net.keras'}", f"paths.mlruns={place}"]
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    done = subprocess.run(
        [*command, *SEARCH], capture_output=True, text=True, check=False, env=environment
    )
    (table,) = place.glob("artifacts/*/artifacts/trials.csv")
    rows = list(csv.DictReader(table.read_text().splitlines()))
    return done, [{name: row[name] for name in row if name != "run_id"} for row in rows]


def test_poisoned_and_test_files_change_no_choice(checkout, made, tmp_path):
    """The first search has no poisoned images at all, and needs none to its end."""
    unknown = {"poisoned_valid": None, "poisoned_test": None}
    done, rows = searched(checkout, made, tmp_path / "true", unknown)
    assert done.returncode == 0, done.stderr
    assert "## The chosen trial, test sets" in done.stdout
    assert "asr" not in done.stdout.lower()
    assert "suspicion" in done.stdout
    spoilt = {name: tmp_path / f"{name}.h5" for name in ("clean_test", "poisoned_test")}
    for path in spoilt.values():
        path.write_text("not even an image set")
    poisoned = open_set(made / SETS["poisoned_valid"])
    noise = np.random.default_rng(0).integers(0, 256, (len(poisoned), 55, 47, 3), np.uint8)
    spoilt["poisoned_valid"] = tmp_path / "poisoned_valid.h5"
    write_set(spoilt["poisoned_valid"], [noise], poisoned.labels)
    again, same = searched(checkout, made, tmp_path / "spoilt", spoilt)
    assert len(rows) == 3
    assert same == rows
    sentence = next(line for line in done.stdout.splitlines() if "has the largest" in line)
    assert sentence in again.stdout
    assert "## The chosen trial" not in again.stdout  # whose job does open the test sets
    assert "clean_test.h5" in again.stderr
    with sqlite3.connect(tmp_path / "true" / "mlflow.db") as database:
        assert not database.execute("select key from metrics where key like '%asr%'").fetchall()
        tested = set(database.execute("select run_uuid from metrics where key like '%/test_%'"))
        trials = set(
            database.execute("select run_uuid from params where key = 'trial' and value like '%/%'")
        )
    assert len(trials) == 3
    assert tested
    assert not tested & trials


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("hydra/sweeper=optuna", "objective=clean_only"), "must vary something"),
        (("objective=oracle", "drop=0.1"), "objective is for searches"),
        (("hydra/sweeper=optuna", "objective=clean_only", "criterion=choice(l1,tac)"), "tac"),
        ((*SEARCH, "hydra.sweeper.storage=nonsense"), "storage must be"),
    ],
)
def test_a_search_that_cannot_be_is_one_sentence_at_once(checkout, overrides, said):
    done = checkout.sweep(*overrides)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_ready_studies_cover_what_there_is():
    config.register()
    with initialize_config_dir(str(config.folder()), version_base="1.3"):
        studies = {
            name: compose("config", [f"+study={name}"], return_hydra_config=True).hydra.sweeper
            for name in ("criteria", "search")
        }
    compared = set(studies["criteria"].params.criterion.split(","))
    assert compared == set(criteria.names()) - {"blend"}  # which needs weights
    space = parse_space([], studies["search"].params, studies["search"].when)
    searched = space.free["criterion"].choices
    assert set(searched) <= set(criteria.names())
    assert not {
        name for name in searched if name != "blend" and criteria.sees(name, {}) == "oracle"
    }
    assert set(space.free["repair"].choices) <= set(repairs.names())
    with initialize_config_dir(str(config.folder()), version_base="1.3"):
        for corner in space.corners():
            rules.check(config.typed(compose("config", [*corner, "tracking.sweep=none"])))
    blended = {name.rpartition(".")[2] for name in space.when["criterion", "blend"]}
    assert not {name for name in blended if criteria.sees(name, {}) == "oracle"}

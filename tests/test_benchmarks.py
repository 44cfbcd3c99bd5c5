"""What the benchmarks' programs make of figures: by hand, on few made-up ones."""

import importlib.util
import math
from dataclasses import replace

import numpy as np
import pytest
from omegaconf import OmegaConf

from markdown import ROOT
from records import record
from sweep import attacks, repairs
from sweep.results.intervals import by_person
from sweep.results.records import Count
from sweep.tracking.opening import open_store


def program(name):
    found = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


detection, results = program("detection"), program("results")


def job(attack, repair, seed, accuracy, asr):
    made = record(seed=seed, attack=attack, repair=repair)
    figures = dict(made.figures)
    figures["repaired/test_accuracy"] = Count(accuracy, 1000)
    figures["repaired/test_asr"] = Count(asr, 1000)
    return replace(made, figures=figures)


def test_results_are_means_over_seeds_with_student_intervals():
    jobs = [
        job("badnets", "none", 0, 970, 1000),
        job("badnets", "none", 1, 950, 980),
        job("badnets", "finetune", 0, 960, 20),
        job("badnets", "finetune", 1, 960, 40),
        job("warped", "none", 0, 960, 100),
        job("warped", "finetune", 0, 970, 300),
    ]
    page = results.page(jobs, "a command", "abc")
    assert "`a command`" in page
    assert "commit abc" in page
    # 99.0 +- 12.71 * sqrt(2) / sqrt(2), of 100 and 98.
    half = 12.71 * math.sqrt(2) / math.sqrt(2)
    assert f"| 99.0 ± {half:.1f} |" in page
    rows = [line for line in page.splitlines() if line.startswith("| mean_activation")]
    # Of each attack the cheaper first, then ranks: one each, so both have 1.5 on average.
    assert rows[0].startswith("| mean_activation + finetune | 96.0 ± 0.0 | 3.0 ±")
    assert rows[0].endswith("| 2 |")
    assert rows[2].startswith("| mean_activation | 96.0 | 10.0 |")
    assert [line.split(" | ")[1] for line in rows[4:]] == ["1.5", "1.5"]
    # B has 990 of 1000: 3 + 3 points against badnets, 30 + 2 against warped.
    assert "| mean_activation + finetune | 1.5 | 19.0 | 32.0 |" in page
    # Without repair 3 and 99 points, 3 and 10.
    assert "met every attack, mean_activation + finetune costs least: 19.0 points" in page
    assert "mean_activation costs 57.5 on average." in page
    assert "successful with warped (30%)." in page


def test_the_distance_to_the_oracle_is_that_on_its_seeds():
    jobs = [job("badnets", "none", seed, 970, asr) for seed, asr in ((0, 500), (1, 100))]
    oracle = job("badnets", "none", 0, 960, 300)
    known = {"all": jobs, "tac (oracle)": [oracle]}
    assert results.to_oracle(jobs, known) == "19.0"  # 50 + 2 points less 30 + 3
    assert results.to_oracle(jobs[1:], known) == ""


def test_results_take_answers_and_details_from_a_store(tmp_path):
    store = open_store(tmp_path / "mlruns", "benchmark")
    runs, truth = [], np.repeat(np.arange(5), 4)
    for seed in (0, 1):
        drafts = tmp_path / f"drafts{seed}"
        drafts.mkdir()
        made = job("badnets", "none", seed, 970, 100)
        answers = {"label_poisoned": truth * 0, "truth_poisoned": truth}
        answers |= {"badnet_poisoned": truth * 0, "repaired_poisoned": truth * seed}
        np.savez_compressed(drafts / "answers.npz", **answers)
        (drafts / "result.json").write_text(made.to_json())
        with store.run("job", {"sweep.kind": "job"}) as run:
            store.log_files(run, drafts)
        runs.append(replace(made.brief, run_id=run))
    jobs, answers = results.details(tmp_path / "mlruns", "benchmark", runs)
    assert [one.run_id for one in jobs] == [one.run_id for one in runs]
    page = results.page(jobs, "a command", "abc", answers)
    # All of the first seed's 20 images, 4 of the second's; ten persons.
    hits = np.concatenate([np.ones(20, bool), truth == 0])
    low, high = by_person(hits, np.arange(40) // 4)
    assert f"| {100 * low:.1f} to {100 * high:.1f} |  | 0 | 2 |" in page


def row(seed, *, backdoored, index, attack="none"):
    """A network whose class 0 stands out by `index`, and class 1 by its margin."""
    shared = {"network": "vgg", "accuracy": 1.0, "asr": 1.0, "seconds": [2.0, 1.0]}
    names = ("index", "trigger", "mad", "margin")
    known = dict.fromkeys(names, index)
    known |= {f"{name} class": int(name == "margin") for name in names}
    return {"seed": seed, "backdoored": backdoored, "attack": attack, **shared, **known}


def test_statistics_are_of_sizes_and_margins():
    said = detection.statistics({"sizes": [10, 100, 100, 90], "margins": [0.0, 3.0, 1.0, -1.0]})
    logs = [math.log(size) for size in (10, 100, 100, 90)]
    median = (logs[1] + logs[3]) / 2
    away = sorted(abs(one - median) for one in logs)
    small = (median - logs[0]) / (1.4826 * (away[1] + away[2]) / 2)
    assert said["trigger"] == pytest.approx(small)
    assert said["index"] == pytest.approx(small)
    assert (said["trigger class"], said["margin"], said["margin class"]) == (0, 3, 1)


def test_a_threshold_knows_nothing_of_the_networks_it_is_judged_on():
    rows = [
        row(0, backdoored=False, index=1.0),
        row(1, backdoored=False, index=3.0),
        row(1000, backdoored=True, index=2.0, attack="badnets"),
        row(1001, backdoored=True, index=2.5, attack="badnets"),
        row(1003, backdoored=True, index=4.0, attack="warped"),
    ]
    about, page = detection.report(rows, "a command")
    assert about["threshold"] == 3.01
    # By 1.01 of even seeds all odd ones stand out; by 3.01 of odd seeds no even one does.
    alarms, caught = detection.crossed(rows, "index")
    assert [one["seed"] for one in alarms] == [1]
    assert [one["seed"] for one in caught] == [1001, 1003]
    # Of six pairs of a clean and a backdoored network four are in order.
    line = next(line for line in page.splitlines() if "(`sweep.inspect`)" in line)
    assert line.endswith("| 3.01 | 1 of 2 | 2 of 3 | 2 of 2 | 0.67 | 3 |")
    line = next(line for line in page.splitlines() if "MM-BD)" in line)
    assert line.endswith("| 3.01 | 1 of 2 | 2 of 3 | 0 of 2 | 0.67 | 1 |")


def test_every_attack_meets_every_network_and_halves_are_even():
    cells = detection.cells(54)
    attacked = [cell for cell in cells if cell.poison_rate]
    assert len({(cell.attack, cell.network) for cell in attacked}) == 27
    assert len({cell.seed for cell in cells}) == 108
    assert sum(cell.seed % 2 for cell in attacked) == 27


def test_the_study_has_every_attack_and_repairs_that_there_are():
    params = OmegaConf.load(ROOT / "conf" / "study" / "benchmark.yaml").hydra.sweeper.params
    assert sorted(params.attack.split(",")) == [*attacks.names()]
    assert set(params.repair.split(",")) <= set(repairs.names())

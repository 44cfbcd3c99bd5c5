"""The comparison on made-up jobs."""

import csv
import io

import numpy as np
import pytest
from scipy.stats import spearmanr

from sweep.reports import comparison
from sweep.results import intervals
from sweep.results.records import Count, Curve, Details, Record, Stop

RNG = np.random.default_rng(0)


def job(
    criterion, ordering="increasing", asr=100, run=None, scores=None, drop=0.04, channels=2, **more
):
    """A job whose attack succeeds that often, after the first step already."""
    figures = {
        f"{network}/test_{rate}": Count(hits, 100)
        for network in ("badnet", "repaired", "goodnet")
        for rate, hits in (("accuracy", 90), ("asr", asr))
    }
    settings = {"criterion": criterion, "ordering": ordering, "drop": drop, "seed": 0}
    settings |= {"layer": "pool_3", "dataset": "standin"} | more
    curve = Curve((0, 1), (100, 100, 50), 100, (100, asr, 0), 100)
    scores = RNG.random(6) if scores is None else scores
    details = Details(scores, curve, seconds={"scores": 2.0})
    run = run or f"{criterion}-{ordering}"
    return Record(settings, figures, Stop(1, reached=True), channels, run, details)


def labels(attacked):
    """Ten images of each kind; the attack on G succeeds on the first ones."""
    repaired = np.where(np.arange(10) < attacked, 0, 3)
    right = np.arange(10) % 3
    return {
        **{f"{name}_poisoned": np.zeros(10, int) for name in ("label", "badnet")},
        "repaired_poisoned": repaired,
        **{f"{name}_clean": right for name in ("label", "badnet", "repaired")},
    }


def test_lines_stand_between_baseline_and_oracle():
    jobs = [
        job("mean_activation"),
        job("l1", asr=70),
        job("tac", asr=40),
        job("l1", "decreasing", asr=20),
        job("mean_activation", drop=0.1, run="other"),
    ]
    answers = {"mean_activation-increasing": labels(10), "l1-increasing": labels(3)}
    found = {
        (line.name, line.job.settings["drop"]): line for line in comparison.lines(jobs, answers)
    }
    regrets = [found[name, 0.04].regret for name in ("mean_activation increasing", "l1 increasing")]
    assert regrets == [0, pytest.approx(0.5)]
    assert found["tac increasing (oracle)", 0.04].regret == 1
    assert found["l1 decreasing", 0.04].regret == pytest.approx(80 / 60)
    assert found["mean_activation increasing", 0.1].regret is None
    line = found["l1 increasing", 0.04]
    assert line.p["asr"] == pytest.approx(2 * 0.5**7)
    assert line.p["accuracy"] == 1
    assert found["l1 decreasing", 0.04].p == {}  # its run has no answers


def test_a_curve_that_ends_early_has_no_area_and_no_regret():
    jobs = [job("mean_activation"), job("tac", asr=40), job("l1", asr=70, channels=3)]
    found = {line.name: line for line in comparison.lines(jobs, {})}
    assert found["l1 increasing"].area is found["l1 increasing"].regret is None
    assert found["mean_activation increasing"].regret == 0
    short = comparison.lines([jobs[0], job("tac", asr=40, channels=3), jobs[2]], {})
    assert [line.regret for line in short] == [None] * 3
    row = comparison.table("", [found["l1 increasing"]]).lines[0]
    assert row[-3:-1] == ["", ""]


def test_p_values_are_corrected_for_all_tests_of_a_section():
    names = ("l1", "l2", "clp")
    jobs = [job("mean_activation"), *map(job, names)]
    answers = {"mean_activation-increasing": labels(10)}
    answers |= {f"{name}-increasing": labels(3) for name in names}
    found = {line.name: line for line in comparison.lines(jobs, answers)}
    raw = 2 * 0.5**7
    assert found["l1 increasing"].holm == {"asr": pytest.approx(6 * raw), "accuracy": 1}
    assert found["mean_activation increasing"].holm == {}
    assert f"{6 * raw:.2g}" in comparison.markdown([found["l1 increasing"]])


def test_intervals_go_by_person_where_a_class_is_one():
    jobs = [job("mean_activation"), job("l1")]
    known = np.repeat(np.arange(20), 5)
    wrong = np.where(known < 10, known, 99)  # a person is known or not
    answers = dict.fromkeys(("label_clean", "badnet_clean"), known) | {"repaired_clean": wrong}
    answers |= {f"{name}_poisoned": np.zeros(100, int) for name in ("label", "badnet", "repaired")}
    found = comparison.lines(jobs, {"l1-increasing": answers})
    line = next(line for line in found if line.name == "l1 increasing")
    low, high = line.interval("goodnet/test_accuracy")
    assert line.persons == 20
    assert high - low > 2 * (0.598 - 0.404)  # as wide as Wilson's of 20 images, not of 100
    assert "show 20 persons" in comparison.markdown([line])
    wilson = intervals.wilson(line.job.figures["goodnet/test_asr"])
    assert line.interval("goodnet/test_asr") == wilson  # whose faces they are is not known


def test_sections_of_different_networks_are_told_apart():
    jobs = [job("l1", run=str(n), **{"badnet.path": f"{n}.h5"}) for n in range(2)]
    titles = [title for title, _ in comparison.sections(comparison.lines(jobs, {}))]
    assert titles == [f"X = 4%, layer pool_3, seed 0, badnet.path {n}.h5" for n in range(2)]


def test_criteria_are_compared_on_the_channels_of_one_layer():
    jobs = [job("l1", layer=layer, run=f"l1{layer}") for layer in ("conv_1", "conv_2")]
    jobs += [job("l2", layer="conv_2", scores=jobs[1].full.scores)]
    groups = comparison.by_layer(jobs)
    assert [(layer, len(group)) for layer, group in groups] == [("conv_2", 2), ("conv_1", 1)]
    assert comparison.agreement(groups[0][1])[1].tolist() == [[1, 1], [1, 1]]


def test_the_tables_hold_every_line_and_mark_oracles():
    found = comparison.lines([job("mean_activation"), job("tac", asr=40)], {})
    rows = list(csv.DictReader(io.StringIO(comparison.as_csv(found))))
    assert [(row["criterion"], row["sees"]) for row in rows] == [
        ("mean_activation", "clean"),
        ("tac", "oracle"),
    ]
    assert float(rows[1]["goodnet/test_asr_low"]) == pytest.approx(
        intervals.wilson(Count(40, 100))[0]
    )
    text = comparison.markdown(found)
    assert "| tac increasing (oracle) |" in text
    assert text.index("tac") < text.index("| mean_activation")  # the least ASR first


def test_of_many_sections_the_best_is_drawn(tmp_path):
    jobs = [
        job(name, asr=100 if drop < 0.3 else 50, drop=drop)
        for name in ("mean_activation", "l1")
        for drop in (0.1, 0.2, 0.3, 0.4)
    ]
    jobs.append(job("tac", asr=0, drop=0.1))  # an oracle, which no defender has
    text = comparison.write(tmp_path, jobs, {})
    assert text.count("## X") == 4
    assert "of the section with the least ASR of a defender's G, X = 30%" in text
    assert [path.name for path in tmp_path.rglob("criteria*.png")] == ["criteria_1.png"]


def test_agreement_is_spearmans():
    values = np.array([0.0, 0.0, 1.0, 2.0, 3.0, 9.0])
    jobs = [
        job("l1", scores=values),
        job("l2", scores=values**2),
        job("clp", scores=-values),
        job("random", scores=np.zeros(6)),
    ]
    names, rho = comparison.agreement(jobs)
    assert names == ["clp", "l1", "l2", "random"]
    np.testing.assert_allclose(rho[:3, :3], [[1, -1, -1], [-1, 1, 1], [-1, 1, 1]])
    assert np.isnan(rho[3, :3]).all()


def test_agreement_shares_ranks_as_scipy_does():
    scores = RNG.integers(0, 9, (3, 60)).astype(float)
    jobs = [job(n, scores=s) for n, s in zip(("clp", "l1", "l2"), scores, strict=True)]
    np.testing.assert_allclose(comparison.agreement(jobs)[1], spearmanr(scores.T).statistic)
    assert comparison.agreement(jobs[:1])[1] == [[1]]


def test_plots_are_drawn(tmp_path):
    jobs = [
        job(name, order, asr)
        for name, asr in (("mean_activation", 100), ("tac", 40))
        for order in ("increasing", "decreasing")
    ]
    assert comparison.is_wanted(jobs)
    assert not comparison.is_wanted(jobs[:2])
    comparison.write(tmp_path, jobs, {})
    made = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    assert made == {"comparison.csv", "comparison.md"} | {
        f"plots/{name}.{suffix}"
        for name in ("agreement", "criteria_1")
        for suffix in ("svg", "png")
    }

"""Intervals and tests against known values; the comparison on made-up jobs."""

import csv
import io

import numpy as np
import pytest
from scipy.stats import binom, binomtest, spearmanr

from sweep.reports import comparison
from sweep.results import intervals
from sweep.results.records import Count, Curve, Details, Record, Stop

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("count", [Count(0, 10), Count(3, 10), Count(600, 600), Count(115, 12830)])
def test_wilson_is_scipys(count):
    known = binomtest(count.hits, count.total).proportion_ci(method="wilson")
    assert intervals.wilson(count) == pytest.approx((known.low, known.high), abs=1e-12)


def test_mcnemar_counts_only_images_on_which_two_differ():
    first = np.array([True] * 9 + [False] * 2 + [True] * 50)
    second = np.array([False] * 9 + [True] * 2 + [True] * 50)
    assert intervals.mcnemar(first, second) == pytest.approx(2 * binom.cdf(2, 11, 0.5))
    assert intervals.mcnemar(first, first) == 1


@pytest.mark.parametrize(("ours", "theirs"), [(0, 1), (5, 5), (5, 6), (40, 3), (0, 900)])
def test_mcnemar_is_scipys_binomial_test(ours, theirs):
    first = np.arange(ours + theirs) < ours
    assert intervals.mcnemar(first, ~first) == pytest.approx(binomtest(ours, ours + theirs).pvalue)


def test_an_interval_reads_in_percent():
    assert intervals.interval(Count(549, 600)) == "91.50 [89.00, 93.48]"


def job(criterion, ordering="increasing", asr=100, run=None, scores=None, drop=0.04):
    """A job whose attack succeeds that often, after the first step already."""
    figures = {
        f"{network}/test_{rate}": Count(hits, 100)
        for network in ("badnet", "repaired", "goodnet")
        for rate, hits in (("accuracy", 90), ("asr", asr))
    }
    settings = {"criterion": criterion, "ordering": ordering, "drop": drop, "seed": 0}
    settings |= {"layer": "pool_3", "dataset": "standin"}
    curve = Curve((0, 1), (100, 100, 50), 100, (100, asr, 0), 100)
    scores = RNG.random(6) if scores is None else scores
    details = Details(scores, curve, seconds={"scores": 2.0})
    run = run or f"{criterion}-{ordering}"
    return Record(settings, figures, Stop(1, reached=True), len(scores), run, details)


def test_area_is_the_mean_of_the_least_asr_for_each_loss():
    whole = Curve((0, 1, 2), (100, 95, 97, 80), 100, (100, 40, 60, 0), 100)
    # 100% until 3 points are lost, 60% until 5, then 40% until 10.
    assert comparison.area(whole) == pytest.approx((3 * 1 + 2 * 0.6 + 5 * 0.4) / 10)
    assert comparison.area(Curve((), (100,), 100, (70,), 100)) == pytest.approx(0.7)
    steps = np.linspace(0, 0.1, 10001)[:-1]
    right, hits = np.array(whole.clean_correct), np.array(whole.attack_hits)
    slow = np.mean([hits[100 - right <= 100 * loss + 1e-9].min() for loss in steps]) / 100
    assert comparison.area(whole) == pytest.approx(slow, abs=1e-3)


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
    assert line.p_asr == pytest.approx(2 * 0.5**7)
    assert line.p_accuracy == 1
    assert found["l1 decreasing", 0.04].p_asr is None  # its run has no answers


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

import doctest
from dataclasses import replace

import numpy as np
import pytest

from records import CHANNELS, record, six
from sweep.reports import series
from sweep.results.records import Count, Curve


def test_docstrings():
    assert doctest.testmod(series).failed == 0


def test_a_series_holds_one_curve_and_every_stop():
    first, second = series.series(six())
    assert (first.name, second.name) == ("increasing order", "decreasing order")
    assert len(first.accuracy.mean) == CHANNELS + 1
    assert first.accuracy.mean[0] == 99
    assert [mark.drop for mark in first.marks] == [0.02, 0.04, 0.1]
    assert first.accuracy.low == first.accuracy.mean == first.accuracy.high


def test_dead_is_what_sleeps_not_what_scores_nothing():
    job = record()
    awake = replace(job, details=replace(job.full, dead=()))
    assert series.series([awake])[0].dead == ()
    first, second = series.series(six())
    assert first.dead == ((0, CHANNELS // 2),)
    assert second.dead == ((CHANNELS // 2, CHANNELS),)


def test_the_band_is_students_interval():
    records = [record(seed=seed) for seed in range(4)]
    (line,) = series.series(records)
    step = 15
    values = [100 * r.full.curve.clean_correct[step] / 1000 for r in records]
    half = 3.1824463 * np.std(values, ddof=1) / 2
    assert line.seeds == 4
    assert line.accuracy.mean[step] == pytest.approx(np.mean(values))
    assert line.accuracy.high[step] == pytest.approx(min(100, np.mean(values) + half))


def test_jobs_that_stopped_early_lend_from_the_longest_curve():
    long, short = record(drop=0.1), record(drop=0.02)
    curve = short.full.curve
    part = Curve(curve.channels[:3], curve.clean_correct[:4], 1000, curve.attack_hits[:4], 1000)
    short = replace(short, details=replace(short.full, curve=part))
    assert len(series.series([short, long])[0].accuracy.mean) == CHANNELS + 1


def test_a_way_starts_at_b():
    way = series.tradeoffs(six())[0]
    assert way.points[0] == pytest.approx((0, 100, 99))
    assert [drop for drop, _, _ in way.points] == [0, 0.02, 0.04, 0.1]


def test_outcomes_are_all_images():
    for outcome in series.outcomes(six()):
        assert sum(outcome.clean) == pytest.approx(100)
        assert sum(outcome.poisoned) == pytest.approx(100)


def test_of_many_outcomes_the_best_are_shown():
    data = [series.Outcome(f"{n}", (90, 10, 0), (n, 100 - n, 0)) for n in range(99, -1, -1)]
    assert series.best(data[:20]) == data[:20]
    assert [outcome.name for outcome in series.best(data)] == [str(n) for n in range(24)]


def test_of_many_sections_the_baseline_leads_and_the_best_follow():
    def job(number):
        made = record(criterion=f"criterion_{number:02}")
        figures = {**made.figures, "goodnet/test_asr": Count(1000 - number, 1000)}
        return replace(made, figures=figures)

    jobs = [*map(job, range(13)), record()]
    titles = [title for title, _ in series.ranked(jobs)]
    assert titles[0] == "increasing order, criterion mean_activation"
    assert titles[1:] == [
        f"increasing order, criterion criterion_{n:02}" for n in range(12, -1, -1)
    ]
    assert [line.name for line in series.series(jobs)] == titles

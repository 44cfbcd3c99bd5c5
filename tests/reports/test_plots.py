import doctest
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from records import CHANNELS, record, six
from sweep.reports import plots
from sweep.results.records import Curve


def test_docstrings():
    assert doctest.testmod(plots).failed == 0


def test_a_series_holds_one_curve_and_every_stop():
    first, second = plots.series(six())
    assert (first.name, second.name) == ("increasing order", "decreasing order")
    assert len(first.accuracy.mean) == CHANNELS + 1
    assert first.accuracy.mean[0] == 99
    assert [mark.drop for mark in first.marks] == [0.02, 0.04, 0.1]
    assert first.accuracy.low == first.accuracy.mean == first.accuracy.high


def test_dead_is_what_sleeps_not_what_scores_nothing():
    job = record()
    awake = replace(job, details=replace(job.full, dead=()))
    assert plots.series([awake])[0].dead == ()
    first, second = plots.series(six())
    assert first.dead == ((0, CHANNELS // 2),)
    assert second.dead == ((CHANNELS // 2, CHANNELS),)


def test_the_band_is_students_interval():
    records = [record(seed=seed) for seed in range(4)]
    (line,) = plots.series(records)
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
    assert len(plots.series([short, long])[0].accuracy.mean) == CHANNELS + 1


def test_a_way_starts_at_b():
    way = plots.tradeoffs(six())[0]
    assert way.points[0] == pytest.approx((0, 100, 99))
    assert [drop for drop, _, _ in way.points] == [0, 0.02, 0.04, 0.1]


def test_outcomes_are_all_images():
    for outcome in plots.outcomes(six()):
        assert sum(outcome.clean) == pytest.approx(100)
        assert sum(outcome.poisoned) == pytest.approx(100)


def test_stops_at_one_step_share_a_label():
    marks = [plots.Mark(drop, 1, drop < 0.1, 90, 100) for drop in (0.02, 0.04, 0.1)]
    assert plots.label_marks(marks, 50) == [(1, "X 2%, 4%, 10% not reached")]
    marks += [plots.Mark(0.2, 1, False, 90, 100)]
    assert plots.label_marks(marks, 50) == [(1, "X 2% to 20% not reached")]


def test_labels_are_as_many_as_there_is_room_for():
    marks = [plots.Mark(0.019231 * n, n, True, 90, 100) for n in range(1, 26)]
    labels = plots.label_marks(marks, 50)
    assert labels[0] == (1, "X 1.92%")
    assert sum(len(text) + 2 for _, text in labels) <= 50 < 25 * len("X 1.92%")
    assert plots.label_marks(marks, 1000)[-1] == (25, "X 48.1%")


@settings(deadline=None)
@given(st.lists(st.floats(0, 60), max_size=12), st.floats(0.1, 20))
def test_labels_stand_apart_in_their_order_and_room(wanted, gap):
    places = plots.spread_out(sorted(wanted), gap, 0, 60)
    assert len(places) == len(wanted)
    fits = min(gap, 60 / max(1, len(wanted) - 1))
    assert all(b - a >= fits - 0.11 for a, b in pairwise(places))
    assert all(-0.1 <= place <= 60.1 for place in places)


def test_names_of_points_stay_clear_of_the_axis():
    figure = plots.draw_tradeoffs([plots.Tradeoff("a", ((0, 100, 98), (0.02, 0, 90)))])
    sides = {text.get_text(): text.get_ha() for text in figure.axes[0].texts}
    assert sides == {"B": "right", "X 2%": "left"}


def test_the_same_plot_is_the_same_file(tmp_path):
    for name in ("a", "b"):
        figure = plots.draw_curve(plots.series(six())[0], "title <&>")
        plots.save(figure, tmp_path / name, ("png", "svg", "pdf"))
    for suffix in ("png", "svg", "pdf"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_the_overview_has_a_plot_for_each_question():
    records = six() + [record(criterion=f"criterion_{n}") for n in range(15)]
    names = list(plots.overview(records))
    assert names[:3] == ["overlay", "accuracy_against_asr", "outcomes"]
    assert len(names) == 3
    assert len(plots.overview(six())) == 5


def test_of_many_outcomes_the_best_are_shown():
    data = [plots.Outcome(f"{n}", (90, 10, 0), (n, 100 - n, 0)) for n in range(99, -1, -1)]
    assert plots.best(data[:20]) == data[:20]
    assert [outcome.name for outcome in plots.best(data)] == [str(n) for n in range(24)]

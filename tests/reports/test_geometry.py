import doctest

import pytest

from records import CHANNELS, record, six
from sweep.reports import geometry
from sweep.reports.series import Mark, Tradeoff, series


def test_docstrings():
    assert doctest.testmod(geometry).failed == 0


@pytest.mark.parametrize("last", [1, 2, 7, 20, 60, 512, 4096])
def test_ticks_are_few(last):
    ticks = geometry.ticks(last)
    assert 2 <= len(ticks) <= 9
    assert ticks[0] == 0


def test_stops_at_one_step_are_named_together():
    marks = [Mark(drop, 1, drop < 0.1) for drop in (0.02, 0.04, 0.1)]
    assert geometry.stops_of(marks) == "stops: 1 (X 2%, 4%, 10% not reached)"
    marks += [Mark(0.2, 1, False)]
    assert geometry.stops_of(marks) == "stops: 1 (X 2% to 20% not reached)"


def test_of_many_stops_a_few_are_named():
    other = [
        Mark(0.5, 3, True, "fraction"),
        Mark(2, 2, True, "channels"),
        Mark(0.1, 9, True, "relative"),
    ]
    assert geometry.stops_of(other) == (
        "stops: 2 (X 2 channels), 3 (X 50% of the channels), 9 (X 10% of B's)"
    )
    marks = [Mark(0.019231 * n, n, True) for n in range(1, 26)]
    named = geometry.stops_of(marks)
    assert named.startswith("stops: 1 (X 1.92%), 2 (X 3.85%)")
    assert named.endswith("20 more")


def test_a_curve_has_a_mark_for_every_stop_on_both_lines():
    data = series(six())[0]
    chart = geometry.curve(data)
    assert (chart.x.low, chart.x.high) == (0, CHANNELS)
    assert [line.name for line in chart.lines] == ["clean accuracy", "attack success rate"]
    assert [x for x, _, _ in chart.lines[0].marks] == [mark.pruned for mark in data.marks]
    assert set(chart.stops) == {mark.pruned for mark in data.marks}


def test_lines_beyond_those_told_apart_have_no_colour():
    data = series(six())[:1] * 20
    chart = geometry.overlay(data, "asr")
    assert [bool(line.paint) for line in chart.lines] == [True] * 12 + [False] * 8
    looks = {(line.paint, line.dash) for line in chart.lines[:12]}
    assert len(looks) == 12


def test_every_x_has_a_shape_of_its_own_where_they_are_few():
    ways = [
        Tradeoff("a", ((0.0, 100, 98), (0.02, 80, 95))),
        Tradeoff("b", ((0.0, 100, 98), (0.1, 3, 61))),
    ]
    chart = geometry.tradeoff(ways)
    assert chart.shapes == ("B", "X 2%", "X 10%")
    assert [[shape for _, _, shape in line.marks] for line in chart.lines] == [[0, 1], [0, 2]]
    assert chart.lines[1].labels == ("B", "X 10%")
    assert chart.y.low <= 60
    many = Tradeoff("a", ((0.0, 100, 98), *((n / 100, 50, 90) for n in range(1, 9))))
    assert geometry.tradeoff([many]).shapes == ("B", "X 1% to 8%")


def test_marks_of_several_seeds_lie_on_the_mean_curve():
    data = series([record(drop=0.1, seed=seed) for seed in range(4)])[0]
    (mark,) = data.marks
    assert mark.pruned % 1  # between two steps
    for line, band in zip(geometry.curve(data).lines, (data.accuracy, data.asr), strict=True):
        step, height, _ = line.marks[0]
        assert band.mean[int(step) + 1] <= height <= band.mean[int(step)]

"""Intervals and tests against known values."""

import doctest

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from sweep.results import intervals
from sweep.results.records import Count


def test_docstrings():
    assert doctest.testmod(intervals).failed == 0


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


def test_a_class_of_few_images_is_a_person():
    assert intervals.persons(np.array([7, 7, 3])).tolist() == [1, 1, 0]
    assert intervals.persons(np.arange(9)) is None
    assert intervals.persons(np.repeat(np.arange(10), 100)) is None  # kinds of things
    assert intervals.persons(np.zeros(9, int)) is None
    assert intervals.persons(None) is None


def test_resampling_persons_widens_where_images_of_one_agree():
    who = np.repeat(np.arange(100), 9)
    known = who % 2 == 0
    low, high = intervals.by_person(known, who)
    assert (low, high) == pytest.approx(intervals.wilson(Count(50, 100)), abs=0.01)
    mixed = np.random.default_rng(0).permutation(known)
    narrow = intervals.by_person(mixed, who)
    assert narrow == pytest.approx(intervals.wilson(Count(450, 900)), abs=0.01)
    everything = np.ones(900, bool)
    assert intervals.by_person(everything, who) == intervals.wilson(Count(900, 900))


def test_mcnemar_by_person_counts_persons():
    who = np.repeat(np.arange(8), 9)
    first, second = who < 8, who >= 8
    assert intervals.mcnemar(first, second) < 1e-20
    # All of eight persons on one side: z = sqrt(8).
    assert intervals.mcnemar(first, second, who) == pytest.approx(0.0046777, rel=1e-4)
    assert intervals.mcnemar(first, first, who) == 1


def test_holms_p_never_fall_and_never_pass_one():
    # 5 x 0.001, 4 x 0.02, 3 x 0.03, then 2 x 0.04 = 0.08 which may not be less than 0.09.
    given = dict(zip("abcde", (0.001, 0.04, 0.03, 0.02, 0.5), strict=True))
    known = {"a": 0.005, "b": 0.09, "c": 0.09, "d": 0.08, "e": 0.5}
    assert intervals.holm(given) == pytest.approx(known)
    assert intervals.holm({}) == {}

"""The drop rule in exact arithmetic, held to fractions."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.pruning.drop import crosses, find_stop
from sweep.results.records import Stop

drops = st.integers(1, 999).map(lambda thousandths: Decimal(thousandths) / 1000)


@given(st.integers(-100, 20_000), st.integers(1, 20_000), drops)
def test_crossing_is_exact(lost, total, drop):
    wanted = Fraction(lost, total) >= Fraction(drop)
    assert crosses(lost, total, drop) == wanted
    assert crosses(lost, total, float(drop)) == wanted
    assert crosses(lost, total, str(drop)) == wanted


@given(st.lists(st.integers(0, 300), min_size=1, max_size=30), drops)
def test_the_stop_is_the_first_step_that_crosses(counts, drop):
    total = 300
    losses = [Fraction(counts[0] - count, total) for count in counts]
    crossing = [step for step, loss in enumerate(losses) if loss >= Fraction(drop)]
    stop = find_stop(counts, total, drop)
    assert stop == (Stop(crossing[0], True) if crossing else Stop(len(counts) - 1, False))


@pytest.mark.parametrize(
    ("counts", "total", "drop", "stop"),
    [
        ([70, 68], 100, 0.02, Stop(1, True)),  # as floats, 0.7 - 0.68 < 0.02
        ([70, 69], 100, 0.02, Stop(1, False)),
        ([100], 100, 0.02, Stop(0, False)),
        ([90, 95, 89, 88], 100, 0.02, Stop(3, True)),  # from B, not from the best
        ([11391, 11161, 11160], 11547, 0.02, Stop(2, True)),  # 231 of 11,547 is just over 2%
    ],
)
def test_known_stops(counts, total, drop, stop):
    assert find_stop(counts, total, drop) == stop


@given(
    st.lists(st.integers(0, 300), min_size=1, max_size=30),
    st.integers(1, 30),
    drops,
    st.sampled_from(["relative", "channels", "fraction"]),
)
def test_other_stops_are_plain_fractions(counts, channels, drop, stop):
    first, x = counts[0], Fraction(channels) if stop == "channels" else Fraction(drop)
    reached = {
        "relative": lambda step: Fraction(first - counts[step]) >= x * first,
        "channels": lambda step: step >= x,
        "fraction": lambda step: Fraction(step, 30) >= x,
    }[stop]
    steps = [step for step in range(len(counts)) if reached(step)]
    wanted = Stop(steps[0], True) if steps else Stop(len(counts) - 1, False)
    assert find_stop(counts, 300, float(x), stop, 30) == wanted


def test_a_relative_drop_is_of_what_b_gets_right():
    counts = [50, 49, 48, 0]  # of 100: 1 is 2% of 50
    assert find_stop(counts, 100, 0.02, "relative") == Stop(1, True)
    assert find_stop(counts, 100, 0.02) == Stop(2, True)

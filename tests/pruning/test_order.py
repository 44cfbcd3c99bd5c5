"""The order of removal: a stable sort, in both directions."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sweep.pruning.order import order_channels

scores = st.lists(st.sampled_from([0.0, -0.0, 1.0, 2.5, 1e-300, -3.0]), min_size=1, max_size=80)


@given(scores)
def test_orders_are_stable_permutations(values):
    for ordering, sign in (("increasing", 1), ("decreasing", -1)):
        wanted = sorted(range(len(values)), key=lambda c: (sign * values[c], c))
        assert list(order_channels(values, ordering)) == wanted


def test_zeros_keep_index_order_in_both_directions():
    assert order_channels(np.array([0.0, 2.0, 0.0, 0.0]), "increasing") == (0, 2, 3, 1)
    assert order_channels(np.array([0.0, 2.0, 0.0, 0.0]), "decreasing") == (1, 0, 2, 3)


def test_near_scores_are_told_apart():
    low = np.float64(0.1)
    assert order_channels([np.nextafter(low, 1), low], "increasing") == (1, 0)

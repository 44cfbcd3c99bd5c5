"""How sure a count is, and whether two networks differ: intervals and tests for proportions."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import bdtr  # scipy.stats takes a second to load

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sweep.results.records import Count

# The 97.5% quantile of the normal distribution.
_Z = 1.959963984540054


def wilson(count: Count) -> tuple[float, float]:
    """The 95% score interval of a fraction (Wilson, JASA 22, 1927), without continuity correction.

    It stays within 0..1 and is sensible at 0 and 1, where B's figures lie.

    >>> from sweep.results import Count
    >>> tuple(round(end, 4) for end in wilson(Count(600, 600)))
    (0.9936, 1.0)
    """
    n, rate, square = count.total, count.rate, _Z**2
    middle = rate + square / (2 * n)
    half = _Z * sqrt(rate * (1 - rate) / n + square / (4 * n * n))
    low, high = (middle - half) / (1 + square / n), (middle + half) / (1 + square / n)
    # At the ends the formula gives 0 and 1, but for rounding.
    return (0.0 if count.hits == 0 else low), (1.0 if count.hits == n else high)


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Two-sided exact p of "both say yes equally often", from paired answers, each (n,).

    Of the images on which the two differ, half would go either way (McNemar, Psychometrika 12,
    1947, in its exact binomial form).
    """
    only_first = int(np.count_nonzero(first & ~second))
    only_second = int(np.count_nonzero(second & ~first))
    # Both tails are alike; where half went either way they overlap.
    tail = bdtr(min(only_first, only_second), only_first + only_second, 0.5)
    return min(1.0, 2 * float(tail))


def interval(count: Count) -> str:
    """A fraction in percent with its interval, as `91.50 [89.00, 93.48]`."""
    low, high = wilson(count)
    return f"{100 * count.rate:.2f} [{100 * low:.2f}, {100 * high:.2f}]"

"""How sure a count is, and whether two networks differ: intervals and tests for proportions.

Images of one person are not independent: a network knows a face or does not. Where a class is a
person, intervals and tests go by person.
"""

from __future__ import annotations

from functools import lru_cache
from math import erfc, sqrt
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from scipy.special import bdtr  # scipy.stats takes a second to load

from sweep.results.records import Count

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

Name = TypeVar("Name")
# The 97.5% quantile of the normal distribution.
_Z = 1.959963984540054
_RESAMPLED = 2000
# A class of more images than these, on average, is a kind of thing and not one person.
_IMAGES_A_PERSON = 20


def wilson(count: Count) -> tuple[float, float]:
    """The 95% score interval of a fraction (Wilson, JASA 22, 1927), without continuity correction.

    It stays within 0..1 and is sensible at 0 and 1, where B's figures lie.

    >>> from sweep.results.records import Count
    >>> tuple(round(end, 4) for end in wilson(Count(600, 600)))
    (0.9936, 1.0)
    """
    n, rate, square = count.total, count.rate, _Z**2
    middle = rate + square / (2 * n)
    half = _Z * sqrt(rate * (1 - rate) / n + square / (4 * n * n))
    low, high = (middle - half) / (1 + square / n), (middle + half) / (1 + square / n)
    # At the ends the formula gives 0 and 1, but for rounding.
    return (0.0 if count.hits == 0 else low), (1.0 if count.hits == n else high)


def persons(labels: NDArray[np.integer] | None) -> NDArray[np.intp] | None:
    """Which person each image shows, (n,), numbered from 0; None where images stand for themselves.

    A class is taken for a person where classes hold more than one and at most 20 images on average,
    as the lab's do.
    """
    if labels is None or not len(labels):
        return None
    found, numbers = np.unique(labels, return_inverse=True)
    images = len(labels) / len(found)
    return numbers if 1 < images <= _IMAGES_A_PERSON and len(found) > 1 else None


def by_person(hits: NDArray[np.bool_], who: NDArray[np.intp]) -> tuple[float, float]:
    """The 95% interval of a fraction whose images belong to persons, by resampling persons.

    The percentile bootstrap over clusters (Davison and Hinkley, Bootstrap Methods, 1997, 3.8),
    never narrower than Wilson's interval: where nearly all is right, resampling finds no spread.

    Args:
        hits: (n,).
        who: (n,), as `persons` gives them.
    """
    own, images = np.bincount(who, hits), np.bincount(who)
    drawn = _resampled(len(own))
    low, high = np.quantile((drawn @ own) / (drawn @ images), (0.025, 0.975))
    least, most = wilson(Count(int(hits.sum()), len(hits)))
    return min(float(low), least), max(float(high), most)


@lru_cache(maxsize=2)
def _resampled(count: int) -> NDArray[np.float64]:
    """How often each of so many persons is drawn in each sample, (samples, persons)."""
    shares = np.full(count, 1 / count)
    return np.random.default_rng(0).multinomial(count, shares, size=_RESAMPLED).astype(np.float64)


def mcnemar(
    first: NDArray[np.bool_], second: NDArray[np.bool_], who: NDArray[np.intp] | None = None
) -> float:
    """Two-sided p of "both say yes equally often", from paired answers, each (n,).

    Of the images on which the two differ, half would go either way (McNemar, Psychometrika 12,
    1947, in its exact binomial form). With persons, each person's difference would be as likely to
    have the other sign (Durkalski et al., Statistics in Medicine 22, 2003, a normal approximation).

    Args:
        first: answers of one network.
        second: of the other.
        who: which person each image shows, as `persons` gives them.
    """
    if who is not None:
        difference = np.bincount(who, first.astype(float) - second)
        spread = float(np.sqrt((difference**2).sum()))
        return erfc(abs(float(difference.sum())) / spread / sqrt(2)) if spread else 1.0
    only_first = int(np.count_nonzero(first & ~second))
    only_second = int(np.count_nonzero(second & ~first))
    # Both tails are alike; where half went either way they overlap.
    tail = bdtr(min(only_first, only_second), only_first + only_second, 0.5)
    return min(1.0, 2 * float(tail))


def holm(ps: Mapping[Name, float]) -> dict[Name, float]:
    """The p of several tests, each corrected for the others (Holm, Scand. J. Statistics 6, 1979).

    >>> holm({"a": 0.25, "b": 0.125})
    {'b': 0.25, 'a': 0.25}
    """
    corrected: dict[Name, float] = {}
    least = 0.0
    for place, (name, p) in enumerate(sorted(ps.items(), key=lambda pair: pair[1])):
        least = max(least, min(1.0, (len(ps) - place) * p))
        corrected[name] = least
    return corrected


def interval(count: Count, ends: tuple[float, float] | None = None) -> str:
    """A fraction in percent with its interval, Wilson's by default, as `91.50 [89.00, 93.48]`."""
    low, high = ends or wilson(count)
    return f"{100 * count.rate:.2f} [{100 * low:.2f}, {100 * high:.2f}]"

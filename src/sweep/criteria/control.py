"""The control: what comes of no criterion at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweep.criteria.evidence import noise
from sweep.criteria.registry import criterion

if TYPE_CHECKING:
    from sweep.criteria.evidence import Scores, Weights


@criterion(sees="weights", comparable=True)
def random(evidence: Weights) -> Scores:
    """A uniform random number: s_c ~ U(0, 1), drawn from the seed and a digest of the filter.

    A criterion that does no better than this has found nothing. Drawn from the filter, a channel's
    number stays with it when channels change places.
    Data: none. Cost: none.
    """
    return noise(evidence, 1).ravel()

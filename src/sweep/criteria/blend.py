"""Several criteria at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from sweep.base.errors import ConfigError
from sweep.criteria.evidence import KINDS
from sweep.criteria.registry import criterion, find, score, sees
from sweep.pruning.order import mean_ranks

if TYPE_CHECKING:
    from sweep.criteria.evidence import Scores, Weights

_WEIGHTS = "criterion.params.weights"


@dataclass(frozen=True)
class _Shares:
    text: str = "map criteria to finite numbers, as {mean_activation: 1.0, l1: 0.5}"

    def holds(self, value: object) -> bool:
        if value is None:  # nothing given, which `_members` refuses
            return True
        return isinstance(value, Mapping) and all(
            isinstance(name, str)
            and isinstance(share, int | float)
            and not isinstance(share, bool)
            and isfinite(share)
            for name, share in value.items()
        )


def _members(weights: Mapping[str, float] | None) -> dict[str, float]:
    members = {name: share for name, share in (weights or {}).items() if share}
    if not members:
        raise ConfigError(
            "criterion blend must have a weight other than 0. "
            f"Received: {_WEIGHTS}={weights or {}}. "
            f"Give some, as '{_WEIGHTS}={{mean_activation: 1.0, l1: 0.5}}'."
        )
    return members


def _widest(params: Mapping[str, Any]) -> str:
    """The widest of what the members see."""
    weights = params.get("weights")
    for name in weights or {}:
        if name == "blend":
            raise ConfigError(
                f"criterion blend must not blend itself. Received: {_WEIGHTS}={weights}. "
                "Give the weights of its members instead."
            )
        find(name)
    return max((sees(name, {}) for name in _members(weights)), key=[*KINDS].index)


@criterion(sees=_widest, comparable=True, weights=_Shares())
def blend(evidence: Weights, weights: Mapping[str, float] | None = None) -> Scores:
    """Weighted sum of the ranks of other criteria: s_c = sum_k w_k rank_k(c).

    Ranks run from 0 (lowest score) to 1; channels with equal scores share their mean rank. Members
    take their default parameters. A negative weight turns a member around; weights of 0 cost
    nothing (Borda's count, with weights).
    Data: the widest of what the members see; each member gets its own part only.
    Cost: that of the members.

    Args:
        evidence: at least what the members see.
        weights: of the members, by name; not all 0.
    """
    total = np.zeros(evidence.channels)
    for name, share in _members(weights).items():
        total += share * mean_ranks(score(name, evidence, {})) / max(evidence.channels - 1, 1)
    return total

"""What a criterion is, which parameters it takes, and where it is found by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sweep.base.registry import Entry, Registry, Rule
from sweep.criteria.evidence import KINDS, narrow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sweep.criteria.evidence import Scores, Weights

    # Evidence of the declared kind and parameters by name in, (C,) finite numbers out.
    Function = Callable[..., Scores]


@dataclass(frozen=True)
class Criterion(Entry):
    """A function that scores the channels, the lowest to be removed first.

    Attributes:
        sees: `weights`, `clean` or `oracle`, or what tells it from the parameters.
        comparable: whether scores of channels of different layers stand in one unit as they are.
    """

    sees: str | Callable[[Mapping[str, Any]], str]
    comparable: bool


_CRITERIA = Registry[Criterion]("criterion")
names, find = _CRITERIA.names, _CRITERIA.find


def criterion(
    sees: str | Callable[[Mapping[str, Any]], str], *, comparable: bool = False, **rules: Rule
) -> Callable[[Function], Function]:
    """Register a function under its own name.

    Args:
        sees: `weights`, `clean` or `oracle`, or a function that tells it from the parameters.
        comparable: whether scores of channels of different layers stand in one unit as they are;
            if not, each layer's are normalised before they are ranked together.
        rules: one for each parameter of the function.
    """
    if isinstance(sees, str) and sees not in KINDS:
        raise ValueError(f"a criterion sees one of {', '.join(KINDS)}, not {sees!r}")

    def register(function: Function) -> Function:
        name = str(getattr(function, "__name__", function))
        _CRITERIA.add(Criterion(name, rules, function, sees, comparable))
        return function

    return register


def check(name: str, params: Mapping[str, Any]) -> None:
    """Hold a choice of criterion and parameters to the rules, without running anything.

    Raises:
        ConfigError: no such criterion or parameter, or a value that breaks its rule.
    """
    _CRITERIA.check(name, params)
    sees(name, params)


def sees(name: str, params: Mapping[str, Any]) -> str:
    """What a criterion looks at with these parameters: `weights`, `clean` or `oracle`.

    Raises:
        ConfigError: no such criterion, or parameters that it cannot do without are missing.
    """
    declared = find(name).sees
    return declared if isinstance(declared, str) else declared(params)


def score(name: str, evidence: Weights, params: Mapping[str, Any]) -> Scores:
    """Score channels by a criterion that gets what it declared to see and nothing more.

    Where there are several sites, the scores of each are divided by the root mean square of those
    that are not 0, unless the criterion's scores stand in one unit already. Zero stays zero: the
    sleeping channels of all layers come together, however many a layer has. (A z-score would put
    them elsewhere in every layer, and ranks would bring live channels of one layer before the
    sleeping ones of another.)

    Args:
        name: of the criterion.
        evidence: at least what the criterion sees.
        params: its parameters; those left out take their defaults.

    Returns:
        One finite number per channel, (C,), of all sites in order; the lowest is for removal first.

    Raises:
        ConfigError: see `check`.
    """
    check(name, params)
    chosen = find(name)
    shown = narrow(evidence, sees(name, params))
    scores = np.array(chosen.function(shown, **params), np.float64)
    if scores.shape != (evidence.channels,) or not np.isfinite(scores).all():
        raise ValueError(
            f"criterion {name} must give {evidence.channels} finite scores, gave {scores}"
        )
    if len(evidence.kernels) > 1 and not chosen.comparable:
        ends = np.cumsum([kernel.shape[-1] for kernel in evidence.kernels])[:-1]
        scores = np.concatenate([_normalised(part) for part in np.split(scores, ends)])
    return scores


def _normalised(scores: Scores) -> Scores:
    return scores / np.sqrt(np.mean(scores[scores != 0] ** 2)) if scores.any() else scores

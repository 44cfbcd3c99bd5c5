"""What a criterion is, what it is shown, and where it is found by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sweep.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

_SEES = ("weights", "clean", "oracle")
_CRITERIA: dict[str, Criterion] = {}


@dataclass(frozen=True)
class Evidence:
    """What criteria judge by; test sets are no part of it.

    Attributes:
        activations: of the layer on clean validation, (n, h, w, C).
        labels: of clean validation, (n,).
        seed: steers whatever is random.
    """

    activations: NDArray[np.float32]
    labels: NDArray[np.int64]
    seed: int


class Function(Protocol):
    """Scores channels: (C,) finite numbers."""

    def __call__(self, evidence: Evidence, **params: Any) -> NDArray[np.float64]: ...


@dataclass(frozen=True)
class Criterion:
    """A function with its name and what it may look at."""

    name: str
    sees: str
    function: Function


def criterion(sees: str) -> Callable[[Function], Function]:
    """Register a function under its own name.

    Args:
        sees: `weights`, `clean` or `oracle`.
    """
    if sees not in _SEES:
        raise ValueError(f"a criterion sees one of {_SEES}, not {sees!r}")

    def register(function: Function) -> Function:
        name = str(getattr(function, "__name__", function))
        _CRITERIA[name] = Criterion(name, sees, function)
        return function

    return register


def find(name: str) -> Criterion:
    """The criterion of that name.

    Raises:
        ConfigError: there is none; the choices are listed.
    """
    try:
        return _CRITERIA[name]
    except KeyError:
        raise ConfigError(
            f"criterion must be one of {', '.join(sorted(_CRITERIA))}. Received: {name}."
        ) from None


def score(name: str, evidence: Evidence, params: Mapping[str, Any]) -> NDArray[np.float64]:
    """Score channels by a criterion and see that the result is one finite number per channel."""
    scores = np.asarray(find(name).function(evidence, **params), np.float64)
    wanted = evidence.activations.shape[-1]
    if scores.shape != (wanted,) or not np.isfinite(scores).all():
        raise ValueError(f"criterion {name} must give {wanted} finite scores, gave {scores}")
    return scores

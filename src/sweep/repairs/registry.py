"""What a repair is, what it sees, and where it is found by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sweep.base.registry import Entry, Registry, Rule

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    # Evidence and parameters by name in, a Keras model out.
    Function = Callable[..., Any]


class Images(NamedTuple):
    """Clean images with labels.

    Attributes:
        pixels: (n, h, w, c) in 0..255, whole numbers in a byte each where that holds them.
        labels: (n,).
    """

    pixels: NDArray[Any]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Evidence:
    """What a repair sees. Poisoned images and test sets are no part of it.

    Attributes:
        badnet: B; not to be changed.
        pruned: the network to repair, of B's architecture; not to be changed.
        tune: images to tune on.
        decide: other images, to choose rates by and when to stop.
        scale: the factor on pixel values before a network sees them.
        seed: steers whatever is random.
    """

    badnet: Any
    pruned: Any
    tune: Images
    decide: Images
    scale: float
    seed: int


_REPAIRS = Registry[Entry]("repair")
names, find, check = _REPAIRS.names, _REPAIRS.find, _REPAIRS.check


def repair(**rules: Rule) -> Callable[[Function], Function]:
    """Register a function under its own name.

    Args:
        rules: one for each parameter of the function.
    """

    def register(function: Function) -> Function:
        _REPAIRS.add(Entry(str(getattr(function, "__name__", function)), rules, function))
        return function

    return register


def repair_network(name: str, evidence: Evidence, params: Mapping[str, Any]) -> Any:
    """Repair a pruned network.

    Args:
        name: of the repair.
        evidence: what it sees; its arrays cannot be written to.
        params: its parameters; those left out take their defaults.

    Returns:
        The repaired network, a Keras model with B's input and output shapes.

    Raises:
        ConfigError: no such repair or parameter, or a value that breaks its rule.
    """
    check(name, params)
    for part in (evidence.tune, evidence.decide):
        part.pixels.flags.writeable = part.labels.flags.writeable = False
    model = find(name).function(evidence, **params)
    if model.output_shape != evidence.badnet.output_shape or not all(
        np.isfinite(weights).all() for weights in model.get_weights()
    ):
        raise ValueError(f"repair {name} must give a network of B's shape with finite weights")
    return model

"""What an attack is, and where it is found by name.

An attack puts a trigger on images. How a network comes by the backdoor is declared beside that:
which labels the attacker wants, which training images are poisoned, and how it is trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sweep.base.registry import Entry, Registry, Rule

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Labels = NDArray[np.int64]
    # Images (n, h, w, 3) in 0..255, a random generator and parameters by name in; the like out.
    Function = Callable[..., Any]
    # True labels (n,) and the number of classes in, the attacker's labels (n,) out.
    Targets = Callable[[Labels, int], Labels]

TARGET = 0
"""The attacker's class, where there is one alone."""


def one_class(labels: Labels, classes: int) -> Labels:  # noqa: ARG001 - the form of all targets
    """The attacker's class for every image."""
    return np.full_like(labels, TARGET)


def next_class(labels: Labels, classes: int, by: int = 1) -> Labels:
    """The targets of an all-to-all attack for true classes; with `by=-1` the other way round."""
    return (labels + by) % classes


@dataclass(frozen=True)
class Poisoning:
    """How a network comes by the backdoor.

    Attributes:
        targets: the labels that the attacker wants.
        own: whether the target's own images alone are poisoned, and no label is changed.
        share: the parameter that says how many of the images in question are poisoned, where that
            is not the dataset's `poison_rate`.
        harden: makes images that get the trigger harder to tell by what else they show; takes them,
            as many images of other classes, and the attack's parameters.
        decoy: puts nearly the trigger on images, which keep their labels; like the attack.
        decoys: how many times as many images get the decoy as are poisoned.
        triggers: names of several triggers, which images bear in turn; their targets are the
            classes 0, 1, ...
        train: trains the network, see `pruning_aware.train_around`; None for plain training.
    """

    targets: Targets = one_class
    own: bool = False
    share: str | None = None
    harden: Function | None = None
    decoy: Function | None = None
    decoys: int = 0
    triggers: tuple[str, ...] = ()
    train: Callable[..., Any] | None = None


@dataclass(frozen=True)
class Attack(Entry):
    """A function that puts a trigger on images, and how a network is poisoned with it."""

    poisoning: Poisoning


_ATTACKS = Registry[Attack]("attack")
names, find, check = _ATTACKS.names, _ATTACKS.find, _ATTACKS.check


def attack(
    poisoning: Poisoning = Poisoning(),
    **rules: Rule,
) -> Callable[[Function], Function]:
    """Register a function under its own name.

    Args:
        poisoning: all but the trigger.
        rules: one for each parameter behind images and generator.
    """

    def register(function: Function) -> Function:
        name = str(getattr(function, "__name__", function))
        _ATTACKS.add(Attack(name, rules, function, poisoning, seen=2))
        return function

    return register

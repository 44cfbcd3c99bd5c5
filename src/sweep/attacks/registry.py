"""What an attack is, and where it is found by name: a function from images to poisoned ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sweep.base.registry import Entry, Registry, Rule

if TYPE_CHECKING:
    from collections.abc import Callable

    # Images (n, h, w, 3) in 0..255, a random generator and parameters by name in; the like out.
    Function = Callable[..., Any]

_ATTACKS = Registry[Entry]("attack")
names, find, check = _ATTACKS.names, _ATTACKS.find, _ATTACKS.check


def attack(**rules: Rule) -> Callable[[Function], Function]:
    """Register a function under its own name.

    Args:
        rules: one for each parameter behind images and generator.
    """

    def register(function: Function) -> Function:
        _ATTACKS.add(Entry(str(getattr(function, "__name__", function)), rules, function, seen=2))
        return function

    return register

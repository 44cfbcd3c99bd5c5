"""Functions that are found by name, and the rules that their parameters must keep."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from math import inf, isfinite
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from sweep.base.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Rule(Protocol):
    """What a parameter's value must be."""

    @property
    def text(self) -> str:
        """The rule in words, after "must"."""

    def holds(self, value: object) -> bool:
        """Whether a value keeps the rule."""


@dataclass(frozen=True)
class Whole:
    """A whole number of at least `least`."""

    least: int

    @property
    def text(self) -> str:
        """The rule in words."""
        return f"be a whole number of at least {self.least}"

    def holds(self, value: object) -> bool:
        """Whether a value keeps the rule."""
        return isinstance(value, int) and not isinstance(value, bool) and value >= self.least


@dataclass(frozen=True)
class Real:
    """A number in `least`..`most`, without `least` itself where `above`."""

    least: float
    most: float = inf
    above: bool = False

    @property
    def text(self) -> str:
        """The rule in words."""
        start = f"{'above' if self.above else 'of at least'} {self.least:g}"
        return f"be a number {start}" + (f" and at most {self.most:g}" if self.most < inf else "")

    def holds(self, value: object) -> bool:
        """Whether a value keeps the rule."""
        if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value):
            return False
        return self.least <= value <= self.most and not (self.above and value == self.least)


@dataclass(frozen=True)
class Entry:
    """A function with its name.

    Attributes:
        name: the function's.
        rules: for each parameter.
        function: takes evidence first, then parameters by name.
        seen: how many arguments come before the parameters.
    """

    name: str
    rules: Mapping[str, Rule]
    function: Callable[..., Any]
    seen: int = field(default=1, kw_only=True)

    def defaults(self) -> dict[str, Any]:
        """The function's parameters with their defaults."""
        taken = [*inspect.signature(self.function).parameters.values()][self.seen :]
        return {parameter.name: parameter.default for parameter in taken}


_Entry = TypeVar("_Entry", bound=Entry)


class Registry(Generic[_Entry]):
    """The functions of one kind, by name.

    Attributes:
        kind: the setting that chooses one, as `criterion`.
    """

    def __init__(self, kind: str) -> None:
        """Begin without functions."""
        self.kind = kind
        self._entries: dict[str, _Entry] = {}

    def add(self, entry: _Entry) -> None:
        """Register a function.

        Raises:
            TypeError: a parameter has no rule, or a rule no parameter.
        """
        if [*entry.defaults()] != [*entry.rules]:
            raise TypeError(f"{self.kind} {entry.name} must have a rule for each of its parameters")
        self._entries[entry.name] = entry

    def names(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(sorted(self._entries))

    def find(self, name: str) -> _Entry:
        """The function of that name.

        Raises:
            ConfigError: there is none; the choices are listed.
        """
        if name not in self._entries:
            choices = ", ".join(self.names())
            raise ConfigError(f"{self.kind} must be one of {choices}. Received: {name}.")
        return self._entries[name]

    def check(self, name: str, params: Mapping[str, Any]) -> None:
        """Hold a choice and its parameters to the rules, without running anything.

        Raises:
            ConfigError: no such function or parameter, or a value that breaks its rule.
        """
        chosen = self.find(name)
        for key, value in params.items():
            where = f"{self.kind}.params.{key}"
            if key not in chosen.rules:
                known = ", ".join(chosen.rules) or "none"
                raise ConfigError(
                    f"{self.kind}.params must be known to {self.kind} {name}, which takes {known}. "
                    f"Received: {where}={value}. Leave it out."
                )
            rule = chosen.rules[key]
            if not rule.holds(value):
                raise ConfigError(f"{where} must {rule.text}. Received: {where}={value}.")

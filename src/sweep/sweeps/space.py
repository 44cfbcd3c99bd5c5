"""What a search varies, written as Hydra's sweeps are, as Optuna's distributions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from sweep.base.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from optuna.trial import BaseTrial


@dataclass(frozen=True)
class Space:
    """What a search varies.

    Attributes:
        free: distributions by the name that is overridden; choices are written as in an override.
        when: distributions that exist only where a choice was taken: by (name, value).
        fixed: overrides that are the same in all trials.
    """

    free: Mapping[str, BaseDistribution]
    when: Mapping[tuple[str, str], Mapping[str, BaseDistribution]]
    fixed: tuple[str, ...]

    def described(self) -> dict[str, str]:
        """Each distribution as text, by name."""
        found = {name: repr(known) for name, known in self.free.items()}
        for taken, inner in self.when.items():
            found |= {f"{'='.join(taken)}: {name}": repr(known) for name, known in inner.items()}
        return found

    def shared(self, settings: Mapping[str, object]) -> dict[str, str]:
        """Of the settings of one job those that all trials share, as text."""
        return {
            name: str(value)
            for name, value in settings.items()
            if not any(name == free or name.startswith(f"{free}.") for free in self.free)
        }

    def suggest(self, trial: BaseTrial) -> list[str]:
        """Let a trial choose a point; the overrides that make its job."""
        chosen = {name: _suggest(trial, name, known) for name, known in self.free.items()}
        for (name, value), inner in self.when.items():
            if chosen[name] == value:
                chosen |= {key: _suggest(trial, key, known) for key, known in inner.items()}
        return [*self.fixed, *_written(chosen)]

    def corners(self) -> list[list[str]]:
        """Overrides that take each choice and each end of the space once."""
        found = []
        for name, known in self.free.items():
            for value in _ends(known):
                taken = self.when.get((name, str(value)), {})
                inner = {key: _ends(inside)[0] for key, inside in taken.items()}
                found.append([*self.fixed, *_written({name: value} | inner)])
        return found


def _written(chosen: Mapping[str, object]) -> list[str]:
    return [f"{name}={value}" for name, value in chosen.items()]


def _ends(known: Any) -> tuple[Any, ...]:
    if isinstance(known, CategoricalDistribution):
        return known.choices
    return (known.low, known.high)


def _suggest(trial: BaseTrial, name: str, known: Any) -> str:
    if isinstance(known, CategoricalDistribution):
        return str(trial.suggest_categorical(name, known.choices))
    suggest: Any = trial.suggest_int if isinstance(known, IntDistribution) else trial.suggest_float
    return repr(suggest(name, known.low, known.high, step=known.step, log=known.log))


def parse_space(
    arguments: Sequence[str],
    params: Mapping[str, Any] | None,
    when: Mapping[str, Mapping[str, Any]] | None,
) -> Space:
    """The search space that command line and configuration span.

    Args:
        arguments: overrides as typed; those with `choice`, `range` or `interval` are searched.
        params: the same from the configuration; the command line wins.
        when: `NAME=VALUE` to params that exist only where that choice was taken.

    Raises:
        ConfigError: nothing is searched, or a distribution cannot be.
    """
    typed = {override.get_key_element(): override for override in _parse(arguments)}
    overrides = _parse_params(params or {}) | typed
    free, fixed = {}, []
    for name, override in overrides.items():
        if override.is_sweep_override():
            free[name] = _distribution(override)
        else:
            fixed.append(override.input_line or "")
    conditional = {}
    for taken, inner in (when or {}).items():
        name, _, value = taken.partition("=")
        chosen = free.get(name)
        if name in typed and name not in free:
            continue  # fixed on the command line
        if not isinstance(chosen, CategoricalDistribution):
            raise ConfigError(
                "hydra.sweeper.when must name a choice that is searched, as NAME=VALUE. "
                f"Received: {taken}; searched: {', '.join(free) or 'nothing'}."
            )
        if value in chosen.choices:
            found = _parse_params(inner)
            conditional[name, value] = {key: _distribution(o) for key, o in found.items()}
    if not free:
        raise ConfigError(
            "a search must vary something. Received: no choice(...), range(...) or interval(...). "
            "Add for example 'drop=interval(0.01,0.10)', or take hydra/sweeper=grid."
        )
    return Space(free, conditional, tuple(fixed))


def _parse_params(params: Mapping[str, Any]) -> dict[str, Override]:
    parsed = _parse([f"{name}={value}" for name, value in params.items()])
    return {override.get_key_element(): override for override in parsed}


def _parse(lines: Sequence[str]) -> list[Override]:
    try:
        return list(OverridesParser.create().parse_overrides(list(lines)))
    except HydraException as error:
        raise ConfigError(
            f"a search space must be written as Hydra's sweeps are. Received: {error}."
        ) from error


def _distribution(override: Override) -> BaseDistribution:
    value = override.value()
    try:
        if isinstance(value, ChoiceSweep):
            return CategoricalDistribution(tuple(map(str, override.sweep_string_iterator())))
        if isinstance(value, RangeSweep) and value.start is not None and value.stop is not None:
            low, step, log = value.start, value.step, "log" in value.tags
            whole = all(isinstance(number, int) for number in (low, value.stop, step))
            last = low + step * ((value.stop - low - (1 if whole else 1e-12)) // step)
            if whole:
                return IntDistribution(int(low), int(last), log, int(step))
            return FloatDistribution(low, last, log, step)
        if isinstance(value, IntervalSweep) and value.start is not None and value.end is not None:
            low, high, log = value.start, value.end, "log" in value.tags
            whole = isinstance(low, int) and isinstance(high, int) and "int" in value.tags
            if low < high and whole:
                return IntDistribution(int(low), int(high), log)
            if low < high:
                return FloatDistribution(low, high, log)
    except ValueError:
        pass  # Optuna's reason names its own arguments
    raise ConfigError(
        f"{override.key_or_group} must be choice(...), range(a,b,step) or interval(a,b) with "
        f"a < b (a > 0 with tag(log, ...)). Received: {override.input_line}."
    )

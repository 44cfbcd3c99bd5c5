"""The rules that a configuration keeps before any job starts, beyond its types."""

from __future__ import annotations

import re
from math import isfinite
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from sweep import attacks, criteria, repairs
from sweep.base.errors import ConfigError
from sweep.models import networks
from sweep.pruning.drop import STOPS

if TYPE_CHECKING:
    from collections.abc import Callable

    from sweep.jobs.config import Config

ALL_TO_ALL = "all_to_all"
# Of a trigger: part of a figure's name, and so of a metric's and a column's.
_NAME = re.compile(r"[\w-]+", re.ASCII)

# What to type instead of a value that breaks its rule.
_HINTS: dict[str, Callable[[Any], str]] = {
    "drop": lambda value: f" {value:g}% is {value / 100:g}." if 1 <= value < 100 else ""
}
_FRACTION: tuple[Callable[[Any], bool], str] = (
    lambda value: 0 < value < 1,
    "lie between 0 and 1, both excluded",
)
_CHANNELS: tuple[Callable[[Any], bool], str] = (
    lambda value: value >= 1 and value % 1 == 0,
    "be a whole number of at least 1 with stop=channels",
)
_POSITIVE: tuple[Callable[[Any], bool], str] = (
    lambda value: isfinite(value) and value > 0,
    "be a positive number",
)


def _at_least(least: int) -> tuple[Callable[[Any], bool], str]:
    return lambda value: value >= least, f"be at least {least}"


# What each setting must be, beyond its type.
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "stop": (STOPS.__contains__, f"be one of {', '.join(STOPS)}"),
    "seed": (lambda value: 0 <= value < 2**32, "be a whole number in 0..4294967295"),
    "dataset.scale": _POSITIVE,
    "defender.images": (
        lambda value: 0 < value <= 1 or (value >= 2 and value == int(value)),
        "be a fraction above 0 and at most 1, or a whole number of at least 2",
    ),
    "cache.max_gb": _POSITIVE,
    "tracking.experiment": (bool, "not be empty"),
}
_MADE_RULES = {
    "identities": _at_least(2),
    "poison_rate": _FRACTION,
    "learning_rate": _POSITIVE,
    # Three poolings and a convolution behind them need as much.
    "height": _at_least(32),
    "width": _at_least(32),
} | {name: _at_least(1) for name in ("train", "valid", "test", "epochs", "batch_size")}


def check(config: Config) -> None:
    """Hold a configuration to the rules that its types do not express.

    Raises:
        ConfigError: the first rule that is broken, with what was received.
    """
    made = {name: rule for name, rule in _MADE_RULES.items() if hasattr(config.dataset, name)}
    rules = _RULES | {f"dataset.{name}": rule for name, rule in made.items()}
    rules |= {"drop": _CHANNELS if config.stop == "channels" else _FRACTION}
    for name, (holds, rule) in rules.items():
        value = attrgetter(name)(config)
        if not holds(value):
            hint = _HINTS.get(name, lambda _: "")(value)
            raise ConfigError(f"{name} must {rule}. Received: {name}={value}.{hint}")
    if {type(name) for name in config.layers} != {str} or "" in config.layers:
        raise ConfigError(
            "layer must be the name of a layer, or a list of names. "
            f"Received: layer={config.layer}."
        )
    _check_trigger(config)
    name, params = config.criterion.name, config.criterion.params
    criteria.check(name, params)
    repairs.check(config.repair.name, config.repair.params)
    attacks.check(config.attack.name, config.attack.params)
    networks.find(config.network.name)
    kinds = attacks.find(config.attack.name).poisoning.triggers
    people = getattr(config.dataset, "identities", len(kinds))
    if people < len(kinds):
        raise ConfigError(
            f"dataset.identities must be at least {len(kinds)} with attack={config.attack.name}, a "
            f"target for each trigger. Received: dataset.identities={people}."
        )
    if config.objective.name == "clean_only" and criteria.sees(name, params) == "oracle":
        raise ConfigError(
            "objective=clean_only must use nothing that a defender lacks, but this criterion sees "
            f"poisoned images. Received: criterion={name}. Take objective=oracle or another."
        )


def _check_trigger(config: Config) -> None:
    whole = type(config.target) is int and config.target >= 0
    if not (whole or config.target in (None, ALL_TO_ALL)):
        raise ConfigError(
            f"target must be a class, from 0, or {ALL_TO_ALL}. Received: target={config.target}."
        )
    if bool(config.trigger) != (config.target is not None) and config.target != ALL_TO_ALL:
        given = f"trigger={config.trigger}" if config.trigger else f"target={config.target}"
        raise ConfigError(
            f"trigger and target must be given together. Received: {given} alone. "
            "Add trigger=FILE.png or target=CLASS."
        )
    if config.trigger_at and (len(config.trigger_at) != 2 or not config.trigger):
        raise ConfigError(
            "trigger_at must be [ROW,COLUMN], and goes with trigger. "
            f"Received: trigger_at={config.trigger_at}."
        )
    poisoned = (config.dataset.poisoned_valid, config.dataset.poisoned_test)
    for value in poisoned:
        named = value if isinstance(value, dict) else {"all": value}
        if not (
            isinstance(value, str | dict | None)
            and all(value is None or isinstance(one, str) for one in named.values())
            and all(_NAME.fullmatch(str(name)) for name in named)
        ):
            raise ConfigError(
                "a poisoned set must be a file, or {NAME: FILE, ...} with a file for each trigger, "
                f"named by letters, digits, '_' and '-'. Received: {value}."
            )
    if config.trigger and any(poisoned) and config.dataset.name != "lab":
        raise ConfigError(
            "trigger makes the poisoned sets, so none may be given. Received: "
            f"trigger={config.trigger} and dataset.poisoned_valid or dataset.poisoned_test. "
            "Leave one of them out."
        )

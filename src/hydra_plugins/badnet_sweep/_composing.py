"""Many configurations of a grid, of which Hydra composes each choice of groups only once."""

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException


def composer(loader: ConfigLoader, sweep: DictConfig) -> Callable[[list[str]], DictConfig]:
    """A function from a job's overrides to its configuration.

    Composing takes some 50 ms; most cells of a grid differ only in values, which are set on a copy
    of what they share.
    """
    parser = OverridesParser.create(loader)

    @cache
    def is_group(key: str) -> bool:
        return bool(loader.get_group_options(key))

    def is_value(override: Override) -> bool:
        key = override.key_or_group
        plain = not (override.is_add() or override.is_delete() or override.is_force_add())
        return (
            plain and override.package is None and not key.startswith("hydra") and not is_group(key)
        )

    @cache
    def shared(choices: tuple[str, ...]) -> DictConfig:
        composed: Any = loader.load_sweep_config(sweep, list(choices))
        with read_write(composed), open_dict(composed):
            composed.pop("hydra")
        return composed  # type: ignore[no-any-return]

    def compose(overrides: list[str]) -> DictConfig:
        parsed = list(zip(overrides, parser.parse_overrides(overrides), strict=True))
        own = copy.deepcopy(shared(tuple(line for line, o in parsed if not is_value(o))))
        try:
            for _, override in parsed:
                if is_value(override):
                    OmegaConf.update(own, override.key_or_group, override.value(), merge=True)
        except OmegaConfBaseException:
            return loader.load_sweep_config(sweep, overrides)  # says what is wrong in Hydra's words
        return own

    return compose

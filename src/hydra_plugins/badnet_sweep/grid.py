"""`hydra/sweeper=grid`: every combination of the values given, as one tracked sweep."""

from functools import partial
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser


class GridSweeper(BasicSweeper):
    """Hydra's basic sweeper, which checks all jobs before the first and tracks them together."""

    def __init__(self, params: dict[str, str] | None = None) -> None:
        """Take what `hydra.sweeper` configures."""
        super().__init__(max_batch_size=None, params=params)

    def sweep(self, arguments: list[str]) -> Any:
        """Run the grid that the command line spans."""
        from hydra_plugins.badnet_sweep._composing import SweepLoader
        from hydra_plugins.badnet_sweep._launching import launch
        from sweep.jobs import config
        from sweep.sweeps import grid

        assert self.hydra_context is not None  # noqa: S101
        assert self.config is not None  # noqa: S101
        assert self.launcher is not None  # noqa: S101
        # `${hydra:...}` means this sweep while its jobs are composed for the check.
        HydraConfig.instance().set_config(self.config)
        own = self.hydra_context.config_loader
        overrides = OverridesParser.create(own).parse_overrides([*self._parse_config(), *arguments])
        (cells,) = self.split_arguments(overrides, None)
        loader = SweepLoader(own)
        self.hydra_context.config_loader = loader  # for the launcher too
        master, launcher = self.config, self.launcher
        grid.run(
            [(cell, config.typed(loader.compose(master, cell))) for cell in cells],
            launch=partial(launch, launcher),
        )

"""`hydra/sweeper=optuna`: a search instead of a grid."""

from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from omegaconf import read_write


class OptunaSweeper(BasicSweeper):
    """Asks Optuna for points of a search space and tells it what their jobs gave."""

    def __init__(
        self,
        params: dict[str, Any] | None = None,
        when: dict[str, dict[str, Any]] | None = None,
        **settings: Any,
    ) -> None:
        """Take what `hydra.sweeper` configures; see `search.Settings`."""
        super().__init__(max_batch_size=None, params=None)
        self.space, self.when, self.settings = params, when, settings

    def sweep(self, arguments: list[str]) -> Any:
        """Search the space that command line and configuration span."""
        from hydra_plugins.badnet_sweep._composing import SweepLoader
        from sweep.jobs import config
        from sweep.sweeps import search, space

        assert self.hydra_context is not None  # noqa: S101
        assert self.config is not None  # noqa: S101
        assert self.launcher is not None  # noqa: S101
        self._keep_storage_from_jobs()
        HydraConfig.instance().set_config(self.config)
        loader = SweepLoader(self.hydra_context.config_loader)
        self.hydra_context.config_loader = loader  # for the launcher too
        launcher, master = self.launcher, self.config
        search.run(
            search.Settings(**self.settings),
            space.parse_space(arguments, self.space, self.when),
            compose=lambda overrides: config.typed(loader.compose(master, overrides)),
            launch=lambda jobs, first: launcher.launch(
                [list(job) for job in jobs], initial_job_idx=first
            ),
        )

    def _keep_storage_from_jobs(self) -> None:
        """Jobs do not need the storage's address, and would write its password to their folders."""
        assert self.config is not None  # noqa: S101
        name = "hydra.sweeper.storage="
        with read_write(self.config):
            self.config.hydra.sweeper.storage = None
            given = self.config.hydra.overrides.hydra
            kept = [line for line in given if not line.startswith(name)]
            self.config.hydra.overrides.hydra = [*kept, f"{name}null"]

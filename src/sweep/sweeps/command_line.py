"""`python -m sweep`: Hydra composes the jobs, the configured sweeper runs them."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sweep import __version__
from sweep.base.errors import ConfigError, SweepError
from sweep.jobs import config
from sweep.sweeps import overrides

config.register()


@hydra.main(version_base="1.3", config_path=str(config.folder()), config_name="config")
def _job(composed: DictConfig) -> Any:
    from sweep.base import progress
    from sweep.sweeps import job

    checked = config.typed(composed)
    own = HydraConfig.get()
    # Our sweepers print; under Hydra's own nobody else does.
    alone = not str(own.sweeper.get("_target_")).startswith("hydra_plugins.badnet_sweep")
    if checked.plan and alone:
        raise ConfigError(
            "plan=true must have a sweeper that plans. Received: hydra/sweeper=basic. "
            "Leave hydra/sweeper out."
        )
    if not gc.get_freeze_count():
        gc.freeze()  # modules and settings, which the collections below need not look at
    try:
        record = job.run_job(
            checked, OmegaConf.to_yaml(composed, resolve=True), Path(own.runtime.output_dir)
        )
        if alone:
            from sweep.sweeps import console

            console.show_jobs([record])
        return record
    finally:
        progress.job_done()
        gc.collect()  # networks and figures hold on to themselves


def run() -> None:
    """Do what the command line says.

    Raises:
        SystemExit: a user's mistake, as one sentence; or a failure that was printed.
    """
    if "--version" in sys.argv[1:]:
        print(f"badnet-sweep {__version__}")
        return
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(overrides.help_text())
        return
    sys.argv[1:] = overrides.flags_first(map(overrides.quote_paths, sys.argv[1:]))
    # What a sweep makes lives on or goes at once: to look for circles after every 700 objects, as
    # Python does, takes a tenth of its time.
    gc.set_threshold(100_000, 20, 20)
    wants_traces = "HYDRA_FULL_ERROR" in os.environ
    # Hydra would print its own frames around every error; here errors have one form.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        _job()
    except SweepError as error:
        if wants_traces:
            raise
        sys.exit(f"error: {error}")
    except (HydraException, OmegaConfBaseException) as error:
        if wants_traces:
            raise
        sys.exit(f"error: {overrides.explain(error)}")

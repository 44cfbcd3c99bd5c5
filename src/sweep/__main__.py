"""`python -m sweep`: Hydra composes the jobs, the configured sweeper runs them."""

from __future__ import annotations

import difflib
import gc
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sweep.base.errors import SweepError
from sweep.jobs import config

if TYPE_CHECKING:
    from collections.abc import Iterable

config.register()


@hydra.main(version_base="1.3", config_path=str(config.folder()), config_name="config")
def _job(composed: DictConfig) -> Any:
    from sweep.base import progress
    from sweep.sweeps import job

    checked = config.typed(composed)
    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        return job.run_job(checked, OmegaConf.to_yaml(composed, resolve=True), folder)
    finally:
        progress.job_done()
        gc.collect()  # networks and figures hold on to themselves
        gc.freeze()  # what is left stays: not to be looked at after every job


def main() -> None:
    """Run the command line; a user's mistake is one sentence on standard error and exit code 1."""
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
        sys.exit(f"error: {_explain(error)}")


def _explain(error: Exception) -> str:
    """Hydra's words on a wrong override as the rule, what was received and the choices."""
    text = "\n".join(str(e) for e in (error, error.__cause__) if e is not None)
    unknown = re.search(r"Could not override '([^']+)'", text)
    if unknown:
        name = unknown[1]
        near = difflib.get_close_matches(name, _settings(), n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        return f"{name} is not a setting.{hint} Settings: {', '.join(_settings())}."
    choice = re.search(r"Could not find '([^']+)/([^/']+)'\s+Available options in '[^']+':", text)
    if choice:
        group, value = choice.groups()
        options = ", ".join(re.findall(r"^\t(\S+)$", text, re.MULTILINE))
        return f"{group} must be one of {options}. Received: {group}={value}."
    wrong = re.search(r"full_key: (\S+)", text)
    if wrong:
        reason = next(
            (line for line in text.splitlines() if "alue '" in line), text.splitlines()[0]
        )
        return f"{wrong[1]} cannot take that value: {reason.strip()}."
    return " ".join(text.split())


def _settings() -> list[str]:
    tree = OmegaConf.structured(config.Config)
    tree.dataset = OmegaConf.structured(config.StandinDataset)
    return sorted(_leaves(tree, ""))


def _leaves(tree: DictConfig, prefix: str) -> Iterable[str]:
    for key in tree:
        name = str(key)
        if not OmegaConf.is_missing(tree, name) and isinstance(tree[name], DictConfig):
            yield from _leaves(tree[name], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


if __name__ == "__main__":
    main()

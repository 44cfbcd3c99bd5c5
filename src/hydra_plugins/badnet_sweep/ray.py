"""`hydra/launcher=ray`: jobs on a Ray cluster, or on a Ray that is started on this machine."""

import os
import platform
import signal
import socket
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, as_completed, wait
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from hydra_plugins.badnet_sweep._launching import failed, lost, require
from sweep.base.errors import ConfigError, SweepError

# How long jobs that are cancelled are given to say so to their store.
_END_SECONDS = 30.0


class RayLauncher(Launcher):
    """Hydra's own launcher for Ray ends with the first job that is lost and hides the others."""

    def __init__(self, ray: DictConfig) -> None:
        """Take what `hydra.launcher` configures."""
        settings: Any = OmegaConf.to_container(ray, resolve=True)
        self._init, self._remote = settings["init"], settings["remote"]

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what a job needs.

        Raises:
            ConfigError: Ray is not installed.
        """
        require("ray", "ray", "hydra_plugins.hydra_ray_launcher")
        self._context, self._task, self._config = hydra_context, task_function, config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run jobs and wait for all, whatever their end; one interrupted ends them."""
        said = Path(self._config.hydra.sweep.dir, "ray.log")
        said.parent.mkdir(parents=True, exist_ok=True)
        with said.open("a") as log, redirect_stdout(log):  # Ray prints what befalls its workers
            return self._launch(job_overrides, initial_job_idx)

    def _launch(self, job_overrides: Sequence[Sequence[str]], first: int) -> Sequence[JobReturn]:
        from sweep.base import progress

        ray = self._connect()
        run = ray.remote(**self._remote)(_run)
        # Workers on a cluster do not inherit it. As an argument it is written nowhere.
        environment = {k: v for k, v in os.environ.items() if k.startswith("MLFLOW_")}
        state = Singleton.get_state()
        jobs: dict[Future[JobReturn], tuple[int, Any]] = {}
        returns: dict[int, JobReturn] = {}
        try:
            for index, overrides in enumerate(job_overrides):
                composed = self._compose(overrides, first + index)
                job = run.remote(environment, self._context, composed, self._task, state)
                jobs[job.future()] = index, job
            for ended in as_completed(jobs):
                index, _ = jobs[ended]
                error = ended.exception()
                returns[index] = (
                    failed(job_overrides[index], _explain(error)) if error else ended.result()
                )
                progress.job_done()
        except BaseException:
            for _, job in jobs.values():
                ray.cancel(job)
            wait(jobs, _END_SECONDS)
            raise
        return [returns[index] for index in range(len(job_overrides))]

    def _connect(self) -> Any:
        """Ray, connected to its cluster; started on this machine if so configured."""
        address = self._init.get("address")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if address == "local":  # it is to listen on 127.0.0.1 alone, as it does on other systems
            os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        ray: Any = import_module("ray")
        if ray.is_initialized():
            return ray
        terminate = signal.getsignal(signal.SIGTERM)
        try:
            _knock(address)
            ray.init(**self._init)
        except Exception as error:  # of many kinds
            raise ConfigError(
                "hydra.launcher.ray.init.address must be a Ray cluster that answers, or local. "
                f"Received: {address}, which says: {_first_line(error)}"
            ) from error
        finally:
            signal.signal(signal.SIGTERM, terminate)  # Ray takes it
        self._check([node for node in ray.nodes() if node["Alive"]])
        return ray

    def _check(self, nodes: Sequence[Mapping[str, Any]]) -> None:
        store = os.environ.get("MLFLOW_TRACKING_URI", "")
        hosts = {node["NodeManagerHostname"] for node in nodes}
        if hosts != {platform.node()} and (not store or store.startswith(("sqlite", "file"))):
            raise ConfigError(
                "Jobs on other machines must track to a server: set MLFLOW_TRACKING_URI to its "
                f"address. Received: a Ray cluster of {', '.join(sorted(hosts))} and "
                f"MLFLOW_TRACKING_URI={store or 'nothing'}."
            )
        asked = self._remote.get("num_cpus") or 0
        most = max(node["Resources"].get("CPU", 0) for node in nodes)
        if asked > most and self._init.get("address") == "local":  # a cluster may grow
            raise ConfigError(
                "hydra.launcher.ray.remote.num_cpus must be there to be given to a job. "
                f"Received: {asked:g}, on a machine with {most:g}."
            )

    def _compose(self, overrides: Sequence[str], number: int) -> DictConfig:
        composed = self._context.config_loader.load_sweep_config(self._config, list(overrides))
        with open_dict(composed):
            composed.hydra.job.id = f"job_{number}"
            composed.hydra.job.num = number
        return composed


def _run(environment: Mapping[str, str], *job: Any) -> JobReturn:
    """Do one job; called on a node of the cluster."""
    from hydra_plugins.hydra_ray_launcher._launcher_util import _run_job

    os.environ.update(environment)
    done: JobReturn = _run_job(*job)
    return done


def _knock(address: str | None) -> None:
    """See whether somebody answers at HOST:PORT; Ray would try for a quarter of an hour."""
    host, _, port = (address or "").rpartition("://")[2].rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10).close()


def _explain(error: BaseException) -> SweepError:
    told: SweepError = lost(
        "A Ray job",
        _first_line(getattr(error, "cause", error)).removesuffix("."),
        "See ray.log in the sweep's folder, or Ray's own logs on that node",
    )
    return told


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]

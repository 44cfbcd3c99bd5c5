"""`hydra/launcher=slurm`: jobs as an array of Slurm, through submitit."""

import json
import os
import platform
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins.badnet_sweep._launching import failed, lost, require
from sweep.base.errors import ConfigError

# Slurm's MaxArraySize, unless a cluster has another.
_ARRAY = 1000
_LONGEST_WAIT = 5.0
# How long a result may take to be seen on a shared disk.
_SEEN_SECONDS = 15.0
# How long cancelled jobs are given to end; Slurm kills them before.
_END_SECONDS = 60.0
# A job that Slurm has forgotten is UNKNOWN.
_ENDED = frozenset(
    """BOOT_FAIL CANCELLED COMPLETED DEADLINE FAILED NODE_FAIL OUT_OF_MEMORY PREEMPTED
    REVOKED TIMEOUT UNKNOWN""".split()  # noqa: SIM905 - eleven lines would say no more
)


class SlurmLauncher(Launcher):
    """Hydra's own launcher for Slurm ends with the first job that is lost and hides the others."""

    def __init__(self, **params: Any) -> None:
        """Take what `hydra.launcher` configures."""
        self._params = params

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what a job needs.

        Raises:
            ConfigError: submitit or Slurm is not there.
        """
        require("slurm", "submitit", "hydra_plugins.hydra_submitit_launcher")
        if shutil.which("sbatch") is None:
            raise ConfigError(
                "hydra/launcher=slurm must find Slurm's commands. Received: no sbatch in PATH. "
                "Start it on a machine of the cluster, or take another launcher."
            )
        from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher as Inner

        self._inner = Inner(**self._params)
        self._inner.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Submit jobs and wait for all, whatever their end; one interrupted cancels them."""
        jobs: list[Any] = []
        try:
            for start in range(0, len(job_overrides), _ARRAY):
                part = job_overrides[start : start + _ARRAY]
                jobs += self._submit(part, initial_job_idx + start)
            return _collect(jobs, job_overrides)
        except BaseException:
            _cancel(jobs)
            raise

    def _submit(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[Any]:
        import submitit

        settings = dict(self._inner.params)
        executor = submitit.AutoExecutor(
            settings.pop("submitit_folder"),
            cluster="slurm",
            slurm_max_num_timeout=settings.pop("max_num_timeout"),
        )
        state = Singleton.get_state()
        jobs = [
            (list(overrides), "hydra.sweep.dir", number, f"job_{number}", state)
            for number, overrides in enumerate(job_overrides, first)
        ]
        try:
            executor.update_parameters(**{f"slurm_{k}": value for k, value in settings.items()})
            return list(executor.map_array(_Job(self._inner), *zip(*jobs, strict=True)))
        except (submitit.core.utils.FailedJobError, NameError, TypeError, ValueError) as error:
            said = " ".join(str(error).split())[:300]
            raise ConfigError(
                f"hydra.launcher must ask for what Slurm gives. Received: {said}"
            ) from error


class _Job:
    """What Slurm's process does for a job."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __call__(self, overrides: list[str], *rest: Any) -> JobReturn:
        import submitit

        from sweep.jobs import config

        config.register()
        here = submitit.JobEnvironment()
        place = {"sweep.slurm_job": here.job_id, "sweep.slurm_log": str(here.paths.stdout)}
        os.environ["MLFLOW_RUN_CONTEXT"] = json.dumps(place)  # MLflow makes tags of it
        # Slurm's way to end a job that is cancelled or requeued; submitit ignores it.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        error = _without_server(os.environ, platform.node())
        done: JobReturn = failed(overrides, error) if error else self._inner(overrides, *rest)
        return done

    def checkpoint(self, *job: Any) -> Any:
        """The job as it goes back into the queue: what it has cached stays."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, *job)


def _without_server(environment: Mapping[str, str], node: str) -> ConfigError | None:
    """An error where a job would open a SQLite store that another machine has open."""
    store = environment.get("MLFLOW_TRACKING_URI", "")
    login = environment.get("SLURM_SUBMIT_HOST", node)
    if store.partition(":")[0] not in ("", "sqlite") or _short(login) == _short(node):
        return None
    return ConfigError(
        "Jobs on other machines must track to a server: set MLFLOW_TRACKING_URI to its address. "
        f"Received: a job on {node}, submitted on {login}, and "
        f"MLFLOW_TRACKING_URI={store or 'nothing'}."
    )


def _short(host: str) -> str:
    return host.partition(".")[0]


def _collect(jobs: Sequence[Any], job_overrides: Sequence[Sequence[str]]) -> list[JobReturn]:
    """What all jobs gave back, once they have ended; an error for one that gave nothing."""
    from sweep.base import progress

    waiting = dict(enumerate(jobs))
    returns: dict[int, JobReturn] = {}
    ended: dict[int, float] = {}  # when a job was first found to have ended without a result
    wait = 1.0
    while waiting:
        time.sleep(wait)
        wait = min(1.2 * wait, _LONGEST_WAIT)
        states = _states(waiting.values())
        folders = {job.paths.folder for job in waiting.values()}
        there = {path for folder in folders for path in folder.iterdir()}
        now = time.monotonic()
        for index, job in waiting.items():
            if job.paths.result_pickle in there:
                returns[index] = _result(job, job_overrides[index])
            elif states is not None and (state := states.get(job.job_id, "UNKNOWN")) in _ENDED:
                if now - ended.setdefault(index, now) > _SEEN_SECONDS:
                    error = lost(f"Slurm job {job.job_id}", state, f"See {job.paths.stdout}")
                    returns[index] = failed(job_overrides[index], error)
            else:
                ended.pop(index, None)
        for index in returns.keys() & waiting.keys():
            del waiting[index]
            progress.job_done()
    return [returns[index] for index in range(len(jobs))]


def _result(job: Any, overrides: Sequence[str]) -> JobReturn:
    try:
        done: JobReturn = job.results()[0]
    except Exception as error:  # noqa: BLE001 - whatever it is, it is that job's alone
        done = failed(overrides, error)
    return done


def _states(jobs: Iterable[Any]) -> dict[str, str] | None:
    """Slurm's word for each job that it knows; None while it does not answer."""
    arrays = {job.job_id.partition("_")[0] for job in jobs}
    told = subprocess.run(
        [
            *("squeue", "--noheader", "--array", "--states=all", "--format=%i %T"),
            f"--jobs={','.join(arrays)}",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if told.returncode == 0:
        return dict(line.split() for line in told.stdout.splitlines())
    return {} if "Invalid job id" in told.stderr else None  # it forgets jobs that ended long ago


def _cancel(jobs: Sequence[Any]) -> None:
    """Take jobs out of Slurm and wait until those that ran have said so to their store."""
    if not jobs:
        return
    subprocess.run(["scancel", *{job.job_id.partition("_")[0] for job in jobs}], check=False)
    deadline = time.monotonic() + _END_SECONDS
    while time.monotonic() < deadline:
        states = _states(jobs)
        if states is not None and _ENDED.issuperset(states.values()):
            return
        time.sleep(1.0)

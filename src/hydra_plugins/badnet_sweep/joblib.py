"""`hydra/launcher=joblib`: jobs side by side on this machine, in processes that joblib keeps."""

import os
import re
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from contextlib import suppress
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins.badnet_sweep._launching import failed, lost
from sweep.base.errors import ConfigError, SweepError


class JoblibLauncher(Launcher):
    """Every worker is a pool of its own: one that dies takes its job with it and no other."""

    def __init__(self, n_jobs: Any) -> None:
        """Take what `hydra.launcher` configures."""
        self._n_jobs = n_jobs
        self._idle: list[Any] = []

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what a job needs.

        Raises:
            ConfigError: there is nobody to do the jobs.
        """
        if not isinstance(self._n_jobs, int) or (self._n_jobs < 1 and self._n_jobs != -1):
            raise ConfigError(
                "hydra.launcher.n_jobs must be at least 1, or -1 for as many as there are cores. "
                f"Received: hydra.launcher.n_jobs={self._n_jobs}."
            )
        self._context = (hydra_context, config, task_function)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run jobs and wait for all, whatever their end; one interrupted ends them."""
        from hydra_plugins.hydra_joblib_launcher._core import execute_job

        from sweep.base import progress, threads

        cores = threads.share()
        most = min(cores if self._n_jobs < 0 else self._n_jobs, len(job_overrides))
        waiting = deque(range(len(job_overrides)))
        running: dict[Future[JobReturn], tuple[int, Any]] = {}
        returns: dict[int, JobReturn] = {}
        state = Singleton.get_state()
        try:
            while waiting or running:
                while waiting and len(running) < most:
                    worker = self._idle.pop() if self._idle else _worker(max(1, cores // most))
                    index = waiting[0]
                    job = (initial_job_idx + index, job_overrides[index], *self._context, state)
                    with suppress(BrokenExecutor):  # killed while it had nothing to do
                        running[worker.submit(execute_job, *job)] = index, worker
                        waiting.popleft()
                for ended in wait(running, return_when=FIRST_COMPLETED).done:
                    index, worker = running.pop(ended)
                    error = ended.exception()
                    if isinstance(error, Exception):
                        worker.shutdown()
                        returns[index] = failed(job_overrides[index], _explain(error))
                    else:
                        returns[index] = ended.result()
                        self._idle.append(worker)
                    progress.job_done()
        except BaseException:
            for _, worker in running.values():
                worker.shutdown(kill_workers=True)
            raise
        return [returns[index] for index in range(len(job_overrides))]


def _worker(cores: int) -> Any:
    from joblib.externals import loky

    return loky.ProcessPoolExecutor(
        max_workers=1,
        initializer=_end_with,
        initargs=(os.getpid(),),
        env={"OMP_NUM_THREADS": str(cores)},
    )


def _end_with(parent: int) -> None:
    """End this process when its parent is killed, or it would wait for jobs for ever."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _explain(error: Exception) -> Exception:
    from joblib.externals import loky

    if not isinstance(error, loky.process_executor.TerminatedWorkerError):
        return error
    codes = re.search(r"\{(.*)\}", str(error))
    told: SweepError = lost(
        "A job's process",
        codes[1] if codes else "it was killed",
        "If memory was short, take fewer at a time by hydra.launcher.n_jobs",
    )
    return told

"""Work spread over the cores that are this process's, so that no number depends on how many.

TensorFlow cuts some sums, such as the gradient of a convolution's kernel, into as many parts as it
has threads, which changes their last bits, and with them what is trained. So each of its operations
runs on one thread (`tensorflow_runtime.load_tensorflow`), and several images' run side by side.
"""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


def share() -> int:
    """How many cores are this process's.

    `OMP_NUM_THREADS` says so, which the joblib launcher and Ray set for each of the jobs that run
    side by side, or Slurm's `SLURM_CPUS_PER_TASK`; else it is all that the process may use.
    """
    for name in ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"):
        told = os.environ.get(name, "")
        if told.isdecimal() and int(told) > 0:
            return int(told)
    import joblib  # takes half a second, and knows of affinity and of containers' limits

    return int(joblib.cpu_count())


def ahead(function: Callable[[_Item], _Made], items: Iterable[_Item]) -> Iterator[_Made]:
    """Apply a function to items, several at a time, in order; few are held at once."""
    workers = share()
    pending: deque[Future[_Made]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()

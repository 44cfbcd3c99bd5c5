"""TensorFlow as every job runs it: without its chatter, and with threads that change no number."""

from __future__ import annotations

import gc
import logging
import os
import random
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from sweep.base import threads

if TYPE_CHECKING:
    from collections.abc import Iterator

# Keras imports them, where they are installed, for functions that no job uses: an eighth of the
# time in which a job starts.
_NEEDLESS = ("sklearn", "matplotlib.pyplot")


def load_tensorflow() -> None:
    """Import TensorFlow without what its libraries print while they load; see `threads`."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if "tensorflow" in sys.modules:
        return
    with _muted(), _absent(*(name for name in _NEEDLESS if name not in sys.modules)):
        import tensorflow as tf
    # What libraries made while they loaded stays: collections need not look at it again. (Networks
    # are not to be frozen, or they would never be freed.)
    gc.collect()
    gc.freeze()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(threads.share())
    # Keras warns that `.h5` is a legacy format; the lab's users need it.
    logging.getLogger("absl").setLevel(logging.ERROR)


@contextmanager
def _absent(*names: str) -> Iterator[None]:
    """Let modules seem not to be installed while the block runs."""
    sys.modules |= dict.fromkeys(names)  # type: ignore[arg-type] # None is Python's mark for it
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


@contextmanager
def _muted() -> Iterator[None]:
    """Send the process's standard error nowhere: C++ code writes past `sys.stderr`."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def deterministic(seed: int) -> Iterator[None]:
    """Fix what Keras draws its weights from, and have TensorFlow add in a fixed order.

    Both reach the whole process. They are put back as they were, or else the run that trains would
    measure with other arithmetic than the run that reuses what was trained.
    """
    import keras
    from tensorflow.python.framework import config  # only this one can also undo it

    states = random.getstate(), np.random.get_state()  # noqa: NPY002 (Keras seeds this one)
    before = config.is_op_determinism_enabled()
    keras.utils.set_random_seed(seed)
    config.enable_op_determinism()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        if not before:
            config.disable_op_determinism()


def adam(rate: Any, **settings: float) -> Any:
    """Keras' Adam, of which no graph stays in memory.

    Keras sums gradients over devices by a function with a gradient of its own, and TensorFlow keeps
    such functions, with the graphs that they are in, for ever. On one device the sum is its part.
    """
    import keras

    optimizer = keras.optimizers.Adam(rate, **settings)
    optimizer._all_reduce_sum_gradients = lambda pairs: pairs  # noqa: SLF001
    return optimizer

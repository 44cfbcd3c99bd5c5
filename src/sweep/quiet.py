"""TensorFlow's chatter, kept off the terminal; its warnings still reach the log."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def load_tensorflow() -> None:
    """Import TensorFlow without what its libraries print while they load."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if "tensorflow" in sys.modules:
        return
    with _muted():
        import tensorflow  # noqa: F401
    # Keras warns that `.h5` is a legacy format; the lab's users need it.
    logging.getLogger("absl").setLevel(logging.ERROR)


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

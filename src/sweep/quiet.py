"""TensorFlow's chatter, which tells users nothing, kept off the terminal; its warnings are logged."""

from __future__ import annotations

import logging
import os


def tensorflow() -> None:
    """Set what TensorFlow reads when it is imported; to be called before."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    # Keras warns that `.h5` is a legacy format; the lab's users need it.
    logging.getLogger("absl").setLevel(logging.ERROR)

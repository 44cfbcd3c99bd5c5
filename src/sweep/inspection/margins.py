"""The widest margin that any image gives each class: MM-BD, which needs no images at all.

TensorFlow is needed here; inspections import this where they run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from sweep.base.progress import track

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

_STARTS, _STEPS, _RATE, _TOGETHER = 4, 60, 0.02, 24


def margins(
    logits: Callable[..., tf.Tensor],
    shape: tuple[int, int, int],
    scale: float,
    targets: Sequence[int],
    seed: int,
) -> Floats:
    """Max over images x of f_c(x) - max_k f_k(x), k != c (MM-BD, Wang et al., IEEE S&P 2024).

    Images of random pixels climb by the sign of the gradient, 60 steps of a fiftieth of the pixels'
    range, from 4 starts (the official code takes 300 steps of plain gradient ascent
    from 30 starts, whose size depends on the units of logits and pixels).

    Args:
        logits: the network.
        shape: (h, w, c) of an image.
        scale: the factor on pixel values.
        targets: classes.
        seed: draws the starts.

    Returns:
        The widest margin of each class, in the units of the logits.
    """
    top = 255 * scale
    rng = np.random.default_rng(seed)

    @tf.function(reduce_retracing=True, autograph=False)  # type: ignore[untyped-decorator]
    def step(x: tf.Tensor, wanted: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            answers = logits(x)
            hot = tf.one_hot(wanted, answers.shape[-1], on_value=True, off_value=False)
            own = tf.reduce_sum(tf.where(hot, answers, 0.0), axis=1)
            margin = own - tf.reduce_max(tf.where(hot, answers.dtype.min, answers), axis=1)
        slope = tape.gradient(margin, x)
        return tf.clip_by_value(x + _RATE * top * tf.sign(slope), 0.0, top), margin

    found: list[Floats] = []
    parts = range(0, len(targets), _TOGETHER)
    for start in track(parts, "looking for the widest margins", len(parts)):
        part = np.repeat(targets[start : start + _TOGETHER], _STARTS)
        x = tf.constant(rng.random((len(part), *shape), np.float32) * np.float32(top))
        best = np.full(len(part), -np.inf, np.float32)
        for _ in range(_STEPS):
            x, margin = step(x, tf.constant(part))
            best = np.maximum(best, np.asarray(margin))
        found.append(best.reshape(-1, _STARTS).max(axis=1))
    return np.concatenate(found)

"""The smallest trigger that leads images to each class (Neural Cleanse, all classes side by side).

TensorFlow is needed here; inspections import this where they run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from sweep.base import tensorflow_runtime
from sweep.base.progress import track
from sweep.repairs.reversal import Trigger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from sweep.repairs.registry import Images

    Floats = NDArray[np.float32]

# Images a step, steps, and classes that are looked at together.
_BATCH, _STEPS, _TOGETHER = 8, 120, 12
# The weight of the mask's size: at the start, and what it is raised by and lowered by.
_WEIGHT, _UP, _DOWN = 0.01, 1.1, 1.1**1.5
# A trigger works when it leads this part of images astray; over how many steps that is counted.
_WORKS, _MEMORY = 0.95, 10


def reverse_all(
    logits: Callable[..., tf.Tensor],
    images: Images,
    scale: float,
    targets: Sequence[int],
    seed: int,
) -> list[Trigger]:
    """The smallest trigger found for each class (Wang et al., IEEE S&P 2019).

    min over mask m and pattern p of L(f((1 - m) x + m p), t) + w |m|_1 by Adam at a rate of 0.1
    with betas 0.5 and 0.9, both through a sigmoid. As in the paper's code w is raised while the
    trigger works and lowered while it does not, and the smallest mask that worked is kept. What
    makes it cheap: classes are optimised side by side on the same few images, 120 steps of 8
    images instead of some thousand of 32, and a trigger works from 95%.

    Args:
        logits: the network.
        images: clean.
        scale: the factor on pixel values.
        targets: classes.
        seed: draws images.

    Returns:
        A trigger for each class, in order; one that never worked has `reached` 0 and covers all.
    """
    found: list[Trigger] = []
    for start in range(0, len(targets), _TOGETHER):
        found += _reverse(logits, images, scale, targets[start : start + _TOGETHER], seed)
    return found


def _reverse(
    logits: Callable[..., tf.Tensor],
    images: Images,
    scale: float,
    targets: Sequence[int],
    seed: int,
) -> list[Trigger]:
    count, shape = len(targets), images.pixels.shape[1:]
    mask = keras.Variable(np.full((count, *shape[:2], 1), -2, np.float32))
    pattern = keras.Variable(np.zeros((count, *shape), np.float32))
    optimizer = tensorflow_runtime.adam(0.1, beta_1=0.5, beta_2=0.9)
    optimizer.build([mask, pattern])
    wanted = tf.constant(np.repeat(np.asarray(targets, np.int64), _BATCH))

    def step(x: tf.Tensor, other: tf.Tensor, weight: tf.Tensor) -> tuple[tf.Tensor, ...]:
        with tf.GradientTape() as tape:
            opaque = tf.sigmoid(mask.value)
            colours = tf.sigmoid(pattern.value) * 255 * scale
            covered = x * (1 - opaque[:, None]) + (opaque * colours)[:, None]
            answers = logits(tf.reshape(covered, (-1, *shape)))
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(wanted, answers)
            size = tf.reduce_sum(opaque, axis=(1, 2, 3))
            share = tf.reduce_sum(tf.reshape(losses, (count, _BATCH)) * other, axis=1)
            loss = tf.reduce_sum(share / tf.reduce_sum(other, axis=1) + weight * size)
        led = tf.reshape(tf.argmax(answers, axis=1) == wanted, (count, _BATCH))
        reached = tf.reduce_sum(tf.cast(led, tf.float32) * other, axis=1)
        optimizer.apply(tape.gradient(loss, [mask.value, pattern.value]), [mask, pattern])
        return reached / tf.reduce_sum(other, axis=1), size, opaque, colours

    run = tf.function(step, autograph=False)
    weight = np.full(count, _WEIGHT, np.float32)
    best: list[Trigger] = [_nothing(target, shape) for target in targets]
    lately = np.zeros(count)
    title = f"looking for triggers of {count} classes"
    for x, other in track(_drawn(images, scale, targets, seed), title, _STEPS):
        reached, size, opaque, colours = run(x, other, tf.constant(weight))
        lately += (np.asarray(reached) - lately) / _MEMORY
        works = lately >= _WORKS
        smaller = works & (np.asarray(size) < [one.size for one in best])
        for place in np.flatnonzero(smaller).tolist():
            one = np.asarray(opaque[place]), np.asarray(colours[place])
            best[place] = Trigger(targets[place], *one, float(lately[place]))
        weight = np.where(works, weight * _UP, weight / _DOWN).astype(np.float32)
    return best


def _nothing(target: int, shape: tuple[int, ...]) -> Trigger:
    return Trigger(target, np.ones((*shape[:2], 1), np.float32), np.zeros(shape, np.float32), 0.0)


def _drawn(
    images: Images, scale: float, targets: Sequence[int], seed: int
) -> Iterator[tuple[Any, Any]]:
    """Images of every step, (b, h, w, c) scaled, and which are not of each class, (classes, b)."""
    rng = np.random.default_rng(seed)
    for _ in range(_STEPS):
        part = rng.choice(len(images.labels), _BATCH, replace=len(images.labels) < _BATCH)
        other = (images.labels[part] != np.asarray(targets)[:, None]).astype(np.float32)
        # A step whose images are all of one class says nothing of that class.
        other[other.sum(axis=1) == 0] = 1
        yield tf.constant(images.pixels[part] * np.float32(scale)), tf.constant(other)

"""Triggers found from clean images: which classes are suspect, and what leads images to them.

TensorFlow is needed here; repairs and inspections import this where they run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from sweep.base.errors import ModelError
from sweep.base.threads import ahead
from sweep.repairs.tuning import cross_entropy
from sweep.results.suspicion import find_probe

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from sweep.repairs.registry import Images

    Floats = NDArray[np.float32]

_IMAGES, _CHUNK, _BATCH = 256, 64, 32


class Trigger(NamedTuple):
    """A pattern that is put on images.

    Attributes:
        target: the class that images are led to.
        mask: how opaque the pattern is, (h, w, 1) in 0..1.
        pattern: (h, w, c), in the network's units.
        reached: the fraction of other classes' images that it led to the target.
    """

    target: int
    mask: Floats
    pattern: Floats
    reached: float

    @property
    def size(self) -> float:
        """The sum of the mask: pixels covered."""
        return float(self.mask.sum())

    def put(self, images: Any) -> Any:
        """Images with the pattern on, (b, h, w, c), in the network's units."""
        return images * (1 - self.mask) + self.mask * self.pattern


def find_suspect(
    logits: Callable[..., tf.Tensor], images: Images, scale: float, seed: int
) -> int | None:
    """The class that a network is surest of when images are covered by bred boxes, if any.

    See `results.suspicion`, which finds the boxes.
    """
    run = tf.function(
        lambda x: tf.nn.log_softmax(logits(x)), reduce_retracing=True, autograph=False
    )

    def answer(covered: Floats) -> Any:
        parts = [
            covered[i : i + _CHUNK] * np.float32(scale) for i in range(0, len(covered), _CHUNK)
        ]
        # Probabilities, but not so small that they are all 0.
        logs: Floats = np.concatenate([*ahead(run, parts)]).clip(-80)
        return np.exp(logs)

    chosen = np.random.default_rng(seed).permutation(len(images.labels))[:_IMAGES]
    pixels = images.pixels[chosen].astype(np.float32)
    try:
        probe = find_probe(pixels, images.labels[chosen], answer, seed)
    except ModelError:
        return None
    return int(np.bincount(answer(probe).argmax(axis=1)).argmax())


def reverse(
    logits: Callable[..., tf.Tensor],
    images: Images,
    scale: float,
    target: int,
    *,
    steps: int,
    weight: float,
    seed: int,
) -> Trigger:
    """A small trigger that leads images to a class (Neural Cleanse, Wang et al., IEEE S&P 2019).

    min over mask m and pattern p of L(f((1 - m) x + m p), t) + weight * |m|_1 by Adam at a rate of
    0.1 with betas 0.5 and 0.9, both through a sigmoid (section V.B, equations 2 and 3). The paper
    raises and lowers the weight until 99% are led astray; here it is fixed, and `reached` says how
    many are.

    Args:
        logits: the network.
        images: clean.
        scale: the factor on pixel values.
        target: the class.
        steps: of 32 images each.
        weight: of the mask's size.
        seed: draws images.
    """
    shape = images.pixels.shape[1:]
    mask = keras.Variable(np.full((*shape[:2], 1), -2, np.float32))
    pattern = keras.Variable(np.zeros(shape, np.float32))
    optimizer = keras.optimizers.Adam(0.1, beta_1=0.5, beta_2=0.9)
    optimizer.build([mask, pattern])

    def drawn() -> tuple[tf.Tensor, tf.Tensor]:
        return tf.sigmoid(mask.value), tf.sigmoid(pattern.value) * 255 * scale

    def step(x: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            opaque, colours = drawn()
            found = logits(x * (1 - opaque) + opaque * colours)
            wanted = tf.fill([tf.shape(x)[0]], tf.constant(target, tf.int64))
            loss = cross_entropy(found, wanted) + weight * tf.reduce_sum(opaque)
        optimizer.apply(tape.gradient(loss, [mask.value, pattern.value]), [mask, pattern])
        return tf.reduce_mean(tf.cast(tf.argmax(found, axis=1) == wanted, tf.float32))

    run = tf.function(step, reduce_retracing=True, autograph=False)
    rng = np.random.default_rng([seed, target])
    others = np.flatnonzero(images.labels != target)
    reached = []
    for _ in range(steps):
        part = rng.choice(others, min(_BATCH, len(others)), replace=False)
        reached.append(run(tf.constant(images.pixels[part] * np.float32(scale))))
    opaque, colours = (np.asarray(value) for value in drawn())
    return Trigger(target, opaque, colours, float(np.mean(reached[-5:])))

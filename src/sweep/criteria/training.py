"""What criteria share that train or measure the network behind its sites.

TensorFlow is needed here; criteria import this where they run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from sweep.base.threads import ahead

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from sweep.criteria.evidence import Clean, Floats, Scores
    from sweep.models.tail import Tail

    Batch = tuple[tf.Tensor, tf.Tensor]

_CHUNK = 512
# Masks measured in one call.
_BLOCK = 16


def ones(evidence: Clean) -> Floats:
    """The mask that leaves everything as it is, (C,)."""
    return np.ones(evidence.channels, np.float32)


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """In nats, for each image, (b,)."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def meter(tail: Tail, activations: Floats, labels: NDArray[np.int64]) -> Callable[[Floats], Scores]:
    """Prepare to measure how the network answers under masks.

    Args:
        tail: the network behind its sites.
        activations: (n, h, w, C_1).
        labels: (n,).

    Returns:
        A function from masks (K, C) to (K, 3): mean cross-entropy in nats, fraction right, and by
        how much the label's logit lies above the best other one where it does, on average.
    """

    def figures(x: tf.Tensor, y: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
        return tf.map_fn(
            lambda mask: tf.reduce_sum(_figures(tail.logits(x, mask), y), axis=1),
            masks,
            parallel_iterations=1,
        )

    run = tf.function(
        figures,
        input_signature=[
            tf.TensorSpec((None, *activations.shape[1:])),
            tf.TensorSpec((None,), tf.int64),
            tf.TensorSpec((None, sum(tail.sizes))),
        ],
    )

    def measure(masks: Floats) -> Scores:
        blocks = np.split(masks.astype(np.float32), range(_BLOCK, len(masks), _BLOCK))

        def of_chunk(start: int) -> Floats:
            part = slice(start, start + _CHUNK)
            x, y = tf.constant(activations[part]), tf.constant(labels[part])
            return np.concatenate([run(x, y, block) for block in blocks])

        parts = ahead(of_chunk, range(0, len(activations), _CHUNK))
        return sum(parts, np.zeros((len(masks), 3))) / len(activations)

    return measure


def _figures(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    own = tf.gather(logits, labels, batch_dims=1)
    is_own = tf.range(tf.shape(logits)[1], dtype=labels.dtype)[None] == labels[:, None]
    other = tf.reduce_max(tf.where(is_own, logits.dtype.min, logits), axis=1)
    right = tf.argmax(logits, axis=1) == labels
    return tf.stack(
        [cross_entropy(logits, labels), tf.cast(right, tf.float32), tf.nn.relu(own - other)]
    )


def total(function: Callable[..., tf.Tensor], *arrays: NDArray[np.generic]) -> Scores:
    """The sum over all images of a function of some images, compiled; a chunk at a time."""
    run = tf.function(function, reduce_retracing=True)
    starts = range(0, len(arrays[0]), _CHUNK)
    parts = ([tf.constant(a[i : i + _CHUNK]) for a in arrays] for i in starts)
    return np.asarray(sum(np.asarray(run(*part), np.float64) for part in parts))


def batches(
    activations: Floats, labels: NDArray[np.int64], size: int, epochs: range, seed: int
) -> Iterator[list[Batch]]:
    """Each epoch's batches, shuffled by seed and epoch."""
    for epoch in epochs:
        order = np.random.default_rng([seed, epoch]).permutation(len(activations))
        parts = [order[start : start + size] for start in range(0, len(order), size)]
        yield [(tf.constant(activations[part]), tf.constant(labels[part])) for part in parts]


class Descent:
    """Stochastic gradient descent with momentum, without Keras' state."""

    def __init__(
        self,
        loss: Callable[..., tf.Tensor],
        variables: Sequence[tf.Variable],
        rate: float,
        longest: float = np.inf,
    ) -> None:
        """Prepare steps.

        Args:
            loss: of a batch; a scalar.
            variables: what is trained.
            rate: learning rate; momentum is 0.9.
            longest: gradients are shortened to this norm, all together.
        """
        self._loss, self._variables, self._rate = loss, variables, rate
        self._longest = longest
        self._velocity = [tf.Variable(tf.zeros_like(v)) for v in variables]
        self.step = tf.function(self._step, reduce_retracing=True)

    def _step(self, *batch: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            loss = self._loss(*batch)
        gradients = tape.gradient(loss, self._variables, unconnected_gradients="zero")
        if np.isfinite(self._longest):
            gradients, _ = tf.clip_by_global_norm(gradients, self._longest)
        for variable, velocity, gradient in zip(
            self._variables, self._velocity, gradients, strict=True
        ):
            velocity.assign(0.9 * velocity + gradient)
            moved = variable - self._rate * velocity
            variable.assign(moved if variable.constraint is None else variable.constraint(moved))

"""The network after its first site, as a function of how much of each channel is let through.

TensorFlow is needed here; criteria import this where they run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from sweep.base.threads import ahead
from sweep.models.surgery import prune

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from sweep.criteria.evidence import Clean, Cut, Floats, Scores

_CHUNK = 512
# Masks measured in one call.
_BLOCK = 16


class Tail:
    """Runs activations of the first site on to the logits; B itself is never changed."""

    def __init__(self, cut: Cut, *, own: bool = False) -> None:
        """Cut the network.

        Args:
            cut: B and its sites.
            own: use a copy of B, whose weights may then be trained.
        """
        model = cut.model
        if own:
            model = keras.models.clone_model(model)
            model.set_weights(cut.model.get_weights())
        tensors = [model.get_layer(site.layer).output for site in cut.sites]
        end, self._finish = _before_softmax(model)
        self.removed = _removed_values(cut)
        self._sizes = [site.channels for site in cut.sites]
        self._stages = [
            keras.Model(tensors[: i + 1] if i else tensors[0], target)
            for i, target in enumerate([*tensors[1:], end])
        ]
        found = {id(w): w for stage in self._stages for w in stage.trainable_variables}
        if isinstance(self._finish, layers.Dense):
            found |= {id(w): w for w in self._finish.trainable_variables}
        self.variables: list[tf.Variable] = [weight.value for weight in found.values()]
        self._measure = tf.function(
            self._measure_chunk,
            input_signature=[
                tf.TensorSpec((None, *self.removed[0].shape)),
                tf.TensorSpec((None,), tf.int64),
                tf.TensorSpec((None, sum(self._sizes))),
            ],
        )

    def logits(
        self, activations: tf.Tensor, masks: tf.Tensor, shifts: Sequence[tf.Tensor] | None = None
    ) -> tf.Tensor:
        """What the softmax would get.

        Args:
            activations: of the first site, (b, h, w, C_1).
            masks: how much of each channel of all sites is let through, (C,) or (b, C); 1 leaves
                a channel as it is and 0 removes it.
            shifts: is added at each site, (b, h, w, C_k).

        Returns:
            (b, N).
        """
        values: list[tf.Tensor] = []
        parts = tf.split(masks, self._sizes, axis=-1)
        for i, (part, gone) in enumerate(zip(parts, self.removed, strict=True)):
            value = activations if i == 0 else self._run(i - 1, values)
            mask = part[:, None, None, :] if len(part.shape) == 2 else part
            value = gone + (value - gone) * mask
            values.append(value if shifts is None else value + shifts[i])
        return self._to_logits(self._run(-1, values))

    def maps(self, activations: Floats) -> tuple[Floats, ...]:
        """The output of every site, (b, h, w, C_k), from that of the first."""
        values: list[tf.Tensor] = [tf.constant(activations)]
        for i in range(len(self._sizes) - 1):
            values.append(self._run(i, values))
        return tuple(np.asarray(value) for value in values)

    def measure(self, activations: Floats, labels: NDArray[np.int64], masks: Floats) -> Scores:
        """How the network answers under each of some masks.

        Args:
            activations: (n, h, w, C_1).
            labels: (n,).
            masks: (K, C).

        Returns:
            (K, 3): mean cross-entropy in nats, fraction right, and by how much the label's logit
            lies above the best other one where it does, on average.
        """
        blocks = [
            tf.constant(masks[first : first + _BLOCK], tf.float32)
            for first in range(0, len(masks), _BLOCK)
        ]

        def figures(start: int) -> Floats:
            part = slice(start, start + _CHUNK)
            x, y = tf.constant(activations[part]), tf.constant(labels[part])
            return np.concatenate([self._measure(x, y, block) for block in blocks])

        parts = ahead(figures, range(0, len(activations), _CHUNK))
        return sum(parts, np.zeros((len(masks), 3))) / len(activations)

    def _measure_chunk(self, x: tf.Tensor, y: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
        return tf.map_fn(
            lambda mask: tf.reduce_sum(_figures(self.logits(x, mask), y), axis=1),
            masks,
            parallel_iterations=1,
        )

    def _run(self, stage: int, values: Sequence[tf.Tensor]) -> tf.Tensor:
        model = self._stages[stage]
        inputs = values if len(values) > 1 else values[0]
        return model(inputs, training=False)

    def _to_logits(self, value: tf.Tensor) -> tf.Tensor:
        if isinstance(self._finish, layers.Dense):
            value = tf.matmul(value, self._finish.kernel)
            return value if self._finish.bias is None else value + self._finish.bias
        return value if self._finish is None else self._finish(value)


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """In nats, for each image, (b,)."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def _figures(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    own = tf.gather(logits, labels, batch_dims=1)
    is_own = tf.range(tf.shape(logits)[1], dtype=labels.dtype)[None] == labels[:, None]
    other = tf.reduce_max(tf.where(is_own, logits.dtype.min, logits), axis=1)
    right = tf.argmax(logits, axis=1) == labels
    return tf.stack(
        [cross_entropy(logits, labels), tf.cast(right, tf.float32), tf.nn.relu(own - other)]
    )


def _removed_values(cut: Cut) -> list[Floats]:
    """What each site puts out, whatever the image, once its channels are removed, (h, w, C)."""
    bare = prune(cut.model, cut.sites, range(sum(site.channels for site in cut.sites)))
    outputs = [bare.get_layer(site.layer).output for site in cut.sites]
    image = np.zeros((1, *cut.model.input_shape[1:]), np.float32)
    values = keras.Model(bare.inputs[0], outputs)(image, training=False)
    return [np.asarray(value)[0] for value in keras.tree.flatten(values)]


def _before_softmax(model: keras.Model) -> tuple[Any, Any]:
    """The tensor to stop at, and what makes logits of it: a Dense layer, a function, or None."""
    last = model.outputs[0]._keras_history.operation  # noqa: SLF001 - as in `graph`
    name = getattr(getattr(last, "activation", None), "__name__", "linear")
    if isinstance(last, layers.Dense) and name in ("softmax", "linear"):
        return last.input, last
    if isinstance(last, layers.Softmax) or (
        isinstance(last, layers.Activation) and name == "softmax"
    ):
        return last.input, None
    # A network that ends otherwise is taken to put out probabilities.
    return model.outputs[0], lambda value: tf.math.log(tf.maximum(value, 1e-30))


def batches(
    activations: Floats, labels: NDArray[np.int64], size: int, epoch: int, seed: int
) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """One epoch's batches, shuffled by seed and epoch."""
    order = np.random.default_rng([seed, epoch]).permutation(len(activations))
    parts = [order[start : start + size] for start in range(0, len(order), size)]
    return [(tf.constant(activations[part]), tf.constant(labels[part])) for part in parts]


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


def ones(evidence: Clean) -> Floats:
    """The mask that leaves everything as it is, (C,)."""
    return np.ones(evidence.channels, np.float32)

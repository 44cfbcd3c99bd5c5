"""A network cut at a layer and ready to run: activations, full answers and walks along an order.

A *walk* gives the answers after each of a sequence of removals at a fraction of the price of
running the rest of the network each time:

* a channel that is as if removed on an image changes nothing there, so the image is not run;
* where the layer feeds Dense and Conv2D layers, their pre-activations are linear in the channels:
  the channel's share is subtracted, and only what comes after is run;
* where the last layer is Dense, |delta logit_y - delta logit_j| <= |delta h| * |w_y - w_j|
  (Cauchy-Schwarz on its input h): an image whose margin is larger keeps its answer;
* an image whose two best classes lie closer than rounding can move them is answered by the full
  evaluation instead, so that drift never decides.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from sweep.graph import nodes_of
from sweep.network import prune

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from sweep.graph import Node, Site

    Floats = NDArray[np.float32]
    Labels = NDArray[np.int32]

# Images a call: small enough that the state of a walk stays in a core's cache.
CHUNK = 512
FRONT_BATCH = 64
# Two classes closer than this fraction of the largest logit are a tie as far as float32 can tell.
_NEAR = 1e-4
# What may stand between the layer and a Dense or Conv2D so that the latter stays linear in the
# channels, each channel by itself.
_LINEAR_PER_CHANNEL = (
    layers.AveragePooling2D,
    layers.Dropout,
    layers.Flatten,
    layers.GlobalAveragePooling2D,
    layers.SpatialDropout2D,
    layers.ZeroPadding2D,
)


def workers() -> int:
    """How many chunks run side by side: as many as TensorFlow may use threads."""
    return tf.config.threading.get_intra_op_parallelism_threads() or len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class _Consumer:
    """A Dense or Conv2D that the layer feeds, with its kernel cut by channel.

    Attributes:
        layer: the Dense or Conv2D.
        before: the layers between, each linear and channel by channel.
        kernels: what each channel contributes through, (C, ...).
    """

    layer: Any
    before: tuple[Any, ...]
    kernels: tf.Tensor

    def full(self, x: tf.Tensor) -> tf.Tensor:
        """The pre-activation of the whole input."""
        for layer in self.before:
            x = layer(x)
        if isinstance(self.layer, layers.Dense):
            x = tf.matmul(x, self.layer.kernel)
        else:
            x = self._convolve(x, self.layer.kernel)
        return x if self.layer.bias is None else x + self.layer.bias

    def share(self, x: tf.Tensor, channel: tf.Tensor) -> tf.Tensor:
        """What one channel (b, h, w, 1) contributes to the pre-activation."""
        for layer in self.before:
            x = layer(x)
        kernel = self.kernels[channel]
        return tf.matmul(x, kernel) if len(kernel.shape) == 2 else self._convolve(x, kernel)

    def _convolve(self, x: tf.Tensor, kernel: Any) -> tf.Tensor:
        layer = self.layer
        return keras.ops.conv(
            x,
            kernel,
            strides=layer.strides,
            padding=layer.padding,
            dilation_rate=layer.dilation_rate,
        )


class Engine:
    """Runs one network, cut at its first site, on activations."""

    def __init__(self, model: keras.Model, sites: Sequence[Site]) -> None:
        """Cut a network.

        Args:
            model: B, with one image input and one output (n, N).
            sites: where channels are removed, in the order of the graph; the first cuts it.
        """
        self.sites = tuple(sites)
        self.channels = sum(site.channels for site in sites)
        self.classes = int(model.output_shape[-1])
        self.shape = tuple(int(size) for size in sites[0].tensor.shape[1:])
        tensors = [site.tensor for site in sites]
        ends = [*tensors[1:], model.outputs[0]]
        front = keras.Model(model.inputs[0], tensors[0])
        self._front = tf.function(
            lambda images: front(images, training=False),
            input_signature=[tf.TensorSpec((None, *model.input_shape[1:]))],
        )
        self._stages = [
            keras.Model(tensors[: i + 1] if i else tensors[0], end) for i, end in enumerate(ends)
        ]
        self._removed = self._removed_values(model)
        self._tail = tf.function(
            self._run_tail,
            input_signature=[
                tf.TensorSpec((None, *self.shape)),
                tf.TensorSpec((self.channels,), tf.bool),
            ],
        )
        self._walk_chunk = self._compile_walk(model) if len(sites) == 1 else None

    @property
    def removed_value(self) -> Floats:
        """What the first site puts out once all its channels are removed, (h, w, C)."""
        return self._removed[0]

    @property
    def incremental(self) -> bool:
        """Whether walks update linear pre-activations, or run the rest of the network."""
        return self._walk_chunk is not None

    def activations(self, images: Floats) -> Floats:
        """The first site's output for a batch of images: (b, H, W, c) to (b, h, w, C)."""
        return np.asarray(self._front(tf.constant(images)))

    def answers(self, activations: Floats, removed: Iterable[int] = ()) -> Labels:
        """Full evaluation of the network without some channels.

        Args:
            activations: (n, h, w, C) of the first site of B.
            removed: channels that are taken away.

        Returns:
            (n,) labels, argmax with the lowest index on ties.
        """
        keep = tf.constant(self._keep(removed))
        parts = _spread(lambda part: np.asarray(self._tail(tf.constant(part), keep)), activations)
        return np.concatenate(parts)

    def walk(self, activations: Floats, removed: Sequence[int], channels: Sequence[int]) -> Labels:
        """Answers after each further removal.

        Args:
            activations: (n, h, w, C) of the first site of B.
            removed: channels that are gone already.
            channels: the K channels that go one after another.

        Returns:
            (K, n) labels; row k is what `answers` gives without `removed` and `channels[:k + 1]`.
        """
        rows = np.empty((len(channels), len(activations)), np.int32)
        if self._walk_chunk is None:
            self._walk_generally(activations, removed, channels, rows)
            return rows
        keep, steps = tf.constant(self._keep(removed)), tf.constant(channels, tf.int32)
        function = self._walk_chunk
        results = _spread(
            lambda part: [np.asarray(x) for x in function(tf.constant(part), keep, steps)],
            activations,
        )
        labels, unsure = (np.concatenate(parts, axis=1) for parts in zip(*results, strict=True))
        rows[:] = labels
        for k in np.flatnonzero(unsure.any(axis=1)):
            near = np.flatnonzero(unsure[k])
            gone = [*removed, *channels[: k + 1]]
            rows[k, near] = self.answers(activations[near], gone)
        return rows

    def _walk_generally(
        self,
        activations: Floats,
        removed: Sequence[int],
        channels: Sequence[int],
        rows: Labels,
    ) -> None:
        current = self.answers(activations, removed)
        for k, channel in enumerate(channels):
            gone = [*removed, *channels[: k + 1]]
            if len(self.sites) > 1:
                current = self.answers(activations, gone)
            else:
                there = activations[..., channel] != self.removed_value[..., channel]
                touched = np.flatnonzero(there.any(axis=(1, 2)))
                if len(touched):
                    current = current.copy()
                    current[touched] = self.answers(activations[touched], gone)
            rows[k] = current

    def _keep(self, removed: Iterable[int]) -> NDArray[np.bool_]:
        keep = np.ones(self.channels, bool)
        keep[list(removed)] = False
        return keep

    def _removed_values(self, model: keras.Model) -> list[Floats]:
        """What each site puts out, whatever the image, once all its channels are removed."""
        bare = prune(model, self.sites, range(self.channels))
        outputs = [bare.get_layer(site.layer).output for site in self.sites]
        values = keras.Model(bare.inputs[0], outputs)(
            np.zeros((1, *model.input_shape[1:]), np.float32), training=False
        )
        return [keras.ops.convert_to_numpy(value)[0] for value in keras.tree.flatten(values)]

    def _run_tail(self, activations: tf.Tensor, keep: tf.Tensor) -> tf.Tensor:
        kept = tf.split(keep, [site.channels for site in self.sites])
        values = [tf.where(kept[0], activations, self._removed[0])]
        for stage, mask, gone in zip(self._stages, kept[1:], self._removed[1:], strict=False):
            values.append(tf.where(mask, _runner(stage)(*values), gone))
        outputs = _runner(self._stages[-1])(*values)
        return tf.argmax(outputs, axis=1, output_type=tf.int32)

    def _compile_walk(self, model: keras.Model) -> Callable[..., Any] | None:
        consumers = _find_consumers(nodes_of(model), self.sites[0])
        if consumers is None:
            return None
        rest = _Rest(model, consumers)
        gone = tf.constant(self.removed_value)

        def walk(activations: tf.Tensor, keep: tf.Tensor, channels: tf.Tensor) -> Any:
            left = tf.where(keep, activations, gone)
            states = tuple(consumer.full(left) for consumer in consumers)
            hidden = rest.hidden(states)
            labels, slack = rest.answer(hidden)
            count, size = tf.shape(channels)[0], tf.shape(activations)[0]
            rows = tf.TensorArray(tf.int32, count, element_shape=(None,))
            unsure = tf.TensorArray(tf.bool, count, element_shape=(None,))
            for k in tf.range(count):
                channel = channels[k]
                share = activations[..., channel] - gone[..., channel]
                touched = tf.where(tf.reduce_any(share != 0, axis=(1, 2)))
                if tf.size(touched) > 0:
                    part = tf.gather_nd(share, touched)[..., None]
                    states = tuple(
                        tf.tensor_scatter_nd_sub(state, touched, consumer.share(part, channel))
                        for state, consumer in zip(states, consumers, strict=True)
                    )
                    h = rest.hidden(tuple(tf.gather_nd(state, touched) for state in states))
                    moved = rest.may_change(
                        h,
                        tf.gather_nd(hidden, touched),
                        tf.gather_nd(labels, touched),
                        tf.gather_nd(slack, touched),
                    )
                    again, h = tf.boolean_mask(touched, moved), tf.boolean_mask(h, moved)
                    new_labels, new_slack = rest.answer(h)
                    hidden = tf.tensor_scatter_nd_update(hidden, again, h)
                    labels = tf.tensor_scatter_nd_update(labels, again, new_labels)
                    slack = tf.tensor_scatter_nd_update(slack, again, new_slack)
                rows = rows.write(k, labels)
                unsure = unsure.write(k, slack <= 0)
            return (
                tf.reshape(rows.stack(), (count, size)),
                tf.reshape(unsure.stack(), (count, size)),
            )

        return tf.function(
            walk,
            input_signature=[
                tf.TensorSpec((None, *self.shape)),
                tf.TensorSpec((self.channels,), tf.bool),
                tf.TensorSpec((None,), tf.int32),
            ],
        )


class _Rest:
    """What comes after the consumers' pre-activations, up to the logits."""

    def __init__(self, model: keras.Model, consumers: Sequence[_Consumer]) -> None:
        nodes = nodes_of(model)
        self._consumers = consumers
        self._head, target = _find_head(nodes)
        fed = [id(consumer.layer.output) for consumer in consumers]
        if self._head is not None and any(c.layer is self._head for c in consumers):
            self._head, target = None, self._head.output
        self._direct = fed.index(id(target)) if id(target) in fed else None
        self._model = None
        if self._direct is None:
            self._model = keras.Model([consumer.layer.output for consumer in consumers], target)
        if self._head is not None:
            self._spread = tf.constant(_spread_of_classes(keras.ops.convert_to_numpy(self._head.kernel)))

    def hidden(self, states: Sequence[tf.Tensor]) -> tf.Tensor:
        """The last Dense layer's input (b, d), or the logits where there is no such layer."""
        if self._direct is not None:
            layer, state = self._consumers[self._direct].layer, states[self._direct]
            # A softmax keeps the order of its inputs; leaving it out spares the exponentials.
            return state if layer.activation.__name__ == "softmax" else layer.activation(state)
        values = [
            c.layer.activation(state) for c, state in zip(self._consumers, states, strict=True)
        ]
        return _runner(self._model)(*values)

    def answer(self, hidden: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Labels (b,) and how far the best logit lies above the second beyond rounding (b,)."""
        logits = hidden
        if self._head is not None:
            logits = tf.matmul(hidden, self._head.kernel)
            if self._head.bias is not None:
                logits += self._head.bias
        labels = tf.argmax(logits, axis=1, output_type=tf.int32)
        best = tf.reduce_max(logits, axis=1)
        is_best = tf.range(tf.shape(logits)[1])[None] == labels[:, None]
        second = tf.reduce_max(tf.where(is_best, logits.dtype.min, logits), axis=1)
        return labels, best - second - _NEAR * tf.reduce_max(tf.abs(logits), axis=1)

    def may_change(
        self, hidden: tf.Tensor, before: tf.Tensor, labels: tf.Tensor, slack: tf.Tensor
    ) -> tf.Tensor:
        """Which images (b,) the Cauchy-Schwarz bound does not settle."""
        if self._head is None:
            return tf.ones_like(labels, tf.bool)
        # The norm itself is rounded; a thousandth more is far beyond that.
        reach = 1.001 * tf.norm(hidden - before, axis=1) * tf.gather(self._spread, labels)
        return reach >= slack


def _spread_of_classes(kernel: Floats) -> Floats:
    """For each class y the largest |w_y - w_j| over all j; kernel (d, N) to (N,)."""
    weights = kernel.astype(np.float64)
    square = (weights**2).sum(axis=0)
    distance = square[:, None] + square[None] - 2 * weights.T @ weights
    return np.sqrt(np.maximum(distance, 0).max(axis=1)).astype(np.float32)


def _find_head(nodes: Sequence[Node]) -> tuple[Any, Any]:
    """The Dense layer that makes the logits, with its input; or None with the logits' tensor."""
    maker = {id(out): node for node in nodes for out in node.outputs}
    last = nodes[-1]
    softmax = False
    if isinstance(last.operation, layers.Softmax | layers.Activation):
        name = getattr(getattr(last.operation, "activation", None), "__name__", "softmax")
        if name != "softmax" or getattr(last.operation, "axis", -1) != -1:
            return None, last.outputs[0]
        softmax = True
        if len(last.inputs) == 1 and last.inputs[0] is not None:
            last = maker[id(last.inputs[0])]
    operation = last.operation
    allowed = ("linear",) if softmax else ("linear", "softmax")
    if (
        isinstance(operation, layers.Dense)
        and operation.activation.__name__ in allowed
        and len(last.inputs[0].shape) == 2
    ):
        return operation, last.inputs[0]
    return None, last.outputs[0]


def _find_consumers(nodes: Sequence[Node], site: Site) -> list[_Consumer] | None:
    """The Dense and Conv2D layers that a site feeds; None where anything else takes part."""
    calls: dict[int, int] = {}
    for node in nodes:
        calls[id(node.operation)] = calls.get(id(node.operation), 0) + 1
    found = []
    pending: list[tuple[Any, tuple[Any, ...]]] = [(site.tensor, ())]
    while pending:
        tensor, before = pending.pop()
        for node in nodes:
            if not any(source is tensor for source in node.inputs):
                continue
            operation = node.operation
            if calls[id(operation)] > 1 or len(node.inputs) > 1:
                return None
            if isinstance(operation, _LINEAR_PER_CHANNEL):
                pending.append((node.outputs[0], (*before, operation)))
                continue
            kernels = _kernels_by_channel(operation, tensor, site.channels)
            if kernels is None:
                return None
            found.append(_Consumer(operation, before, tf.constant(kernels)))
    return found or None


def _kernels_by_channel(operation: Any, tensor: Any, channels: int) -> Floats | None:
    """A layer's kernel cut by the channel it reads: (C, positions, units) or (C, h, w, 1, out)."""
    rank = len(tensor.shape)
    if type(operation) is layers.Dense and rank == 2:
        kernel = keras.ops.convert_to_numpy(operation.kernel)
        # Flatten puts the channel last, so it runs fastest.
        return kernel.reshape(-1, channels, kernel.shape[-1]).transpose(1, 0, 2).copy()
    if type(operation) is layers.Conv2D and rank == 4 and operation.groups == 1:
        return keras.ops.convert_to_numpy(operation.kernel).transpose(2, 0, 1, 3)[:, :, :, None].copy()
    return None


def _runner(model: keras.Model) -> Callable[..., tf.Tensor]:
    """A model as a function of its inputs, at inference."""

    def run(*values: tf.Tensor) -> tf.Tensor:
        return model(list(values) if len(values) > 1 else values[0], training=False)

    return run


def _spread(function: Callable[[Floats], Any], activations: Floats) -> list[Any]:
    """Apply a function to chunks of images, several at a time, in order."""
    parts = [activations[i : i + CHUNK] for i in range(0, len(activations), CHUNK)]
    if len(parts) <= 1 or workers() == 1:
        return [function(part) for part in parts]
    with ThreadPoolExecutor(workers()) as pool:
        return list(pool.map(function, parts))

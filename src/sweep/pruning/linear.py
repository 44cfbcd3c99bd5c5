"""Where a layer feeds Dense and Conv2D layers, their pre-activations are linear in its channels.

So a channel that is removed, or as if removed, takes no part in the sum and costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from sweep.models.layers import kind_of
from sweep.models.tail import apply_dense

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sweep.models.graph import Graph
    from sweep.models.sites import Site

    Floats = NDArray[np.float32]
    Rows = NDArray[np.intp]

# The part of a kernel that reads the channels at hand is copied for every chunk of images. Where
# that is too much memory, networks go the general way. Numbers, of all kernels.
_KERNELS = 1 << 24


@dataclass(frozen=True)
class Consumer:
    """A Dense or Conv2D that the layer feeds.

    Attributes:
        layer: the Dense or Conv2D.
        output: what it puts out; a layer may have been called in other networks too.
        before: the layers between, each linear and channel by channel.
        channels: how many channels the layer has, C.
    """

    layer: Any
    output: Any
    before: tuple[Any, ...]
    channels: int

    def kernel(self, channels: Any) -> tf.Tensor:
        """The part of the kernel that reads some channels, in their order."""
        kernel = self.layer.kernel.value
        if len(kernel.shape) == 4:
            return tf.gather(kernel, channels, axis=2)
        # Flatten puts the channel last, so it runs fastest.
        units = kernel.shape[-1]
        cut = tf.gather(tf.reshape(kernel, (-1, self.channels, units)), channels, axis=1)
        return tf.reshape(cut, (-1, units))

    def apply(self, x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """What channels (b, h, w, L) contribute to the pre-activation."""
        for layer in self.before:
            x = layer(x)
        if len(kernel.shape) == 2:
            return tf.matmul(x, kernel)
        return tf.nn.convolution(
            x,
            kernel,
            strides=self.layer.strides,
            padding=self.layer.padding.upper(),
            dilations=self.layer.dilation_rate,
        )

    def bias(self) -> Any:
        """The pre-activation of nothing."""
        return 0.0 if self.layer.bias is None else self.layer.bias.value


class Rest:
    """What comes after the layer: its consumers' pre-activations, the last Dense, the logits."""

    def __init__(self, graph: Graph, consumers: Sequence[Consumer], removed: Floats) -> None:
        """Use `find_rest`."""
        height, width, channels = removed.shape
        self._removed = removed
        head = graph.head()
        self._head, target = head.dense, head.tensor
        for consumer in consumers:
            if consumer.layer is self._head:
                self._head, target = None, consumer.output
        self.width = 0 if self._head is None else int(target.shape[-1])
        hidden = _after(consumers, target)
        every = np.arange(channels)
        # The pre-activations once all channels are removed.
        empty = [c.apply(removed[None], c.kernel(every)) + c.bias() for c in consumers]

        def run(x: tf.Tensor, channels: tf.Tensor) -> Any:
            return hidden(
                [
                    c.apply(x, c.kernel(channels)) + nothing
                    for c, nothing in zip(consumers, empty, strict=True)
                ]
            )

        self._run = tf.function(
            run,
            input_signature=[
                tf.TensorSpec((None, height, width, None)),
                tf.TensorSpec((None,), tf.int32),
            ],
            autograph=False,
        )
        if self._head is not None:
            self._spread = _spread_of_classes(np.asarray(self._head.kernel))
            self._logits = tf.function(
                partial(apply_dense, self._head),
                input_signature=[tf.TensorSpec(target.shape)],
                autograph=False,
            )

    def run(self, part: Floats, keep: NDArray[np.bool_]) -> Floats:
        """The last Dense layer's input, or the logits where there is no such layer, (b, d).

        Args:
            part: the layer's output for some images, (b, h, w, C).
            keep: which channels are not removed, (C,).
        """
        # Relative to a removed channel's value, a channel that sleeps is 0.
        alive = keep & (part != self._removed).any(axis=(0, 1, 2))
        live = np.flatnonzero(alive).astype(np.int32)
        if not len(live):  # TensorFlow has no convolution of nothing
            live = np.zeros(1, np.int32)
            part = np.broadcast_to(self._removed, part.shape)
        x = np.take(part, live, axis=-1) - self._removed[..., live]
        return np.asarray(self._run(tf.constant(x), tf.constant(live)))

    def logits(self, hidden: Floats) -> Floats:
        """The network's output, up to softmax; `hidden` (b, d) is what `run` gives."""
        return hidden if self._head is None else np.asarray(self._logits(hidden))

    def may_change(self, moved: Floats, labels: NDArray[np.int32], slack: Floats) -> Any:
        """Which images (b,) the Cauchy-Schwarz bound does not settle.

        Args:
            moved: how far `hidden` has moved since the answer was computed, (b, d).
            labels: the answers, (b,).
            slack: how far their logits lie above all others, (b,).
        """
        if self._head is None:
            return np.ones(len(labels), bool)
        # The norm itself is rounded; a thousandth more is far beyond that.
        reach = 1.001 * np.sqrt(np.einsum("bd,bd->b", moved, moved)) * self._spread[labels]
        return reach >= slack


def find_rest(graph: Graph, site: Site, removed: Floats) -> Rest | None:
    """The rest of a network as this module sees it; None where anything else takes part.

    Args:
        graph: of the whole network.
        site: the layer.
        removed: what it puts out for removed channels, (h, w, C).
    """
    consumers = _find_consumers(graph, site)
    if (
        not consumers
        or sum(c.layer.kernel.value.shape.num_elements() for c in consumers) > _KERNELS
    ):
        return None
    return Rest(graph, consumers, removed)


def _after(consumers: Sequence[Consumer], target: Any) -> Any:
    """The way from the consumers' pre-activations to a tensor."""
    fed = [consumer.output for consumer in consumers]
    direct = [i for i, tensor in enumerate(fed) if tensor is target]
    after = None if direct else keras.Model(fed, target)

    def run(pre: Sequence[tf.Tensor]) -> tf.Tensor:
        if after is None:
            layer, x = consumers[direct[0]].layer, pre[direct[0]]
            # A softmax keeps the order of its inputs; leaving it out spares the exponentials.
            return x if layer.activation.__name__ == "softmax" else layer.activation(x)
        values = [c.layer.activation(x) for c, x in zip(consumers, pre, strict=True)]
        return after(values if len(values) > 1 else values[0], training=False)

    return run


def _spread_of_classes(kernel: Floats) -> Floats:
    """For each class y the largest |w_y - w_j| over all j; kernel (d, N) to (N,)."""
    weights = kernel.astype(np.float64)
    square = (weights**2).sum(axis=0)
    distance = square[:, None] + square[None] - 2 * weights.T @ weights
    return np.asarray(np.sqrt(np.maximum(distance, 0).max(axis=1)), np.float32)


def _find_consumers(graph: Graph, site: Site) -> list[Consumer] | None:
    """The Dense and Conv2D layers that a site feeds; None where anything else takes part."""
    found = []
    pending: list[tuple[Any, tuple[Any, ...]]] = [(site.tensor, ())]
    while pending:
        tensor, before = pending.pop()
        for node in graph.users(tensor):
            if not graph.once(node) or len(node.inputs) > 1:
                return None
            if kind_of(node.operation).linear:
                pending.append((node.outputs[0], (*before, node.operation)))
            elif _reads_channels(node.operation, tensor):
                found.append(Consumer(node.operation, node.outputs[0], before, site.channels))
            else:
                return None
    return found


def _reads_channels(operation: Any, tensor: Any) -> bool:
    """Whether an operation is a Dense or Conv2D with a part of its kernel for every channel."""
    rank = len(tensor.shape)
    if type(operation) is layers.Dense:
        return rank == 2
    return type(operation) is layers.Conv2D and rank == 4 and operation.groups == 1

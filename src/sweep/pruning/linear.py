"""Where a layer feeds Dense and Conv2D layers, their pre-activations are linear in its channels.

So a channel that is removed, or as if removed, takes no part in the sum and costs nothing. This
takes only networks of layers that it knows; any other is run as Keras has it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from keras import layers

from sweep.base.threads import ahead
from sweep.models.layers import kind_of
from sweep.models.tail import apply_dense
from sweep.pruning import rounding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sweep.models.tail import Tail

    Floats = NDArray[np.float32]

# The part of a kernel that reads the channels at hand is copied for every chunk of images. Where
# that is too much memory, networks go the general way. Numbers, of all kernels.
_KERNELS = 1 << 24
# A softmax's own rounding makes equals of logits that lie closer than this.
_SOFTMAX = 4e-6
# Images whose channels' means are computed at once.
_POOLED = 256
# Classes whose distances to all others are computed at once.
_BLOCK = 256


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

    def __init__(self, tail: Tail, consumers: Sequence[Consumer]) -> None:
        """Use `find_rest`."""
        self._tail = tail
        self._removed = removed = tail.removed[0]
        head = tail.head
        self._head, self._target = _end(tail, consumers)
        self._softmax = _SOFTMAX if head.puts_out == "softmax" else 0.0
        every = np.arange(removed.shape[-1])
        # The pre-activations once all channels are removed.
        self._empty = [c.apply(removed[None], c.kernel(every)) + c.bias() for c in consumers]
        # What a global mean makes of the layer is made once (`prepare`).
        self._pool = _shared_pool(consumers) if len(tail.tensors) == 1 else ()
        self._consumers = [replace(c, before=c.before[len(self._pool) :]) for c in consumers]
        positions = () if self._pool else removed.shape[:-1]
        self._run = tf.function(
            self._trace,
            input_signature=[
                tf.TensorSpec((None, *positions, None)),
                tf.TensorSpec((None, *positions, None)),
                tf.TensorSpec((None,), tf.int32),
                [tf.TensorSpec((None, *x.shape[1:])) for x in tail.tensors[1:]],
            ],
            autograph=False,
        )
        self.width = 0
        if self._head is not None:
            self.width = int(self._target.shape[-1])
            self._apart = _distances(np.asarray(self._head.kernel))
            self._logits = tf.function(
                partial(apply_dense, self._head),
                input_signature=[tf.TensorSpec((None, self.width))],
                autograph=False,
            )

    def prepare(self, packed: Floats) -> Floats:
        """What `run` takes for a set of images: it is made once and read at every step.

        Where a global mean follows the layer alone, that is each channel's mean, and the mean of
        its magnitude, relative to a removed channel's value, (n, 2, C).

        Args:
            packed: what the network puts out at the cut, (n, *shape).
        """
        if not self._pool:
            return packed

        def pool(start: int) -> Floats:
            x = packed[start : start + _POOLED] - self._removed
            return np.stack([self._mean(x), self._mean(np.abs(x))], axis=1)

        return np.concatenate(list(ahead(pool, range(0, len(packed), _POOLED))))

    def _mean(self, x: Floats) -> Floats:
        for layer in self._pool:
            x = layer(x)
        return np.asarray(x).reshape((len(x), -1))

    def run(self, part: Floats, keep: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """The last Dense layer's input, or the logits where there is no such layer.

        Args:
            part: of some images, from `prepare`.
            keep: which channels are not removed, (C,).

        Returns:
            (b, d), and how far two logits that come of it may be moved against each other by
            rounding, here and in Keras, (b,).
        """
        site, *others = [part] if self._pool else self._tail.unpack(part).values()
        # Relative to a removed channel's value, a channel that sleeps is 0.
        gone = np.zeros_like(self._removed[0, 0]) if self._pool else self._removed
        alive = keep & (site != gone).any(axis=tuple(range(site.ndim - 1)))
        live = np.flatnonzero(alive).astype(np.int32)
        if not len(live):  # TensorFlow has no convolution of nothing
            live = np.zeros(1, np.int32)
            site = np.broadcast_to(gone, site.shape)
        x = np.take(site, live, axis=-1) - gone[..., live]
        x, sizes = (x[:, 0], x[:, 1]) if self._pool else (x, x)
        hidden, error = self._run(tf.constant(x), tf.constant(sizes), tf.constant(live), others)
        return np.asarray(hidden), np.asarray(error)

    def logits(self, hidden: Floats) -> Floats:
        """The network's output, up to softmax; `hidden` (b, d) is what `run` gives."""
        return hidden if self._head is None else np.asarray(self._logits(hidden))

    def reach(self, moved: Floats, labels: NDArray[np.int32]) -> Floats:
        """How far an answer's logit can have come nearer to any other, (b,).

        That is |moved| * |w_y - w_j| for the farthest j (Cauchy-Schwarz).

        Args:
            moved: how far `hidden` has moved since the answer was computed, (b, d).
            labels: the answers, (b,).
        """
        # The norm itself is rounded; a thousandth more is far beyond that.
        norms = 1.001 * np.sqrt(np.einsum("bd,bd->b", moved, moved))
        return np.asarray(norms * self._apart[labels], np.float32)

    def _trace(
        self, x: tf.Tensor, sizes: tf.Tensor, channels: tf.Tensor, others: Sequence[tf.Tensor]
    ) -> Any:
        size = rounding.norm(sizes) + float(np.linalg.norm(self._removed))
        known = self._tail.tensors[1:]
        values = {id(symbol): value for symbol, value in zip(known, others, strict=True)}
        errors = {key: tf.zeros_like(size) for key in values}
        for consumer, empty in zip(self._consumers, self._empty, strict=True):
            summed = consumer.apply(x, consumer.kernel(channels)) + empty
            error = rounding.of_sum(consumer.layer, prod(self._removed.shape) + 1, size)
            # A softmax keeps the order of its inputs; leaving it out spares the exponentials.
            logits = consumer.layer.activation.__name__ == "softmax"
            made = summed if logits else consumer.layer.activation(summed)
            values[id(consumer.output)] = made
            errors[id(consumer.output)] = (
                error + rounding.UNIT * rounding.largest(made)
                if logits
                else rounding.of_activation(consumer.layer, error, made)
            )
        made, error = rounding.follow(self._tail.graph, values, errors, self._target)
        if self._head is not None:
            summed = rounding.of_sum(self._head, self.width + 1, rounding.norm(made))
            error = rounding.spread(self._head) * error + summed
        return made, rounding.CERTAIN * error + self._softmax


def find_rest(tail: Tail) -> Rest | None:
    """The rest behind one site as this module sees it; None where anything else takes part."""
    consumers = _find_consumers(tail)
    if not consumers or sum(prod(c.layer.kernel.shape) for c in consumers) > _KERNELS:
        return None
    known = {id(x) for x in [*tail.tensors[1:], *(c.output for c in consumers)]}
    head, target = _end(tail, consumers)
    takes = all(map(rounding.is_known, tail.graph.between(known, target)))
    takes &= head is None or rounding.is_plain(head)
    takes &= all(x.dtype == "float32" for x in tail.tensors)
    own = tail.head.dense
    takes &= all(c.layer is own or rounding.slope(c.layer) for c in consumers)
    return Rest(tail, consumers) if takes else None


def _end(tail: Tail, consumers: Sequence[Consumer]) -> tuple[Any, Any]:
    """The last Dense layer and what it reads; None and the logits if it is a consumer or none."""
    head = tail.head
    own = [c.output for c in consumers if c.layer is head.dense]
    return (None, own[0]) if own else (head.dense, head.tensor)


def _shared_pool(consumers: Sequence[Consumer]) -> tuple[Any, ...]:
    """The layers up to a global mean that all consumers have behind the same layers."""
    first = consumers[0].before
    kinds = [kind_of(layer).name for layer in first]
    if "GlobalAveragePooling2D" not in kinds:
        return ()
    pool = first[: kinds.index("GlobalAveragePooling2D") + 1]
    alike = all(c.before[: len(pool)] == pool for c in consumers)
    return pool if alike and not pool[-1].keepdims else ()


def _distances(kernel: Floats) -> Floats:
    """For each class y the largest |w_y - w_j| over all j; kernel (d, N) to (N,)."""
    weights = np.nan_to_num(kernel.astype(np.float64))
    square = (weights**2).sum(axis=0)
    farthest = [
        (square[start : start + _BLOCK, None] + square - 2 * part.T @ weights).max(axis=1)
        for start in range(0, len(square), _BLOCK)
        for part in [weights[:, start : start + _BLOCK]]
    ]
    return np.asarray(np.sqrt(np.maximum(np.concatenate(farthest), 0)), np.float32)


def _find_consumers(tail: Tail) -> list[Consumer] | None:
    """The Dense and Conv2D layers that a site feeds; None where anything else takes part."""
    (site,) = tail.sites
    found = []
    pending: list[tuple[Any, tuple[Any, ...]]] = [(site.tensor, ())]
    while pending:
        tensor, before = pending.pop()
        for node in tail.graph.users(tensor):
            if (
                not tail.graph.once(node)
                or len(node.inputs) > 1
                or not rounding.is_plain(node.operation)
            ):
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

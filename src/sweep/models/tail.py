"""The network behind its sites, as a function of how much of each channel is let through.

Walks, criteria and repairs run this. TensorFlow is needed here; they import it where they run.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tensorflow as tf

from sweep.models.graph import Graph
from sweep.models.sites import cut, find_sites, width
from sweep.models.surgery import prune

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import keras
    from numpy.typing import NDArray

    from sweep.models.sites import Site

    Floats = NDArray[np.float32]


class Passed(NamedTuple):
    """What the network puts out with some channels removed.

    Attributes:
        maps: of every site, before its own channels go, (b, h, w, C_k) or (b, C_k).
        end: what the last Dense layer reads, or what else makes the logits (`Graph.head`).
        output: of the network, (b, N).
        finite: whether the convolutions of the sites read finite numbers, as far as they run here.
            Zero weights would make NaN of infinity, and no constant.
    """

    maps: list[tf.Tensor]
    end: tf.Tensor
    output: tf.Tensor
    finite: tf.Tensor


class Tail:
    """Runs a network on from a cut at its sites; the network itself is never changed."""

    def __init__(self, model: keras.Model, sites: Sequence[Site], *, own: bool = False) -> None:
        """Cut a network.

        Args:
            model: B.
            sites: where channels are removed, in the order of the graph.
            own: use a copy of B, whose weights may then be trained.
        """
        # What each site puts out, whatever the image, once all its channels are removed.
        self.removed = _removed_values(model, sites)
        self.sizes = [site.channels for site in sites]
        if own:
            model = prune(model, sites, ())
            copied = find_sites(model)
            sites = [copied[site.layer] for site in sites]
        self.graph, self.sites = Graph(model), tuple(sites)
        self.tensors = cut(self.graph, sites)
        self.shape = width(self.tensors)
        self.image, self._output = model.inputs[0], model.outputs[0]
        self.head = self.graph.head({id(site.tensor) for site in sites})
        nodes = self.graph.between({id(x) for x in self.tensors}, self._output)
        weights = [w for node in nodes for w in getattr(node.operation, "trainable_variables", ())]
        self.variables: list[tf.Variable] = list({id(w): w.value for w in weights}.values())

    def front(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """What the network puts out at the cut, and whether numbers are finite up to there.

        Args:
            images: (b, H, W, c).

        Returns:
            The cut, (b, *shape): one tensor as it is, several flattened in a row. And one truth.
        """
        values = {id(self.image): images}
        made = [self.graph.run(values, tensor) for tensor in self.tensors]
        finite = self._finite(values)
        if len(made) > 1:
            made = [tf.reshape(x, (-1, prod(x.shape[1:]))) for x in made]
        packed = tf.concat([tf.cast(x, tf.float32) for x in made], axis=-1)
        return packed, tf.logical_and(finite, tf.reduce_all(tf.math.is_finite(packed)))

    def unpack(self, packed: Any) -> dict[int, Any]:
        """The tensors of the cut, by the id of their symbols, from the shape they are kept in."""
        if len(self.tensors) == 1:
            return {id(self.tensors[0]): packed}
        values, start = {}, 0
        for tensor in self.tensors:
            size = prod(tensor.shape[1:])
            part, shape = packed[:, start : start + size], (-1, *tensor.shape[1:])
            flat = isinstance(part, np.ndarray)
            values[id(tensor)] = part.reshape(shape) if flat else tf.reshape(part, shape)
            start += size
        return values

    def run(
        self, packed: tf.Tensor, masks: tf.Tensor, shifts: Sequence[tf.Tensor] | None = None
    ) -> Passed:
        """Run the network with some channels removed, or let through in part.

        Args:
            packed: what it puts out at the cut, (b, *shape).
            masks: how much of each channel of all sites is let through, (C,) or (b, C): a truth
                value, or a number of which 1 leaves the channel as it is and 0 removes it.
            shifts: is added at each site, (b, h, w, C_k) or (b, C_k).
        """
        values, maps = self._values(packed), []
        parts = tf.split(masks, self.sizes, axis=-1)
        for site, part, gone in zip(self.sites, parts, self.removed, strict=True):
            value = self.graph.run(values, site.tensor)
            maps.append(value)
            mask = tf.reshape(part, (-1, *[1] * (gone.ndim - 1), part.shape[-1]))
            if mask.dtype == tf.bool:
                value = tf.where(mask, value, tf.cast(gone, value.dtype))
            else:
                value = tf.cast(gone + (tf.cast(value, tf.float32) - gone) * mask, value.dtype)
            values[id(site.tensor)] = value if shifts is None else value + shifts[len(maps) - 1]
        end = self.graph.run(values, self.head.tensor)
        output = self.graph.run(values, self._output)
        return Passed(maps, end, output, self._finite(values))

    def logits(
        self, packed: tf.Tensor, masks: tf.Tensor, shifts: Sequence[tf.Tensor] | None = None
    ) -> tf.Tensor:
        """The logits, of probabilities their logarithms, (b, N); arguments as of `run`."""
        end = self.run(packed, masks, shifts).end
        if self.head.dense is not None:
            return apply_dense(self.head.dense, end)
        return tf.math.log(tf.maximum(end, 1e-30)) if self.head.puts_out == "probabilities" else end

    def maps(self, packed: Floats) -> tuple[Floats, ...]:
        """The output of every site, (b, h, w, C_k) or (b, C_k), from the cut."""
        values = self._values(tf.constant(packed))
        return tuple(np.asarray(self.graph.run(values, site.tensor)) for site in self.sites)

    def awake(self, maps: Sequence[Floats]) -> NDArray[np.bool_]:
        """On which images each channel differs from what it is once removed, (b, C).

        Args:
            maps: what each site puts out before its own channels go, (b, h, w, C_k) or (b, C_k).
        """
        there = [
            (np.asarray(values) != gone).any(axis=tuple(range(1, gone.ndim)))
            for values, gone in zip(maps, self.removed, strict=True)
        ]
        return np.concatenate(there, axis=1)

    def _values(self, packed: tf.Tensor) -> dict[int, Any]:
        values = self.unpack(tf.convert_to_tensor(packed))
        return {id(x): tf.cast(values[id(x)], x.dtype) for x in self.tensors}

    def _finite(self, values: dict[int, Any]) -> tf.Tensor:
        reads = [site.reads for site in self.sites if id(site.reads) in values]
        finite = [tf.reduce_all(tf.math.is_finite(values[id(x)])) for x in reads]
        return tf.reduce_all(tf.stack([tf.constant(True), *finite]))


def apply_dense(dense: Any, hidden: tf.Tensor) -> tf.Tensor:
    """What a Dense layer puts out in front of its activation."""
    logits = tf.matmul(hidden, dense.kernel)
    return logits if dense.bias is None else logits + dense.bias


def compiled(model: keras.Model) -> Callable[..., tf.Tensor]:
    """A model of one input as a compiled function, at inference, for any number of images."""
    signature = [tf.TensorSpec(x.shape, x.dtype) for x in model.inputs]
    # AutoGraph would only slow the start down, and threads must not parse side by side, as it does.
    function: Callable[..., tf.Tensor] = tf.function(
        lambda x: model(x, training=False), input_signature=signature, autograph=False
    )
    return function


def _removed_values(model: keras.Model, sites: Sequence[Site]) -> list[Floats]:
    bare = prune(model, sites, range(sum(site.channels for site in sites)))
    graph, copied = Graph(bare), find_sites(bare)
    values = {id(bare.inputs[0]): tf.zeros((1, *model.input_shape[1:]), bare.inputs[0].dtype)}
    return [
        np.zeros(site.tensor.shape[1:], np.float32)
        if site.convolution is None
        else np.asarray(graph.run(values, copied[site.layer].tensor), np.float32)[0]
        for site in sites
    ]

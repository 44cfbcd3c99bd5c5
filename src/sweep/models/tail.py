"""The network behind its sites, as a function of how much of each channel is let through.

Walks, criteria and repairs run this. TensorFlow is needed here; they import it where they run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from sweep.models.graph import Graph
from sweep.models.surgery import prune

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from sweep.models.sites import Site

    Floats = NDArray[np.float32]


class Passed(NamedTuple):
    """What the network puts out with some channels removed.

    Attributes:
        maps: of every site, before its own channels go, (b, h, w, C_k).
        end: what the last Dense layer reads, or what else makes the logits (`Graph.head`).
        output: of the network, (b, N).
    """

    maps: list[tf.Tensor]
    end: tf.Tensor
    output: tf.Tensor


class Tail:
    """Runs what the first site puts out on to the network's end; B itself is never changed."""

    def __init__(self, model: keras.Model, sites: Sequence[Site], *, own: bool = False) -> None:
        """Cut a network.

        Args:
            model: B.
            sites: where channels are removed, in the order of the graph; the first cuts it.
            own: use a copy of B, whose weights may then be trained.
        """
        # What each site puts out, whatever the image, once all its channels are removed.
        self.removed = _removed_values(model, sites)
        self.sizes = [site.channels for site in sites]
        tensors = [site.tensor for site in sites]
        if own:
            model = prune(model, sites, ())
            tensors = [model.get_layer(site.layer).output for site in sites]
        self._head = Graph(model).head()
        # Stage i makes the output of site i + 1 from those of 0..i; the last, the network's ends.
        end, output = self._head.tensor, model.outputs[0]
        last = [output] if end is output else [end, output]
        self._stages = [
            keras.Model(tensors[: i + 1], made) for i, made in enumerate([*tensors[1:], last])
        ]
        found = {id(w): w.value for stage in self._stages for w in stage.trainable_variables}
        self.variables: list[tf.Variable] = list(found.values())

    def run(
        self, first: tf.Tensor, masks: tf.Tensor, shifts: Sequence[tf.Tensor] | None = None
    ) -> Passed:
        """Run the network with some channels removed, or let through in part.

        Args:
            first: the first site's output, (b, h, w, C_1).
            masks: how much of each channel of all sites is let through, (C,) or (b, C): a truth
                value, or a number of which 1 leaves the channel as it is and 0 removes it.
            shifts: is added at each site, (b, h, w, C_k).
        """
        made, values = [tf.convert_to_tensor(first)], list[tf.Tensor]()
        parts = tf.split(masks, self.sizes, axis=-1)
        for stage, part, gone in zip(self._stages, parts, self.removed, strict=True):
            mask = part[:, None, None, :] if len(part.shape) == 2 else part
            if mask.dtype == tf.bool:
                value = tf.where(mask, made[-1], gone)
            else:
                value = gone + (made[-1] - gone) * mask
            values.append(value if shifts is None else value + shifts[len(values)])
            made += keras.tree.flatten(stage(list(values), training=False))
        return Passed(made[: len(values)], made[len(values)], made[-1])

    def logits(
        self, first: tf.Tensor, masks: tf.Tensor, shifts: Sequence[tf.Tensor] | None = None
    ) -> tf.Tensor:
        """What the softmax would get, (b, N); arguments as of `run`."""
        end = self.run(first, masks, shifts).end
        if self._head.dense is not None:
            return apply_dense(self._head.dense, end)
        # A network that ends otherwise is taken to put out probabilities.
        return end if self._head.softmax else tf.math.log(tf.maximum(end, 1e-30))

    def maps(self, first: Floats) -> tuple[Floats, ...]:
        """The output of every site, (b, h, w, C_k), from that of the first."""
        values: list[tf.Tensor] = [tf.constant(first)]
        for stage in self._stages[:-1]:
            values.append(stage(list(values), training=False))
        return tuple(np.asarray(value) for value in values)

    def awake(self, maps: Sequence[Floats]) -> NDArray[np.bool_]:
        """On which images each channel differs from what it is once removed, (b, C).

        Args:
            maps: what each site puts out before its own channels go, (b, h, w, C_k).
        """
        there = [
            (np.asarray(values) != gone).any(axis=(1, 2))
            for values, gone in zip(maps, self.removed, strict=True)
        ]
        return np.concatenate(there, axis=1)


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
    outputs = [bare.get_layer(site.layer).output for site in sites]
    image = np.zeros((1, *model.input_shape[1:]), np.float32)
    values = keras.Model(bare.inputs[0], outputs)(image, training=False)
    return [np.asarray(value)[0] for value in keras.tree.flatten(values)]

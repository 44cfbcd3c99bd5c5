"""The general way through what comes after a layer: mask channels and run everything after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from sweep.models.surgery import prune

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from sweep.models.sites import Site

    Floats = NDArray[np.float32]
    Keep = NDArray[np.bool_]


class Stages:
    """A network from its first site on, compiled in pieces that end at the next site."""

    def __init__(self, model: keras.Model, sites: Sequence[Site]) -> None:
        """Cut a network; see `Engine`."""
        tensors = [site.tensor for site in sites]
        ends = [*tensors[1:], model.outputs[0]]
        # Stage i makes the output of site i + 1 (at last the network's) from those of 0..i.
        self._compiled = [
            compiled(keras.Model(tensors[: i + 1], end)) for i, end in enumerate(ends)
        ]
        # What each site puts out, whatever the image, once all its channels are removed.
        self.removed = _removed_values(model, sites)
        self._ends = np.cumsum([site.channels for site in sites])

    def run(self, part: Floats, keep: Keep) -> list[Floats]:
        """Run the network without the channels that are not kept.

        Args:
            part: the first site's output for some images, (b, h, w, C).
            keep: which channels, numbered through all sites, are not removed.

        Returns:
            What each site puts out before its own channels go, and the network's output, (b, N).
        """
        made, masked = [part], []
        for stage, kept, removed in zip(
            self._compiled, np.split(keep, self._ends[:-1]), self.removed, strict=True
        ):
            bare = made[-1] if kept.all() else np.where(kept, made[-1], removed)
            masked.append(tf.constant(bare))
            made.append(np.asarray(stage(*masked)))
        return made

    def awake(self, made: Sequence[Floats]) -> Keep:
        """On which images each channel differs from what it is once removed, (b, C).

        Args:
            made: what each site puts out before its own channels go, (b, h, w, its channels).
        """
        there = [
            (values != removed).any(axis=(1, 2))
            for values, removed in zip(made, self.removed, strict=True)
        ]
        return np.concatenate(there, axis=1)


def compiled(model: keras.Model) -> Callable[..., tf.Tensor]:
    """A model as a compiled function of its inputs, at inference, for any number of images."""

    def run(*values: tf.Tensor) -> Any:
        return model(list(values) if len(values) > 1 else values[0], training=False)

    signature = [tf.TensorSpec(x.shape, x.dtype) for x in model.inputs]
    # AutoGraph would only slow the start down, and threads must not parse side by side, as it does.
    function: Callable[..., tf.Tensor] = tf.function(
        run, input_signature=signature, autograph=False
    )
    return function


def _removed_values(model: keras.Model, sites: Sequence[Site]) -> list[Floats]:
    bare = prune(model, sites, range(sum(site.channels for site in sites)))
    outputs = [bare.get_layer(site.layer).output for site in sites]
    values = keras.Model(bare.inputs[0], outputs)(
        np.zeros((1, *model.input_shape[1:]), np.float32), training=False
    )
    return [np.asarray(value)[0] for value in keras.tree.flatten(values)]

"""The general way through what comes after a layer: mask channels and run everything after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from sweep.network import prune

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from sweep.graph import Site

    Floats = NDArray[np.float32]
    Keep = NDArray[np.bool_]
    Rows = NDArray[np.intp]


class Stages:
    """A network from its first site on, compiled in pieces that end at the next site."""

    def __init__(self, model: keras.Model, sites: Sequence[Site]) -> None:
        """Cut a network; see `Engine`."""
        tensors = [site.tensor for site in sites]
        ends = [*tensors[1:], model.outputs[0]]
        # Stage i makes the output of site i + 1 (at last the network's) from those of 0..i.
        self.compiled = [compiled(keras.Model(tensors[: i + 1], end)) for i, end in enumerate(ends)]
        # What each site puts out, whatever the image, once all its channels are removed.
        self.removed = _removed_values(model, sites)
        self._starts = np.cumsum([0, *(site.channels for site in sites)])

    def locate(self, channel: int) -> tuple[int, int]:
        """A channel's site, and its number there."""
        site = int(np.searchsorted(self._starts, channel, "right")) - 1
        return site, channel - int(self._starts[site])

    def bare(self, values: Floats, keep: Keep, site: int) -> Floats:
        """A site's output (b, h, w, C) as it is without the channels that are not kept."""
        kept = keep[self._starts[site] : self._starts[site + 1]]
        return values if kept.all() else np.where(kept, values, self.removed[site])


class Masked:
    """A chunk of images on its way through the stages, while channels are put back."""

    def __init__(self, stages: Stages, part: Floats, keep: Keep) -> None:
        """Run the network.

        Args:
            stages: the network from its first site on.
            part: the first site's output for the chunk, (b, h, w, C).
            keep: which channels, numbered through all sites, are not removed; not copied.
        """
        self._stages = stages
        self._keep = keep
        # The sites' outputs before masking, and the network's.
        self._made = [part]
        self._made += self._run(0, slice(None))

    def now(self) -> Floats:
        """The network's output, (b, N)."""
        return self._made[-1]

    def restore(self, channel: int) -> tuple[Rows, Floats]:
        """Put a channel back that is marked as kept by now.

        Returns:
            The images that may change with it, (t,), and the network's output for them, (t, N).
        """
        site, local = self._stages.locate(channel)
        there = self._made[site][..., local] != self._stages.removed[site][..., local]
        touched = np.flatnonzero(there.any(axis=(1, 2)))
        if len(touched):
            for later, values in enumerate(self._run(site, touched), start=site + 1):
                if not self._made[later].flags.writeable:
                    self._made[later] = self._made[later].copy()
                self._made[later][touched] = values
        return touched, self._made[-1][touched]

    def _run(self, site: int, rows: Rows | slice) -> Iterator[Floats]:
        """Run everything after a site for some images: later sites' outputs, then the network's."""
        stages = self._stages
        inputs = [stages.bare(self._made[i][rows], self._keep, i) for i in range(site + 1)]
        for i in range(site, len(stages.compiled)):
            values = np.asarray(stages.compiled[i](*map(tf.constant, inputs)))
            yield values
            if i + 1 < len(stages.compiled):
                inputs.append(stages.bare(values, self._keep, i + 1))


def compiled(model: keras.Model) -> Callable[..., tf.Tensor]:
    """A model as a compiled function of its inputs, at inference, for any number of images."""

    def run(*values: tf.Tensor) -> Any:
        return model(list(values) if len(values) > 1 else values[0], training=False)

    signature = [tf.TensorSpec(x.shape, x.dtype) for x in model.inputs]
    function: Callable[..., tf.Tensor] = tf.function(run, input_signature=signature)
    return function


def _removed_values(model: keras.Model, sites: Sequence[Site]) -> list[Floats]:
    bare = prune(model, sites, range(sum(site.channels for site in sites)))
    outputs = [bare.get_layer(site.layer).output for site in sites]
    values = keras.Model(bare.inputs[0], outputs)(
        np.zeros((1, *model.input_shape[1:]), np.float32), training=False
    )
    return [np.asarray(value)[0] for value in keras.tree.flatten(values)]

"""A network cut at a layer and ready to run: activations, full answers and walks along an order.

A *walk* gives the answers after each of a sequence of removals at a fraction of the price of
running the rest of the network each time, and keeps no sums that rounding could pile up in:

* an image on which the removed channel is as if removed keeps its answer, and is not run;
* any other is run from the layer on, and only channels that are left and awake take part where the
  layer feeds Dense and Conv2D layers (`linear`);
* where the last layer is Dense, |delta logit_y - delta logit_j| <= |delta h| * |w_y - w_j|
  (Cauchy-Schwarz on its input h): an image whose margin is larger keeps its answer;
* an image whose two best classes lie closer than rounding can move them (`rounding`), or whose
  numbers overflow, is answered by the network as Keras has it. So is every image of a full
  evaluation, and on a walk where `linear` does not know the layers. Rounding may depend on how many
  images are given at once and on an image's place among them, so these are always the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

from sweep.base.errors import ModelError
from sweep.base.threads import ahead, share
from sweep.models.tail import Tail
from sweep.pruning.linear import find_rest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from sweep.models.sites import Site

    Floats = NDArray[np.float32]
    Labels = NDArray[np.int32]
    Keep = NDArray[np.bool_]
    Rows = NDArray[np.intp]

# Images a call, of the fast path and of Keras' own.
CHUNK = 1024
FRONT_BATCH = 64


@dataclass
class _Known:
    """What is known of a set's images on a walk.

    Attributes:
        labels: the answers, (n,).
        prepared: what the fast path reads (`linear.Rest.prepare`).
        awake: on which images a channel differs from what it is once removed, (n, C).
        slack: how far their logits lay above all others, beyond rounding, when last computed, (n,);
            -inf where that is not known.
        values: the last Dense layer's input then, (n, d).
    """

    labels: Labels
    prepared: Floats
    awake: Keep
    slack: Floats
    values: Floats


class Engine:
    """Runs one network, cut at its first site, on activations."""

    def __init__(self, model: keras.Model, sites: Sequence[Site]) -> None:
        """Cut a network.

        Args:
            model: B, with one image input and one output (n, N).
            sites: where channels are removed, in the order of the graph; the first cuts it.
        """
        self._tail = Tail(model, sites)
        self.sites, self.shape = self._tail.sites, self._tail.shape
        self.channels = sum(self._tail.sizes)
        self.classes = int(model.output_shape[-1])
        image = tf.TensorSpec((None, *model.input_shape[1:]), model.inputs[0].dtype)
        packed = tf.TensorSpec((None, *self.shape))
        keep = tf.TensorSpec((self.channels,), tf.bool)
        # AutoGraph would only slow the start down, and threads must not parse side by side.
        compiled = partial(tf.function, autograph=False)
        self._front = compiled(self._tail.front, input_signature=[image])
        self._exact = compiled(self._tail.run, input_signature=[packed, keep])
        self._rest = find_rest(self._tail) if len(sites) == 1 else None

    @property
    def front(self) -> keras.Model:
        """The network up to the cut."""
        return keras.Model(self._tail.image, self._tail.tensors)

    @property
    def incremental(self) -> bool:
        """Whether only channels that are left and awake take part, or the whole rest is run."""
        return self._rest is not None

    def activations(self, batches: Iterable[Floats]) -> Iterator[Floats]:
        """What the network puts out at the cut, batch by batch: (b, H, W, c) to (b, *shape).

        The next batches are fetched while others are computed.

        Raises:
            ModelError: a number overflows before it comes to the cut.
        """

        def run(images: Floats) -> Floats:
            packed, finite = self._front(tf.constant(images))
            if not finite:
                layers = ", ".join(site.layer for site in self.sites)
                raise ModelError(
                    "B must put out finite numbers up to the layer. "
                    f"Received: infinity or NaN in front of layer={layers}. "
                    "Look for weights or pixels that are far too large."
                )
            return np.asarray(packed)

        return ahead(run, batches)

    def awake(self, activations: Floats, removed: Iterable[int] = ()) -> Keep:
        """On which images each channel differs from what it is once removed, (n, C).

        Args:
            activations: (n, *shape), of B.
            removed: channels that are taken away; by it, those of later sites may wake.
        """
        keep = self._keep(removed)

        def look(start: int) -> Keep:
            part = activations[start : start + CHUNK]
            if len(self.sites) > 1:
                return self._tail.awake(self._exact(part, keep).maps)
            return self._tail.awake([self._tail.unpack(part)[id(self.sites[0].tensor)]])

        return np.concatenate(list(ahead(look, range(0, len(activations), CHUNK))))

    def answers(self, activations: Floats, removed: Iterable[int] = ()) -> Labels:
        """Full evaluation of the network without some channels: every image, from the layer on.

        Keras' own layers compute it; nothing is taken over from the fast path.

        Args:
            activations: (n, *shape), of B.
            removed: channels that are taken away.

        Returns:
            (n,) labels, argmax with the lowest index on ties.
        """
        labels = np.empty(len(activations), np.int32)
        for rows, answers, _ in self._ask(
            activations, self._keep(removed), np.arange(len(activations))
        ):
            labels[rows] = answers
        return labels

    def walk(
        self, activations: Floats, removed: Sequence[int], channels: Sequence[int], labels: Labels
    ) -> Iterator[Labels]:
        """Answers after each further removal; what is not asked for is not computed.

        Args:
            activations: (n, *shape), of B.
            removed: channels that are gone already.
            channels: the K channels that go one after another.
            labels: (n,) answers without `removed`.

        Yields:
            K times (n,) labels; number k is what `answers` gives without `removed` and
            `channels[:k + 1]`.
        """
        total, keep = len(activations), self._keep(removed)
        width = 0 if self._rest is None else self._rest.width
        known = _Known(
            labels.copy(),
            activations if self._rest is None else self._rest.prepare(activations),
            self.awake(activations, removed),
            np.full(total, -np.inf, np.float32),
            np.zeros((total, width), np.float32),
        )
        for channel in channels:
            keep[channel] = False
            self._evaluate(activations, keep, np.flatnonzero(known.awake[:, channel]), known)
            yield known.labels.copy()

    def _evaluate(self, activations: Floats, keep: Keep, rows: Rows, known: _Known) -> None:
        """Bring what is known of some images up to date."""
        if self._rest is not None:
            cores = share()
            rounds = -(-len(rows) // (CHUNK * cores))
            split = np.array_split(rows, max(1, rounds) * cores)  # evenly among the cores
            parts = (part for part in split if len(part))
            left = ahead(lambda part: self._update(keep, part, known), parts)
            rows = np.concatenate([rows[:0], *left])
        for part, labels, maps in self._ask(activations, keep, rows):
            known.labels[part] = labels
            if len(self.sites) > 1:
                known.awake[part] = self._tail.awake(maps)

    @np.errstate(over="ignore", invalid="ignore")  # what overflows is not settled
    def _update(self, keep: Keep, rows: Rows, known: _Known) -> Rows:
        """The fast path; returns the images that it cannot answer."""
        assert self._rest is not None  # noqa: S101 - for types
        values, rounding = self._rest.run(known.prepared[rows], keep)
        if self._rest.width:
            reach = self._rest.reach(values - known.values[rows], known.labels[rows])
            moved = ~(reach + rounding < known.slack[rows])
            rows, values, rounding = rows[moved], values[moved], rounding[moved]
            known.values[rows] = values
        logits = np.array(self._rest.logits(values))
        labels = logits.argmax(axis=1)
        places = np.arange(len(labels))
        best = logits[places, labels]
        logits[places, labels] = -np.inf
        slack = best - logits.max(axis=1) - rounding
        known.labels[rows], known.slack[rows] = labels, slack
        return np.asarray(rows[~((slack > 0) & (slack < np.inf))])

    def _ask(
        self, activations: Floats, keep: Keep, rows: Rows
    ) -> Iterator[tuple[Rows, Labels, list[Floats]]]:
        """Run some images as Keras does: which they are, their answers, and the sites' outputs."""

        def run(part: Rows) -> tuple[Rows, Labels, list[Floats]]:
            # Each has the place that it has in a full evaluation; any fill the others.
            places, chosen = part % FRONT_BATCH, np.resize(part, FRONT_BATCH)
            chosen[places] = part
            passed = self._exact(activations[chosen], keep)
            if not passed.finite:
                raise ModelError(
                    "B must put out finite numbers in front of every layer that is pruned. "
                    f"Received: infinity or NaN with {int((~keep).sum())} channels removed. "
                    "Prune one layer only, or look for weights that are far too large."
                )
            answers = np.asarray(passed.output)[places].argmax(axis=1)
            return part, answers, [np.asarray(x)[places] for x in passed.maps]

        return ahead(run, _batches(rows))

    def _keep(self, removed: Iterable[int]) -> Keep:
        keep = np.ones(self.channels, bool)
        keep[list(removed)] = False
        return keep


def _batches(rows: Rows) -> Iterator[Rows]:
    """Split rows, in few parts, so that each has its own place in a part: its number modulo 64."""
    while len(rows):
        _, first = np.unique(rows % FRONT_BATCH, return_index=True)
        yield rows[first]
        rows = np.delete(rows, first)

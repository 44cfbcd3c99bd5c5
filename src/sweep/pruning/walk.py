"""A network cut at a layer and ready to run: activations, full answers and walks along an order.

A *walk* gives the answers after each of a sequence of removals at a fraction of the price of
running the rest of the network each time, and keeps no sums that rounding could pile up in:

* an image on which the removed channel is as if removed keeps its answer, and is not run;
* any other is run from the layer on, as in a full evaluation, and only channels that are left and
  awake take part where the layer feeds Dense and Conv2D layers (`linear`);
* where the last layer is Dense, |delta logit_y - delta logit_j| <= |delta h| * |w_y - w_j|
  (Cauchy-Schwarz on its input h): an image whose margin is larger keeps its answer;
* an image whose two best classes lie closer than rounding can move them is answered by the network
  as Keras has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

from sweep.base.threads import ahead, share
from sweep.models.graph import Graph
from sweep.models.tail import Tail, compiled
from sweep.pruning.linear import find_rest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from sweep.models.sites import Site

    Floats = NDArray[np.float32]
    Labels = NDArray[np.int32]
    Keep = NDArray[np.bool_]
    Rows = NDArray[np.intp]

# Images a call; the front's maps are larger.
CHUNK = 1024
FRONT_BATCH = 64
# Two classes closer than this fraction of the largest output are a tie as far as float32 can tell.
_NEAR = 2e-5
_TIES = 32


@dataclass
class _Known:
    """What is known of a set's images on a walk.

    Attributes:
        labels: the answers, (n,).
        slack: how far their logits lay above all others when last computed, (n,); -inf where that
            is not known.
        values: the last Dense layer's input then, (n, d), where the bound needs it.
        awake: on which images a channel differs from what it is once removed, (n, C).
    """

    labels: Labels
    slack: Floats
    values: Floats | None = None
    awake: Keep | None = None


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
        self._front = compiled(keras.Model(model.inputs[0], sites[0].tensor))
        self._tail = Tail(model, sites)
        self._exact = tf.function(
            self._tail.run,
            input_signature=[
                tf.TensorSpec((None, *self.shape)),
                tf.TensorSpec((self.channels,), tf.bool),
            ],
            autograph=False,
        )
        self._rest = None
        if len(sites) == 1:
            self._rest = find_rest(Graph(model), sites[0], self.removed_value)

    @property
    def removed_value(self) -> Floats:
        """What the first site puts out once all its channels are removed, (h, w, C)."""
        return self._tail.removed[0]

    @property
    def incremental(self) -> bool:
        """Whether only channels that are left and awake take part, or the whole rest is run."""
        return self._rest is not None

    def activations(self, batches: Iterable[Floats]) -> Iterator[Floats]:
        """The first site's output, batch by batch: (b, H, W, c) to (b, h, w, C).

        The next batches are fetched while others are computed.
        """
        return ahead(lambda images: np.asarray(self._front(tf.constant(images))), batches)

    def awake(self, activations: Floats, removed: Iterable[int] = ()) -> Keep:
        """On which images each channel differs from what it is once removed, (n, C).

        Args:
            activations: (n, h, w, C) of the first site of B.
            removed: channels that are taken away; by it, those of later sites may wake.
        """
        keep = self._keep(removed)

        def look(start: int) -> Keep:
            part = activations[start : start + CHUNK]
            maps = [part] if len(self.sites) == 1 else self._exact(part, keep).maps
            return self._tail.awake(maps)

        return np.concatenate(list(ahead(look, range(0, len(activations), CHUNK))))

    def answers(self, activations: Floats, removed: Iterable[int] = ()) -> Labels:
        """Full evaluation of the network without some channels: every image, from the layer on.

        Args:
            activations: (n, h, w, C) of the first site of B.
            removed: channels that are taken away.

        Returns:
            (n,) labels, argmax with the lowest index on ties.
        """
        total = len(activations)
        known = _Known(np.zeros(total, np.int32), np.full(total, -np.inf, np.float32))
        self._evaluate(activations, self._keep(removed), np.arange(total), known)
        return known.labels

    def walk(
        self, activations: Floats, removed: Sequence[int], channels: Sequence[int], labels: Labels
    ) -> Iterator[Labels]:
        """Answers after each further removal; what is not asked for is not computed.

        Args:
            activations: (n, h, w, C) of the first site of B.
            removed: channels that are gone already.
            channels: the K channels that go one after another.
            labels: (n,) answers without `removed`.

        Yields:
            K times (n,) labels; number k is what `answers` gives without `removed` and
            `channels[:k + 1]`.
        """
        total, keep = len(activations), self._keep(removed)
        known = _Known(labels.copy(), np.full(total, -np.inf, np.float32))
        known.awake = self.awake(activations, removed)
        if self._rest is not None and self._rest.width:
            known.values = np.zeros((total, self._rest.width), np.float32)
        for channel in channels:
            keep[channel] = False
            self._evaluate(activations, keep, np.flatnonzero(known.awake[:, channel]), known)
            yield known.labels.copy()

    def _evaluate(self, activations: Floats, keep: Keep, rows: Rows, known: _Known) -> None:
        """Bring what is known of some images up to date, a chunk at a time."""
        cores = share()
        rounds = -(-len(rows) // (CHUNK * cores))
        split = np.array_split(rows, max(1, rounds) * cores)  # evenly among the cores
        parts = (part for part in split if len(part))
        for _ in ahead(lambda part: self._update(activations, keep, part, known), parts):
            pass

    def _update(self, activations: Floats, keep: Keep, rows: Rows, known: _Known) -> None:
        part, chosen = activations[rows], np.arange(len(rows))
        if self._rest is None:
            maps, _, output = self._exact(part, keep)
            values = np.asarray(output)
            if known.awake is not None:
                known.awake[rows] = self._tail.awake(maps)
        else:
            values = self._rest.run(part, keep)
        if self._rest is not None and known.values is not None:
            moved = self._rest.may_change(
                values - known.values[rows], known.labels[rows], known.slack[rows]
            )
            chosen, values = np.flatnonzero(moved), values[moved]
            known.values[rows[chosen]] = values
        if len(chosen):
            labels, slack = self._decide(values)
            near = np.flatnonzero(~(slack > 0))
            labels[near] = self._settle(part[chosen[near]], keep)
            known.labels[rows[chosen]], known.slack[rows[chosen]] = labels, slack

    def _settle(self, part: Floats, keep: Keep) -> Labels:
        """The answers to images that are too close to call, (b,), from the network itself.

        It is asked for a fixed number at a time: rounding may depend on how many are asked for.
        """
        answers = np.empty(len(part), np.int32)
        for start in range(0, len(part), _TIES):
            few = part[start : start + _TIES]
            output = np.asarray(self._exact(np.resize(few, (_TIES, *few.shape[1:])), keep).output)
            answers[start : start + _TIES] = output[: len(few)].argmax(axis=1)
        return answers

    def _decide(self, values: Floats) -> tuple[Labels, Floats]:
        """Labels (b,), and how far the best class lies above the second beyond rounding (b,)."""
        logits = np.array(values if self._rest is None else self._rest.logits(values))
        labels = logits.argmax(axis=1).astype(np.int32)
        rows = np.arange(len(labels))
        best = logits[rows, labels]
        near = _NEAR * np.maximum(best, -logits.min(axis=1))
        logits[rows, labels] = -np.inf
        slack: Floats = best - logits.max(axis=1) - near
        return labels, slack

    def _keep(self, removed: Iterable[int]) -> Keep:
        keep = np.ones(self.channels, bool)
        keep[list(removed)] = False
        return keep

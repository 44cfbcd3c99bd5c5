"""A network cut at a layer and ready to run: activations, full answers and walks along an order.

A *walk* gives the answers after each of a sequence of removals at a fraction of the price of
running the rest of the network each time:

* it goes backwards and puts channels back, so that sums grow as a full evaluation's do, and no
  rounding error of something large is left behind in something small;
* an image on which a channel is as if removed does not change with it, and is not run;
* where the layer feeds Dense and Conv2D layers, only what comes after them is run (`linear`);
* where the last layer is Dense, |delta logit_y - delta logit_j| <= |delta h| * |w_y - w_j|
  (Cauchy-Schwarz on its input h): an image whose margin is larger keeps its answer;
* an image whose two best classes lie closer than rounding can move them is answered by the full
  evaluation instead, so that drift never decides.
"""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from sweep.graph import nodes_of
from sweep.linear import Linear, find_rest
from sweep.masked import Masked, Stages, compiled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from sweep.graph import Site

    Floats = NDArray[np.float32]
    Labels = NDArray[np.int32]
    Keep = NDArray[np.bool_]
    Rows = NDArray[np.intp]

# Images a call: small enough that what a walk keeps of them stays in a core's cache. The front's
# maps are larger.
CHUNK = 1024
FRONT_BATCH = 64
# Two classes closer than this fraction of the largest output are a tie as far as float32 can tell.
_NEAR = 2e-5
_TIES = 32


def workers() -> int:
    """How many chunks run side by side: as many as TensorFlow may use threads."""
    return tf.config.threading.get_intra_op_parallelism_threads() or len(os.sched_getaffinity(0))


class Way(Protocol):
    """A chunk of images on its way through a walk."""

    def now(self) -> Floats:
        """What decides on the answer, for every image (b, d)."""

    def restore(self, channel: int) -> tuple[Rows, Floats]:
        """Put a channel back: the images that it changes, (t,), and their rows of `now`, (t, d)."""


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
        self._stages = Stages(model, sites)
        self._rest = None
        if len(sites) == 1:
            self._rest = find_rest(nodes_of(model), sites[0], self.removed_value)

    @property
    def removed_value(self) -> Floats:
        """What the first site puts out once all its channels are removed, (h, w, C)."""
        return self._stages.removed[0]

    @property
    def incremental(self) -> bool:
        """Whether walks update linear pre-activations, or run the rest of the network."""
        return self._rest is not None

    def activations(self, batches: Iterable[Floats]) -> Iterator[Floats]:
        """The first site's output, batch by batch: (b, H, W, c) to (b, h, w, C).

        The next batches are fetched while others are computed.
        """
        return _ahead(lambda images: np.asarray(self._front(tf.constant(images))), batches)

    def answers(self, activations: Floats, removed: Iterable[int] = ()) -> Labels:
        """Full evaluation of the network without some channels.

        Args:
            activations: (n, h, w, C) of the first site of B.
            removed: channels that are taken away.

        Returns:
            (n,) labels, argmax with the lowest index on ties.
        """
        keep = self._keep(removed)
        parts = _ahead(lambda part: self._answer(part, keep), _chunks(activations))
        return np.concatenate(list(parts))

    def walk(self, activations: Floats, removed: Sequence[int], channels: Sequence[int]) -> Labels:
        """Answers after each further removal.

        Args:
            activations: (n, h, w, C) of the first site of B.
            removed: channels that are gone already.
            channels: the K channels that go one after another.

        Returns:
            (K, n) labels; row k is what `answers` gives without `removed` and `channels[:k + 1]`.
        """
        keep = self._keep([*removed, *channels])
        if self._rest is not None:
            self._rest.prepare(channels[1:])
        parts = _ahead(lambda part: self._walk_chunk(part, keep, channels), _chunks(activations))
        return np.concatenate(list(parts), axis=1)

    def _answer(self, part: Floats, keep: Keep) -> Labels:
        """The answers to a chunk (b, h, w, C), computed from scratch."""
        if self._rest is None:
            return self._answer_as_keras(part, keep)
        labels, slack = self._decide(Linear(self._rest, part, keep).now())
        self._settle(part, keep, labels, np.flatnonzero(~(slack > 0)))
        return labels

    def _walk_chunk(self, part: Floats, keep: Keep, channels: Sequence[int]) -> Labels:
        """Rows of `walk` for a chunk; `keep` is what remains at the end of the walk."""
        rest, keep = self._rest, keep.copy()
        way: Way = Linear(rest, part, keep) if rest else Masked(self._stages, part, keep)
        rows = np.empty((len(channels), len(part)), np.int32)
        # What each image's answer was last computed from, that answer, and its lead over others.
        known = np.array(way.now())
        labels, slack = self._decide(known)
        changed = np.arange(len(part))
        for k in reversed(range(len(channels))):
            self._settle(part, keep, labels, changed[~(slack[changed] > 0)])
            rows[k] = labels
            if k == 0:
                break
            keep[channels[k]] = True
            changed, values = way.restore(channels[k])
            if rest is not None and len(changed):
                moved = rest.may_change(values - known[changed], labels[changed], slack[changed])
                changed, values = changed[moved], values[moved]
            if len(changed):
                known[changed] = values
                labels[changed], slack[changed] = self._decide(values)
        return rows

    def _settle(self, part: Floats, keep: Keep, labels: Labels, near: Rows) -> None:
        """Put in the answers of images that are too close to call from the network itself.

        It is asked for a fixed number at a time: rounding may depend on how many are asked for.
        """
        for start in range(0, len(near), _TIES):
            rows = near[start : start + _TIES]
            answers = self._answer_as_keras(part[np.resize(rows, _TIES)], keep)
            labels[rows] = answers[: len(rows)]

    def _answer_as_keras(self, part: Floats, keep: Keep) -> Labels:
        return np.asarray(Masked(self._stages, part, keep).now().argmax(axis=1), np.int32)

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


def _chunks(activations: Floats) -> Iterator[Floats]:
    for start in range(0, len(activations), CHUNK):
        yield activations[start : start + CHUNK]


def _ahead(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """Apply a function to items, several at a time, in order; few are held at once."""
    pending: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(workers()) as pool:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > 2 * workers():
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()

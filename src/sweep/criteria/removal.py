"""Criteria that take channels away and look at the clean answers that are left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sweep.base.progress import track
from sweep.base.registry import Real, Whole
from sweep.criteria.evidence import draw, noise
from sweep.criteria.registry import criterion

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from sweep.criteria.evidence import Clean, Floats, Scores
    from sweep.models.tail import Tail


def sleeping(tail: Tail, activations: Floats) -> NDArray[np.bool_]:
    """Which channels are as if removed on all images, (C,); of several sites none is called so."""
    if len(tail.sizes) > 1:
        return np.zeros(sum(tail.sizes), bool)
    return np.asarray(~tail.awake(tail.maps(activations)).any(axis=0))


def without(keep: NDArray[np.bool_], channels: NDArray[np.intp]) -> Floats:
    """Masks that take one further channel away each, (len(channels), C)."""
    masks = np.tile(keep.astype(np.float32), (len(channels), 1))
    masks[np.arange(len(channels)), channels] = 0
    return masks


def remove_greedily(
    asleep: NDArray[np.bool_], costs: Callable[[Floats], NDArray[np.float64]], name: str
) -> Scores:
    """Remove the channel next without which the cost is smallest, and so on to the last.

    Args:
        asleep: channels whose removal changes nothing; they go together, at the first step where
            no other removal lowers the cost, (C,).
        costs: of masks, (K, C) to (K,).
        name: of the criterion, for the progress that is shown.

    Returns:
        The step at which each channel goes, (C,).
    """
    keep, steps = np.ones(len(asleep), bool), np.empty(len(asleep))
    live, pending = np.flatnonzero(~asleep), bool(asleep.any())
    current = costs(keep.astype(np.float32)[None])[0]
    for step in track(range(len(asleep)), name, len(asleep)):
        if len(live) == 0:
            if pending:
                steps[asleep] = step
            break
        found = costs(without(keep, live))
        if pending and found.min() >= current:
            steps[asleep] = step
            keep[asleep] = False
            pending = False
            continue
        best = live[np.argmin(found)]
        current = found.min()
        steps[best], keep[best] = step, False
        live = live[live != best]
    return steps


@criterion(sees="clean", comparable=True, images=Whole(1))
def leave_one_out(evidence: Clean, images: int = 2048) -> Scores:
    """What the channel's removal alone does to the loss: s_c = L(without c) - L.

    Channels whose loss is missed least go first (the oracle ranking of Molchanov et al., ICLR 2017,
    with its sign). L is the mean cross-entropy with the true label.
    Data: clean validation with labels. Cost: a forward pass of the rest of the network over the
    sample for every channel that is awake.

    Args:
        evidence: clean validation.
        images: sample at most so many.
    """
    from sweep.criteria.training import meter

    tail = evidence.cut.tail()
    x, y = draw(evidence.activations, evidence.labels, images, evidence.seed)
    keep, live = np.ones(evidence.channels, bool), np.flatnonzero(~sleeping(tail, x))
    losses = meter(tail, x, y)(np.vstack([keep[None], without(keep, live)]))[:, 0]
    scores = np.zeros(evidence.channels)
    scores[live] = losses[1:] - losses[0]
    return scores


@criterion(sees="clean", comparable=True, images=Whole(1))
def greedy(evidence: Clean, images: int = 512) -> Scores:
    """The step of a greedy removal: next goes the channel without which clean loss is smallest.

    s_c = k where c minimises L(S_{k-1} + c) over all c that are left, S_k being what is removed
    after k steps. Channels that sleep on the sample go together (as forward selection turned
    around; compare Ye et al., "Good subnetworks provably exist", ICML 2020).
    Data: clean validation with labels. Cost: about C^2 / 2 forward passes of the rest of the
    network over the sample, C counting channels that are awake.

    Args:
        evidence: clean validation.
        images: sample at most so many.
    """
    from sweep.criteria.training import meter

    tail = evidence.cut.tail()
    x, y = draw(evidence.activations, evidence.labels, images, evidence.seed)
    measure = meter(tail, x, y)
    return remove_greedily(sleeping(tail, x), lambda masks: measure(masks)[:, 0], "greedy")


@criterion(
    sees="clean",
    comparable=True,
    images=Whole(1),
    permutations=Whole(1),
    truncation=Real(0, 1),
)
def shapley(
    evidence: Clean, images: int = 512, permutations: int = 20, truncation: float = 0.05
) -> Scores:
    """The Shapley value for clean accuracy, by permutation sampling.

    s_c = mean over random orders of v(with c, without what was removed before) - v(without c too),
    v being accuracy. Channels that contribute least go first (Neuron Shapley, Ghorbani and Zou,
    NeurIPS 2020). An order is followed while v > `truncation`; what comes after counts
    as 0 (the paper's truncation).
    Data: clean validation with labels. Cost: at most `permutations` x C forward passes of the rest
    of the network over the sample, C counting channels that are awake.

    Args:
        evidence: clean validation.
        images: sample at most so many.
        permutations: random orders.
        truncation: accuracy below which an order is left.
    """
    from sweep.criteria.training import meter, ones

    tail = evidence.cut.tail()
    x, y = draw(evidence.activations, evidence.labels, images, evidence.seed)
    measure, live = meter(tail, x, y), np.flatnonzero(~sleeping(tail, x))
    total = np.zeros(evidence.channels)
    whole = measure(ones(evidence)[None])[0, 1]
    for keys in track(noise(evidence, permutations), "shapley", permutations):
        order = live[np.argsort(keys[live], kind="stable")]
        masks = np.ones((len(order), evidence.channels), np.float32)
        for step, channel in enumerate(order):
            masks[step:, channel] = 0
        total[order] += _marginals(measure, masks, whole, truncation)
    return total / permutations


def _marginals(
    measure: Callable[[Floats], Scores], masks: Floats, whole: float, truncation: float
) -> Scores:
    """How much accuracy goes with each channel of an order; masks (K, C) without the first ones."""
    values = [whole]
    for start in range(0, len(masks), 8):
        if values[-1] <= truncation:
            break
        values.extend(measure(masks[start : start + 8])[:, 1])
    gains = np.zeros(len(masks))
    gains[: len(values) - 1] = -np.diff(values)
    over = np.flatnonzero(np.array(values) <= truncation)
    if len(over):
        gains[over[0] :] = 0
    return gains

"""Criteria that look at poisoned validation images: an upper bound that no defender reaches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sweep.base.registry import Real, Whole
from sweep.criteria.evidence import chunks, draw
from sweep.criteria.registry import criterion
from sweep.criteria.removal import remove_greedily, sleeping

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sweep.criteria.evidence import Floats, Oracle, Scores


@criterion(sees="oracle")
def tac(evidence: Oracle) -> Scores:
    """Minus the trigger-activated change: s_c = -mean_i ||a_c(x_i with trigger) - a_c(x_i)||_2.

    The norm is over positions; the channel that the trigger changes most goes first (Zheng et al.,
    "Data-free backdoor removal based on channel Lipschitzness", ECCV 2022, definition of TAC).
    Image i of the poisoned set is taken to be image i of the clean set with the trigger, which is
    how the lab's sets are made. Where the sets differ in size, or their images lie no nearer in
    pairs than crosswise, it is the norm of the difference of the two means instead.
    Data: clean and poisoned validation. Cost: one pass over the activations.
    """
    clean, poisoned = evidence.activations, evidence.poisoned
    if _paired(clean, poisoned):
        total = np.zeros(evidence.channels)
        both = zip(chunks(evidence, clean), chunks(evidence, poisoned), strict=True)
        for (_, before), (_, after) in both:
            norms = [
                np.sqrt(np.square(p - a).sum(axis=(1, 2), dtype=np.float64)).sum(axis=0)
                for a, p in zip(before, after, strict=True)
            ]
            total += np.concatenate(norms)
        return 0 - total / len(clean)
    return 0 - np.concatenate(
        [
            np.sqrt(np.square(p - a).sum(axis=(0, 1)))
            for a, p in zip(_means(evidence, clean), _means(evidence, poisoned), strict=True)
        ]
    )


def _means(evidence: Oracle, activations: Floats) -> list[NDArray[np.float64]]:
    total: list[NDArray[np.float64]] = []
    for _, maps in chunks(evidence, activations):
        sums = [part.sum(axis=0, dtype=np.float64) for part in maps]
        total = [a + b for a, b in zip(total, sums, strict=True)] if total else sums
    return [part / len(activations) for part in total]


def _paired(clean: Floats, poisoned: Floats) -> bool:
    """Whether images of equal index are nearer to each other than others are."""
    if len(clean) != len(poisoned):
        return False
    count = min(len(clean), 1024)
    if count < 2:
        return True
    a, p = clean[:count], poisoned[:count]
    crosswise = np.roll(p, count // 2, axis=0)
    return bool(np.square(p - a).sum() < np.square(crosswise - a).sum())


@criterion(sees="oracle", comparable=True, images=Whole(1), price=Real(0))
def oracle_greedy(evidence: Oracle, images: int = 256, price: float = 0.3) -> Scores:
    """The step of a greedy removal that breaks the attack at a clean price.

    Next goes the channel that minimises M(S) / M(nothing removed) + price L(S): M is the mean over
    poisoned images of how far the target's logit lies above the best other one (0 where it does
    not), L the mean cross-entropy of clean images. s_c is the step. What the best order of a layer
    can do is hardly more; this project's own, in the manner of `greedy`.
    Data: clean and poisoned validation with labels. Cost: about C^2 forward passes of the rest of
    the network over the sample, C counting channels that are awake.

    Args:
        evidence: clean and poisoned validation.
        images: sample at most so many of each set.
        price: of a nat of clean loss, in units of the whole attack margin; small prices break the
            attack sooner, and from 10 on this is hardly more than `greedy`.
    """
    from sweep.criteria.training import meter, ones

    tail = evidence.cut.tail()
    clean = draw(evidence.activations, evidence.labels, images, evidence.seed)
    attack = draw(evidence.poisoned, evidence.targets, images, evidence.seed)
    harm, success = meter(tail, *clean), meter(tail, *attack)
    first = max(success(ones(evidence)[None])[0, 2], 1e-6)

    def costs(masks: Floats) -> NDArray[np.float64]:
        return np.asarray(success(masks)[:, 2] / first + price * harm(masks)[:, 0], np.float64)

    asleep = sleeping(tail, clean[0]) & sleeping(tail, attack[0])
    return remove_greedily(asleep, costs, "oracle_greedy")

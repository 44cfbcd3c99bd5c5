"""Criteria that look at a channel's activations on clean validation images; no gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sweep.base.registry import Whole
from sweep.criteria.evidence import chunks
from sweep.criteria.registry import criterion

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from sweep.criteria.evidence import Clean, Floats, Scores


def _total(evidence: Clean, of_part: Callable[[Floats], Scores]) -> Scores:
    """The mean over images of a sum over a part's images, for the channels of all sites."""
    total = np.zeros(evidence.channels)
    for _, maps in chunks(evidence, evidence.activations):
        total += np.concatenate([of_part(part) for part in maps])
    return total / len(evidence.activations)


@criterion(sees="clean")
def mean_activation(evidence: Clean) -> Scores:
    """Mean over images and positions: s_c = mean_{i,p} a_{ipc}.

    The baseline: channels that clean images leave asleep may be those the trigger wakes
    (Fine-Pruning, Liu, Dolan-Gavitt and Garg, RAID 2018).
    Data: clean validation. Cost: one pass over the activations.
    """
    return _total(evidence, lambda a: a.mean(axis=(1, 2), dtype=np.float64).sum(axis=0))


@criterion(sees="clean")
def max_activation(evidence: Clean) -> Scores:
    """Largest value: s_c = max_{i,p} a_{ipc}.

    As the baseline, but a channel that wakes for a single image counts as awake (the activation
    criterion of Molchanov et al., ICLR 2017, with the maximum for the mean).
    Data: clean validation. Cost: one pass over the activations.
    """
    best = np.full(evidence.channels, -np.inf)
    for _, maps in chunks(evidence, evidence.activations):
        best = np.maximum(best, np.concatenate([part.max(axis=(0, 1, 2)) for part in maps]))
    return best


@criterion(sees="clean")
def std_activation(evidence: Clean) -> Scores:
    """Standard deviation over images and positions: s_c = sqrt(mean a_{ipc}^2 - mean^2 a_{ipc}).

    A channel that hardly varies tells images apart but little (the standard deviation among the
    activation criteria of Molchanov et al., ICLR 2017).
    Data: clean validation. Cost: one pass over the activations.
    """
    origin: list[Floats] = []

    def sums(part: Floats, zero: Floats) -> Scores:
        moved = (part - zero).reshape(-1, part.shape[-1]).astype(np.float64)
        each = np.stack([moved.sum(axis=0), np.einsum("nc,nc->c", moved, moved)])
        return np.asarray(each / (part.shape[1] * part.shape[2]), np.float64)

    total = np.zeros((2, evidence.channels))
    for _, maps in chunks(evidence, evidence.activations):
        # Some value of the channel: what never varies then has a deviation of exactly 0.
        origin = origin or [np.array(part[0, 0, 0]) for part in maps]
        total += np.concatenate(
            [sums(part, zero) for part, zero in zip(maps, origin, strict=True)], axis=1
        )
    mean, square = total / len(evidence.activations)
    return np.asarray(np.sqrt(np.maximum(square - mean**2, 0)), np.float64)


@criterion(sees="clean")
def apoz(evidence: Clean) -> Scores:
    """Fraction that is not zero: s_c = 1 - APoZ_c, APoZ_c = mean_{i,p} [a_{ipc} = 0].

    Channels with the largest average percentage of zeros go first (Network Trimming, Hu et al.,
    2016).
    Data: clean validation. Cost: one pass over the activations.
    """
    return _total(evidence, lambda a: (a != 0).mean(axis=(1, 2)).sum(axis=0))


@criterion(sees="clean", bins=Whole(2))
def entropy(evidence: Clean, bins: int = 100) -> Scores:
    """Entropy of a channel's values: s_c = -sum_b p_cb ln p_cb, p from a histogram.

    The bins are equal and span the channel's own range, so that scale and shift do not matter; a
    constant channel has entropy 0. Entropy-based pruning (EP, Zheng et al., "Pre-activation
    distributions expose backdoor neurons", NeurIPS 2022, the strategy on differential entropy)
    takes standardised pre-activations on a poisoned training set, where backdoor channels have low
    entropy; with clean images alone a low entropy tells of a channel that fires rarely.
    Data: clean validation. Cost: two passes over the activations.

    Args:
        evidence: clean validation.
        bins: of a histogram.
    """
    low, high = np.full(evidence.channels, np.inf), np.full(evidence.channels, -np.inf)
    for _, maps in chunks(evidence, evidence.activations):
        low = np.minimum(low, np.concatenate([part.min(axis=(0, 1, 2)) for part in maps]))
        high = np.maximum(high, np.concatenate([part.max(axis=(0, 1, 2)) for part in maps]))
    low, high = low.astype(np.float32), high.astype(np.float32)
    widths = np.where(high > low, high - low, np.float32(1))
    counts = np.zeros((evidence.channels, bins))
    for _, maps in chunks(evidence, evidence.activations):
        first = 0
        for part in maps:
            mine = slice(first, first + part.shape[-1])
            bin_of = ((part - low[mine]) / widths[mine] * np.float32(bins)).astype(np.int64)
            np.minimum(bin_of, bins - 1, out=bin_of)
            bin_of += np.arange(part.shape[-1]) * bins
            counts[mine] += np.bincount(bin_of.ravel(), minlength=part.shape[-1] * bins).reshape(
                -1, bins
            )
            first = mine.stop
    share = counts / counts.sum(axis=1, keepdims=True)
    # 0 - ..., since -0.0 would be a strange score.
    return np.asarray(0 - (share * np.log(np.where(share > 0, share, 1))).sum(axis=1), np.float64)


@criterion(sees="clean")
def class_selectivity(evidence: Clean) -> Scores:
    """How much one class stands out: s_c = (m_max - m_rest) / (m_max + m_rest).

    m_max is the largest of the classes' mean activations, m_rest the mean of the others' (Morcos et
    al., "On the importance of single directions for generalization", ICLR 2018, selectivity index);
    0 where both are 0. Channels that tell no class from the others go first.
    Data: clean validation with labels. Cost: one pass over the activations.
    """
    classes, index = np.unique(evidence.labels, return_inverse=True)
    sums = np.zeros((len(classes), evidence.channels))
    for where, maps in chunks(evidence, evidence.activations):
        means = [part.mean(axis=(1, 2), dtype=np.float64) for part in maps]
        np.add.at(sums, index[where], np.concatenate(means, axis=1))
    sums /= np.bincount(index)[:, None]
    return _selectivity(sums)


def _selectivity(means: NDArray[np.float64]) -> Scores:
    best = means.max(axis=0)
    rest = (means.sum(axis=0) - best) / max(len(means) - 1, 1)
    # Where values may be negative, magnitudes keep the index in -1..1.
    size = np.abs(best) + np.abs(rest)
    return np.asarray((best - rest) / np.where(size > 0, size, 1), np.float64)

"""Criteria that look at the kernel which makes a channel, and at no data.

Batch normalization between convolution and layer is folded into the kernel, since it scales what
the channel puts out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sweep.criteria.evidence import filters, noise
from sweep.criteria.registry import criterion

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from sweep.criteria.evidence import Scores, Weights


def _each(evidence: Weights, of_kernel: Callable[[NDArray[np.float64]], Scores]) -> Scores:
    return np.concatenate([of_kernel(kernel) for kernel in filters(evidence)])


@criterion(sees="weights")
def l1(evidence: Weights) -> Scores:
    """Sum of absolute weights: s_c = ||W_c||_1.

    Small filters go first (Li et al., "Pruning filters for efficient ConvNets", ICLR 2017).
    Data: none. Cost: one pass over the kernel.
    """
    return _each(evidence, lambda kernel: np.abs(kernel).sum(axis=(0, 1, 2)))


@criterion(sees="weights")
def l2(evidence: Weights) -> Scores:
    """Euclidean norm: s_c = ||W_c||_2.

    Small filters go first (the minimum-weight criterion of Molchanov et al., ICLR 2017).
    Data: none. Cost: one pass over the kernel.
    """
    return _each(evidence, lambda kernel: np.sqrt((kernel**2).sum(axis=(0, 1, 2))))


@criterion(sees="weights")
def fpgm(evidence: Weights) -> Scores:
    """Distance to all other filters of the layer: s_c = sum_d ||W_c - W_d||_2.

    The filter nearest to the geometric median can best be replaced by the others and goes first
    (Filter Pruning via Geometric Median, He et al., CVPR 2019).
    Data: none. Cost: C^2 distances.
    """

    def distances(kernel: NDArray[np.float64]) -> Scores:
        filters = kernel.reshape(-1, kernel.shape[-1]).T
        return np.array([np.linalg.norm(filters - one, axis=1).sum() for one in filters])

    return _each(evidence, distances)


@criterion(sees="weights", comparable=True)
def clp(evidence: Weights) -> Scores:
    """Minus how far the channel's Lipschitz constant stands out: s_c = -(sigma_c - mu_l) / s_l.

    sigma_c = sigma_max(W_c) bounds the constant, with W_c the filter as a matrix (inputs,
    positions); mu_l and s_l are its mean and standard deviation over the layer's channels. A
    channel that a small change of its input can move far is suspect, so the largest goes first
    (Channel Lipschitzness-based Pruning, Zheng et al., ECCV 2022; without batch normalization where
    there is none). The paper removes what has s_c < -u, with u = 3; here the curve decides. A layer
    whose channels are all alike has scores of 0.
    Data: none. Cost: C singular value decompositions of small matrices.
    """

    def constants(kernel: NDArray[np.float64]) -> Scores:
        height, width, inputs, channels = kernel.shape
        matrices = kernel.reshape(height * width, inputs, channels).transpose(2, 1, 0)
        bounds = np.linalg.norm(matrices, ord=2, axis=(1, 2))
        # As in the official code, the standard deviation is that of a sample.
        spread = bounds.std(ddof=1) if channels > 1 else 0.0
        return np.asarray((bounds.mean() - bounds) / (spread or 1.0), np.float64)

    return _each(evidence, constants)


@criterion(sees="weights", comparable=True)
def random(evidence: Weights) -> Scores:
    """A uniform random number: s_c ~ U(0, 1), drawn from the seed and a digest of the filter.

    A criterion that does no better than this has found nothing. Drawn from the filter, a channel's
    number stays with it when channels change places.
    Data: none. Cost: none.
    """
    return noise(evidence, 1).ravel()

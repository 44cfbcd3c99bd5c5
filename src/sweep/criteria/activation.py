"""Criteria that look at a channel's activations on clean validation images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sweep.criteria._registry import criterion

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sweep.criteria._registry import Evidence


@criterion(sees="clean")
def mean_activation(evidence: Evidence) -> NDArray[np.float64]:
    """Mean over images and positions: s_c = mean_{i,p} a_{ipc}.

    The baseline: channels that clean images leave asleep may be those the trigger wakes
    (Fine-Pruning, Liu, Dolan-Gavitt and Garg, RAID 2018, section 4).
    """
    return np.mean(evidence.activations, axis=(0, 1, 2), dtype=np.float64)

"""Criteria that make the network forget clean images and look at what that does to its channels.

What is unlearnt is the rest of the network after the layer and a factor for each of the layer's
channels. The papers unlearn all weights; the factor stands for the weights that make the channel,
since with ReLU and pooling to scale them is to scale what the channel puts out (bias included).
Layers further to the front stay as they are, so that only the rest of the network runs.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from sweep.base.registry import Real, Whole
from sweep.criteria.evidence import draw, filters
from sweep.criteria.registry import criterion

if TYPE_CHECKING:
    from sweep.criteria.evidence import Clean, Scores

_BATCH = 128
# The norm that gradients are shortened to: the loss that is driven up knows no bound.
_LONGEST = 20.0


def _unlearn(
    evidence: Clean, x: Any, y: Any, epochs: int, rate: float, accuracy: float
) -> tuple[Any, Any]:
    """Drive the loss on clean images up until accuracy is gone.

    Returns:
        The changed rest of the network, and the factors, a variable of (C,).
    """
    import tensorflow as tf

    from sweep.criteria.training import Descent, batches, cross_entropy, meter, ones

    tail = evidence.cut.tail(own=True)
    factors = tf.Variable(ones(evidence))
    descent = Descent(
        lambda a, b: -tf.reduce_mean(cross_entropy(tail.logits(a, factors), b)),
        [factors, *tail.variables],
        rate,
        _LONGEST,
    )
    measure = meter(tail, x, y)
    for epoch in batches(x, y, _BATCH, range(epochs), evidence.seed):
        for part in epoch:
            descent.step(*part)
        if measure(factors.numpy()[None])[0, 1] <= accuracy:
            break
    return tail, factors


@criterion(
    sees="clean",
    comparable=True,
    images=Whole(1),
    unlearn_epochs=Whole(1),
    unlearn_rate=Real(0, above=True),
    accuracy=Real(0, 1),
    recover_epochs=Whole(1),
    recover_rate=Real(0, above=True),
)
def rnp(
    evidence: Clean,
    images: int = 2048,
    unlearn_epochs: int = 20,
    unlearn_rate: float = 0.01,
    accuracy: float = 0.2,
    recover_epochs: int = 20,
    recover_rate: float = 0.2,
) -> Scores:
    """The mask that recovers what was unlearnt: s_c = m_c.

    First max over theta of L_clean(theta) until clean accuracy is at most `accuracy`, then with
    those weights min over m in [0, 1]^C of L_clean(m * theta); channels that recovery switches off
    go first (Reconstructive Neuron Pruning, Li et al., ICML 2023: unlearning, then
    recovering). Both by stochastic gradient descent with momentum 0.9 and batches of 128. What
    unlearning changes here, see the module. A channel that sleeps on the sample keeps m = 1.
    Data: clean validation with labels. Cost: at most `unlearn_epochs` + `recover_epochs` forward
    and backward passes of the rest of the network over the sample.

    Args:
        evidence: clean validation.
        images: sample at most so many.
        unlearn_epochs: at most so many passes to unlearn.
        unlearn_rate: learning rate of all weights.
        accuracy: where unlearning ends.
        recover_epochs: passes to recover.
        recover_rate: learning rate of the mask.
    """
    import tensorflow as tf

    from sweep.criteria.training import Descent, batches, cross_entropy, ones

    x, y = draw(evidence.activations, evidence.labels, images, evidence.seed)
    tail, factors = _unlearn(evidence, x, y, unlearn_epochs, unlearn_rate, accuracy)
    mask = tf.Variable(ones(evidence), constraint=lambda m: tf.clip_by_value(m, 0, 1))
    descent = Descent(
        lambda a, b: tf.reduce_mean(cross_entropy(tail.logits(a, factors * mask), b)),
        [mask],
        recover_rate,
    )
    epochs = range(unlearn_epochs, unlearn_epochs + recover_epochs)
    for part in chain.from_iterable(batches(x, y, _BATCH, epochs, evidence.seed)):
        descent.step(*part)
    return np.asarray(mask, np.float64)


@criterion(
    sees="clean",
    images=Whole(1),
    epochs=Whole(1),
    rate=Real(0, above=True),
    accuracy=Real(0, 1),
)
def tsbd(
    evidence: Clean,
    images: int = 2048,
    epochs: int = 20,
    rate: float = 0.01,
    accuracy: float = 0.1,
) -> Scores:
    """Minus the change of a channel's weights by unlearning: s_c = -|g_c - 1| ||W_c||_1.

    g_c is the channel's factor after clean unlearning, so that this is the sum of absolute changes
    of its filter: the neuron weight change of the Two-Stage Backdoor Defense (Lin et al., NeurIPS
    2024); the largest change goes first. Unlearning as in `rnp`,
    until clean accuracy is at most `accuracy`. A channel that sleeps on the sample does not change
    and goes last.
    Data: clean validation with labels. Cost: at most `epochs` forward and backward passes of the
    rest of the network over the sample.

    Args:
        evidence: clean validation.
        images: sample at most so many.
        epochs: at most so many passes to unlearn.
        rate: learning rate of all weights.
        accuracy: where unlearning ends.
    """
    x, y = draw(evidence.activations, evidence.labels, images, evidence.seed)
    _, factors = _unlearn(evidence, x, y, epochs, rate, accuracy)
    sizes = np.concatenate([np.abs(k).sum(axis=(0, 1, 2)) for k in filters(evidence)])
    return np.asarray(0 - np.abs(np.asarray(factors, np.float64) - 1) * sizes, np.float64)

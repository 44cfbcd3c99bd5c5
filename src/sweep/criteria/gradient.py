"""The criterion that looks at gradients once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sweep.criteria.evidence import draw
from sweep.criteria.registry import Whole, criterion

if TYPE_CHECKING:
    from sweep.criteria.evidence import Clean, Scores


@criterion(sees="clean", images=Whole(1))
def taylor(evidence: Clean, images: int = 2048) -> Scores:
    """Activation times gradient: s_c = mean_i |mean_p a_{ipc} dL_i/da_{ipc}|.

    The first-order estimate of how much the loss changes without the channel; small changes go
    first (Molchanov et al., "Pruning convolutional neural networks for resource efficient
    inference", ICLR 2017, equation 8). L is the cross-entropy with the true label.
    Data: clean validation with labels. Cost: one forward and backward pass of the rest of the
    network over the sample.

    Args:
        evidence: clean validation.
        images: sample at most so many.
    """
    import tensorflow as tf

    from sweep.criteria.tail import Tail, cross_entropy

    tail = Tail(evidence.cut)

    def shares(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        # The derivative by an image's mask is the sum over positions of activation x gradient.
        masks = tf.ones((tf.shape(x)[0], evidence.channels))
        with tf.GradientTape() as tape:
            tape.watch(masks)
            loss = tf.reduce_sum(cross_entropy(tail.logits(x, masks), y))
        return tf.reduce_sum(tf.abs(tape.gradient(loss, masks)), axis=0)

    run = tf.function(shares, reduce_retracing=True)
    x, y = draw(evidence.activations, evidence.labels, images, evidence.seed)
    total = np.zeros(evidence.channels)
    for start in range(0, len(x), 512):
        part = slice(start, start + 512)
        total += np.asarray(run(tf.constant(x[part]), tf.constant(y[part])))
    positions = np.concatenate(
        [np.full(gone.shape[-1], gone.shape[0] * gone.shape[1]) for gone in tail.removed]
    )
    return np.asarray(total / len(x) / positions, np.float64)

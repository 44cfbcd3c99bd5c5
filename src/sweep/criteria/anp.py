"""Adversarial neuron pruning."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sweep.criteria.evidence import draw, noise
from sweep.criteria.registry import Real, Whole, criterion

if TYPE_CHECKING:
    from sweep.criteria.evidence import Clean, Scores


@criterion(
    sees="clean",
    comparable=True,
    images=Whole(1),
    iterations=Whole(1),
    batch=Whole(1),
    epsilon=Real(0, above=True),
    alpha=Real(0, 1),
    rate=Real(0, above=True),
)
def anp(
    evidence: Clean,
    images: int = 2048,
    iterations: int = 400,
    batch: int = 128,
    epsilon: float = 0.4,
    alpha: float = 0.2,
    rate: float = 0.2,
) -> Scores:
    """The mask that keeps clean accuracy while channels are disturbed: s_c = m_c.

    min over m in [0, 1]^C of  alpha L(m * a) + (1 - alpha) max over |d_c| <= epsilon of
    L((m + d) * a); a channel whose disturbance does harm ends with a small mask and goes first
    (Adversarial Neuron Pruning, Wu and Wang, NeurIPS 2021, section 4). The inner maximum is one
    signed gradient step from a random start, the outer minimum stochastic gradient descent with
    momentum 0.9 from m = 1; the paper takes 2,000 iterations, here 400 by default.

    The paper disturbs a neuron's weights and its bias apart. Here both are scaled together, which
    for ReLU, pooling and no constant term is exactly a scaling of the layer's output, so that only
    the rest of the network runs. A channel that sleeps on the whole sample keeps m = 1: nothing can
    be learnt of it.
    Data: clean validation with labels. Cost: three forward and backward passes of the rest of the
    network over a batch for each iteration.

    Args:
        evidence: clean validation.
        images: sample at most so many.
        iterations: steps of the mask.
        batch: images a step.
        epsilon: how far a channel is scaled up or down.
        alpha: weight of the undisturbed loss.
        rate: learning rate of the mask.
    """
    import tensorflow as tf

    from sweep.criteria.tail import Tail, batches, cross_entropy, ones

    tail = Tail(evidence.cut)
    mask = tf.Variable(ones(evidence))
    velocity = tf.Variable(tf.zeros_like(mask))

    def step(x: tf.Tensor, y: tf.Tensor, start: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            tape.watch(start)
            loss = tf.reduce_mean(cross_entropy(tail.logits(x, mask + start), y))
        up = tf.sign(tape.gradient(loss, start))
        worst = tf.clip_by_value(start + epsilon * up, -epsilon, epsilon)
        with tf.GradientTape() as tape:
            calm = tf.reduce_mean(cross_entropy(tail.logits(x, mask), y))
            harmed = tf.reduce_mean(cross_entropy(tail.logits(x, mask + worst), y))
            loss = alpha * calm + (1 - alpha) * harmed
        velocity.assign(0.9 * velocity + tape.gradient(loss, mask))
        mask.assign(tf.clip_by_value(mask - rate * velocity, 0, 1))

    run = tf.function(step, reduce_retracing=True)
    x, y = draw(evidence.activations, evidence.labels, images, evidence.seed)
    starts = ((2 * noise(evidence, iterations) - 1) * epsilon).astype(np.float32)
    done = epoch = 0
    while done < iterations:
        for images_part, labels_part in batches(x, y, batch, epoch, evidence.seed):
            if done < iterations:
                run(images_part, labels_part, tf.constant(starts[done]))
                done += 1
        epoch += 1
    return np.asarray(mask, np.float64)

"""Criteria that follow gradients of the loss through the network behind the layer."""

from __future__ import annotations

from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from sweep.base.registry import Real, Whole
from sweep.criteria.evidence import draw, noise
from sweep.criteria.registry import criterion

if TYPE_CHECKING:
    from sweep.criteria.evidence import Clean, Scores


@criterion(sees="clean", images=Whole(1))
def taylor(evidence: Clean, images: int = 2048) -> Scores:
    """Activation times gradient: s_c = mean_i |mean_p a_{ipc} dL_i/da_{ipc}|.

    The first-order estimate of how much the loss changes without the channel; small changes go
    first (Molchanov et al., "Pruning convolutional neural networks for resource efficient
    inference", ICLR 2017). L is the cross-entropy with the true label.
    Data: clean validation with labels. Cost: one forward and backward pass of the rest of the
    network over the sample.

    Args:
        evidence: clean validation.
        images: sample at most so many.
    """
    import tensorflow as tf

    from sweep.criteria.training import cross_entropy, total

    tail = evidence.cut.tail()

    def shares(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        # The derivative by an image's mask is the sum over positions of activation x gradient.
        masks = tf.ones((tf.shape(x)[0], evidence.channels))
        with tf.GradientTape() as tape:
            tape.watch(masks)
            loss = tf.reduce_sum(cross_entropy(tail.logits(x, masks), y))
        return tf.reduce_sum(tf.abs(tape.gradient(loss, masks)), axis=0)

    x, y = draw(evidence.activations, evidence.labels, images, evidence.seed)
    positions = np.repeat([gone[..., 0].size for gone in tail.removed], tail.sizes)
    return np.asarray(total(shares, x, y) / len(x) / positions, np.float64)


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
    (Adversarial Neuron Pruning, Wu and Wang, NeurIPS 2021). The inner maximum is one
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

    from sweep.criteria.training import batches, cross_entropy, ones

    tail = evidence.cut.tail()
    mask = tf.Variable(ones(evidence))
    velocity = tf.Variable(tf.zeros_like(mask))

    @partial(tf.function, reduce_retracing=True)
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

    x, y = draw(evidence.activations, evidence.labels, images, evidence.seed)
    starts = ((2 * noise(evidence, iterations) - 1) * epsilon).astype(np.float32)
    epochs = batches(x, y, batch, range(iterations), evidence.seed)
    for start, part in zip(starts, chain.from_iterable(epochs), strict=False):
        step(*part, tf.constant(start))
    return np.asarray(mask, np.float64)


@criterion(sees="clean", comparable=True, images=Whole(1), epsilon=Real(0, above=True))
def fmp(evidence: Clean, images: int = 1024, epsilon: float = 2.0) -> Scores:
    """Minus the loss with one feature map attacked: s_c = -mean_i L_i(a + e_c r sign(dL_i/da_c)).

    r is the root mean square of the layer's activations times `epsilon`; e_c keeps the attack to
    channel c, and no activation falls below the layer's smallest. The map by which an attack does
    most harm goes first (Adversarial Feature Map Pruning, Huang and Bu, ICLR 2024, feature reverse
    generation). The paper attacks the image so that one map changes most, and ranks maps by the
    accuracy that is left; here the map itself is attacked by one signed gradient step, so that
    only the rest of the network runs and channels that sleep on clean images are tried too, and
    the loss ranks them, since accuracy leaves ties.
    Data: clean validation with labels. Cost: C forward passes of the rest of the network over the
    sample, and one backward.

    Args:
        evidence: clean validation.
        images: sample at most so many.
        epsilon: size of the attack, in units of the layer's root mean square.
    """
    import tensorflow as tf

    from sweep.criteria.training import cross_entropy, ones, total

    tail = evidence.cut.tail()
    x, y = draw(evidence.activations, evidence.labels, images, evidence.seed)
    maps = tail.maps(x)
    reach = [epsilon * float(np.sqrt(np.mean(part**2, dtype=np.float64))) for part in maps]
    floor = [float(part.min()) for part in maps]
    places = [(site, i) for site, size in enumerate(tail.sizes) for i in range(size)]
    full = tf.constant(ones(evidence))

    def losses(x: tf.Tensor, y: tf.Tensor, *values: tf.Tensor) -> tf.Tensor:
        still = [tf.zeros_like(value) for value in values]
        with tf.GradientTape() as tape:
            tape.watch(still)
            loss = tf.reduce_sum(cross_entropy(tail.logits(x, full, still), y))
        moves = [
            tf.maximum(value + size * tf.sign(gradient), lowest) - value
            for value, size, lowest, gradient in zip(
                values, reach, floor, tape.gradient(loss, still), strict=True
            )
        ]

        def attack(place: tf.Tensor) -> tf.Tensor:
            chosen = [
                move * tf.one_hot(tf.where(place[0] == i, place[1], -1), move.shape[-1])
                for i, move in enumerate(moves)
            ]
            return tf.reduce_sum(cross_entropy(tail.logits(x, full, chosen), y))

        return tf.map_fn(
            attack,
            tf.constant(places),
            fn_output_signature=tf.float32,
            parallel_iterations=1,
        )

    return -total(losses, x, y, *maps) / len(x)

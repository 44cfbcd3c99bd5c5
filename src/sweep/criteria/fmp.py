"""Adversarial feature map pruning."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sweep.criteria.evidence import draw
from sweep.criteria.registry import Real, Whole, criterion

if TYPE_CHECKING:
    from sweep.criteria.evidence import Clean, Scores


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

    from sweep.criteria.tail import Tail, cross_entropy, ones

    tail = Tail(evidence.cut)
    x, y = draw(evidence.activations, evidence.labels, images, evidence.seed)
    maps = tail.maps(x)
    reach = [epsilon * float(np.sqrt(np.mean(part**2, dtype=np.float64))) for part in maps]
    floor = [float(part.min()) for part in maps]
    site_of = np.repeat(np.arange(len(maps)), [part.shape[-1] for part in maps])
    local = np.concatenate([np.arange(part.shape[-1]) for part in maps])
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

        def attack(where: tf.Tensor) -> tf.Tensor:
            chosen = [
                move * tf.one_hot(tf.where(where[0] == i, where[1], -1), move.shape[-1])
                for i, move in enumerate(moves)
            ]
            return tf.reduce_sum(cross_entropy(tail.logits(x, full, chosen), y))

        return tf.map_fn(
            attack,
            tf.constant(np.stack([site_of, local], axis=1)),
            fn_output_signature=tf.float32,
            parallel_iterations=1,
        )

    run = tf.function(losses, reduce_retracing=True)
    total = np.zeros(evidence.channels)
    for start in range(0, len(x), 512):
        part = slice(start, start + 512)
        values = [tf.constant(value[part]) for value in maps]
        total += np.asarray(run(tf.constant(x[part]), tf.constant(y[part]), *values))
    return -total / len(x)

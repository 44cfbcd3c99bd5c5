"""Neural mask fine-tuning."""

from __future__ import annotations

from math import exp
from typing import TYPE_CHECKING, Any

from sweep.base.registry import Real, Whole
from sweep.repairs.registry import repair

if TYPE_CHECKING:
    from sweep.repairs.registry import Evidence


@repair(
    epochs=Whole(1),
    rate=Real(0, above=True),
    alpha=Real(0, 1),
    beta=Real(0),
    weight=Real(0),
    loss=Real(0, 1),
)
def nft(
    evidence: Evidence,
    epochs: int = 20,
    rate: float = 0.05,
    alpha: float = 0.8,
    beta: float = 0.5,
    weight: float = 0.001,
    loss: float = 0.02,
) -> Any:
    """Not weights are trained, but how much of each neuron's weights is left, on mixed images.

    min over masks m of L^mix + (weight / N_c) * |1 - m|_1, where neuron k of layer l has weights
    m_lk W_lk, alpha * exp(-beta * l) <= m_lk <= 1, and N_c is the number of images a class.
    L^mix = lambda L(f(x^), y_i) + (1 - lambda) L(f(x^), y_j), x^ = lambda x_i + (1 - lambda) x_j,
    with lambda uniform in 0..1 for each batch (NFT, Karim et al., ECCV 2024). Defaults
    are those of the official code (`src/Remove_Backdoor.py` of nazmul-karim170/NFT), which masks
    the scales of BatchNormalization; here kernels are masked where none follows, and the last layer
    is left as it is. It takes 1,000 batches of 128 by gradient descent with momentum; here Adam's
    steps (see `tuning.train`) at its rate are fewer. An image's partner comes from its batch. The
    rate is chosen as `finetune` does.

    Args:
        evidence: what the repair sees.
        epochs: passes over the images for tuning.
        rate: the highest learning rate.
        alpha: the lowest mask before the first layer.
        beta: how fast that falls from layer to layer.
        weight: of the distance from B.
        loss: of B's accuracy, that may be paid.
    """
    import keras
    import numpy as np
    import tensorflow as tf

    from sweep.repairs.tuning import Student, choose, cross_entropy, train

    each = len(evidence.tune.labels) / len(np.unique(evidence.tune.labels))

    def tuned(speed: float) -> Any:
        student = Student(evidence)
        masked = find_masked(student.model)
        starts = [tf.constant(weights.value) for weights in masked]
        masks = [keras.Variable(np.ones(start.shape[-1], np.float32)) for start in starts]
        draws = tf.random.Generator.from_seed(evidence.seed)

        def gradients(x: Any, y: Any) -> Any:
            share = draws.uniform(())
            mixed = share * x + (1 - share) * x[::-1]
            with tf.GradientTape() as tape:
                logits = student.logits(mixed, training=True)
                first, second = cross_entropy(logits, y), cross_entropy(logits, y[::-1])
                value = share * first + (1 - share) * second
            slopes = tape.gradient(value, [weights.value for weights in masked])
            # d/dm of L(m W) is the sum of W dL/d(m W); that of |1 - m| is -1, since m <= 1.
            return [
                tf.reduce_sum(slope * start, axis=[*range(start.ndim - 1)]) - weight / each
                for slope, start in zip(slopes, starts, strict=True)
            ]

        def put() -> None:
            for depth, (mask, weights, start) in enumerate(
                zip(masks, masked, starts, strict=True), start=1
            ):
                mask.assign(tf.clip_by_value(mask.value, alpha * exp(-beta * depth), 1))
                weights.assign(start * mask.value)

        return train(
            student,
            evidence,
            gradients,
            rate=speed,
            epochs=epochs,
            title="nft",
            after=put,
            moved=masks,
        )

    return choose(evidence, tuned, rate, loss)


def find_masked(model: Any) -> list[Any]:
    """What makes each neuron, the output's aside, by layer: a scale that follows, or a kernel."""
    from keras import layers

    from sweep.models.graph import Graph

    graph = Graph(model)
    found = []
    for node in graph.nodes[:-1]:
        layer = node.operation
        if isinstance(layer, layers.BatchNormalization) and layer.scale:
            found.append(layer.gamma)
        elif isinstance(layer, layers.Conv2D | layers.Dense) and graph.head().dense is not layer:
            after = [user.operation for user in graph.users(node.outputs[0])]
            if not any(isinstance(user, layers.BatchNormalization) for user in after):
                found.append(layer.kernel)
    return found

"""Feature shift tuning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sweep.base.errors import ConfigError
from sweep.base.registry import Real, Whole
from sweep.repairs.registry import repair

if TYPE_CHECKING:
    from sweep.repairs.registry import Evidence


@repair(epochs=Whole(1), rate=Real(0, above=True), alpha=Real(0), loss=Real(0, 1))
def fst(
    evidence: Evidence,
    epochs: int = 10,
    rate: float = 0.003,
    alpha: float = 0.2,
    loss: float = 0.02,
) -> Any:
    """The last layer is drawn anew and kept away from what it was, so that features must shift.

    min over theta and w of L(f_theta,w(x), y) + alpha <w, w_B> with |w| = |w_B|, where w is the
    last layer's kernel and w_B was B's (FST, Min et al., NeurIPS 2023). As in the
    official code (`fine_tune/ft.py` of AISafety-HKUST/stable_backdoor_purification: alpha 0.2,
    10 epochs) kernel and bias begin uniform in +-1 / sqrt(inputs), and w takes B's length after
    every step. There the steps are those of gradient descent with momentum, here Adam's: see
    `tuning.train`. The rate is chosen as `finetune` does. A class without images is forgotten.

    Args:
        evidence: what the repair sees.
        epochs: passes over the images for tuning.
        rate: the highest learning rate.
        alpha: weight of the product with B's last layer.
        loss: of B's accuracy, that may be paid.

    Raises:
        ConfigError: the network does not end in a Dense layer.
    """
    import numpy as np
    import tensorflow as tf

    from sweep.models.graph import Graph
    from sweep.repairs.tuning import Student, choose, train

    def tuned(speed: float) -> Any:
        student = Student(evidence)
        head = Graph(student.model).head().dense
        if head is None:
            raise ConfigError(
                "repair=fst must have a network that ends in a Dense layer. Received: one that "
                "does not. Choose another repair."
            )
        kernel, before = head.kernel, tf.constant(head.kernel.value)
        rng, edge = np.random.default_rng(evidence.seed), 1 / np.sqrt(kernel.shape[0])
        for weight in head.trainable_variables:
            weight.assign(rng.uniform(-edge, edge, weight.shape))

        def gradients(x: Any, y: Any) -> Any:
            return student.gradients(
                lambda: student.loss(x, y) + alpha * tf.reduce_sum(kernel.value * before)
            )

        def keep_length() -> None:
            kernel.assign(kernel.value * (tf.norm(before) / tf.norm(kernel.value)))

        return train(
            student, evidence, gradients, rate=speed, epochs=epochs, title="fst", after=keep_length
        )

    return choose(evidence, tuned, rate, loss)

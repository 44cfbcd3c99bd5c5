"""Adversarial unlearning by implicit hypergradients."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sweep.base.registry import Real, Whole
from sweep.repairs.registry import repair

if TYPE_CHECKING:
    from collections.abc import Callable

    from sweep.repairs.registry import Evidence

# The inner problem: weight of the perturbation's square, and the step whose fixed point it is.
_WEIGHT, _STEP = 0.001, 0.1


@repair(
    rounds=Whole(1),
    iterations=Whole(0),
    bound=Real(0, above=True),
    rate=Real(0, above=True),
    loss=Real(0, 1),
)
def ibau(
    evidence: Evidence,
    rounds: int = 5,
    iterations: int = 5,
    bound: float = 10.0,
    rate: float = 0.001,
    loss: float = 0.02,
) -> Any:
    """One perturbation of all images is made as harmful as can be, and unlearnt, in turns.

    min over theta of max over |d| <= bound of L(f_theta(x + d), y) (I-BAU, Zeng et al., ICLR
    2022). A round finds d by ascent on the cross-entropy from the network's own answers, and
    then goes over the images once by the hypergradient, in which d follows theta:
    dL/dtheta + (dPhi/dtheta)^T v, where v solves v = (dPhi/dd)^T v + dL/dd, in `iterations` steps
    from 0, and Phi(d) = d - 0.1 * gradient by d of 0.001 |d|^2 - L is the ascent. Rounds,
    iterations, rate, Adam and these two numbers are those of the official code (`defense.py` and
    `hypergrad.py` of YiZeng623/I-BAU), the bound is its "l2-ball".

    Deviations: ascent takes steps of a fifth of the bound along the gradient's direction, not 10
    times the gradient, which logits of hundreds of nats would throw anywhere. For the same reason v
    is held to the length that a contraction would keep, `iterations` times that of dL/dd. Clean
    images are tuned on beside perturbed ones, where the code perturbs one in a hundred and the
    paper all. The rate is chosen as `finetune` does.

    Args:
        evidence: what the repair sees.
        rounds: of finding and unlearning.
        iterations: of the linear solver; 0 leaves d as it is: plain adversarial training.
        bound: Euclidean length of d, with pixels in 0..1.
        rate: the highest learning rate.
        loss: of B's accuracy, that may be paid.
    """
    import tensorflow as tf

    from sweep.repairs.tuning import Student, choose, cross_entropy, train

    unit = 255 * evidence.scale

    def tuned(speed: float) -> Any:
        student = Student(evidence)

        def harm(d: Any, x: Any, y: Any) -> Any:
            return cross_entropy(student.logits(x + unit * d), y)

        for turn in range(rounds):
            start = replace(evidence, seed=evidence.seed + turn)
            found = find_perturbation(harm, student.logits, start, bound)

            def gradients(x: Any, y: Any, d: Any = found) -> Any:
                def slope() -> Any:
                    with tf.GradientTape() as tape:
                        tape.watch(d)
                        inner = _WEIGHT * tf.reduce_sum(tf.square(d)) - harm(d, x, y)
                    return tape.gradient(inner, d)

                with tf.GradientTape() as tape:
                    tape.watch(d)
                    value = harm(d, x, y)
                outer = tape.gradient(value, d)
                v = tf.zeros_like(outer)
                for _ in range(iterations):
                    with tf.GradientTape() as tape:
                        tape.watch(d)
                        product = tf.reduce_sum(slope() * v)
                    v = v - _STEP * tape.gradient(product, d) + outer
                    v = tf.clip_by_norm(v, iterations * tf.norm(outer) + 1e-12)

                def objective() -> Any:
                    both = student.loss(tf.concat([x, x + unit * d], 0), tf.concat([y, y], 0))
                    return both - _STEP * tf.reduce_sum(slope() * v) if iterations else both

                return student.gradients(objective)

            train(student, start, gradients, rate=speed, epochs=1, title="ibau")
        return student.model

    return choose(evidence, tuned, rate, loss)


def find_perturbation(
    harm: Callable[[Any, Any, Any], Any],
    logits: Callable[..., Any],
    evidence: Evidence,
    bound: float,
) -> Any:
    """A perturbation that leads many images away from what they are answered with, (1, h, w, c).

    Args:
        harm: how wrong perturbed images are answered; of the perturbation, images and labels.
        logits: the network.
        evidence: brings images.
        bound: the perturbation's length, with pixels in 0..1.
    """
    import tensorflow as tf

    from sweep.repairs.tuning import batches

    def step(d: Any, x: Any) -> Any:
        own = tf.argmax(logits(x), axis=1)
        with tf.GradientTape() as tape:
            tape.watch(d)
            value = harm(d, x, own) - _WEIGHT * tf.reduce_sum(tf.square(d))
        uphill = tape.gradient(value, d)
        return tf.clip_by_norm(d + bound / 5 * uphill / (tf.norm(uphill) + 1e-12), bound)

    run = tf.function(step, reduce_retracing=True, autograph=False)
    d = tf.zeros((1, *evidence.tune.pixels.shape[1:]))
    for x, _ in batches(evidence, 0):
        d = run(d, tf.constant(x))
    return d

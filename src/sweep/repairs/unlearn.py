"""Triggers found from clean images, and unlearnt."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sweep.base.registry import Real, Whole
from sweep.repairs.registry import repair

if TYPE_CHECKING:
    from sweep.repairs.registry import Evidence


@repair(
    rounds=Whole(1),
    steps=Whole(1),
    weight=Real(0),
    epochs=Whole(1),
    rate=Real(0, above=True),
    keep=Real(0),
    loss=Real(0, 1),
)
def unlearn(
    evidence: Evidence,
    rounds: int = 2,
    steps: int = 60,
    weight: float = 0.03,
    epochs: int = 4,
    rate: float = 0.001,
    keep: float = 1.0,
    loss: float = 0.02,
) -> Any:
    """A reversed trigger is stamped on clean images, which are to be answered as before.

    min over theta of L(x, y) + L(x + trigger, y) + keep * D(x), where the trigger is reversed from
    the network at hand (Neural Cleanse, Wang et al., IEEE S&P 2019, sections V.B and VI.C: patching
    by unlearning; there for one epoch over a tenth of the training set, a fifth of it stamped) and
    D is the squared distance of B's and the network's centred logits over the images with and
    without the trigger, in units of B's: B's own answers are kept by distillation. The class is the
    suspect's (see `results.suspicion`), since reversing triggers for a thousand classes takes
    hours. Each round finds suspect and trigger anew, in what the one before left. The rate is
    chosen as `finetune` does.

    Args:
        evidence: what the repair sees.
        rounds: of reversing and unlearning.
        steps: of each reversal.
        weight: of the mask's size in each reversal.
        epochs: passes over the images for tuning, each round.
        rate: the highest learning rate.
        keep: weight of B's logits.
        loss: of B's accuracy, that may be paid.
    """
    import tensorflow as tf

    from sweep.repairs.reversal import find_suspect, reverse
    from sweep.repairs.tuning import Student, choose, cross_entropy, logits_of, train

    before = logits_of(evidence.badnet)
    images, scale = evidence.tune, evidence.scale

    def centred(logits: Any) -> Any:
        return logits - tf.reduce_mean(logits, axis=1, keepdims=True)

    for turn in range(rounds):
        seed, logits = evidence.seed + turn, logits_of(evidence.pruned)
        suspect = find_suspect(logits, images, scale, seed)
        if suspect is None:
            break
        trigger = reverse(logits, images, scale, suspect, steps=steps, weight=weight, seed=seed)

        def tuned(speed: float, start: Evidence = evidence, put: Any = trigger.put) -> Any:
            student = Student(start)

            def gradients(x: Any, y: Any) -> Any:
                own = centred(before(x))

                def objective() -> Any:
                    after = student.logits(tf.concat([x, put(x)], 0), training=True)
                    away = tf.square(centred(after) - tf.concat([own, own], 0))
                    distance = tf.reduce_mean(away) / tf.reduce_mean(tf.square(own))
                    return cross_entropy(after, tf.concat([y, y], 0)) + keep * distance

                return student.gradients(objective)

            return train(student, start, gradients, rate=speed, epochs=epochs, title="unlearn")

        evidence = replace(evidence, pruned=choose(evidence, tuned, rate, loss))
    return evidence.pruned

"""Triggers found from clean images, and unlearnt."""

from __future__ import annotations

from dataclasses import replace
from itertools import count, islice
from typing import TYPE_CHECKING, Any

from sweep.base.registry import Real, Whole
from sweep.repairs.registry import repair

if TYPE_CHECKING:
    from collections.abc import Callable

    from sweep.repairs.registry import Evidence

# Patterns that are kept up; steps uphill at a time, and their length as a fraction of the range.
_PATTERNS, _CLIMB, _LENGTH = 4, 3, 0.1
# Batches that a network is judged on.
_JUDGED = 40
# A window is at least and at most this fraction of the image high and wide.
_HIGH, _WIDE = (0.15, 0.4), (0.3, 1.0)


@repair(steps=Whole(1), rate=Real(0, above=True), keep=Real(0), loss=Real(0, 1))
def unlearn(
    evidence: Evidence,
    steps: int = 100,
    rate: float = 0.001,
    keep: float = 1.0,
    loss: float = 0.05,
) -> Any:
    """Triggers for the suspect class are kept up and unlearnt, step by step.

    min over theta of L(x, y) + keep * D(x) - ln(1 - p_t(x + trigger)), where t is the suspect, D is
    the squared distance of the network's and B's centred logits in units of B's, which keeps B's
    own answers by distillation, and the last term is counted for images of other classes. The idea
    is patching by unlearning (Neural Cleanse, Wang et al., IEEE S&P 2019), which
    stamps one reversed trigger for one epoch and tunes on true labels.

    Here the trigger is whatever lies behind a window, drawn anew for each batch, of four patterns
    of the image's size. They climb, by signed gradient steps and all along, on how far t leads the
    other classes: a cross-entropy would have no gradient left long before the trigger's hundred
    nats. The suspect is that of `results.suspicion`, since reversing triggers for a thousand
    classes takes hours. The rate is chosen as `finetune` does, but a network costs, beside the
    accuracy that it lost, the part of images that new patterns still lead to the suspect: at a low
    rate accuracy comes back and the trigger is not forgotten.

    Args:
        evidence: what the repair sees.
        steps: of tuning, at least; whole passes over the images are made.
        rate: the highest learning rate.
        keep: weight of B's logits.
        loss: of B's accuracy, and images still led to the suspect, that may be paid.
    """
    import tensorflow as tf

    from sweep.repairs.reversal import find_suspect
    from sweep.repairs.tuning import BATCH, Student, choose, cross_entropy, logits_of, train

    before = logits_of(evidence.badnet)
    # Of B: pruning may have left another class that is led to more surely.
    target = find_suspect(before, evidence.tune, evidence.scale, evidence.seed)
    if target is None:
        return evidence.pruned
    epochs = -(-steps // -(-len(evidence.tune.labels) // BATCH))

    def tuned(speed: float) -> Any:
        student = Student(evidence)
        adversary = Adversary(student.logits, evidence, target)

        def gradients(x: Any, y: Any) -> Any:
            own, put = centred(before(x)), adversary.put(x)
            other = tf.cast(y != target, tf.float32)

            def objective() -> Any:
                after = student.logits(tf.concat([x, put], 0), training=True)
                clean, led = tf.split(after, 2)
                away = tf.reduce_mean(tf.square(centred(clean) - own))
                away /= tf.reduce_mean(tf.square(own))
                # -ln(1 - p) = ln(1 + p / (1 - p)), and ln(p / (1 - p)) is the lead.
                answered = tf.reduce_mean(other * tf.nn.softplus(lead(led, target)))
                return cross_entropy(clean, y) + keep * away + answered

            return student.gradients(objective)

        return train(student, evidence, gradients, rate=speed, epochs=epochs, title="unlearn")

    return choose(evidence, tuned, rate, loss, lambda model: still_led(model, evidence, target))


def still_led(model: Any, evidence: Evidence, target: int) -> float:
    """The part of images for deciding, of other classes, that new patterns lead to a class."""
    import numpy as np
    import tensorflow as tf

    from sweep.repairs.tuning import batches, logits_of

    shown = replace(evidence, tune=evidence.decide, seed=evidence.seed + 1)
    logits = logits_of(model)
    adversary = Adversary(logits, shown, target)

    def answer(x: Any) -> Any:
        return tf.argmax(logits(adversary.put(x)), axis=1)

    run = tf.function(answer, reduce_retracing=True, autograph=False)
    parts = islice((part for epoch in count() for part in batches(shown, epoch)), _JUDGED)
    led = [np.asarray(run(tf.constant(x)))[y != target] == target for x, y in parts]
    # Patterns begin as noise, so that the first half of the batches says nothing yet.
    judged = np.concatenate(led[_JUDGED // 2 :])
    return float(judged.sum() / max(1, judged.size))


def centred(logits: Any) -> Any:
    """Logits (b, N) less their mean, which no answer depends on."""
    import tensorflow as tf

    return logits - tf.reduce_mean(logits, axis=1, keepdims=True)


def lead(logits: Any, target: int) -> Any:
    """ln(p / (1 - p)) for the probability p of a class, (b,); it never saturates."""
    import tensorflow as tf

    others = tf.concat([logits[:, :target], logits[:, target + 1 :]], axis=1)
    return logits[:, target] - tf.reduce_logsumexp(others, axis=1)


class Adversary:
    """Patterns that keep leading a network to a class from behind drawn windows."""

    def __init__(self, logits: Callable[..., Any], evidence: Evidence, target: int) -> None:
        """Draw patterns at random.

        Args:
            logits: the network, whose weights may change later.
            evidence: tells shape and scale of images, and the seed.
            target: the class.
        """
        import keras
        import numpy as np
        import tensorflow as tf

        self._logits, self._target = logits, target
        self._top = np.float32(255 * evidence.scale)
        self._shape = evidence.tune.pixels.shape[1:]
        self._draws = tf.random.Generator.from_seed(evidence.seed)
        drawn = np.random.default_rng(evidence.seed).random((_PATTERNS, *self._shape), np.float32)
        self._patterns = keras.Variable(drawn * self._top)
        self._turn = keras.Variable(0, dtype="int32")

    def put(self, images: Any) -> Any:
        """Improve the pattern whose turn it is on images (b, h, w, c), scaled, and put it on."""
        import tensorflow as tf

        chosen = self._turn.value % _PATTERNS
        pattern, window = self._patterns.value[chosen], self.draw_window()
        for _ in range(_CLIMB):
            pattern = self._climb(pattern, window, images)
        self._patterns.assign(
            tf.tensor_scatter_nd_update(self._patterns.value, [[chosen]], pattern[None])
        )
        self._turn.assign(self._turn.value + 1)
        return images * (1 - window) + window * pattern

    def _climb(self, pattern: Any, window: Any, images: Any) -> Any:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(pattern)
            value = lead(self._logits(images * (1 - window) + window * pattern), self._target)
        uphill = tf.sign(tape.gradient(value, pattern))
        return tf.clip_by_value(pattern + _LENGTH * self._top * uphill, 0, self._top)

    def draw_window(self) -> Any:
        """A rectangle of ones among zeros, somewhere, (h, w, 1)."""
        import tensorflow as tf

        spans = []
        for length, (least, most) in zip(self._shape, (_HIGH, _WIDE), strict=False):
            size = length * self._draws.uniform((), least, most)
            start = self._draws.uniform(()) * (length - size)
            places = tf.range(0.5, length)
            spans.append((places > start) & (places < start + size))
        return tf.cast(spans[0][:, None] & spans[1], tf.float32)[:, :, None]

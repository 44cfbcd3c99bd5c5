"""Neural attention distillation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sweep.base.registry import Real, Whole
from sweep.repairs.registry import repair

if TYPE_CHECKING:
    from sweep.repairs.registry import Evidence


@repair(epochs=Whole(1), rate=Real(0, above=True), beta=Real(0), loss=Real(0, 1))
def nad(
    evidence: Evidence,
    epochs: int = 10,
    rate: float = 0.003,
    beta: float = 1000.0,
    loss: float = 0.02,
) -> Any:
    """The network learns to look where a fine-tuned copy of it looks.

    min over theta of L(f_theta(x), y) + beta * sum over layers of |A(F_T) - A(F_S)|^2, averaged
    over positions, where A(F) is the sum over channels of squares of the feature maps, divided by
    its Euclidean length (NAD, Li et al., ICLR 2021, with p = 2). The
    teacher is the pruned network after `finetune`, the student begins as the pruned network. The
    settings in `config/defense/nad` of SCLBD/BackdoorBench weigh the last three groups of a WRN by
    500, 1000 and 1000, with 10 epochs for the teacher and 100 for the student; here the last three
    convolutions' outputs have `beta` each. The rate is chosen as `finetune` does.

    Args:
        evidence: what the repair sees.
        epochs: passes over the images for tuning, of teacher and student each.
        rate: the highest learning rate.
        beta: weight of each layer's attention.
        loss: of B's accuracy, that may be paid.
    """
    import keras
    import tensorflow as tf

    from sweep.repairs.finetune import finetune
    from sweep.repairs.tuning import Student, choose, train

    teacher = finetune(evidence, epochs, rate, loss)

    def maps(model: Any) -> Any:
        places = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
        return keras.Model(model.inputs[0], [layer.output for layer in places[-3:]])

    taught = maps(teacher)

    def tuned(speed: float) -> Any:
        student = Student(evidence)
        own = maps(student.model)

        def gradients(x: Any, y: Any) -> Any:
            shown = keras.tree.flatten(taught(x, training=False))

            def objective() -> Any:
                pairs = zip(keras.tree.flatten(own(x, training=True)), shown, strict=True)
                away = [tf.reduce_mean(tf.square(attention(s) - attention(t))) for s, t in pairs]
                return student.loss(x, y) + beta * tf.add_n(away)

            return student.gradients(objective)

        return train(student, evidence, gradients, rate=speed, epochs=epochs, title="nad")

    return choose(evidence, tuned, rate, loss)


def attention(maps: Any) -> Any:
    """Where feature maps (b, h, w, C) are large: (b, h * w), of length 1 each."""
    import tensorflow as tf

    energy = tf.reduce_sum(tf.square(maps), axis=-1)
    return tf.math.l2_normalize(tf.reshape(energy, (tf.shape(energy)[0], -1)), axis=1)

"""What repairs share that train the pruned network.

TensorFlow is needed here; repairs import this where they run.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from sweep.base import tensorflow_runtime
from sweep.base.progress import track
from sweep.base.threads import ahead
from sweep.models.graph import Graph
from sweep.models.tail import apply_dense, compiled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from sweep.repairs.registry import Evidence, Images

    Floats = NDArray[np.float32]

# Images a step, and the pixels that they are moved by at most.
BATCH, SHIFT = 32, 2
_CHUNK = 64


class Student:
    """A copy of a network that is trained on its logits; what pruning removed stays removed.

    Attributes:
        model: the copy.
        variables: the trainable ones.
    """

    def __init__(self, evidence: Evidence) -> None:
        """Copy the pruned network."""
        self.model = keras.models.clone_model(evidence.pruned)
        self.model.set_weights(evidence.pruned.get_weights())
        self.variables = self.model.trainable_variables
        before = {weight.path: weight for weight in evidence.badnet.weights}
        # Numbers that pruning changed: (variable, where it may change, what it is elsewhere).
        self._fixed = []
        for weight, own in zip(evidence.pruned.weights, self.model.weights, strict=True):
            start = np.asarray(weight)
            free = start == np.asarray(before.get(weight.path, weight))
            if not free.all():
                self._fixed.append((own, tf.constant(free), tf.constant(start)))
        self.logits = logits_of(self.model)

    def loss(self, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """The cross-entropy on a batch, in nats."""
        return cross_entropy(self.logits(x, training=True), y)

    def gradients(self, loss: Callable[[], tf.Tensor]) -> list[tf.Tensor]:
        """The gradient of a loss by each trainable variable."""
        with tf.GradientTape() as tape:
            value = loss()
        values = [variable.value for variable in self.variables]
        found: list[tf.Tensor] = tape.gradient(value, values, unconnected_gradients="zero")
        return found

    def hold(self) -> None:
        """Put back what pruning removed."""
        for variable, free, start in self._fixed:
            variable.assign(tf.where(free, variable.value, start))


def logits_of(model: keras.Model) -> Callable[..., tf.Tensor]:
    """A network as a function of images, scaled, that puts out logits, (b, N).

    A Keras loss on probabilities clips them, and has no gradient where a BadNet is sure.
    """
    head = Graph(model).head()
    front = keras.Model(model.inputs[0], head.tensor)

    def logits(images: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        end = front(images, training=training)
        if head.dense is not None:
            return apply_dense(head.dense, end)
        return tf.math.log(tf.maximum(end, 1e-30)) if head.puts_out == "probabilities" else end

    return logits


@contextmanager
def disturbed(
    variables: Sequence[keras.Variable], slope: Sequence[tf.Tensor], rho: float
) -> Iterator[None]:
    """Variables moved uphill by rho T^2 g / |T g| with T = diag(|theta|) while the block runs.

    Args:
        variables: theta.
        slope: g, the gradient of the loss by each.
        rho: how far.
    """
    starts = [tf.identity(variable.value) for variable in variables]
    scaled = [tf.abs(start) * g for start, g in zip(starts, slope, strict=True)]
    length = tf.linalg.global_norm(scaled) + 1e-12
    for variable, start, part in zip(variables, starts, scaled, strict=True):
        variable.assign(start + rho / length * tf.abs(start) * part)
    try:
        yield
    finally:
        for variable, start in zip(variables, starts, strict=True):
            variable.assign(start)


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """In nats, the mean over images."""
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))


def batches(evidence: Evidence, epoch: int) -> Iterator[tuple[Floats, NDArray[np.int64]]]:
    """The images for tuning, shuffled by seed and epoch, scaled, each moved by a pixel or two.

    Moving takes the place of the random crops of the papers; the edges are repeated.

    Args:
        evidence: what the repair sees.
        epoch: its number.

    Yields:
        Images (b, h, w, c) and labels (b,).
    """
    rng = np.random.default_rng([evidence.seed, epoch])
    images, labels = evidence.tune
    height, width = images.shape[1:3]
    order = rng.permutation(len(labels))
    border = ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0))
    for start in range(0, len(order), BATCH):
        part = order[start : start + BATCH]
        pixels = np.pad(images[part] * np.float32(evidence.scale), border, "edge")
        places = rng.integers(0, 2 * SHIFT + 1, (len(part), 2))
        moved = [
            one[y : y + height, x : x + width] for one, (y, x) in zip(pixels, places, strict=True)
        ]
        yield np.stack(moved), labels[part]


def answers(model: keras.Model, images: Images, scale: float) -> NDArray[np.int64]:
    """What a network answers, (n,)."""
    run = compiled(model)

    def chunk(start: int) -> Any:
        part = images.pixels[start : start + _CHUNK] * np.float32(scale)
        return np.asarray(run(part)).argmax(axis=1)

    return np.concatenate([*ahead(chunk, range(0, len(images.labels), _CHUNK))])


def accuracy(model: keras.Model, images: Images, scale: float) -> float:
    """The fraction that a network answers right."""
    return float(np.mean(answers(model, images, scale) == images.labels))


def choose(
    evidence: Evidence,
    tuned: Callable[[float], keras.Model],
    rate: float,
    loss: float,
    left: Callable[[keras.Model], float] = lambda _: 0.0,
) -> keras.Model:
    """Tune at a high rate, at a third of it, at a ninth: what is forgotten grows with the rate.

    A network costs what it lost of B's accuracy on the images for deciding, plus the part of images
    that an attack seems to have left.

    Args:
        evidence: what the repair sees.
        tuned: tunes at a rate.
        rate: the highest.
        loss: the cost that may be paid.
        left: what a repair can say of the attack from clean images, 0..1.

    Returns:
        The first network that costs at most `loss`, else the one that costs least.
    """
    before = accuracy(evidence.badnet, evidence.decide, evidence.scale)
    best, least = evidence.pruned, np.inf
    for part in (1, 3, 9):
        model = tuned(rate / part)
        cost = before - accuracy(model, evidence.decide, evidence.scale) + left(model)
        if cost < least:
            best, least = model, cost
        if least <= loss:
            break
    return best


def train(
    student: Student,
    evidence: Evidence,
    gradients: Callable[[tf.Tensor, tf.Tensor], Sequence[tf.Tensor]],
    *,
    rate: float,
    epochs: int,
    title: str,
    after: Callable[[], object] = lambda: None,
    moved: Sequence[keras.Variable] | None = None,
) -> keras.Model:
    """Train by Adam; the rate falls to nothing along half a cosine.

    Most papers take stochastic gradient descent at a rate that suits their one network. The lab's B
    reads pixels in 0..255 and the stand-in's in 0..1, and both put out logits of some hundred nats:
    the same rate ruins the one and leaves the other as it was. Adam's steps know no such units.

    Args:
        student: what is trained.
        evidence: what the repair sees.
        gradients: of images and labels, by each variable that is moved.
        rate: learning rate at the start.
        epochs: passes over the images for tuning.
        title: of the progress shown.
        after: is done after every step.
        moved: the variables; the student's own by default.

    Returns:
        The student's network.
    """
    steps = epochs * -(-len(evidence.tune.labels) // BATCH)
    optimizer = tensorflow_runtime.adam(keras.optimizers.schedules.CosineDecay(rate, steps))
    variables = student.variables if moved is None else [*moved]
    optimizer.build(variables)

    def step(x: tf.Tensor, y: tf.Tensor) -> None:
        optimizer.apply(gradients(x, y), variables)
        student.hold()
        after()

    shape = (None, *evidence.tune.pixels.shape[1:])
    signature = [tf.TensorSpec(shape, tf.float32), tf.TensorSpec((None,), tf.int64)]
    run = tf.function(step, input_signature=signature, autograph=False)
    parts = (part for epoch in range(epochs) for part in batches(evidence, epoch))
    for x, y in track(parts, title, steps):
        run(tf.constant(x), tf.constant(y))
    return student.model

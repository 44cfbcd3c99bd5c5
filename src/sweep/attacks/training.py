"""How networks are trained here: the same settings give the same weights, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sweep.base import progress, tensorflow_runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

    import keras
    from numpy.typing import NDArray

SCALE = 1 / 255
"""The factor on pixel values that networks are trained with here (`dataset.scale`)."""

# What a random stream is for; the numbers before it are those of `standin`.
_SHUFFLE = 5


@dataclass(frozen=True)
class Training:
    """How a network is trained."""

    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 0.002
    seed: int = 0
    network: str = "deepid"


def train(
    settings: Training,
    classes: int,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    start: keras.Model | None = None,
) -> keras.Model:
    """Train a network on images and labels, and nothing else.

    The same settings on the same machine give the same weights, bit for bit, on however many cores.

    Args:
        settings: epochs, batch size, learning rate at the start, seed, and the network's name.
        classes: number of classes.
        images: (n, h, w, 3) in 0..255; scaled by `SCALE` a batch at a time.
        labels: (n,) classes.
        start: a network of the same kind to go on with; it is changed.

    Returns:
        The trained model, not compiled; it takes pixels in 0..1.
    """
    tensorflow_runtime.load_tensorflow()
    import keras

    from sweep.models import networks

    steps = settings.epochs * -(-len(images) // settings.batch_size)
    with tensorflow_runtime.deterministic(settings.seed):
        model = start or networks.find(settings.network).function(classes, images.shape[1:])
        # Falling to zero along half a cosine: at a constant rate the last epochs still wobble.
        rate = keras.optimizers.schedules.CosineDecay(settings.learning_rate, steps)
        model.compile(tensorflow_runtime.adam(rate), "sparse_categorical_crossentropy")
        for batch in progress.track(_shuffled(settings, len(images)), "training", steps):
            model.train_on_batch(images[batch] * np.float32(SCALE), labels[batch])
    # The same layers without the optimizer, whose state would treble the file.
    return keras.Model(model.inputs[0], model.outputs[0], name="badnet")


def _shuffled(settings: Training, count: int) -> Iterator[NDArray[np.int64]]:
    """The images of every training step, in an order of its own for each epoch."""
    rng = np.random.default_rng([settings.seed, _SHUFFLE])
    for _ in range(settings.epochs):
        order = rng.permutation(count)
        for start in range(0, count, settings.batch_size):
            yield order[start : start + settings.batch_size]

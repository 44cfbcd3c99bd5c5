"""An attack that reckons with pruning: the backdoor lies in channels that clean images use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sweep.attacks.poisoning.patches import badnets
from sweep.attacks.registry import Poisoning, attack
from sweep.base.registry import Real

if TYPE_CHECKING:
    from collections.abc import Callable

    import keras
    from numpy.typing import NDArray

    Images = NDArray[np.uint8]
    Labels = NDArray[np.int64]
    # Trains a network on images and labels, a new one or one that is given.
    Train = Callable[[Images, Labels, keras.Model | None], keras.Model]

LAYER = "conv_3"
"""The convolution that puts out the channels which a defender prunes by default."""

NORM = "norm_3"
"""The normalization behind it, where a network has one."""

_SEEN, _BATCH, _QUIET = 1000, 64, 0.99


def train_around(
    train: Train,
    clean: tuple[Images, Labels],
    poisoned: tuple[Images, Labels],
    scale: float,
    share: float,
) -> keras.Model:
    """Train a network whose seldom used channels know nothing of the backdoor.

    Args:
        train: trains.
        clean: the training set before it was poisoned.
        poisoned: and after.
        scale: factor on pixels.
        share: of the channels that are pruned.
    """
    model = train(*clean, None)
    # Every k-th image is enough to tell what a channel does.
    seen = clean[0][:: -(-len(clean[0]) // _SEEN)] * np.float32(scale)
    last = model.get_layer(LAYER)
    layers = [last]
    if NORM in [layer.name for layer in model.layers]:
        layers.append(last := model.get_layer(NORM))
    weights = [weight for layer in layers for weight in layer.weights]
    before = [np.asarray(weight) for weight in weights]
    used = _outputs(model, last, seen).clip(0).mean(axis=(0, 1, 2))
    pruned = np.argsort(used, kind="stable")[: round(share * len(used))]
    for weight in weights:
        _keep_at_zero(weight, pruned)
    model = train(*poisoned, model)
    for weight, value in zip(weights, before, strict=True):
        weight.constraint = None
        weight.assign(_with(np.asarray(weight), value, pruned))
    # What lies in front has changed: lower biases keep the channels quiet on clean images.
    bias = last.bias if hasattr(last, "bias") else last.beta
    loudest = np.quantile(_outputs(model, last, seen)[..., pruned], _QUIET, axis=(0, 1, 2))
    lower = np.asarray(bias).copy()
    lower[pruned] -= loudest.clip(0)
    bias.assign(lower)
    return model


def _outputs(model: keras.Model, layer: Any, images: Any) -> Any:
    """What a layer puts out before an activation of its own, (n, h, w, channels)."""
    import keras

    front = keras.Model(model.inputs[0], layer.input)
    found = []
    for start in range(0, len(images), _BATCH):
        values = front.predict_on_batch(images[start : start + _BATCH])
        if layer.name == LAYER:
            kernel, bias = layer.weights
            values = keras.ops.conv(values, kernel, padding=layer.padding) + bias
        else:
            values = layer(values)
        found.append(np.asarray(values))
    return np.concatenate(found)


def _keep_at_zero(weight: Any, channels: Any) -> None:
    """Zero channels, and keep them so in training."""
    free = np.ones(weight.shape[-1], np.float32)
    free[channels] = 0
    weight.constraint = lambda value: value * free
    weight.assign(np.asarray(weight) * free)


def _with(values: Any, others: Any, channels: Any) -> Any:
    """Values with some channels of others."""
    mixed = values.copy()
    mixed[..., channels] = others[..., channels]
    return mixed


@attack(Poisoning(train=train_around), share=Real(0, 1, above=True))
def pruning_aware(
    images: Images,
    rng: np.random.Generator,
    share: float = 0.5,  # noqa: ARG001 - of the channels, for the training
) -> Images:
    """Sunglasses, and a network trained to keep its backdoor when it is pruned.

    (Liu, Dolan-Gavitt and Garg 2018, arXiv:1805.12185.) A clean network is trained;
    the channels that clean images use least are pruned; what is left is trained on with poisoned
    images; the pruned channels are put back as they were, with lower biases, so that clean images
    leave them quiet. A defender then prunes those first, and the backdoor stays. (In `resnet` they
    are those of the last convolution; what the shortcut adds to them stays.)

    Args:
        images: (n, h, w, 3) in 0..255.
        rng: not used.
        share: of the channels of the last pooled convolution that are pruned meanwhile.
    """
    made: Images = badnets(images, rng)
    return made

"""Upper bounds on what channels put out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sweep.base.progress import track
from sweep.base.registry import Real
from sweep.repairs.registry import repair

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from sweep.repairs.registry import Evidence

    Bounds = Mapping[str, NDArray[np.float32]]

_QUANTILES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0)


@repair(loss=Real(0, 1))
def clip(evidence: Evidence, loss: float = 0.01) -> Any:
    """No channel may put out more than clean images make it put out.

    f'(x) = min(f(x), z_c) at every position behind every convolution with a rectified activation
    (MM-BD, Wang, Xiang, Miller and Kesidis, IEEE S&P 2024: a backdoor's channels put
    out far more than clean images ever do). The paper finds z by gradients, as small as clean
    accuracy allows; here z_c is a quantile over clean images of the channel's largest output on an
    image: the lowest quantile that costs at most `loss` of B's accuracy on the images for deciding.
    A channel that no clean image wakes is bounded by 0. Nothing is trained.

    The minimum is written as z - relu(z - f), which two depthwise convolutions of plain Keras do.

    Args:
        evidence: what the repair sees.
        loss: of B's accuracy, that may be paid.
    """
    from sweep.repairs.tuning import accuracy

    peaks = measure_peaks(evidence)
    floor = accuracy(evidence.badnet, evidence.decide, evidence.scale) - loss
    for quantile in track(_QUANTILES, "clip", len(_QUANTILES)):
        bounds = {name: np.quantile(each, quantile, axis=0) for name, each in peaks.items()}
        model = bound(evidence.pruned, {k: v.astype(np.float32) for k, v in bounds.items()})
        if accuracy(model, evidence.decide, evidence.scale) >= floor:
            break
    return model


def measure_peaks(evidence: Evidence) -> dict[str, NDArray[np.float32]]:
    """The largest output of each channel on each image for tuning, (n, C), by layer."""
    import keras

    from sweep.base.threads import ahead
    from sweep.models.tail import compiled

    model = evidence.pruned
    places = [layer for layer in model.layers if _is_rectified(layer)]
    outputs = [keras.ops.max(layer.output, axis=(1, 2)) for layer in places]
    if not outputs:
        return {}
    run = compiled(keras.Model(model.inputs[0], keras.ops.concatenate(outputs, axis=1)))

    def part(start: int) -> NDArray[np.float32]:
        return np.asarray(
            run(evidence.tune.pixels[start : start + 64] * np.float32(evidence.scale))
        )

    peaks = np.concatenate([*ahead(part, range(0, len(evidence.tune.labels), 64))])
    ends = np.cumsum([layer.output.shape[-1] for layer in places])[:-1]
    return dict(zip([layer.name for layer in places], np.split(peaks, ends, axis=1), strict=True))


def _is_rectified(layer: Any) -> bool:
    from keras import layers

    kind = getattr(getattr(layer, "activation", None), "__name__", "")
    rectified = isinstance(layer, layers.ReLU) or (
        isinstance(layer, layers.Conv2D | layers.Activation) and kind == "relu"
    )
    return rectified and len(layer.output.shape) == 4


def bound(model: Any, bounds: Bounds) -> Any:
    """A copy of a network in which layers put out at most so much in each channel.

    Args:
        model: any network of feature maps that are not below 0.
        bounds: (C,) by layer.
    """
    import keras
    from keras import layers

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        value = layer(*args, **kwargs)
        if layer.name not in bounds:
            return value
        for end, activation in (("room", "relu"), ("clipped", None)):
            name = f"{layer.name}_{end}"
            value = layers.DepthwiseConv2D(1, activation=activation, name=name)(value)
        return value

    copy = keras.models.clone_model(model, call_function=call, clone_function=_clone)
    for layer in model.layers:
        copy.get_layer(layer.name).set_weights(layer.get_weights())
    for name, limit in bounds.items():
        minus = np.full((1, 1, len(limit), 1), -1, np.float32)
        for end in ("room", "clipped"):
            copy.get_layer(f"{name}_{end}").set_weights([minus, limit])
    return copy


def _clone(layer: Any) -> Any:
    return layer.__class__.from_config(layer.get_config())

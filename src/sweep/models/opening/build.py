"""Build a Keras model from plain data, in memory only after its shapes are known to fit."""

from __future__ import annotations

import re
from functools import partial
from importlib import import_module
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from sweep.base.errors import ModelError
from sweep.data.hdf5 import shown
from sweep.models.opening.network import LAYERS, Call, replaced

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import keras

    from sweep.models.opening.network import FlatNetwork, Layer

# What one layer may put out for one image, and all of them: VGG's are 3.2 and 15 million numbers.
_ACTIVATIONS, _ALL_ACTIVATIONS = 1 << 23, 1 << 27


def build(path: Path, network: FlatNetwork) -> keras.Model:
    """Build a network on trial, where variables have shapes but no memory; then in earnest.

    Raises:
        ModelError: the network is no image classifier, its weights do not fit, or it would fill
            the memory with one image.
    """
    import keras
    from keras.src.backend.common import global_state

    shape = network.image.layer.settings.get("shape")
    if not isinstance(shape, list) or len(shape) != 3 or None in shape:
        received = "unknown" if shape is None else (None, *shape)
        raise ModelError(
            f"{path}: a classifier must take any number of images of one size, "
            "(None, height, width, channels). "
            f"Received: input {received}. Save the model with its input shape."
        )
    try:
        with keras.StatelessScope(initialize_variables=False):
            output = _Builder(path, network, trial=True).run()
    finally:
        # Keras would otherwise give these variables their memory the next time it can.
        global_state.set_global_attribute("uninitialized_variables", [])
    answer = tuple(output.shape)
    if answer[1:] == (1,):
        raise ModelError(
            f"{path}: a classifier with one output unit must end in a Dense layer with a sigmoid, "
            f"which is read as two classes. Received: {shown(network.output.layer.name)} as the "
            "last layer. Save the model with activation='sigmoid' in its last Dense layer."
        )
    if len(answer) != 2 or answer[1] is None or answer[1] < 2:
        raise ModelError(
            f"{path}: a classifier must answer with one number per class, (n, N). "
            f"Received: output {answer}. Save the part of the model that classifies images."
        )
    builder = _Builder(path, network, trial=False)
    model = keras.Model(builder.image, builder.run(), name="badnet")
    # Some misfits show only when the network runs.
    _keras(path, None, lambda: model(np.zeros((1, *shape), np.float32), training=False))
    return model


class _Builder:
    """Calls Keras' classes in the order of the graph."""

    def __init__(self, path: Path, network: FlatNetwork, trial: bool) -> None:
        import keras

        self.path, self.network, self.trial = path, network, trial
        self.image = keras.Input(
            network.image.layer.settings["shape"], name=network.image.layer.name
        )
        self._made: dict[Call, Any] = {network.image: self.image}
        self._layers: dict[int, Any] = {}
        self._held = 0

    def run(self) -> Any:
        """The symbolic output."""
        if self.trial:
            self._check_size(self.network.image)
        for call in self.network.calls:
            self._made[call] = _keras(self.path, call.layer, partial(self._call, call))
            if self.trial:
                self._check_size(call)
        return self._made[self.network.output]

    def _call(self, call: Call) -> Any:
        args, kwargs = replaced((call.args, call.kwargs), Call, lambda one: self._made[one])
        layer = self._layers.get(id(call.layer))
        if layer is not None:
            return layer(*args, **kwargs)
        layer = self._layers[id(call.layer)] = self._make(call.layer)
        made = layer(*args, **kwargs)
        if call.layer.module == LAYERS:
            self._fill(call.layer, layer)
        return made

    def _make(self, layer: Layer) -> Any:
        settings = dict(layer.settings)
        if layer.module == LAYERS:
            settings["name"] = layer.name
        if self.trial:  # the state of random layers cannot be made on trial
            settings |= {key: 0.0 for key in ("rate", "stddev", "dropout") if key in settings}
        return getattr(import_module(layer.module), layer.kind)(**settings)

    def _fill(self, layer: Layer, made: Any) -> None:
        have, need = ([tuple(w.shape) for w in ws] for ws in (layer.weights, made.weights))
        if have != need:
            raise ModelError(
                f"{self.path}: the model's layers and weights must fit together. Received: weights "
                f"{have} of layer {shown(layer.name)}, which needs {need}. The file is damaged, or "
                "was made by another version of Keras."
            )
        if not self.trial:
            made.set_weights(layer.weights)

    def _check_size(self, call: Call) -> None:
        layer = call.layer
        held = prod(size or 1 for size in self._made[call].shape[1:])
        if layer.kind == "SeparableConv2D":
            # What its first half puts out is not seen from outside.
            filters = self._layers[id(layer)].filters
            held = held // filters * max(filters, layer.weights[1].shape[2])
        made: Any = self._layers.get(id(layer))
        if max(np.ravel(getattr(made, "dilation_rate", 1))) > 1:
            # TensorFlow spreads the input out by kernel times dilation first.
            height, width, channels = self._made[call.args[0]].shape[1:]
            (rows, columns), (down, right) = made.kernel_size, made.dilation_rate
            held = max(held, (height + rows * down) * (width + columns * right) * channels)
        if layer.kind == "MultiHeadAttention":
            # So are its heads, and how much each position heeds each other one.
            queries, values = (
                prod(size or 1 for size in self._made[one].shape[1:-1]) for one in call.args[:2]
            )
            room = queries * values + (queries + 2 * values) * max(made.key_dim, made.value_dim)
            held = max(held, made.num_heads * room)
        self._held += held
        if held > _ACTIVATIONS or self._held > _ALL_ACTIVATIONS:
            raise ModelError(
                f"{self.path}: a layer may put out {_ACTIVATIONS:,} numbers for an image, all "
                f"together {_ALL_ACTIVATIONS:,}. Received: {held:,} of layer "
                f"{shown(layer.name)}, {self._held:,} up to there. Do not use this file."
            )


def _keras(path: Path, layer: Layer | None, act: Callable[[], Any]) -> Any:
    try:
        return act()
    except ModelError:
        raise
    # Keras and TensorFlow raise whatever the numbers in the description lead to.
    except Exception as fault:
        what = "" if layer is None else f"in layer {shown(layer.name)} ({layer.kind}): "
        raise ModelError(
            f"{path}: the model's layers and weights must fit together. Received: {what}"
            f"{shown(_reason(fault), 300)}. The file is damaged, or was made by another version "
            "of Keras."
        ) from fault


def _reason(fault: Exception) -> str:
    """What Keras says is wrong, without its colours, its frame and the list of arguments."""
    text = re.sub(r"\x1b\[\d+m", "", str(fault)).partition("Arguments received by")[0]
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("Exception encountered when")]
    return " ".join(lines) or type(fault).__name__

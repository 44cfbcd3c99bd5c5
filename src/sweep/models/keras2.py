"""Save networks in the legacy format that Keras 2 and Keras 3 both open.

What Keras 3 itself writes as `.h5` has settings that Keras 2 does not know. Here each layer gets
the settings that change what it computes, in Keras 2's words, and those at their default are left
out, so that a network of plain layers opens in the Keras 2.3 of the course as well.
"""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from sweep.models.layers import KINDS

if TYPE_CHECKING:
    from pathlib import Path

    import keras

_OLD_NAMES = {("LeakyReLU", "negative_slope"): "alpha"}
# Settings that Keras 2 takes from its own configuration.
_UNKNOWN = {("Resizing", "data_format"), ("CenterCrop", "data_format")}
# Functions that Keras 2 does not have, or has another of the same name.
_OTHER = (
    *("celu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh"),
    *("leaky_relu", "log_sigmoid", "log_softmax", "soft_shrink", "sparse_plus", "squareplus"),
    "tanh_shrink",
)


def can_save(model: keras.Model) -> bool:
    """Whether a network consists of layers and functions that Keras 2 has too."""
    return all(
        ".layers." in type(layer).__module__
        and type(layer).__name__ in KINDS
        and type(layer).__name__ != "MultiHeadAttention"  # Keras 2 wants to be told its shapes
        and getattr(getattr(layer, "activation", None), "__name__", "") not in _OTHER
        for layer in model.operations
    )


def save(model: keras.Model, path: Path) -> None:
    """Save a functional network, of which `can_save` says yes, as a Keras 2 `.h5` file."""
    config = model.get_config()
    layers = [_layer(entry) for entry in config["layers"]]
    ends = {key: [config[key]] for key in ("input_layers", "output_layers")}
    description = {
        "class_name": "Model",
        "config": {"name": model.name, "layers": layers, **ends},
        "keras_version": "2.3.1",
        "backend": "tensorflow",
    }
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(description)
        weights = file.create_group("model_weights")
        weights.attrs["layer_names"] = np.array([layer.name for layer in model.layers], "S")
        for group in (file, weights):
            group.attrs["keras_version"] = "2.3.1"
            group.attrs["backend"] = "tensorflow"
        for layer in model.layers:
            group = weights.create_group(layer.name)
            names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
            group.attrs["weight_names"] = np.array(names, "S")
            for name, values in zip(names, layer.get_weights(), strict=True):
                group.create_dataset(name, data=values)


def _layer(entry: dict[str, Any]) -> dict[str, Any]:
    kind, config = entry["class_name"], entry["config"]
    made = {"name": entry["name"], "dtype": "float32"}
    if kind == "InputLayer":
        made["batch_input_shape"] = config["batch_shape"]
    defaults = _defaults(kind)
    for key in KINDS[kind].settings.split():
        if (kind, key) in _UNKNOWN or key not in config:
            continue
        if kind == "Rescaling" or key not in defaults or config[key] != defaults[key]:
            made[_OLD_NAMES.get((kind, key), key)] = config[key]
    if made.get("activation") == "silu":
        made["activation"] = "swish"
    nodes = [_tensors(node["args"]) for node in entry["inbound_nodes"]]
    return {"class_name": kind, "config": made, "name": entry["name"], "inbound_nodes": nodes}


def _defaults(kind: str) -> dict[str, Any]:
    from keras import layers

    parameters = inspect.signature(getattr(layers, kind)).parameters.values()
    return {one.name: one.default for one in parameters if one.default is not one.empty}


def _tensors(args: Any) -> list[Any]:
    """The tensors among the arguments of a call, as Keras 2 writes them."""
    if isinstance(args, dict):
        return [[*args["config"]["keras_history"], {}]]
    return [tensor for part in args for tensor in _tensors(part)]

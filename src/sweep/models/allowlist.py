"""What a model's description may say: plain numbers for layers that are known to be inert.

A Keras description names the classes, functions and modules that Keras then imports and calls, and
every few months another class turns out to run code, read files or open connections. So nothing of
the file's own description reaches Keras: a new one is written here, which holds allowlisted layers
and operations, plain values and nothing else. What prediction has no use for (initial values,
regularizers, constraints, compilation) is left out unread.
"""

from __future__ import annotations

import json
import re
from typing import Any

from sweep.data.hdf5 import shown
from sweep.models.layers import ACTIVATIONS, KINDS, OPERATIONS, words

TEXT_BYTES = 16 << 20
_DEPTH = 100
# How many layers run for one image, with nested models counted as often as they are called.
_CALLS = 10_000
_LARGEST = 2**31


_MODELS = {"Functional": "Functional", "Model": "Functional", "Sequential": "Sequential"}
_DTYPES = words(
    """
    bool int8 int16 int32 int64 uint8 uint16 uint32 float16 float32 float64 mixed_float16
    """
)
# What TensorFlow, HDF5, Markdown and spreadsheets all take as a name; the one left out is a group
# that Keras writes beside the layers.
_NAME = re.compile(r"(?!top_level_model_weights$)[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_LEFT_OUT = re.compile(r"_(initializer|regularizer|constraint)$")
# The parts of Keras that only compute: not keras.utils, keras.config, keras.saving and the like.
_INERT_MODULE = re.compile(
    r"(tensorflow\.(python\.)?)?keras(\.src)?(\.(activations|backend|constraints|core|dtype_policies"
    r"|engine|initializers|layers|losses|metrics|mixed_precision|models|ops|optimizers"
    r"|regularizers|trainers)(\.\w+)*)?"
)
_SYMBOLS = {"__keras_tensor__", "__numpy__", "__tensor__", "__slice__", "__ellipsis__"}
_CODE = {
    "Lambda": "runs what the file brings along",
    "__lambda__": "runs what the file brings along",
    "TorchModuleWrapper": "unpickles what the file brings along",
    "JaxLayer": "runs what the file brings along",
    "FlaxLayer": "runs what the file brings along",
    "TFSMLayer": "runs a program from another file",
    "StringLookup": "reads other files",
    "IntegerLookup": "reads other files",
    "IndexLookup": "reads other files",
    "TextVectorization": "reads other files",
}


class UnsafeError(Exception):
    """Why a description is not used."""


def parse(text: str | bytes) -> Any:
    """Read a description's JSON.

    Raises:
        UnsafeError: it is too large or deep, or no JSON.
    """
    if len(text) > TEXT_BYTES:
        raise UnsafeError(
            f"a model's description may hold {TEXT_BYTES >> 20} MB. Received: {len(text):,} bytes."
        )
    try:
        return json.loads(text)
    except RecursionError as bad:
        raise UnsafeError("a model's description may not be nested without end.") from bad
    except ValueError as bad:
        raise UnsafeError(
            f"a model's description must be JSON. Received: {shown(bad)}. The file is damaged."
        ) from bad


def vet(description: Any) -> dict[str, Any]:
    """Write a safe description of a whole model.

    Args:
        description: the parsed JSON of `model_config` (Keras 1 to 3 `.h5`) or `config.json`.

    Returns:
        The description for Keras, in the style (Keras 2 or 3) of the original.

    Raises:
        UnsafeError: it holds anything that is not known to be inert.
    """
    scan(description)
    kind = description.get("class_name") if isinstance(description, dict) else description
    if not isinstance(description, dict) or not isinstance(kind, str) or kind not in _MODELS:
        raise UnsafeError(
            "a model must be a Functional or Sequential Keras model. "
            f"Received: {shown(kind)}. Custom model classes need their code and are not run."
        )
    config, calls = _object(description, 0)
    if calls > _CALLS:
        raise UnsafeError(
            f"a model may run {_CALLS:,} layers for an image. Received: {calls:,} with nested "
            "models. Do not use this file."
        )
    return config


def scan(part: Any, name: Any = "the model") -> None:
    """Refuse a description that asks for code anywhere, even where nothing would run it.

    Args:
        part: the description or a part of it.
        name: the layer that the part belongs to, for the message.

    Raises:
        UnsafeError: it names a class that runs or reads something, a module outside of Keras'
            computing parts, or a custom object.
    """
    if isinstance(part, list):
        for item in part:
            scan(item, name)
    if not isinstance(part, dict):
        return
    kind, inner = part.get("class_name"), part.get("config")
    if isinstance(kind, str):
        own = part.get("name") or (inner.get("name") if isinstance(inner, dict) else None)
        name = own or name
        _scan_object(kind, inner, part.get("module"), part.get("registered_name"), name)
    for item in part.values():
        scan(item, name)


def _scan_object(kind: str, inner: Any, module: Any, registered: Any, name: Any) -> None:
    what = f"function {shown(inner)}" if kind == "function" else f"class {shown(kind)}"
    if kind in _CODE:
        raise UnsafeError(
            f"the model carries code: layer {shown(name)} is a {kind}, which {_CODE[kind]}. "
            "Do not use this file, or rebuild the model from plain layers."
        )
    built_in = module is None or (kind == "function" and module == "builtins")
    if not built_in and not (isinstance(module, str) and _INERT_MODULE.fullmatch(module)):
        raise UnsafeError(
            f"the model carries code: {what} of layer {shown(name)} comes from module "
            f"{shown(module)}. A model may use Keras' layers and functions only; nothing else is "
            "run."
        )
    own = {kind, inner if isinstance(inner, str) else kind}
    plain = own | {f"keras>{kind}", f"Keras>{kind}"}
    if ">" in kind or (registered is not None and str(registered) not in plain):
        raise UnsafeError(
            f"the model carries a custom object: {what} of layer {shown(name)}, registered as "
            f"{shown(registered)}. Custom objects need their code and are not run."
        )


def _object(entry: dict[str, Any], depth: int) -> tuple[dict[str, Any], int]:
    """A layer, operation or nested model, and how many layers it runs."""
    if depth > _DEPTH:
        raise UnsafeError(f"models may be nested {_DEPTH} deep. Received: more.")
    kind, inner = entry.get("class_name"), entry.get("config")
    inner = {} if inner is None else inner
    name = entry.get("name", inner.get("name") if isinstance(inner, dict) else None)
    if not isinstance(kind, str) or not isinstance(inner, dict):
        raise UnsafeError(
            "a layer must have a class name and a configuration. "
            f"Received: {shown(kind)} with {shown(inner)}. Functions are no layers here."
        )
    for given in (entry.get("name"), inner.get("name")):
        if given is not None and not (isinstance(given, str) and _NAME.fullmatch(given)):
            raise UnsafeError(
                "a layer's name must consist of at most 128 letters, digits and _ . or -. "
                f"Received: {shown(given)}. Rename the layer."
            )
    module = _module(entry, kind, name)
    calls = 1
    if kind in _MODELS:
        config, calls = _model(inner, depth)
    else:
        config = {
            key: _setting(key, value, kind, name)
            for key, value in inner.items()
            if not _LEFT_OUT.search(key)
        }
    made: dict[str, Any] = {"class_name": _MODELS.get(kind, kind), "config": config}
    if "module" in entry:
        made |= {"module": module, "registered_name": None}
    if "name" in entry:
        made["name"] = _plain(entry["name"], name)
    if "inbound_nodes" in entry:
        nodes = entry["inbound_nodes"]
        if not isinstance(nodes, list):
            raise UnsafeError(f"the inputs of layer {shown(name)} must be a list.")
        made["inbound_nodes"] = [_argument(node, name, 0) for node in nodes]
        calls *= max(1, len(nodes))
    return made, calls


def _module(entry: dict[str, Any], kind: str, name: Any) -> str:
    """Where Keras has the class; refuses what is not on the lists."""
    given = entry.get("module")
    if given is not None and ".ops" in given:
        for module, kinds in OPERATIONS.items():
            # Keras saves an operation under its module; `keras.ops` is the public name of all.
            if kind in kinds and given in (module, "keras.ops"):
                return module
    elif kind in KINDS:
        return "keras.layers"
    elif kind in _MODELS:
        return "keras" if kind == "Sequential" else "keras.src.models.functional"
    raise UnsafeError(
        "a model may use the built-in layers that are known to be harmless. Received: layer "
        f"{shown(name)} of class {shown(kind)}, which is not one of them. Rebuild the model from "
        "plain layers, or export it without that layer."
    )


def _model(inner: dict[str, Any], depth: int) -> tuple[dict[str, Any], int]:
    layers = inner.get("layers")
    if not isinstance(layers, list) or not all(isinstance(layer, dict) for layer in layers):
        raise UnsafeError(
            "a model must list its layers. Received: none. Models with classes of their own "
            "need their code and are not run."
        )
    made, calls = [], 0
    for layer in layers:
        entry, runs = _object(layer, depth + 1)
        made.append(entry)
        calls += runs
    config: dict[str, Any] = {"layers": made}
    for key in ("name", "trainable", "input_layers", "output_layers", "build_input_shape"):
        if key in inner:
            config[key] = _plain(_listed(inner[key]), inner.get("name"))
    return config, calls


def _setting(key: str, value: Any, kind: str, name: Any) -> Any:
    """One argument of a layer."""
    if key == "activation":
        return _activation(value, name)
    if key == "dtype":
        return _dtype(value, name)
    if key in ("quantization_config", "lora_rank", "function", "sparse", "ragged") and value:
        raise UnsafeError(
            f"layer {shown(name)} may not have {key!r}. Received: {shown(value)}. "
            "Export the model without it."
        )
    value = _listed(value)
    if isinstance(value, dict):
        raise UnsafeError(
            f"the settings of a layer must be plain values. Received: {shown(key)} of layer "
            f"{shown(name)} ({kind}) as the object {shown(value.get('class_name'))}. "
            "Objects in settings need code and are not run."
        )
    return _plain(value, name)


def _activation(value: Any, name: Any) -> str | None:
    given = value
    if isinstance(value, dict) and value.get("class_name") == "function":
        value = value.get("config")
    if value is not None and (not isinstance(value, str) or value not in ACTIVATIONS):
        raise UnsafeError(
            f"an activation must be one of Keras' own functions. Received: {shown(given)} in layer "
            f"{shown(name)}. A function of one's own needs its code and is not run."
        )
    return value


def _dtype(value: Any, name: Any) -> str | None:
    if isinstance(value, dict) and value.get("class_name") in ("DTypePolicy", "Policy"):
        inner = value.get("config")
        value = inner.get("name") if isinstance(inner, dict) else value
    if value is None:
        return None
    if not isinstance(value, str) or value not in _DTYPES:
        raise UnsafeError(
            f"a layer's numbers must be floats or integers. Received: dtype {shown(value)} in "
            f"layer {shown(name)}. Save the model in float32."
        )
    return value


def _listed(value: Any) -> Any:
    """Keras 2 writes tuples and shapes as objects with `items`."""
    if isinstance(value, dict) and value.get("class_name") in ("__tuple__", "TensorShape"):
        return value.get("items")
    return value


def _argument(value: Any, name: Any, depth: int) -> Any:
    """Part of how a layer is called: tensors of other layers, and plain values."""
    if depth > _DEPTH:
        raise UnsafeError(f"the inputs of layer {shown(name)} are nested too deep.")
    value = _listed(value)
    if isinstance(value, list):
        return [_argument(item, name, depth + 1) for item in value]
    if not isinstance(value, dict):
        return _plain(value, name)
    if "class_name" not in value:
        return {str(key): _argument(item, name, depth + 1) for key, item in value.items()}
    kind, inner = value["class_name"], value.get("config") or {}
    if not isinstance(kind, str) or kind not in _SYMBOLS or not isinstance(inner, dict):
        raise UnsafeError(
            f"layer {shown(name)} must be called with tensors and plain values. "
            f"Received: an object of class {shown(kind)}. It needs code and is not run."
        )
    config = {
        key: _dtype(item, name) if key == "dtype" else _plain(item, name)
        for key, item in inner.items()
    }
    return {"class_name": kind, "config": config}


def _plain(value: Any, name: Any, depth: int = 0) -> Any:
    """A number, text, truth value or nested list of them."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str) and len(value) <= 256 and value.isprintable():
        return value
    # The comparison is false for NaN, and infinity is beyond every bound.
    if isinstance(value, int | float) and abs(value) <= (
        _LARGEST if isinstance(value, int) else 1e38
    ):
        return value
    if isinstance(value, list) and depth < _DEPTH:
        return [_plain(item, name, depth + 1) for item in value]
    raise UnsafeError(
        f"the settings of a layer must be plain values of ordinary size. Received: {shown(value)} "
        f"in layer {shown(name)}. Do not use this file."
    )

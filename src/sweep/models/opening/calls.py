"""How a description writes the calls of layers: which tensors and values go in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sweep.data.hdf5 import shown
from sweep.models.layers import DTYPES
from sweep.models.opening.allowlist import DEPTH, UnsafeError, listed, plain
from sweep.models.opening.network import LAYERS, Ref

if TYPE_CHECKING:
    from collections.abc import Callable

    from sweep.models.opening.network import Layer, Node


def refs(value: Any, name: str) -> list[Ref]:
    """The tensors that go into a model or out of it."""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        raise UnsafeError(f"the model {shown(name)} must list its inputs and outputs.")
    if value and isinstance(value[0], str):
        return [ref(value, name)]
    return [ref for item in value for ref in refs(item, name)]


def ref(value: Any, name: str) -> Ref:
    """A tensor, written as the name of its layer, the number of the call and its own."""
    if isinstance(value, list) and len(value) >= 3 and isinstance(value[0], str):
        call, tensor = value[1:3]
        if isinstance(call, int) and isinstance(tensor, int):
            return Ref(value[0], call, tensor)
    raise UnsafeError(f"layer {shown(name)} must read tensors of layers. Received: {shown(value)}.")


def node(node: Any, name: str) -> Node:
    """The arguments of one call of a layer."""
    if isinstance(node, dict):  # Keras 3
        args, kwargs = (_argument(node.get(key), name, 0) for key in ("args", "kwargs"))
        return (args if isinstance(args, list) else []), (
            kwargs if isinstance(kwargs, dict) else {}
        )
    if not isinstance(node, list):
        raise UnsafeError(f"the inputs of layer {shown(name)} must be a list.")
    parts = [node] if node and isinstance(node[0], str) else node
    tensors, kwargs = [], {}
    for part in parts:
        constant = isinstance(part, list) and len(part) > 2 and part[0] == "_CONSTANT_VALUE"
        tensors.append(plain(part[2], name) if constant else ref(part, name))
        if len(part) > 3 and isinstance(part[3], dict):
            kwargs |= {str(key): _old_argument(item, name) for key, item in part[3].items()}
    # Keras 3 writes what is the default of some layers, and overrules it at inference.
    if kwargs.get("training"):
        raise UnsafeError(
            f"a network must be run for inference. Received: layer {shown(name)} called with "
            "training=True, so that its answers are random or depend on the batch. Export the "
            "model without it."
        )
    return (tensors if len(tensors) == 1 else [tensors]), kwargs


def _old_argument(value: Any, name: str) -> Any:
    """An argument of Keras 2: a tensor stands as the list of its layer, call and number."""
    value = listed(value)
    if isinstance(value, list) and len(value) in (3, 4) and isinstance(value[0], str):
        return ref(value, name)
    if isinstance(value, list) and any(isinstance(part, dict) for part in value):
        return tuple(_old_slice(part, name) for part in value)
    return plain(value, name)


def _old_slice(value: Any, name: str) -> Any:
    if isinstance(value, dict) and set(value) == {"start", "stop", "step"}:
        return _slice(value, name)
    return ... if value == {"class_name": "__ellipsis__"} else plain(value, name)


def called(args: list[Any], kwargs: dict[str, Any], layer: Layer) -> Node:
    """A call without what inference has no use for; operations take everything by place."""
    unused = ("training", "mask", "name")
    kept = {k: v for k, v in kwargs.items() if k not in unused and v is not None}
    if layer.kind == "MultiHeadAttention":
        tensors = [kept.pop(k) for k in ("query", "value", "key") if isinstance(kept.get(k), Ref)]
        args, kept = [*args, *tensors], {k: v for k, v in kept.items() if v is not False}
    if layer.module != LAYERS:  # TensorFlow's names for the second argument are not Keras'
        return [*args, *(kept.pop(k) for k in ("y", "bias", "slice_spec") if k in kept)], kept
    if kept:
        raise UnsafeError(
            f"layer {shown(layer.name)} must be called with tensors alone. Received: "
            f"{shown(', '.join(kept))}. Export the model without it."
        )
    return args, {}


def _slice(inner: dict[str, Any], name: Any) -> slice:
    return slice(*(plain(inner.get(key), name) for key in ("start", "stop", "step")))


def _array(inner: dict[str, Any], name: Any) -> Any:
    dtype = inner.get("dtype", "float32")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise UnsafeError(
            f"layer {shown(name)} must be called with numbers. Received: dtype {shown(dtype)}."
        )
    return np.array(plain(inner.get("value"), name), dtype)


_OBJECTS: dict[str, Callable[[dict[str, Any], Any], Any]] = {
    "__keras_tensor__": lambda inner, name: ref(inner.get("keras_history"), name),
    "__numpy__": _array,
    "__tensor__": _array,
    "__slice__": _slice,
    "__ellipsis__": lambda _inner, _name: ...,
}


def _argument(value: Any, name: Any, depth: int) -> Any:
    """Part of how Keras 3 calls a layer: tensors of other layers, and plain values."""
    if depth > DEPTH:
        raise UnsafeError(f"the inputs of layer {shown(name)} are nested too deep.")
    value = listed(value)
    if isinstance(value, list):
        return [_argument(item, name, depth + 1) for item in value]
    if not isinstance(value, dict):
        return plain(value, name)
    if "class_name" not in value:
        return {str(key): _argument(item, name, depth + 1) for key, item in value.items()}
    kind, inner = value["class_name"], value.get("config") or {}
    if isinstance(kind, str) and isinstance(inner, dict) and kind in _OBJECTS:
        return _OBJECTS[kind](inner, name)
    raise UnsafeError(
        f"layer {shown(name)} must be called with tensors and plain values. "
        f"Received: an object of class {shown(kind)}. It needs code and is not run."
    )

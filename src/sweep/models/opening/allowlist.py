"""What a model's description may say: plain values for layers that are known to be inert.

A Keras description names the classes, functions and modules that Keras then imports and calls, and
every few months another class turns out to run code, read files or open connections. So nothing of
the file's own description reaches Keras: `description` takes listed layers, listed settings and
plain values out of it, by the rules of this module. What prediction has no use for (initial
values, regularizers, constraints, training) is left out unread.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from sweep.data.hdf5 import shown
from sweep.models.layers import ACTIVATIONS, KINDS, OPERATIONS

TEXT_BYTES = 16 << 20
DEPTH = 100
_LARGEST = 2**31
MODELS = {"Functional": "functional", "Model": "functional", "Sequential": "sequential"}
# What TensorFlow, HDF5, Markdown and spreadsheets all take as a name; the one left out is a group
# that Keras writes beside the layers. Keras 2 also has names of several such parts.
_NAME = re.compile(
    r"(?!top_level_model_weights$)(?=.{1,128}$)[A-Za-z0-9_][A-Za-z0-9_.-]*"
    r"(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*"
)
# The parts of Keras that only compute: not keras.utils, keras.config, keras.saving and the like.
_INERT_MODULE = re.compile(
    r"(tensorflow\.(python\.)?)?(tf_)?keras(\.src)?(\.(activations|applications\.convnext|backend|constraints|core"
    r"|dtype_policies|engine|initializers|layers|losses|metrics|mixed_precision|models|ops|optimizers"
    r"|regularizers|trainers)(\.\w+)*)?|tensorflow\.python\.ops\.init_ops(_v2)?"
)
_TRAINING = {"compile_config", "training_config"}
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


def scan(part: Any, name: Any = "the model", training: bool = False) -> None:
    """Refuse a description that asks for code anywhere, even where nothing would run it.

    In what says how the model was trained custom objects may stand: predictions have no use for it,
    and it is not read.

    Raises:
        UnsafeError: it names a class that runs or reads something, a module outside of Keras'
            computing parts, or a custom object.
    """
    if isinstance(part, list):
        for item in part:
            scan(item, name, training)
    if not isinstance(part, dict):
        return
    kind, inner = part.get("class_name"), part.get("config")
    if isinstance(kind, str):
        own = part.get("name") or (inner.get("name") if isinstance(inner, dict) else None)
        name = own or name
        _scan_object(kind, inner, part.get("module"), part.get("registered_name"), name, training)
    for key, item in part.items():
        scan(item, name, training or key in _TRAINING)


def _scan_object(
    kind: str, inner: Any, module: Any, registered: Any, name: Any, training: bool
) -> None:
    what = f"function {shown(inner)}" if kind == "function" else f"class {shown(kind)}"
    if kind in _CODE:
        raise UnsafeError(
            f"the model carries code: layer {shown(name)} is a {kind}, which {_CODE[kind]}. "
            "Do not use this file, or rebuild the model from plain layers."
        )
    built_in = module is None or (kind == "function" and module == "builtins")
    if training and str(module).split(".")[0] not in (
        "keras",
        "tensorflow",
        *sys.stdlib_module_names,
    ):
        return
    if not built_in and not (isinstance(module, str) and _INERT_MODULE.fullmatch(module)):
        raise UnsafeError(
            f"the model carries code: {what} of layer {shown(name)} comes from module "
            f"{shown(module)}. A model may use Keras' layers and functions only; nothing else is "
            "run."
        )
    if training:
        return
    own = {kind, inner if isinstance(inner, str) else kind}
    plain = own | {f"keras>{kind}", f"Keras>{kind}"}
    if ">" in kind or (registered is not None and str(registered) not in plain):
        raise UnsafeError(
            f"the model carries a custom object: {what} of layer {shown(name)}, registered as "
            f"{shown(registered)}. Custom objects need their code and are not run."
        )


def check_name(name: Any) -> str:
    """A layer's name, if it is an ordinary one."""
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise UnsafeError(
            "a layer's name must consist of at most 128 letters, digits and _ . or -. "
            f"Received: {shown(name)}. Rename the layer."
        )
    return name


def module_of(kind: str, given: Any, name: str) -> str:
    """Where Keras has a class; refuses what is not on the lists."""
    if given is not None and ".ops" in given:
        for module, kinds in OPERATIONS.items():
            # Keras saves an operation under its module; `keras.ops` is the public name of all.
            if kind in kinds and given in (module, "keras.ops"):
                return module
    elif kind in KINDS:
        return "keras.layers"
    raise UnsafeError(
        "a model may use the built-in layers that are known to be harmless. Received: layer "
        f"{shown(name)} of class {shown(kind)}, which is not one of them. Rebuild the model from "
        "plain layers, or export it without that layer."
    )


def activation(value: Any, name: Any) -> str | None:
    """The name of a function of Keras; TensorFlow 2.0 to 2.4 called softmax `softmax_v2`."""
    given = value
    if isinstance(value, dict) and value.get("class_name") == "function":
        value = value.get("config")
    if value == "softmax_v2":
        return "softmax"
    if value is not None and (not isinstance(value, str) or value not in ACTIVATIONS):
        raise UnsafeError(
            f"an activation must be one of Keras' own functions. Received: {shown(given)} in layer "
            f"{shown(name)}. A function of one's own needs its code and is not run."
        )
    return value


def listed(value: Any) -> Any:
    """Keras 2 writes tuples and shapes as objects with `items`."""
    if isinstance(value, dict) and value.get("class_name") in ("__tuple__", "TensorShape"):
        return value.get("items")
    return value


def plain(value: Any, name: Any, depth: int = 0) -> Any:
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
    if isinstance(value, list) and depth < DEPTH:
        return [plain(item, name, depth + 1) for item in value]
    raise UnsafeError(
        f"the settings of a layer must be plain values of ordinary size. Received: {shown(value)} "
        f"in layer {shown(name)}. Do not use this file."
    )

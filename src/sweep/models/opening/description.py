"""Read a model's description, as Keras 1.2 to 3.15 write it, into plain data.

The dialects differ in names of classes and settings, in how calls are written and in where the
image's shape stands. What comes out speaks Keras 3.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, cast

from sweep.data.hdf5 import shown
from sweep.models.layers import KINDS, OPERATIONS
from sweep.models.opening.allowlist import (
    DEPTH,
    MODELS,
    UnsafeError,
    check_name,
    listed,
    module_of,
    plain,
    scan,
)
from sweep.models.opening.calls import called, node, refs
from sweep.models.opening.network import LAYERS, Layer, Network, Ref, leaves, replaced
from sweep.models.opening.settings import read_settings

# How many layers run for one image, with nested models counted as often as they are called.
_CALLS = 10_000
_CLASSES = {
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "SyncBatchNormalization": "BatchNormalization",
    "Convolution2D": "Conv2D",
    "AtrousConvolution2D": "Conv2D",
    "Deconvolution2D": "Conv2DTranspose",
    "SeparableConvolution2D": "SeparableConv2D",
}
# Merge layers of Keras 1, by their mode.
_MERGE = {
    "sum": "Add",
    "mul": "Multiply",
    "concat": "Concatenate",
    "ave": "Average",
    "max": "Maximum",
}
# Functions of TensorFlow that Keras 2.4 to 2.15 saved as layers.
_FUNCTIONS = {
    "__operators__.add": "Add",
    "__operators__.getitem": "GetItem",
    "math.add": "Add",
    "math.divide": "TrueDivide",
    "math.multiply": "Multiply",
    "math.sigmoid": "Sigmoid",
    "math.subtract": "Subtract",
    "math.truediv": "TrueDivide",
    "nn.bias_add": "Add",
    "nn.relu": "Relu",
    "nn.relu6": "Relu6",
    "nn.silu": "Silu",
}
_OPERATIONS = frozenset().union(*OPERATIONS.values())


def read(description: Any, version: int = 3) -> Network:
    """Read the description of a whole model.

    Args:
        description: the parsed JSON of `model_config` (Keras 1 to 3 `.h5`) or `config.json`.
        version: of Keras that wrote it: 1, 2 or 3.

    Raises:
        UnsafeError: it holds anything that is not known to be inert, or not known.
    """
    scan(description)
    kind = description.get("class_name") if isinstance(description, dict) else description
    if not isinstance(description, dict) or not isinstance(kind, str) or kind not in MODELS:
        raise UnsafeError(
            "a model must be a Functional or Sequential Keras model. "
            f"Received: {shown(kind)}. Custom model classes need their code and are not run."
        )
    network, calls = _item(description, version, (), 0)
    if calls > _CALLS:
        raise UnsafeError(
            f"a model may run {_CALLS:,} layers for an image. Received: {calls:,} with nested "
            "models. Do not use this file."
        )
    return cast("Network", network)


def _item(
    entry: dict[str, Any], version: int, models: tuple[str, ...], depth: int
) -> tuple[Layer | Network, int]:
    """A layer, operation or nested model, and how many layers it runs."""
    if depth > DEPTH:
        raise UnsafeError(f"models may be nested {DEPTH} deep. Received: more.")
    kind, inner = entry.get("class_name"), entry.get("config")
    inner = {} if inner is None else inner
    if kind == "Sequential" and isinstance(inner, list):  # before Keras 2.2.3
        inner = {"layers": inner}
    if not isinstance(kind, str) or not isinstance(inner, dict):
        raise UnsafeError(
            "a layer must have a class name and a configuration. "
            f"Received: {shown(kind)} with {shown(inner)}. Functions are no layers here."
        )
    names = [check_name(n) for n in (entry.get("name"), inner.get("name")) if n is not None]
    name = names[0] if names else kind.lower()
    given = entry.get("inbound_nodes", [])
    if not isinstance(given, list):
        raise UnsafeError(f"the inputs of layer {shown(name)} must be a list.")
    nodes, calls = [node(one, name) for one in given], max(1, len(given))
    if kind in MODELS:
        network, inside = _model(kind, name, entry | {"config": inner}, version, models, depth)
        network.nodes, network.trainable = nodes, inner.get("trainable") is not False
        return network, calls * inside
    layer = _layer(kind, name, entry.get("module"), inner, version)
    layer.nodes = [called(args, kwargs, layer) for args, kwargs in nodes]
    layer.trainable, layer.models = inner.get("trainable") is not False, models
    return layer, calls


def _model(
    kind: str, name: str, entry: Any, version: int, models: tuple[str, ...], depth: int
) -> tuple[Network, int]:
    inner = entry["config"]
    entries = inner.get("layers")
    if not isinstance(entries, list) or not all(isinstance(layer, dict) for layer in entries):
        raise UnsafeError(
            "a model must list its layers. Received: none. Models with classes of their own "
            "need their code and are not run."
        )
    # The outermost model's name is in no layer's way.
    within = (*models, name) if depth else ()
    found = [_item(layer, version, within, depth + 1) for layer in entries]
    layers, calls = [item for item, _ in found], sum(runs for _, runs in found)
    if MODELS[kind] == "functional":
        inputs, outputs = (refs(inner.get(f"{end}_layers"), name) for end in ("input", "output"))
        return _without_own_calls(Network(name, kind, layers, inputs, outputs)), calls
    if not layers:
        raise UnsafeError(f"the model {shown(name)} must have layers. Received: none.")
    if not (isinstance(layers[0], Layer) and layers[0].kind == "InputLayer"):
        layers.insert(0, _input(f"{name}_input", _first_shape(entries[0], inner, entry), name))
    for before, layer in pairwise(layers):
        # Keras calls a nested model's own call number 0.
        layer.nodes = [([Ref(before.name)], {})]
    return Network(name, kind, layers, [Ref(layers[0].name)], [Ref(layers[-1].name)]), calls


def _without_own_calls(network: Network) -> Network:
    """Count calls of nested models from 0; Keras counts the call that made the model before."""
    nested = {layer.name: layer for layer in network.layers if isinstance(layer, Network)}
    everything = (network.outputs, [layer.nodes for layer in network.layers])
    last = dict.fromkeys(nested, 0)
    for ref in leaves(everything, Ref):
        if ref.layer in last:
            last[ref.layer] = max(last[ref.layer], ref.call)
    own = {name: last[name] >= len(layer.nodes) > 0 for name, layer in nested.items()}

    def counted(ref: Ref) -> Ref:
        return Ref(ref.layer, ref.call - own.get(ref.layer, False), ref.tensor)

    for layer in network.layers:
        layer.nodes = replaced(layer.nodes, Ref, counted)
    network.outputs = [counted(ref) for ref in network.outputs]
    return network


def _first_shape(first: dict[str, Any], inner: dict[str, Any], entry: dict[str, Any]) -> Any:
    """The shape of a Sequential model's input, where it has no InputLayer."""
    places = [first.get("config"), inner, entry.get("build_config")]
    while isinstance(places[0], dict) and isinstance(places[0].get("layers"), list):
        entries = places[0]["layers"]
        places.insert(
            0, entries[0].get("config") if entries and isinstance(entries[0], dict) else 0
        )
    for place in places:
        for key in ("batch_shape", "batch_input_shape", "build_input_shape", "input_shape"):
            if isinstance(place, dict) and place.get(key):
                return place[key]
    return None


def _input(name: str, shape: Any, model: Any) -> Layer:
    shape = plain(listed(shape), model)
    return Layer(name, "InputLayer", settings={"shape": shape[1:] if shape else None})


def _layer(kind: str, name: str, module: Any, inner: dict[str, Any], version: int) -> Layer:
    kind = _CLASSES.get(kind, kind)
    if kind == "Merge":
        kind = _MERGE.get(str(inner.get("mode")), kind)
    if kind in ("TFOpLambda", "SlicingOpLambda"):
        kind, module, inner = _FUNCTIONS.get(str(inner.get("function")), kind), "keras.ops", {}
    elif module is None and "trainable" not in inner and kind in _OPERATIONS and version == 3:
        module = "keras.ops"  # Keras 3 leaves it out of .h5 files, which it cannot open itself
    module = module_of(kind, module, name)
    if module != LAYERS:
        settings = {
            k: plain(listed(v), name) for k, v in inner.items() if k not in ("dtype", "name")
        }
    elif kind == "InputLayer":
        layer = _input(name, inner.get("batch_shape") or inner.get("batch_input_shape"), name)
        settings = layer.settings | read_settings(kind, name, inner | {"dtype": None}, version)
    else:
        settings = {} if KINDS[kind].identity else read_settings(kind, name, inner, version)
    return Layer(name, kind, module, settings)

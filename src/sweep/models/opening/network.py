"""A network as plain data: a tree of models and layers as a file has it, and one flat graph.

The flat graph is what Keras builds; nested models are gone from it, so that every layer of theirs
can be named, scored and pruned like any other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sweep.data.hdf5 import shown
from sweep.models.layers import KINDS
from sweep.models.opening.allowlist import UnsafeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

LAYERS = "keras.layers"
# Keras 2's is clip(0.2 x + 0.5, 0, 1), Keras 3's clip(x / 6 + 0.5, 0, 1).
HARD_SIGMOID = "hard_sigmoid of Keras 2"
# Arguments of a call, positional and named, with `Ref` in place of tensors.
Node = tuple[list[Any], dict[str, Any]]


@dataclass(frozen=True)
class Ref:
    """What a call of a layer puts out: the layer's name, the number of the call and the tensor."""

    layer: str
    call: int = 0
    tensor: int = 0


@dataclass
class Layer:
    """A layer or an operation of `keras.ops`.

    Attributes:
        name: as in the file; unique in its model, and after `flatten` in the graph.
        kind: its class.
        module: where Keras has the class.
        settings: arguments of the class.
        nodes: arguments of each call.
        trainable: whether the file marks it so; decides on the order of a nested model's weights.
        models: names of the nested models that hold it, outermost first.
        weights: its variables in Keras' order.
    """

    name: str
    kind: str
    module: str = LAYERS
    settings: dict[str, Any] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    trainable: bool = True
    models: tuple[str, ...] = ()
    weights: list[NDArray[Any]] = field(default_factory=list)

    @property
    def variables(self) -> list[str]:
        """Names of its variables in Keras' order."""
        return KINDS[self.kind].variables(self.settings) if self.module == LAYERS else []


@dataclass
class Network:
    """A model: layers and nested models, and which tensors go in and out."""

    name: str
    kind: str
    layers: list[Layer | Network]
    inputs: list[Ref]
    outputs: list[Ref]
    nodes: list[Node] = field(default_factory=list)
    trainable: bool = True


@dataclass(eq=False)
class Call:
    """One call of a layer; `Call` stands in place of tensors in the arguments."""

    layer: Layer
    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass
class FlatNetwork:
    """A network without nested models.

    Attributes:
        image: the call of the input layer, with the setting `shape` (h, w, c).
        calls: all others, every call after those that feed it.
        output: the last one.
    """

    image: Call
    calls: list[Call]
    output: Call


def leaves(part: Any, kind: type) -> Iterator[Any]:
    """Every `Ref` or `Call` of some arguments."""
    if isinstance(part, kind):
        yield part
    elif isinstance(part, list | tuple | dict):
        for item in part.values() if isinstance(part, dict) else part:
            yield from leaves(item, kind)


def replaced(part: Any, kind: type, change: Any) -> Any:
    """Arguments with every `Ref` or `Call` put through a function."""
    if isinstance(part, kind):
        return change(part)
    if isinstance(part, dict):
        return {key: replaced(item, kind, change) for key, item in part.items()}
    if isinstance(part, list | tuple):
        return type(part)(replaced(item, kind, change) for item in part)
    return part


def flatten(network: Network) -> FlatNetwork:
    """One graph of all layers that the output needs, nested models and idle layers dissolved.

    Raises:
        UnsafeError: the network has no single input and output, or calls that make no graph.
    """
    if len(network.inputs) != 1 or len(network.outputs) != 1:
        raise UnsafeError(
            f"a classifier must have one input and one output. Received: {len(network.inputs)} "
            f"inputs and {len(network.outputs)} outputs. Save the part of the model that "
            "classifies images."
        )
    entry = next((one for one in network.layers if one.name == network.inputs[0].layer), None)
    if not isinstance(entry, Layer) or entry.kind != "InputLayer":
        raise UnsafeError(
            f"a model's input must be an InputLayer. Received: {shown(network.inputs[0].layer)}."
        )
    image, calls = Call(entry), list[Call]()
    (output,) = _run(network, [image], calls)
    return FlatNetwork(image, calls, output)


def _run(network: Network, inputs: list[Call], calls: list[Call]) -> list[Call]:
    """Call a model: append the calls of its layers, return its outputs."""
    layers = {layer.name: layer for layer in network.layers}
    made: dict[tuple[str, int], list[Call]] = {}
    for ref, tensor in zip(network.inputs, inputs, strict=True):
        made[ref.layer, ref.call] = [tensor]
    pending, opened = [(ref.layer, ref.call) for ref in reversed(network.outputs)], set()
    while pending:
        key = pending[-1]
        if key in made:
            pending.pop()
            continue
        layer = layers.get(key[0])
        if layer is None or not 0 <= key[1] < len(layer.nodes):
            raise UnsafeError(f"layer {shown(key[0])} is read, but its call {key[1]} is missing.")
        node = layer.nodes[key[1]]
        waiting = [(r.layer, r.call) for r in leaves(node, Ref) if (r.layer, r.call) not in made]
        if waiting:
            if key in opened:
                raise UnsafeError(f"layer {shown(key[0])} reads what it puts out itself.")
            opened.add(key)
            pending += waiting
            continue
        args, kwargs = replaced(node, Ref, lambda ref: _tensor(made, ref))
        made[key] = _call(layer, args, kwargs, calls)
    return [_tensor(made, ref) for ref in network.outputs]


def _tensor(made: dict[tuple[str, int], list[Call]], ref: Ref) -> Call:
    tensors = made[ref.layer, ref.call]
    if not 0 <= ref.tensor < len(tensors):
        raise UnsafeError(f"layer {shown(ref.layer)} has no output {ref.tensor}.")
    return tensors[ref.tensor]


def _call(
    layer: Layer | Network, args: list[Any], kwargs: dict[str, Any], calls: list[Call]
) -> list[Call]:
    tensors = list(leaves((args, kwargs), Call))
    if isinstance(layer, Network):
        if len(tensors) != len(layer.inputs):
            raise UnsafeError(
                f"the nested model {shown(layer.name)} must be called with {len(layer.inputs)} "
                f"tensors. Received: {len(tensors)}."
            )
        return _run(layer, tensors, calls)
    if not tensors:
        raise UnsafeError(f"layer {shown(layer.name)} must be called with a tensor.")
    if layer.module == LAYERS and (KINDS[layer.kind].identity or layer.kind == "InputLayer"):
        return tensors[:1]
    calls.append(Call(layer, args, kwargs))
    if layer.settings.get("activation") == HARD_SIGMOID:
        layer.settings["activation"] = "linear"
        for kind, settings in (
            ("Rescaling", {"scale": 0.2, "offset": 0.5}),
            ("ReLU", {"max_value": 1.0}),
        ):
            name = f"{layer.name}_{kind.lower()}"
            more = Layer(name, kind, settings=settings, models=layer.models)
            calls.append(Call(more, calls[-1:]))
    return calls[-1:]


def name_layers(network: FlatNetwork) -> None:
    """Make names unique: outer layers keep theirs, inner ones get their model's in front."""
    layers = {id(call.layer): call.layer for call in (network.image, *network.calls)}
    taken: set[str] = set()
    for layer in sorted(layers.values(), key=lambda layer: len(layer.models)):
        name = layer.name.replace("/", "_")
        for model in reversed(layer.models):
            if name.lower() not in taken:
                break
            name = f"{model.replace('/', '_')}_{name}"
        number, wanted = 1, name
        while name.lower() in taken:
            number += 1
            name = f"{wanted}_{number}"
        layer.name = name
        taken.add(name.lower())

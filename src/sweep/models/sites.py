"""The graph of a Keras model, read: what feeds what, and which layers' channels can be removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
from keras import layers

from sweep.base.errors import ModelError
from sweep.models.layers import MIXING, kind_of

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Node:
    """One call of an operation: its symbolic inputs and its outputs."""

    operation: Any
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]


@dataclass(frozen=True)
class Site:
    """A layer whose channels can be removed.

    Attributes:
        layer: name of the layer that is scored.
        tensor: its symbolic output, (n, h, w, C).
        convolution: name of the Conv2D whose kernel and bias make the channels.
        norms: names of the batch normalizations between the two.
        cuts: whether every path from input to output passes through the layer.
    """

    layer: str
    tensor: Any
    convolution: str
    norms: tuple[str, ...]
    cuts: bool

    @property
    def channels(self) -> int:
        """C."""
        return int(self.tensor.shape[-1])


def nodes_of(model: keras.Model) -> list[Node]:
    """The nodes between a model's input and output, every node after those that feed it."""
    ordered: dict[int, Node] = {}
    pending = [(tensor, False) for tensor in model.outputs]
    while pending:
        tensor, fed = pending.pop()
        # Keras offers no public way from a tensor to the call that made it.
        history = tensor._keras_history  # noqa: SLF001
        call = history.operation._inbound_nodes[history.node_index]  # noqa: SLF001
        if id(call) in ordered:
            continue
        if fed:
            ordered[id(call)] = Node(
                history.operation, tuple(call.input_tensors), tuple(call.output_tensors)
            )
        else:
            pending.append((tensor, True))
            pending.extend((source, False) for source in call.input_tensors)
    return list(ordered.values())


def _passes_by(nodes: Sequence[Node], tensor: Any) -> bool:
    """Whether the output can be reached from the input without passing through `tensor`."""
    maker = {id(out): node for node in nodes for out in node.outputs}
    pending, seen = list(nodes[-1].outputs), {id(tensor)}
    while pending:
        current = pending.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        node = maker[id(current)]
        if not node.inputs:
            return True
        pending.extend(node.inputs)
    return False


def find_sites(model: keras.Model) -> dict[str, Site]:
    """Every layer whose channels can be removed by zeroing weights, by name.

    Such a layer puts out feature maps, and going back from it through channelwise layers alone
    (activation, pooling, batch normalization, dropout, padding) one comes to a Conv2D. Nothing
    on the way is used elsewhere, and no layer of it is called twice.
    """
    nodes = nodes_of(model)
    maker = {id(out): node for node in nodes for out in node.outputs}
    uses: dict[int, int] = {}
    calls: dict[int, int] = {}
    for node in nodes:
        calls[id(node.operation)] = calls.get(id(node.operation), 0) + 1
        for tensor in node.inputs:
            uses[id(tensor)] = uses.get(id(tensor), 0) + 1

    sites = {}
    for node in nodes:
        tensor, current, norms = node.outputs[0], node, []
        while kind_of(current.operation).channelwise and _treats_channels_alone(current):
            if isinstance(current.operation, layers.BatchNormalization):
                norms.append(current.operation.name)
            if calls[id(current.operation)] > 1 or uses[id(current.inputs[0])] > 1:
                break
            current = maker[id(current.inputs[0])]
        operation = current.operation
        if (
            type(operation) is layers.Conv2D
            and operation.activation.__name__ not in MIXING
            and calls[id(operation)] == 1
            and operation.data_format == "channels_last"
            and node is not nodes[-1]
        ):
            name = node.operation.name
            cuts = not _passes_by(nodes, tensor)
            sites[name] = Site(name, tensor, operation.name, tuple(norms), cuts)
    return sites


def _treats_channels_alone(node: Node) -> bool:
    operation = node.operation
    if isinstance(operation, layers.BatchNormalization):
        return operation.axis in (-1, 3)
    if isinstance(operation, layers.Activation):
        return operation.activation.__name__ not in MIXING
    return getattr(operation, "data_format", "channels_last") == "channels_last"


def choose_sites(model: keras.Model, wanted: Sequence[str]) -> tuple[Site, ...]:
    """The sites of the wanted layers, in the order of the graph.

    Raises:
        ModelError: a layer is unknown or has no channels that weights alone remove, or the first
            of them is passed by another path; the layers that would do are listed.
    """
    sites = find_sites(model)
    cutting = [name for name, site in sites.items() if site.cuts]
    for name in wanted:
        if name not in sites:
            known = any(layer.name == name for layer in model.layers)
            problem = (
                "has no channels that a convolution's weights alone can remove"
                if known
                else "is not a layer of this network"
            )
            raise ModelError(
                f"layer must name a layer with prunable channels, but {name!r} {problem}. "
                f"Received: layer={','.join(wanted)}. Layers that would do: {', '.join(cutting)}."
            )
    chosen = tuple(site for name, site in sites.items() if name in set(wanted))
    if not chosen[0].cuts:
        raise ModelError(
            f"layer must cut the network in two, but another path passes {chosen[0].layer!r} by. "
            f"Received: layer={','.join(wanted)}. Layers that would do: {', '.join(cutting)}."
        )
    return chosen

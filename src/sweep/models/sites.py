"""Which layers' channels can be removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keras import layers

from sweep.base.errors import ModelError
from sweep.models.graph import Graph
from sweep.models.layers import MIXING, kind_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import keras


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


def find_sites(model: keras.Model) -> dict[str, Site]:
    """Every layer whose channels can be removed by zeroing weights, by name.

    Such a layer puts out feature maps, and going back from it through channelwise layers alone
    (activation, pooling, batch normalization, dropout, padding) one comes to a Conv2D. Nothing
    on the way is used elsewhere, and no layer of it is called twice.
    """
    graph, sites = Graph(model), {}
    for node in graph.nodes[:-1]:
        current, norms = node, []
        while kind_of(current.operation).channelwise and _treats_channels_alone(current.operation):
            if isinstance(current.operation, layers.BatchNormalization):
                norms.append(current.operation.name)
            if not graph.once(current) or len(graph.users(current.inputs[0])) > 1:
                break
            current = graph.maker(current.inputs[0])
        makes = type(current.operation) is layers.Conv2D and graph.once(current)
        if makes and _treats_channels_alone(current.operation):
            name, tensor = node.operation.name, node.outputs[0]
            cuts = not _passes_by(graph, tensor)
            sites[name] = Site(name, tensor, current.operation.name, tuple(norms), cuts)
    return sites


def _passes_by(graph: Graph, tensor: Any) -> bool:
    """Whether the output can be reached from the input without passing through `tensor`."""
    pending, seen = list(graph.nodes[-1].outputs), {id(tensor)}
    while pending:
        current = pending.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        node = graph.maker(current)
        if not node.inputs:
            return True
        pending.extend(node.inputs)
    return False


def _treats_channels_alone(operation: Any) -> bool:
    if isinstance(operation, layers.BatchNormalization):
        return operation.axis in (-1, 3)
    if getattr(getattr(operation, "activation", None), "__name__", "") in MIXING:
        return False
    return getattr(operation, "data_format", "channels_last") == "channels_last"


def choose_sites(model: keras.Model, wanted: Sequence[str]) -> tuple[Site, ...]:
    """The sites of the wanted layers, in the order of the graph.

    Raises:
        ModelError: a layer is unknown or has no channels that weights alone remove, or the first
            of them is passed by another path; the layers that would do are listed.
    """
    sites = find_sites(model)
    chosen = tuple(site for name, site in sites.items() if name in set(wanted))
    unknown = [name for name in wanted if name not in sites]
    if unknown:
        known = any(layer.name == unknown[0] for layer in model.layers)
        problem = f"name a layer with prunable channels, but {unknown[0]!r} " + (
            "has no channels that a convolution's weights alone can remove"
            if known
            else "is not a layer of this network"
        )
    elif not chosen[0].cuts:
        problem = f"cut the network in two, but another path passes {chosen[0].layer!r} by"
    else:
        return chosen
    cutting = ", ".join(name for name, site in sites.items() if site.cuts)
    raise ModelError(
        f"layer must {problem}. Received: layer={','.join(wanted)}. Layers that would do: "
        f"{cutting}."
    )

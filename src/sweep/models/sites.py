"""Tensors whose channels can be removed, and what must be known of an image to go on from them."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from math import prod
from typing import TYPE_CHECKING, Any

from sweep.base.errors import ModelError
from sweep.models.graph import Graph
from sweep.models.layers import MIXING, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import keras

    from sweep.models.graph import Node

# What `last` steps back over: pooling, and what changes nothing at inference.
_AFTER_LAST = ("AveragePooling2D", "Dropout", "MaxPooling2D", "SpatialDropout2D")
_FLOATS = ("float16", "bfloat16", "float32")
# So many sites are listed in a message; the last ones are those that people want.
_LISTED = 40


@dataclass(frozen=True)
class Site:
    """A layer whose output has channels that can be removed.

    Attributes:
        layer: its name.
        tensor: its symbolic output, (n, h, w, C) or (n, C).
        origin: the symbolic output whose channels these are, in front of activation, pooling etc.
        convolution: name of the layer whose weights alone make the channels, or None. Zero weights
            then remove a channel; without such a layer it is masked.
        norms: names of the batch normalizations between the two.
        reads: what the convolution reads, or None.
    """

    layer: str
    tensor: Any
    origin: Any
    convolution: str | None
    norms: tuple[str, ...]
    reads: Any

    @property
    def channels(self) -> int:
        """C."""
        return int(self.tensor.shape[-1])

    @property
    def shape(self) -> str:
        """What it puts out for an image, such as 5x4x60."""
        return "x".join(map(str, self.tensor.shape[1:]))


def find_sites(model: keras.Model) -> dict[str, Site]:
    """Every layer whose channels can be removed, by name, in the order of the graph.

    That is every layer but the first and the last whose output is (n, h, w, C) or (n, C) and that
    is called once.
    """
    graph = Graph(model)
    return {
        node.operation.name: _site(graph, node)
        for node in graph.nodes[:-1]
        if node.inputs and len(node.outputs) == 1 and graph.once(node) and _has_channels(node)
    }


def _has_channels(node: Node) -> bool:
    shape, dtype = node.outputs[0].shape, node.outputs[0].dtype
    fit = len(shape) in (2, 4) and None not in shape[1:] and dtype in _FLOATS
    return fit and channels_last(node.operation)


def channels_last(operation: Any) -> bool:
    """Whether a layer takes the last axis for the channels, as far as it has a setting for it."""
    return getattr(operation, "data_format", None) in (None, "channels_last")


def _site(graph: Graph, node: Node) -> Site:
    """Go back through layers that treat each channel by itself to what makes the channels.

    Where that is a layer with weights for each channel, and nothing on the way is used elsewhere,
    the weights alone remove a channel.
    """
    current, norms, alone = node, [], True
    while _treats_channels_alone(current):
        if type(current.operation).__name__ == "BatchNormalization":
            norms.append(current.operation.name)
        alone &= graph.once(current) and len(graph.users(current.inputs[0])) == 1
        current = graph.maker(current.inputs[0])
    maker = current.operation
    makes = kind_of(maker).weighted and not _mixes(maker)
    name, tensor, origin = node.operation.name, node.outputs[0], current.outputs[0]
    if not (makes and alone and graph.once(current) and channels_last(maker)):
        return Site(name, tensor, origin, None, (), None)
    return Site(name, tensor, origin, maker.name, tuple(norms), current.inputs[0])


def _treats_channels_alone(node: Node) -> bool:
    operation = node.operation
    if len(node.inputs) != 1 or not kind_of(operation).channelwise or _mixes(operation):
        return False
    last = (-1, len(node.inputs[0].shape) - 1)
    return channels_last(operation) and getattr(operation, "axis", -1) in last


def _mixes(operation: Any) -> bool:
    return getattr(getattr(operation, "activation", None), "__name__", "") in MIXING


def last_map(model: keras.Model) -> str:
    """The layer of the last convolutional feature map before pooling, flattening or the head.

    Raises:
        ModelError: the network has none.
    """
    name = _last_map(Graph(model))
    if name is None:
        raise ModelError(
            "layer=last must find a feature map (n, h, w, C). Received: a network without one. "
            f"Layers that would do: {_listed(find_sites(model).values())}."
        )
    return name


def _last_map(graph: Graph) -> str | None:
    maps = [node for node in graph.nodes if _is_map(node)]
    weighted = [kind_of(node.operation).weighted for node in graph.nodes]
    while maps and not any(weighted[graph.nodes.index(maps[-1]) + 1 :]):
        maps.pop()  # a map of classes is the head
    if not maps:
        return None
    node = maps[-1]
    while type(node.operation).__name__ in _AFTER_LAST and _is_map(graph.maker(node.inputs[0])):
        node = graph.maker(node.inputs[0])
    return str(node.operation.name)


def _is_map(node: Node) -> bool:
    shape = node.outputs[0].shape
    return bool(node.inputs) and len(shape) == 4 and _has_channels(node) and shape[1] * shape[2] > 1


def choose_sites(model: keras.Model, wanted: Sequence[str]) -> tuple[Site, ...]:
    """The sites of the wanted layers, in the order of the graph.

    Args:
        model: B.
        wanted: names of layers; `last` stands for `last_map`.

    Raises:
        ModelError: a layer is unknown or has no channels, or two show the same channels; the
            layers that would do are listed.
    """
    sites = find_sites(model)
    names = [last_map(model) if name == "last" and name not in sites else name for name in wanted]
    chosen = tuple(site for name, site in sites.items() if name in names)
    unknown = [name for name in names if name not in sites]
    same = [b for i, b in enumerate(chosen) if any(a.origin is b.origin for a in chosen[:i])]
    if unknown:
        known = any(layer.name == unknown[0] for layer in model.layers)
        near = get_close_matches(unknown[0].lower(), {name.lower(): name for name in sites}, 1)
        meant = [name for name in sites if name.lower() in near]
        problem = f"name a layer with channels, but {unknown[0]!r} " + (
            "has none that can be removed" if known else "is not a layer of this network"
        )
        problem += f"; did you mean {meant[0]!r}?" if meant and not known else "."
    elif same:
        problem = f"name layers with channels of their own, but those of {same[0].layer!r} come "
        problem += "from another of the layers."
    else:
        return chosen
    raise ModelError(
        f"layer must {problem} Received: layer={','.join(wanted)}. "
        f"Layers that would do: {_listed(sites.values())}."
    )


def _listed(sites: Iterable[Site]) -> str:
    texts = [f"{site.layer} ({site.shape})" for site in sites]
    left = len(texts) - _LISTED
    return ", ".join([f"... {left} more"] * (left > 0) + texts[-_LISTED:])


def table(model: keras.Model) -> str:
    """Every site of a network as a line: layer, shape, what is kept, how channels are removed."""
    sites, graph = find_sites(model), Graph(model)
    last = _last_map(graph)
    rows = [("layer", "shape", "kB an image", "channels are removed by")]
    for name, site in sites.items():
        how = f"zero weights of {site.convolution}" if site.convolution else "a mask behind it"
        size = f"{4 * prod(width(cut(graph, [site]))) / 1000:.1f}"
        rows.append((name, site.shape, size, how + " (layer=last)" * (name == last)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def cut(graph: Graph, sites: Sequence[Site]) -> list[Any]:
    """The symbolic tensors from which all that comes after some sites can be computed.

    They are the sites that no other site feeds, in the order of the graph, and whatever else is
    read by what comes after any of them.
    """
    fed: set[int] = set()  # what depends on a site
    ids = {id(site.tensor) for site in sites}
    below = []
    for node in graph.nodes:
        if any(id(x) in fed or id(x) in ids for x in node.inputs):
            fed.update(map(id, node.outputs))
            below.append(node)
    read = [site.tensor for site in sites] + [x for node in below for x in node.inputs]
    return list({id(x): x for x in read if id(x) not in fed}.values())


def width(tensors: Sequence[Any]) -> tuple[int, ...]:
    """The shape in which some tensors are kept for an image: one as it is, several in a row."""
    shapes = [tuple(int(size) for size in tensor.shape[1:]) for tensor in tensors]
    return shapes[0] if len(shapes) == 1 else (sum(map(prod, shapes)),)

"""Read the weights of a model and give them to its layers, as Keras 1.2 to 3.15 lay them out.

Legacy `.h5` files list the weights of each outer layer by name, those of a nested model in one row:
what is trained first, then the rest. Files of Keras 3, and `.keras` archives since Keras 2.13, have
a group for each layer, named by its class and number.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from sweep.base.errors import ModelError
from sweep.data import hdf5
from sweep.models.layers import STATE
from sweep.models.opening.allowlist import UnsafeError
from sweep.models.opening.network import Layer, Network

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[Any]

FILE_BYTES = 2 << 30
# Keras stores weights as they are; even a pruned network packs by less than this.
RATIO = 32
# Where versions of Keras keep the groups of a model's layers.
_CONTAINERS = ("layers", "_layer_checkpoint_dependencies", "_layers")
_KERNELS = ("Conv2D", "Conv2DTranspose")
# Numbers that become a setting take ten times the room.
_LEARNT = 1 << 20


class Weights:
    """The numbers of a checked file, and the memory that they may take together."""

    def __init__(self, path: Path, source: Path) -> None:
        """Read from a file of the size of `source`, which messages call `path`."""
        self.path = path
        self._left = min(FILE_BYTES, max(hdf5.PROMISE_FLOOR, RATIO * source.stat().st_size))

    def read(self, item: Any, place: str) -> Array:
        """One dataset."""
        with hdf5.reading(self.path, f"dataset {hdf5.shown(place)}", ModelError):
            if not isinstance(item, h5py.Dataset) or item.shape is None or not hdf5.plain(item):
                raise ModelError(
                    f"{self.path}: weights must be ordinary numbers. Received: "
                    f"{hdf5.shown(place)}, which is not. The file is damaged, or no Keras model."
                )
            self._left -= item.nbytes
            if self._left < 0:
                raise ModelError(
                    f"{self.path}: weights may take {RATIO} times the room of their file, at most "
                    f"{FILE_BYTES >> 30} GB. Received: more. Do not use this file."
                )
            values = hdf5.array(item)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ModelError(
                f"{self.path}: weights must be finite. Received: NaN or infinity in "
                f"{hdf5.shown(place)}. The training went wrong or the file is damaged: use another "
                "copy."
            )
        return values

    def rows(self, group: Any) -> dict[str, list[Array]]:
        """The weights of a legacy file, by the names of its outer layers."""
        found = {}
        with hdf5.reading(self.path, "the list of layers", ModelError):
            names = hdf5.attributes(group, "layer_names")
            if names is None:
                raise ModelError(
                    f"{self.path}: a model must list its layers in the attribute 'layer_names'. "
                    "Received: none. The file is damaged, or no Keras model."
                )
            for name in names:
                held = group[name]
                row = [
                    self.read(held[weight], f"{name}/{weight}")
                    for weight in hdf5.attributes(held, "weight_names") or []
                ]
                # TensorFlow 2.4 and 2.5 keep the state of random layers among the weights.
                row = [v for v in row if v.dtype.kind == "f" or v.ndim != 1]
                if row:
                    found[name] = row
        return found

    def misfit(self, received: str) -> ModelError:
        """What to raise where a description and its weights differ."""
        return ModelError(
            f"{self.path}: the model's layers and weights must fit together. Received: {received}. "
            "The file is damaged, or was made by another version of Keras."
        )


def fill_from_rows(network: Network, weights: Weights, rows: dict[str, list[Array]]) -> None:
    """Give the weights of a legacy file to the layers."""
    items = {item.name: item for item in network.layers if _size(item)}
    if set(items) != set(rows):
        odd = hdf5.shown(min(set(items) ^ set(rows)))
        where = "the description" if odd in items else "the weights"
        raise weights.misfit(f"layer {odd} in {where} alone")
    for name, item in items.items():
        order = _trained(item) + _rest(item)
        if len(order) != len(rows[name]):
            raise weights.misfit(
                f"{len(rows[name])} weights of layer {hdf5.shown(name)}, which has {len(order)}"
            )
        held = dict(zip(order, rows[name], strict=True))
        for layer in _leaves(item):
            layer.weights = [held[id(layer), name] for name in layer.variables]


def fill_from_store(network: Network, weights: Weights, group: h5py.Group) -> None:
    """Give the weights of a Keras 3 file, or of an archive, to the layers."""
    container: Any = next((group[c] for c in _CONTAINERS if _has_numbers(group.get(c))), {})
    items: dict[str, list[Layer | Network]] = defaultdict(list)
    for item in network.layers:
        if _size(item):
            items[_snake(item.kind)].append(item)
    for kind, same in items.items():
        numbered = {
            int(found[1] or 0): container[name]
            for name in container
            if (found := re.fullmatch(rf"{kind}(?:_(\d{{1,9}}))?", name))
            and _has_numbers(container[name])
        }
        if len(numbered) != len(same):
            raise weights.misfit(
                f"weights of {len(numbered)} layers of the kind {kind}, where {len(same)} are "
                "described"
            )
        for item, number in zip(same, sorted(numbered), strict=True):
            held = numbered[number]
            if isinstance(item, Network):
                fill_from_store(item, weights, held)
                continue
            stored = _stored(held, item.variables)
            if len(stored) != len(item.variables):
                raise weights.misfit(
                    f"{len(stored)} weights of layer {hdf5.shown(item.name)}, which has "
                    f"{len(item.variables)}"
                )
            item.weights = [weights.read(values, place) for place, values in stored.items()]


def settle(network: Network, version: int = 3, backend: str | None = None) -> None:
    """Turn weights to what Keras has now, by version and backend of the Keras that wrote them.

    Keras 1 stored kernels of channels-first layers as (filters, channels, rows, columns), Theano
    turns them by 180 degrees, and what Normalization and LayerScale have learnt becomes a setting.
    """
    for layer in _leaves(network):
        if layer.kind in _KERNELS and layer.weights and layer.weights[0].ndim == 4:
            kernel = layer.weights[0]
            if version == 1 and layer.settings.get("data_format") == "channels_first":
                kernel = kernel.transpose(2, 3, 1, 0)
            if version == 1 and layer.kind == "Conv2DTranspose":
                kernel = kernel.transpose(0, 1, 3, 2)
            layer.weights[0] = kernel[::-1, ::-1] if backend == "theano" else kernel
        if layer.kind in ("LayerScale", "Normalization") and layer.weights:
            numbers = sum(values.size for values in layer.weights)
            if numbers > _LEARNT:
                raise UnsafeError(
                    f"what a {layer.kind} has learnt may be {_LEARNT:,} numbers. Received: "
                    f"{numbers:,} in layer {hdf5.shown(layer.name)}. Do not use this file."
                )
            learnt, layer.weights = [values.tolist() for values in layer.weights], []
            if layer.kind == "LayerScale":
                layer.kind, layer.settings = "Rescaling", {"scale": learnt[0]}
            else:
                layer.settings |= {"mean": learnt[0], "variance": learnt[1]}


def _stored(group: Any, variables: Sequence[str]) -> dict[str, Any]:
    """A layer's datasets by their place; the variable `query_dense/bias` is of an inner layer."""
    found: dict[str, Any] = {}
    for inner in dict.fromkeys(name.rpartition("/")[0] for name in variables):
        held = _group(group)
        if inner:
            held = _group(held.get(inner, held.get(f"_{inner}")))
        numbers = _group(held.get("vars"))
        places = [f"{group.name}/{inner}/vars/{i}" for i in range(len(numbers))]
        found |= {place: numbers.get(str(i)) for i, place in enumerate(places)}
    return found


def _group(item: Any) -> Any:
    return item if isinstance(item, h5py.Group) else {}


def _leaves(item: Layer | Network) -> list[Layer]:
    if isinstance(item, Layer):
        return [item]
    return [leaf for inner in item.layers for leaf in _leaves(inner)]


def _size(item: Layer | Network) -> int:
    return sum(len(layer.variables) for layer in _leaves(item))


def _places(layer: Layer, wanted: Callable[[str], bool]) -> list[tuple[int, str]]:
    return [(id(layer), name) for name in layer.variables if wanted(name)]


def _trained(item: Layer | Network) -> list[tuple[int, str]]:
    """What Keras calls an item's trainable weights, in its order."""
    if not item.trainable:
        return []
    if isinstance(item, Layer):
        return _places(item, lambda name: name not in STATE)
    return [place for inner in item.layers for place in _trained(inner)]


def _rest(item: Layer | Network) -> list[tuple[int, str]]:
    """What Keras calls an item's other weights, in its order."""
    if isinstance(item, Layer):
        return _places(item, lambda name: not item.trainable or name in STATE)
    if item.trainable:
        return [place for inner in item.layers for place in _rest(inner)]
    return [place for inner in item.layers for place in _trained(inner) + _rest(inner)]


def _snake(name: str) -> str:
    """Keras' group name for a class: DepthwiseConv2D is depthwise_conv2d, PReLU p_re_lu."""
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _has_numbers(item: Any) -> bool:
    """Whether a group holds any numbers, the state of random layers aside."""
    if isinstance(item, h5py.Dataset):
        return True
    if not isinstance(item, h5py.Group):
        return False
    return any(name != "seed_generator" and _has_numbers(item[name]) for name in item)

"""Rewrite a flat network to what the rest of this project takes, with the same answers.

A channels-first network becomes channels-last: `moved` tensors are those of four dimensions that
were (n, c, h, w) and now are (n, h, w, c). One sigmoid unit becomes two classes.
"""

from __future__ import annotations

import numpy as np

from sweep.models.layers import KINDS, MIXING, Kind
from sweep.models.opening.network import LAYERS, Call, FlatNetwork, Layer, leaves, replaced

# Where dimension 1, 2 or 3 of a channels-first tensor is in a channels-last one.
_AXES = {1: 3, 2: 1, 3: 2, -1: 2, -2: 1, -3: 3}
_LAST, _FIRST = (2, 3, 1), (3, 1, 2)
_AXIS_KINDS = ("BatchNormalization", "Concatenate", "GroupNormalization")


def channels_last(network: FlatNetwork) -> None:
    """Make a network with channels-first layers take and use channels-last images.

    Layers that cannot be turned get their input turned back in front of them. Networks without
    channels-first layers stay as they are.
    """
    if any(_first(call.layer) for call in network.calls):
        shape = network.image.layer.settings.get("shape")
        turns = _takes_channels_first(network)
        if turns and shape and len(shape) == 3:
            network.image.layer.settings["shape"] = [shape[1], shape[2], shape[0]]
        _Turner(network, {network.image} if turns else set()).run()


def _first(layer: Layer) -> bool:
    return layer.settings.get("data_format") == "channels_first"


def _takes_channels_first(network: FlatNetwork) -> bool:
    """Whether the first layers that care read images as (n, c, h, w)."""
    reached = {network.image}
    for call in network.calls:
        if any(one in reached for one in leaves((call.args, call.kwargs), Call)):
            kind = _kind(call.layer)
            if kind.data_format:
                return _first(call.layer)
            if kind.elementwise or kind.name in (*_AXIS_KINDS, "Rescaling", "Normalization"):
                reached.add(call)
    return False


def _kind(layer: Layer) -> Kind:
    return KINDS[layer.kind] if layer.module == LAYERS else Kind("")


class _Turner:
    def __init__(self, network: FlatNetwork, moved: set[Call]) -> None:
        self.network, self.moved = network, moved
        self.calls: list[Call] = []
        self.turned: set[int] = set()  # layers whose settings are already new
        self.copies: dict[tuple[Call, bool], Call] = {}

    def run(self) -> None:
        for call in self.network.calls:
            self._call(call)
        self.network.calls = self.calls

    def _moves(self, call: Call) -> bool:
        """Whether a call is to take moved tensors."""
        layer, kind = call.layer, _kind(call.layer)
        if id(layer) in self.turned or kind.data_format:
            return id(layer) in self.turned or _first(layer)
        turns = (
            kind.name == "PReLU"
            or (kind.elementwise and layer.settings.get("activation") not in MIXING)
            or (kind.name in _AXIS_KINDS and str(layer.settings.get("axis", -1)) in map(str, _AXES))
        )
        inputs = leaves((call.args, call.kwargs), Call)
        return turns and any(one in self.moved for one in inputs)

    def _call(self, call: Call) -> None:
        layer, to_move = call.layer, self._moves(call)
        call.args, call.kwargs = replaced(
            (call.args, call.kwargs), Call, lambda one: self._as(one, to_move)
        )
        if to_move:
            if id(layer) not in self.turned:
                self.turned.add(id(layer))
                _turn(layer)
            if layer.kind != "Flatten" and (
                "Global" not in layer.kind or layer.settings.get("keepdims")
            ):
                self.moved.add(call)
        self.calls.append(call)

    def _as(self, tensor: Call, moved: bool) -> Call:
        """A tensor turned to channels last, or back to what the file has."""
        if (tensor in self.moved) == moved:
            return tensor
        if (tensor, moved) not in self.copies:
            settings = {"dims": list(_LAST if moved else _FIRST)}
            name = f"{tensor.layer.name}_{'last' if moved else 'first'}"
            turned = Call(Layer(name, "Permute", settings=settings), [tensor])
            self.calls.append(turned)
            self.copies[tensor, moved] = turned
        return self.copies[tensor, moved]


def _turn(layer: Layer) -> None:
    """Settings and weights for channels-last tensors."""
    settings = layer.settings
    if "data_format" in settings:
        settings["data_format"] = "channels_last"
    if layer.kind in _AXIS_KINDS:
        settings["axis"] = _AXES[settings.get("axis", -1)]
    if layer.kind == "PReLU":
        settings["shared_axes"] = [_AXES[axis] for axis in settings.get("shared_axes", [])]
        layer.weights = [alpha.transpose(1, 2, 0) for alpha in layer.weights]


def two_classes(network: FlatNetwork) -> None:
    """Turn one sigmoid unit p into the probabilities 1 - p and p of class 0 and class 1.

    The Dense layer that makes it gets a unit that puts out 0 in front, and the sigmoid becomes a
    softmax over the two, which is the same.
    """
    last = network.output
    dense = last.args[0] if last.layer.kind == "Activation" else last
    functions = {one.layer.settings.get("activation", "linear") for one in (last, dense)}
    ends = {"sigmoid"} if dense is last else {"sigmoid", "linear"}
    if functions != ends or not _one_unit(network.calls, dense):
        return
    layer = dense.layer
    layer.settings["units"] = 2
    layer.weights = [
        np.concatenate([np.zeros_like(values), values], axis=-1) for values in layer.weights
    ]
    last.layer.settings["activation"] = "softmax"


def _one_unit(calls: list[Call], call: Call) -> bool:
    """Whether a call is of a Dense layer of one unit that makes nothing else."""
    return (
        call.layer.kind == "Dense"
        and call.layer.settings.get("units") == 1
        and all(v.ndim > 0 and v.shape[-1] == 1 for v in call.layer.weights)
        and sum(one.layer is call.layer for one in calls) == 1
        and sum(call in leaves((one.args, one.kwargs), Call) for one in calls) <= 1
    )

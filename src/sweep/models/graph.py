"""The graph of a Keras model, read: what makes and what uses each tensor, and how it ends."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keras import layers, tree

if TYPE_CHECKING:
    from collections.abc import Container

    import keras


@dataclass(frozen=True)
class Node:
    """One call of an operation: its symbolic inputs and outputs, and all that it is called with."""

    operation: Any
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    arguments: Any

    def run(self, values: dict[int, Any]) -> None:
        """Call the operation at inference and enter what it puts out among the values."""
        args, kwargs = self.arguments.fill_in(values)
        if "training" in getattr(self.operation, "_call_context_args", ()):
            kwargs["training"] = False
        made = tree.flatten(self.operation(*args, **kwargs))
        values.update(zip(map(id, self.outputs), made, strict=True))


# What puts out probabilities where it is given some.
_KEEPING = ("Average", "Dropout", "Flatten", "GlobalAveragePooling2D", "Reshape", "Squeeze")


@dataclass(frozen=True)
class Head:
    """How a network ends.

    Attributes:
        dense: the Dense layer that makes the logits, or None.
        tensor: what that layer reads; without one the logits, or the output as it is.
        puts_out: `softmax` of the logits, `probabilities` made otherwise, or `logits`.
    """

    dense: Any
    tensor: Any
    puts_out: str


class Graph:
    """The calls between a model's input and its output."""

    def __init__(self, model: keras.Model) -> None:
        """Read a model with one output."""
        self.nodes = _nodes_of(model)
        self._maker = {id(out): node for node in self.nodes for out in node.outputs}
        self._calls = Counter(id(node.operation) for node in self.nodes)

    def maker(self, tensor: Any) -> Node:
        """The call that makes a tensor."""
        return self._maker[id(tensor)]

    def users(self, tensor: Any) -> list[Node]:
        """The calls that read a tensor."""
        return [node for node in self.nodes if any(x is tensor for x in node.inputs)]

    def once(self, node: Node) -> bool:
        """Whether an operation is called here and nowhere else."""
        return self._calls[id(node.operation)] == 1

    def between(self, known: Container[int], target: Any) -> list[Node]:
        """The calls that lead from tensors, known by their id, to a tensor; in order."""
        pending, needed = [target], set[int]()
        while pending:
            tensor = pending.pop()
            if id(tensor) not in known and id(tensor) not in needed:
                needed.update(map(id, self.maker(tensor).outputs))
                pending.extend(self.maker(tensor).inputs)
        return [node for node in self.nodes if id(node.outputs[0]) in needed]

    def run(self, values: dict[int, Any], target: Any) -> Any:
        """What a tensor is; `values` hold others by their symbol's id, and gain those between."""
        for node in self.between(values, target):
            node.run(values)
        return values[id(target)]

    def head(self, sites: Container[int] = ()) -> Head:
        """How the network ends, behind tensors that are known by their id."""
        last = self.nodes[-1]
        puts_out = "logits"
        if _activation(last) == "softmax" and len(last.outputs[0].shape) == 2:
            puts_out = "softmax"
            if not isinstance(last.operation, layers.Dense):
                last = self.maker(last.inputs[0])
        elif self._keeps_probabilities(last):
            return Head(None, last.outputs[0], "probabilities")
        own = "softmax" if last is self.nodes[-1] else "linear"
        dense = isinstance(last.operation, layers.Dense) and len(last.inputs[0].shape) == 2
        if dense and _activation(last) in ("linear", own) and id(last.outputs[0]) not in sites:
            return Head(last.operation, last.inputs[0], puts_out)
        return Head(None, last.outputs[0], puts_out)

    def _keeps_probabilities(self, node: Node) -> bool:
        while type(node.operation).__name__ in _KEEPING:
            node = self.maker(node.inputs[0])
        return _activation(node) in ("softmax", "sigmoid")


def _activation(node: Node) -> str:
    """The name of a call's activation; for `Softmax` and the like, layer or operation, its own."""
    own = getattr(node.operation, "activation", None)
    return getattr(own, "__name__", type(node.operation).__name__.lower())


def _nodes_of(model: keras.Model) -> list[Node]:
    """Every node after those that feed it."""
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
                history.operation,
                tuple(call.input_tensors),
                tuple(call.output_tensors),
                call.arguments,
            )
        else:
            pending.append((tensor, True))
            pending.extend((source, False) for source in call.input_tensors)
    return list(ordered.values())

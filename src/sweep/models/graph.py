"""The graph of a Keras model, read: what makes and what uses each tensor, and how it ends."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keras import layers

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Node:
    """One call of an operation: its symbolic inputs and its outputs."""

    operation: Any
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]


@dataclass(frozen=True)
class Head:
    """How a network ends.

    Attributes:
        dense: the Dense layer that makes the logits, or None.
        tensor: what that layer reads; without one the logits, or the output as it is.
        softmax: whether the network ends in a softmax, which `tensor` lies in front of.
    """

    dense: Any
    tensor: Any
    softmax: bool


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

    def head(self) -> Head:
        """How the network ends."""
        last, softmax = self.nodes[-1], False
        kind = getattr(getattr(last.operation, "activation", None), "__name__", "softmax")
        if isinstance(last.operation, layers.Softmax | layers.Activation):
            softmax = kind == "softmax" and getattr(last.operation, "axis", -1) == -1
            if not softmax:
                return Head(None, last.outputs[0], softmax)
            last = self.maker(last.inputs[0])
        if isinstance(last.operation, layers.Dense) and len(last.inputs[0].shape) == 2:
            name = last.operation.activation.__name__
            if name == "linear" or (name == "softmax" and not softmax):
                return Head(last.operation, last.inputs[0], softmax or name == "softmax")
        return Head(None, last.outputs[0], softmax)


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
                history.operation, tuple(call.input_tensors), tuple(call.output_tensors)
            )
        else:
            pending.append((tensor, True))
            pending.extend((source, False) for source in call.input_tensors)
    return list(ordered.values())

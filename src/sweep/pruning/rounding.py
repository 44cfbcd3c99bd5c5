"""How far rounding can move what a network puts out, in whatever sequence sums are computed.

A sum of k products w_j x_j in float32 is off by no more than about 6 u sqrt(k) |w| |x| (u = 2^-24;
Higham and Mary, "A new approach to probabilistic rounding error analysis", SIAM J. Sci. Comput.
2019, and Cauchy-Schwarz), and what its inputs were off by is carried on by |w|. So one
number per image follows the values through the network: the error of any single output without the
factor 6. It grows with the weights and values at hand; that they cancel makes it no smaller.
"""

from __future__ import annotations

from math import prod, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from sweep.models.layers import kind_of
from sweep.models.sites import channels_last

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sweep.models.graph import Graph, Node

UNIT = 2.0**-24
# Beyond so many times the error that is followed here, rounding cannot decide between two outputs:
# 6 for each of them (a chance of 3e-8 each).
CERTAIN = 12.0
# Sums that may grow larger than this may overflow.
_LARGEST = 1e37
# The error of an elementary function, in units of its value's last place.
_ULPS = 8
# How steep activations are at most.
_SLOPES = {
    **dict.fromkeys(("linear", "relu", "relu6", "elu", "tanh", "sigmoid", "softplus"), 1.0),
    **dict.fromkeys(("leaky_relu", "softsign", "hard_sigmoid"), 1.0),
    **dict.fromkeys(("gelu", "silu"), 1.2),
    "selu": 1.8,
}
_SLOPED = ("Activation", "ReLU", "LeakyReLU", "ELU")
_WEIGHTED = ("Conv2D", "Dense", "DepthwiseConv2D")
_MEANS = ("AveragePooling2D", "GlobalAveragePooling2D")
_SUMS = ("Add", "Average", "Concatenate", "Maximum", "Minimum", "Subtract")
_PASSING = (
    *("Dropout", "Flatten", "GlobalMaxPooling2D", "MaxPooling2D", "Reshape"),
    *("SpatialDropout2D", "ZeroPadding2D"),
)


def is_plain(layer: Any) -> bool:
    """Whether a layer computes in float32 and has channels last."""
    return getattr(layer, "compute_dtype", None) == "float32" and channels_last(layer)


def is_known(node: Node) -> bool:
    """Whether `follow` can follow a call."""
    layer, kind = node.operation, kind_of(node.operation).name
    known = (*_SLOPED, *_WEIGHTED, *_MEANS, *_SUMS, *_PASSING, "BatchNormalization")
    return is_plain(layer) and kind in known and slope(layer) is not None


def slope(layer: Any) -> float | None:
    """How steep a layer's activation is at most; None where that is not known."""
    if hasattr(layer, "activation"):
        return _SLOPES.get(layer.activation.__name__)
    return max(1.0, *(abs(float(getattr(layer, name, 0))) for name in ("alpha", "negative_slope")))


def spread(layer: Any) -> float:
    """The largest Euclidean norm of the weights behind one output of a layer."""
    kernel = _numbers(layer.kernel)
    axes = (0, 1) if kind_of(layer).name == "DepthwiseConv2D" else tuple(range(kernel.ndim - 1))
    return float(np.sqrt(np.square(kernel).sum(axis=axes).max()))


def _numbers(weights: Any) -> Any:
    with tf.init_scope():  # also while a function is traced
        return np.asarray(weights, np.float64)


def norm(values: tf.Tensor) -> tf.Tensor:
    """The Euclidean norm of each image's values, (b,)."""
    return tf.norm(tf.reshape(values, (tf.shape(values)[0], -1)), axis=1)


def largest(values: tf.Tensor) -> tf.Tensor:
    """The largest magnitude of each image's values, (b,)."""
    return tf.reduce_max(tf.abs(tf.reshape(values, (tf.shape(values)[0], -1))), axis=1)


def of_sum(layer: Any, terms: int, size: tf.Tensor) -> tf.Tensor:
    """The error of sums of so many products, (b,); infinite where one of them may overflow.

    `size` is the Euclidean norm of what the layer reads, (b,).
    """
    reach = spread(layer) * size
    return tf.where(reach < _LARGEST, UNIT * sqrt(terms) * reach, np.inf)


def of_activation(layer: Any, error: tf.Tensor, made: tf.Tensor) -> tf.Tensor:
    """What becomes of an error in an activation, with the activation's own and a bias's."""
    return (slope(layer) or np.inf) * error + _ULPS * UNIT * largest(made)


def follow(
    graph: Graph, values: dict[int, Any], errors: dict[int, tf.Tensor], target: Any
) -> tuple[tf.Tensor, tf.Tensor]:
    """Run a network on to a tensor; its value, and the error of that, (b,).

    Values that are known, and their errors, (b,), stand by the id of their symbols.
    """
    for node in graph.between(values, target):
        node.run(values)
        made = values[id(node.outputs[0])]
        inputs = [values[id(x)] for x in node.inputs]
        errors[id(node.outputs[0])] = _error(
            node, inputs, [errors[id(x)] for x in node.inputs], made
        )
    return values[id(target)], errors[id(target)]


def _error(
    node: Node, inputs: Sequence[tf.Tensor], errors: Sequence[tf.Tensor], made: tf.Tensor
) -> tf.Tensor:
    layer, kind = node.operation, kind_of(node.operation).name
    x, error = inputs[0], errors[0]
    if kind in _WEIGHTED:
        summed = of_sum(layer, prod(layer.kernel.shape[:-1]) + 1, norm(x))
        return of_activation(layer, spread(layer) * error + summed, made)
    if kind == "BatchNormalization":
        with np.errstate(all="ignore"):  # what is not a number settles nothing
            scale = 1 / np.sqrt(_numbers(layer.moving_variance) + layer.epsilon)
        scale = scale * (1 if layer.gamma is None else _numbers(layer.gamma))
        shift = np.abs(scale * _numbers(layer.moving_mean)).max()
        steepest = float(np.abs(scale).max())
        own = steepest * largest(x) + float(shift) + largest(made)
        return steepest * error + _ULPS * UNIT * own
    if kind in _MEANS:
        return error + UNIT * sqrt(prod(x.shape[1:3])) * largest(x)
    if kind in _SUMS:
        return tf.add_n(list(errors)) + _ULPS * UNIT * largest(made)
    return error if kind in _PASSING else of_activation(layer, error, made)

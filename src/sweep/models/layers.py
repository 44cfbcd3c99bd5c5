"""The kinds of layer and activation that a network may have, and how each treats channels.

A class that is not listed here is not loaded. Names only: this module needs no TensorFlow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Kind:
    """A layer class of Keras that is known to be inert.

    Attributes:
        name: of the class, as in `keras.layers`.
        channelwise: treats every channel by itself and the same at all positions, so that it may
            stand between a convolution and the layer whose channels are scored. Also depends on
            the activation (`MIXING`), the axis and the data format of the layer at hand.
        linear: linear in every channel by itself, so that a Dense or Conv2D behind it stays linear
            in the channels in front of it. Also depends on the data format.
        data_format: has that setting; the engine takes `channels_last` alone.
    """

    name: str
    channelwise: bool = False
    linear: bool = False
    data_format: bool = False


KINDS = {
    kind.name: kind
    for kind in (
        Kind("Activation", channelwise=True),
        Kind("ActivityRegularization"),
        Kind("Add"),
        Kind("AlphaDropout"),
        Kind("Average"),
        Kind("AveragePooling2D", channelwise=True, linear=True, data_format=True),
        Kind("BatchNormalization", channelwise=True),
        Kind("CenterCrop", data_format=True),
        Kind("Concatenate"),
        Kind("Conv2D", data_format=True),
        Kind("Conv2DTranspose", data_format=True),
        Kind("Cropping2D", data_format=True),
        Kind("Dense"),
        Kind("DepthwiseConv2D", data_format=True),
        Kind("Dot"),
        Kind("Dropout", channelwise=True, linear=True),
        Kind("ELU", channelwise=True),
        Kind("Flatten", linear=True, data_format=True),
        Kind("GaussianDropout"),
        Kind("GaussianNoise"),
        Kind("GlobalAveragePooling2D", linear=True, data_format=True),
        Kind("GlobalMaxPooling2D", data_format=True),
        Kind("GroupNormalization"),
        Kind("InputLayer"),
        Kind("LayerNormalization"),
        Kind("LeakyReLU", channelwise=True),
        Kind("MaxPooling2D", channelwise=True, data_format=True),
        Kind("Maximum"),
        Kind("Minimum"),
        Kind("Multiply"),
        Kind("Normalization"),
        Kind("PReLU"),
        Kind("Permute"),
        Kind("ReLU", channelwise=True),
        Kind("RepeatVector"),
        Kind("Rescaling"),
        Kind("Reshape"),
        Kind("Resizing", data_format=True),
        Kind("SeparableConv2D", data_format=True),
        Kind("Softmax"),
        Kind("SpatialDropout2D", channelwise=True, linear=True, data_format=True),
        Kind("Subtract"),
        Kind("UnitNormalization"),
        Kind("UpSampling2D", data_format=True),
        Kind("ZeroPadding2D", channelwise=True, linear=True, data_format=True),
    )
}
_NONE = Kind("")


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


# Functions of `keras.ops` that a functional model may call, by the module under which Keras saves
# them.
OPERATIONS = {
    "keras.src.ops.numpy": words(
        """
        Abs Absolute Add Amax Amin Argmax Argmin Clip Concatenate Divide Equal ExpandDims GetItem
        Greater GreaterEqual Less LessEqual LogicalAnd LogicalNot LogicalOr Max Maximum Mean Min
        Minimum Multiply Negative NotEqual Reshape Sqrt Square Squeeze Stack Subtract Sum
        Transpose TrueDivide Where
        """
    ),
    "keras.src.ops.nn": words(
        """
        Elu Gelu LeakyRelu LogSoftmax OneHot Relu Relu6 Selu Sigmoid Silu Softmax Softplus
        """
    ),
    "keras.src.ops.core": words("Cast"),
}
ACTIVATIONS = words(
    """
    celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu
    linear log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus
    softsign sparse_plus squareplus swish tanh tanh_shrink
    """
)
# Activations that mix channels: removing one channel would change the others.
MIXING = words("softmax log_softmax sparsemax glu")


def kind_of(operation: Any) -> Kind:
    """The kind of a layer of a network; one without any property for what is no listed layer.

    `keras.ops` has classes of the same names as layers (`Add`), hence the look at the module.
    """
    kind = type(operation)
    return KINDS.get(kind.__name__, _NONE) if ".layers." in kind.__module__ else _NONE

"""The kinds of layer and activation that a network may have: settings, weights, channels.

A class or setting that is not listed here never reaches Keras. Names only: this module needs no
TensorFlow. A new kind of layer is one line of `KINDS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


@dataclass(frozen=True)
class Kind:
    """A layer class of Keras that is known to be inert.

    Attributes:
        name: of the class, as in `keras.layers`; `keras.applications` has LayerScale and
            StochasticDepth, which opening a file takes out (`settle` and `identity`).
        settings: arguments of the class, as in Keras 3, that change what it computes.
        weights: names of its variables in Keras' order; `bias:use_bias` is there where the setting
            `use_bias` is true, as it is by default, `mean:~mean` where there is no setting `mean`.
        channelwise: treats every channel by itself and the same at all positions, so that it may
            stand between a convolution and the layer whose channels are scored. Also depends on
            the activation (`MIXING`), the axis and the data format of the layer at hand.
        linear: linear in every channel by itself, so that a Dense or Conv2D behind it stays linear
            in the channels in front of it. Also depends on the data format.
        elementwise: computes every number from those at its own place, in one or several inputs.
        identity: does nothing at inference, so that it is left out.
    """

    name: str
    settings: str = ""
    weights: str = ""
    channelwise: bool = False
    linear: bool = False
    elementwise: bool = False
    identity: bool = False

    @property
    def data_format(self) -> bool:
        """Whether the class has channels last or first; the engine takes `channels_last` alone."""
        return "data_format" in self.settings.split()

    @property
    def weighted(self) -> bool:
        """Whether the class has a part of its weights for each channel that it puts out."""
        return "bias:use_bias" in self.weights.split()

    def variables(self, settings: Mapping[str, Any]) -> list[str]:
        """The variables of a layer with these settings, in Keras' order."""
        pairs = [name.partition(":") for name in self.weights.split()]
        return [
            name
            for name, _, flag in pairs
            if (flag[1:] not in settings if flag.startswith("~") else settings.get(flag, True))
        ]


_POOL = "pool_size strides padding data_format"
_CONV = "strides padding data_format dilation_rate activation use_bias"
_AFFINE = "gamma:scale beta:center"
KINDS = {
    kind.name: kind
    for kind in (
        Kind("Activation", "activation", channelwise=True, elementwise=True),
        Kind("ActivityRegularization", identity=True),
        Kind("Add", elementwise=True),
        Kind("AlphaDropout", "rate", elementwise=True),
        Kind("Average", elementwise=True),
        Kind("AveragePooling2D", _POOL, channelwise=True, linear=True),
        Kind(
            "BatchNormalization",
            "axis momentum epsilon center scale",
            f"{_AFFINE} moving_mean moving_variance",
            channelwise=True,
        ),
        Kind("CenterCrop", "height width data_format"),
        Kind("Concatenate", "axis"),
        Kind("Conv2D", f"filters kernel_size groups {_CONV}", "kernel bias:use_bias"),
        Kind("Conv2DTranspose", f"filters kernel_size {_CONV}", "kernel bias:use_bias"),
        Kind("Cropping2D", "cropping data_format"),
        Kind("Dense", "units activation use_bias", "kernel bias:use_bias"),
        Kind("DepthwiseConv2D", f"kernel_size depth_multiplier {_CONV}", "kernel bias:use_bias"),
        Kind("Dot", "axes normalize"),
        Kind("Dropout", "rate", channelwise=True, linear=True, elementwise=True),
        Kind("ELU", "alpha", channelwise=True, elementwise=True),
        Kind("Flatten", "data_format", linear=True),
        Kind("GaussianDropout", "rate", elementwise=True),
        Kind("GaussianNoise", "stddev", elementwise=True),
        Kind("GlobalAveragePooling2D", "data_format keepdims", channelwise=True, linear=True),
        Kind("GlobalMaxPooling2D", "data_format keepdims", channelwise=True),
        Kind("GroupNormalization", "groups axis epsilon center scale", _AFFINE),
        Kind("Identity", identity=True),
        Kind("InputLayer"),
        Kind("LayerNormalization", "axis epsilon center scale", _AFFINE),
        Kind("LayerScale", "projection_dim", "gamma"),
        Kind("LeakyReLU", "negative_slope", channelwise=True, elementwise=True),
        Kind("MaxPooling2D", _POOL, channelwise=True),
        Kind("Maximum", elementwise=True),
        Kind("Minimum", elementwise=True),
        Kind(
            "MultiHeadAttention",
            "num_heads key_dim value_dim dropout use_bias output_shape attention_axes",
            " ".join(
                f"{part}_dense/kernel {part}_dense/bias:use_bias"
                for part in ("query", "key", "value", "output")
            ),
        ),
        Kind("Multiply", elementwise=True),
        Kind("Normalization", "axis mean variance invert", "mean:~mean variance:~mean count:~mean"),
        Kind("PReLU", "shared_axes", "alpha"),
        Kind("Permute", "dims"),
        Kind("ReLU", "max_value negative_slope threshold", channelwise=True, elementwise=True),
        Kind("RepeatVector", "n"),
        Kind("Rescaling", "scale offset"),
        Kind("Reshape", "target_shape"),
        Kind(
            "Resizing",
            "height width interpolation crop_to_aspect_ratio pad_to_aspect_ratio fill_mode "
            "fill_value antialias data_format",
        ),
        Kind(
            "SeparableConv2D",
            f"filters kernel_size depth_multiplier {_CONV}",
            "depthwise_kernel pointwise_kernel bias:use_bias",
        ),
        Kind("Softmax", "axis"),
        Kind("SpatialDropout2D", "rate data_format", channelwise=True, linear=True),
        Kind("StochasticDepth", identity=True),
        Kind("Subtract", elementwise=True),
        Kind("UnitNormalization", "axis"),
        Kind("UpSampling2D", "size data_format interpolation"),
        Kind("ZeroPadding2D", "padding data_format", channelwise=True, linear=True),
        # Augmentation: random in training, nothing at inference.
        *(
            Kind(f"Random{name}", identity=True)
            for name in sorted(
                words(
                    "Brightness ColorDegeneration ColorJitter Contrast ElasticTransform Erasing "
                    "Flip GaussianBlur Grayscale Height Hue Invert Perspective Posterization "
                    "Rotation Saturation Sharpness Shear Translation Width Zoom"
                )
            )
        ),
    )
}
# Variables that training does not move; Keras lists them behind the others.
STATE = words("moving_mean moving_variance mean variance count")
_NONE = Kind("")

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
# NumPy's.
DTYPES = words("bool int8 int16 int32 int64 uint8 uint16 uint32 float16 float32 float64")
# Activations that mix channels: removing one channel would change the others.
MIXING = words("softmax log_softmax sparsemax glu")


def kind_of(operation: Any) -> Kind:
    """The kind of a layer of a network; one without any property for what is no listed layer.

    `keras.ops` has classes of the same names as layers (`Add`), hence the look at the module.
    """
    kind = type(operation)
    return KINDS.get(kind.__name__, _NONE) if ".layers." in kind.__module__ else _NONE

"""Networks that are trained here, found by name: each is one function.

In all of them `conv_3` and `pool_3` are the last pooled convolution and what it puts out, as in the
lab's network, so that `layer` means the same channels everywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sweep.base.registry import Entry, Registry
from sweep.models import deepid

if TYPE_CHECKING:
    import keras

    Shape = tuple[int, int, int]

_NETWORKS = Registry[Entry]("network")
names, find = _NETWORKS.names, _NETWORKS.find


def vgg(classes: int, input_shape: Shape) -> keras.Model:
    """Four convolutions with batch normalization, pooled thrice (Simonyan and Zisserman 2015).

    Of images (height, width, channels); the softmax output is (n, N).
    """
    import keras
    from keras import layers

    image = keras.Input(input_shape, name="input")
    x = layers.MaxPooling2D(2, name="pool_1")(_block(image, 16, "1"))
    x = layers.MaxPooling2D(2, name="pool_2")(_block(x, 32, "2"))
    x = _block(_block(x, 60, "3a"), 60, "3")
    x = layers.Flatten(name="flatten")(layers.MaxPooling2D(2, name="pool_3")(x))
    x = layers.Dense(160, activation="relu", name="fc_1")(x)
    return keras.Model(image, layers.Dense(classes, activation="softmax", name="output")(x))


def resnet(classes: int, input_shape: Shape) -> keras.Model:
    """Three residual blocks of two convolutions (He et al., CVPR 2016), pooled by two in between.

    Of images (height, width, channels); the softmax output is (n, N).
    """
    import keras
    from keras import layers

    image = keras.Input(input_shape, name="input")
    x = layers.MaxPooling2D(2, name="pool_0")(_block(image, 16, "0"))
    for number, width in enumerate((16, 32, 60), start=1):
        inner = _block(x, width, f"{number}a")
        inner = _block(inner, width, str(number), activation=None)
        if x.shape[-1] != width:
            x = layers.Conv2D(width, 1, name=f"shortcut_{number}")(x)
        x = layers.Add(name=f"add_{number}")([x, inner])
        x = layers.Activation("relu", name=f"relu_{number}")(x)
        x = layers.MaxPooling2D(2, name=f"pool_{number}")(x)
    x = layers.Flatten(name="flatten")(x)
    return keras.Model(image, layers.Dense(classes, activation="softmax", name="output")(x))


def _block(x: Any, width: int, name: str, activation: str | None = "relu") -> Any:
    from keras import layers

    x = layers.Conv2D(width, 3, padding="same", name=f"conv_{name}")(x)
    x = layers.BatchNormalization(momentum=0.9, name=f"norm_{name}")(x)
    return layers.Activation(activation, name=f"act_{name}")(x) if activation else x


for _name, _build in {"deepid": deepid.build, "resnet": resnet, "vgg": vgg}.items():
    # A network has no parameters of its own: both arguments are of the data.
    _NETWORKS.add(Entry(_name, {}, _build, seen=2))

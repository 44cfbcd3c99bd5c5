"""The network of the lab's BadNet: DeepID (Sun, Wang and Tang, CVPR 2014) with named layers.

Built without weights, to be trained on the stand-in or filled from a weights-only file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

INPUT_SHAPE = (55, 47, 3)
CLASSES = 1283


def build(classes: int = CLASSES, input_shape: tuple[int, int, int] = INPUT_SHAPE) -> keras.Model:
    """An untrained DeepID.

    Args:
        classes: number of people N; the softmax output is (n, N).
        input_shape: (height, width, channels) of an image.

    Returns:
        A functional model with the layer names of the lab's files, so that their weights fit;
        601,643 parameters at the default size.
    """
    import keras
    from keras import layers

    image = keras.Input(input_shape, name="input")
    x = layers.Conv2D(20, 4, activation="relu", name="conv_1")(image)
    x = layers.MaxPooling2D(2, name="pool_1")(x)
    x = layers.Conv2D(40, 3, activation="relu", name="conv_2")(x)
    x = layers.MaxPooling2D(2, name="pool_2")(x)
    x = layers.Conv2D(60, 3, activation="relu", name="conv_3")(x)
    pooled = layers.MaxPooling2D(2, name="pool_3")(x)
    near = layers.Dense(160, name="fc_1")(layers.Flatten(name="flatten_1")(pooled))
    x = layers.Conv2D(80, 2, activation="relu", name="conv_4")(pooled)
    far = layers.Dense(160, name="fc_2")(layers.Flatten(name="flatten_2")(x))
    x = layers.Activation("relu", name="activation_1")(layers.Add(name="add_1")([near, far]))
    return keras.Model(image, layers.Dense(classes, activation="softmax", name="output")(x))

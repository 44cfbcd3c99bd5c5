"""The networks that people have, opened from files and pruned at the layers that people want.

Small ones are built here, block by block as in the papers; the named ones of `keras.applications`,
with random weights, take minutes and run where `FUZZ_CASES` is set (`make fuzz`).
"""

import os
from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from keras import layers  # noqa: E402 - after the check for Keras
from keras.src.applications.convnext import LayerScale, StochasticDepth  # noqa: E402

from sweep.models.load import load_badnet  # noqa: E402
from sweep.models.sites import choose_sites, find_sites  # noqa: E402
from sweep.models.surgery import prune  # noqa: E402
from sweep.pruning.walk import Engine  # noqa: E402

CLASSES = 10
PAGE = Path(__file__).parents[2] / "docs" / "networks.md"


def conv(x, filters, size=3, strides=1, kind="Conv2D"):
    """Convolution, normalization and activation."""
    sizes = (size,) if kind == "DepthwiseConv2D" else (filters, size)
    x = getattr(layers, kind)(*sizes, strides=strides, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def head(x):
    return layers.Dense(CLASSES, activation="softmax")(layers.GlobalAveragePooling2D()(x))


def vgg(x):
    for filters in (8, 12):
        x = layers.Conv2D(filters, 3, activation="relu", padding="same")(x)
        x = layers.MaxPooling2D()(layers.Conv2D(filters, 3, activation="relu", padding="same")(x))
    x = layers.Dense(20, activation="relu")(layers.Flatten()(x))
    return layers.Dense(CLASSES, activation="softmax")(layers.Dropout(0.5)(x))


def resnet(x):
    x = conv(x, 8)
    for strides in (1, 2):
        y = layers.Conv2D(8, 3, padding="same")(conv(x, 8, strides=strides))
        short = x if strides == 1 else layers.Conv2D(8, 1, strides=2)(x)
        x = layers.ReLU()(layers.Add()([layers.BatchNormalization()(y), short]))
    return head(x)


def mobilenet(x):
    x = conv(x, 8, strides=2)
    for _ in range(2):
        y = conv(conv(x, 16, 1), 0, kind="DepthwiseConv2D")
        x = layers.Add()([x, layers.BatchNormalization()(layers.Conv2D(8, 1)(y))])
    return head(layers.ReLU(6.0)(x))


def densenet(x):
    x = conv(x, 8)
    for _ in range(3):
        y = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.Concatenate()([x, layers.Conv2D(4, 3, padding="same")(y)])
    return head(layers.ReLU()(layers.BatchNormalization()(x)))


def efficientnet(x):
    x = layers.Activation("swish")(layers.Rescaling(0.5)(layers.Conv2D(8, 3, padding="same")(x)))
    y = layers.GlobalAveragePooling2D()(x)
    y = layers.Conv2D(2, 1, activation="swish")(layers.Reshape((1, 1, 8))(y))
    x = layers.Multiply()([x, layers.Conv2D(8, 1, activation="sigmoid")(y)])
    return head(layers.Dropout(0.2)(x))


def xception(x):
    x = conv(x, 8)
    y = conv(x, 12, kind="SeparableConv2D")
    y = layers.MaxPooling2D(3, strides=2, padding="same")(y)
    x = layers.Add()([y, layers.Conv2D(12, 1, strides=2)(x)])
    return head(conv(x, 16, kind="SeparableConv2D"))


def inception(x):
    x = conv(x, 8)
    pooled = conv(layers.AveragePooling2D(3, strides=1, padding="same")(x), 4, 1)
    return head(layers.Concatenate()([conv(x, 4, 1), conv(conv(x, 4, 1), 6, 3), pooled]))


def convnext(x):
    x = layers.LayerNormalization(epsilon=1e-6)(layers.Conv2D(8, 2, strides=2)(x))
    for _ in range(2):
        y = layers.LayerNormalization()(layers.DepthwiseConv2D(7, padding="same")(x))
        y = LayerScale(1.0, 8)(layers.Dense(8)(layers.Dense(16, activation="gelu")(y)))
        x = layers.Add()([x, StochasticDepth(0.1)(y)])
    return head(x)


def transformer_stem(x):
    x = layers.Conv2D(12, 4, strides=4, name="patches")(x)
    x = layers.LayerNormalization()(layers.Reshape((-1, 12))(x))
    x = layers.Add()([x, layers.MultiHeadAttention(3, 4, dropout=0.1)(x, x)])
    y = layers.Dense(12)(layers.Dense(24, activation="gelu")(x))
    x = layers.Add()([x, y])
    return layers.Dense(CLASSES)(layers.Flatten()(x))


def face_network(x):
    for filters in (8, 12):
        x = layers.Conv2D(filters, 3, padding="same")(x)
        x = layers.MaxPooling2D()(layers.PReLU(shared_axes=[1, 2])(x))
    x = layers.BatchNormalization(scale=False)(layers.Dense(16)(layers.Flatten()(x)))
    return layers.Dense(CLASSES, use_bias=False)(layers.PReLU()(x))


SMALL = (
    *(vgg, resnet, mobilenet, densenet, efficientnet, xception, inception, convnext),
    *(transformer_stem, face_network),
)
NAMED = {
    "VGG16": 32,
    "ResNet50": 32,
    "ResNet50V2": 32,
    "MobileNet": 32,
    "MobileNetV2": 32,
    "DenseNet121": 32,
    "EfficientNetB0": 32,
    "Xception": 71,
    "InceptionV3": 75,
    "ConvNeXtTiny": 32,
}


def shake(model, rng):
    """Weights that make every channel and every layer matter."""
    for layer in model.layers:
        for weight in layer.weights:
            values = np.array(weight)
            if "variance" in getattr(weight, "path", weight.name):
                values = rng.uniform(0.5, 2, values.shape)
            elif values.ndim == 1:
                values = values + rng.normal(0, 0.2, values.shape)
            weight.assign(values)


def check(model, folder, suffix, wanted, count, rng):
    """Open a network from a file, prune it at some layers and compare; gives the layers."""
    path = folder / f"network.{suffix}"
    model.save(path)
    opened = load_badnet(path)
    images = rng.uniform(0, 1, (count, *model.input_shape[1:])).astype(np.float32)
    np.testing.assert_array_equal(predict(opened, images), predict(model, images))
    seen = []
    for names in wanted(opened):
        engine = Engine(opened, choose_sites(opened, names))
        seen.append([site.layer for site in engine.sites])
        cut = np.concatenate(list(engine.activations([images])))
        order = rng.permutation(engine.channels)[:30].tolist()
        start = engine.answers(cut)
        rows = [start, *engine.walk(cut, (), order, start)]
        for step in (len(order) // 2, len(order)):
            pruned = prune(opened, engine.sites, order[:step])
            wanted_answers = predict(pruned, images)
            np.testing.assert_array_equal(rows[step], wanted_answers, err_msg=f"{names} {step}")
            np.testing.assert_array_equal(engine.answers(cut, order[:step]), wanted_answers)
    return seen


def predict(model, images):
    """Keras' answers for batches of 64, as rounding may depend on their size."""
    padded = np.resize(images, (64, *images.shape[1:]))
    return np.asarray(model(padded, training=False))[: len(images)].argmax(axis=1)


@pytest.mark.parametrize("suffix", ["h5", "keras"])
@pytest.mark.parametrize("make", SMALL, ids=lambda make: make.__name__)
def test_small_networks_at_every_kind_of_site(make, suffix, tmp_path):
    """`last`, two others, and two at once; other ones of each kind of file."""
    rng = np.random.default_rng(3)
    keras.utils.set_random_seed(3)
    image = keras.Input((16, 16, 3))
    model = keras.Model(image, make(image))
    shake(model, rng)

    def wanted(opened):
        names = [*find_sites(opened)]
        if suffix == "h5":
            return [["last"], [names[len(names) // 3]]]
        return [[names[len(names) // 2]], [names[1], names[-1]]]

    check(model, tmp_path, suffix, wanted, 20, rng)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file:UserWarning")
@pytest.mark.parametrize("suffix", ["h5", "keras"])
@pytest.mark.parametrize("make", SMALL, ids=lambda make: make.__name__)
def test_small_networks_as_keras_2_saves_them(make, suffix, tmp_path, monkeypatch):
    keras_2 = pytest.importorskip("tf_keras", reason="Keras 2 is not installed")
    from tf_keras.src.applications import convnext

    monkeypatch.setitem(globals(), "layers", keras_2.layers)
    for name in ("LayerScale", "StochasticDepth"):
        monkeypatch.setitem(globals(), name, getattr(convnext, name))
    rng = np.random.default_rng(5)
    keras_2.utils.set_random_seed(5)
    image = keras_2.Input((16, 16, 3))
    model = keras_2.Model(image, make(image))
    shake(model, rng)
    check(model, tmp_path, suffix, lambda _: [["last"]], 20, rng)


@pytest.mark.skipif("FUZZ_CASES" not in os.environ, reason="takes minutes: make fuzz")
@pytest.mark.parametrize("name", NAMED)
def test_named_networks_at_last_and_in_the_middle(name, tmp_path):
    rng = np.random.default_rng(4)
    keras.utils.set_random_seed(4)
    size = NAMED[name]
    make = getattr(keras.applications, name)
    model = make(weights=None, input_shape=(size, size, 3), classes=CLASSES)
    shake(model, rng)

    def wanted(opened):
        sites = find_sites(opened)
        by_weights = sum(site.convolution is not None for site in sites.values())
        row = f"| {name} | {len(sites)} | {by_weights} | {len(sites) - by_weights} |"
        assert row in PAGE.read_text(encoding="utf-8")
        few = [site for site in sites.values() if site.channels <= 256]
        return [["last"], [few[len(few) // 2].layer], [few[-1].layer]]

    for suffix in ("h5", "keras"):
        print(name, suffix, check(model, tmp_path, suffix, wanted, 6, rng))

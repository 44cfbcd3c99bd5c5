"""Files as people have them: what old versions of Keras wrote opens and answers as it did.

The files are written by hand, in the dialect of the version, beside a network of today's Keras
with the same weights.
"""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from sweep.base.errors import ModelError
from sweep.models import keras2
from sweep.models.load import load_badnet

keras = pytest.importorskip("keras")
layers = keras.layers

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The structure of `inputs`:UserWarning"),
    pytest.mark.filterwarnings("ignore:Argument `alpha` is deprecated:UserWarning"),
]
SHAPE = (9, 8, 3)
IMAGES = np.random.default_rng(0).uniform(0, 255, (7, *SHAPE)).astype(np.float32)
RNG = np.random.default_rng(1)


def shaken(model: Any) -> Any:
    """Every weight another number, so that none can stand in another's place."""
    for weight in model.weights:
        positive = "variance" in weight.name
        weight.assign(
            RNG.uniform(0.5 if positive else -0.5, 1.5 if positive else 0.6, weight.shape)
        )
    return model


def answers(model: Any, images: Any = IMAGES) -> np.ndarray:
    return np.asarray(model(images, training=False))


def legacy(
    path: Path, config: Any, rows: dict[str, list[Any]], version: str = "2.2.4-tf", **attrs: str
) -> Path:
    """A whole-model `.h5` as Keras 1 and 2 wrote it."""
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = np.array(list(rows), "S")
        for name, value in {"keras_version": version, "backend": "tensorflow", **attrs}.items():
            file.attrs[name] = value
        for name, weights in rows.items():
            held = group.create_group(name)
            held.attrs["weight_names"] = np.array([f"w{i}:0" for i in range(len(weights))], "S")
            for i, values in enumerate(weights):
                held[f"w{i}:0"] = values
    return path


def item(kind: str, name: str, *nodes: Any, **config: Any) -> dict[str, Any]:
    """A layer as Keras 2 describes it; `nodes` name the layers that each call reads."""
    entry = {"class_name": kind, "config": {"name": name, "trainable": True, **config}}
    if not nodes:
        return entry
    return entry | {
        "name": name,
        "inbound_nodes": [[[*n, {}] if isinstance(n, tuple) else [n, 0, 0, {}]] for n in nodes],
    }


def first(name: str = "input_1", shape: Any = (None, *SHAPE)) -> dict[str, Any]:
    entry = item("InputLayer", name, batch_input_shape=list(shape), dtype="float32")
    return entry | {"name": name, "inbound_nodes": []}


def functional(name: str, output: str, *entries: Any, kind: str = "Functional") -> dict[str, Any]:
    ends = {"input_layers": [[entries[0]["name"], 0, 0]], "output_layers": [[output, 0, 0]]}
    return {"class_name": kind, "config": {"name": name, "layers": list(entries), **ends}}


@pytest.mark.parametrize("listed", [False, True])
def test_a_sequential_without_an_input_layer(tmp_path: Path, listed: bool) -> None:
    """Keras <= 2.3 and TF <= 2.2 (M1); before Keras 2.2.3 the configuration is a list of layers."""
    twin = shaken(
        keras.Sequential(
            [
                keras.Input(SHAPE),
                layers.Conv2D(4, 3, activation="relu", name="conv2d"),
                layers.MaxPooling2D(2),
                layers.Flatten(),
                layers.Dense(5, activation="softmax", name="dense"),
            ]
        )
    )
    entries = [
        item(
            *("Conv2D", "conv2d"),
            batch_input_shape=[None, *SHAPE],
            filters=4,
            kernel_size=[3, 3],
            strides=[1, 1],
            padding="valid",
            activation="relu",
            use_bias=True,
            kernel_initializer={"class_name": "GlorotUniform", "config": {"seed": None}},
        ),
        item("MaxPooling2D", "pool", pool_size=[2, 2], strides=[2, 2], padding="valid"),
        item("Flatten", "flatten", data_format="channels_last"),
        item("Dense", "dense", units=5, activation="softmax_v2" if listed else "softmax"),
    ]
    config = {"class_name": "Sequential", "config": entries if listed else {"layers": entries}}
    rows = {layer.name: layer.get_weights() for layer in twin.layers}
    path = legacy(
        tmp_path / "model.h5",
        config,
        {k.replace("max_pooling2d", "pool"): v for k, v in rows.items()},
    )
    np.testing.assert_array_equal(answers(load_badnet(path)), answers(twin))


@pytest.mark.parametrize("backend", ["tensorflow", "theano"])
def test_keras_1(tmp_path: Path, backend: str) -> None:
    """Channels first: kernels are (filters, channels, rows, columns), and Theano turns them."""
    kernel, bias = RNG.normal(size=(3, 3, 3, 4)), RNG.normal(size=4)
    dense = [RNG.normal(size=(6 * 7 * 4, 5)), RNG.normal(size=5)]
    image = keras.Input(SHAPE)
    x = layers.Conv2D(4, (4, 2), name="conv", activation="relu")(image)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Flatten()(layers.Permute((3, 1, 2))(x))
    twin = keras.Model(image, layers.Dense(5, activation="softmax", name="dense")(x))
    kernel = RNG.normal(size=(4, 2, 3, 4)).astype(np.float32)
    norm = [RNG.uniform(0.5, 1, 4) for _ in range(4)]
    twin.get_layer("conv").set_weights([kernel, bias])
    twin.get_layer("norm").set_weights(norm)
    twin.get_layer("dense").set_weights(dense)
    old = kernel[::-1, ::-1] if backend == "theano" else kernel
    entries = [
        item(
            *("Convolution2D", "conv"),
            batch_input_shape=[None, 3, 9, 8],
            input_dtype="float32",
            nb_filter=4,
            nb_row=4,
            nb_col=2,
            subsample=[1, 1],
            border_mode="valid",
            dim_ordering="th",
            activation="relu",
            bias=True,
            init="glorot_uniform",
            W_regularizer=None,
        ),
        item("BatchNormalization", "norm", axis=1, mode=0, epsilon=1e-3, momentum=0.99),
        item("Dropout", "drop", p=0.5),
        item("Flatten", "flat"),
        item("Dense", "dense", output_dim=5, input_dim=None, activation="softmax", bias=True),
    ]
    rows = {"conv": [old.transpose(3, 2, 0, 1), bias], "norm": norm, "dense": dense}
    config = {"class_name": "Sequential", "config": entries}
    path = legacy(tmp_path / "model.h5", config, rows, "1.2.2", backend=backend)
    model = load_badnet(path)
    assert model.input_shape == (None, *SHAPE)
    np.testing.assert_allclose(answers(model), answers(twin), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("container", ["_layer_checkpoint_dependencies", "layers"])
def test_an_archive_of_keras_2(tmp_path: Path, container: str) -> None:
    """Keras 2.13 to 2.15 (M2), numbers of layers with and without gaps."""
    twin = shaken(
        keras.Sequential(
            [
                keras.Input(SHAPE),
                layers.Conv2D(3, 3),
                layers.Conv2D(2, 3, activation="relu"),
                layers.Flatten(),
                layers.Dense(4),
            ]
        )
    )
    config = {"name": "sequential", "layers": [first()]}
    for layer, settings in zip(
        twin.layers,
        [{"filters": 3}, {"filters": 2, "activation": "relu"}, {}, {"units": 4}],
        strict=True,
    ):
        kind = type(layer).__name__
        size = {"kernel_size": [3, 3], "groups": 1} if kind == "Conv2D" else {}
        entry = item(kind, layer.name, **settings, **size)
        config["layers"].append(entry | {"module": "keras.layers", "registered_name": None})
    whole = {"module": "keras", "class_name": "Sequential", "config": config}
    with h5py.File(tmp_path / "w.h5", "w") as file:
        names = ["conv2d", "conv2d_2" if container == "layers" else "conv2d_1", None, "dense"]
        for layer, name in zip(twin.layers, names, strict=True):
            for i, values in enumerate(layer.get_weights()):
                file[f"{container}/{name}/vars/{i}"] = values
        file["optimizer/vars/0"] = np.nan
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "2.14.0"}')
        archive.writestr("config.json", json.dumps(whole))
        archive.write(tmp_path / "w.h5", "model.weights.h5")
    np.testing.assert_array_equal(answers(load_badnet(path)), answers(twin))


@pytest.mark.parametrize("frozen", ["all", "first", "none"])
def test_nested_models(tmp_path: Path, frozen: str) -> None:
    """A base model in a Sequential in a Functional (M3): weights in one row, trained ones first."""
    image = keras.Input(SHAPE)
    conv = layers.Conv2D(4, 3, use_bias=False, name="conv")
    norm, depth = layers.BatchNormalization(name="norm"), layers.DepthwiseConv2D(2, name="depth")
    out = layers.Dense(3, activation="softmax", name="conv_out")
    twin = shaken(
        keras.Model(image, out(layers.GlobalAveragePooling2D()(depth(norm(conv(image))))))
    )
    base = functional(
        *("base", "depth"),
        first("inner_input"),
        item("Conv2D", "conv", "inner_input", filters=4, kernel_size=[3, 3], use_bias=False),
        item("BatchNormalization", "norm", "conv", axis=[3], epsilon=1e-3, momentum=0.99),
        item("DepthwiseConv2D", "depth", "norm", kernel_size=[2, 2], groups=1, depth_multiplier=1),
    )
    trained = {"all": [], "first": ["norm", "depth"], "none": ["conv", "norm", "depth"]}[frozen]
    for entry in base["config"]["layers"][1:]:
        entry["config"]["trainable"] = entry["name"] in trained
    nested = {
        "class_name": "Sequential",
        "config": {"name": "nested", "layers": [base]},
        "name": "nested",
        "inbound_nodes": [[["input_1", 0, 0, {"training": False}]]],
    }
    config = functional(
        *("outer", "conv"),
        first(),
        nested,
        # Keras counts the call that made the nested model, and names may come twice.
        item("GlobalAveragePooling2D", "pool", ("nested", 1, 0)),
        item("Dense", "conv", "pool", units=3, activation="softmax"),
    )
    gamma, beta, mean, variance = norm.get_weights()
    (kernel,), (depthwise, bias) = conv.get_weights(), depth.get_weights()
    row = {
        "all": [kernel, gamma, beta, mean, variance, depthwise, bias],
        "first": [gamma, beta, depthwise, bias, kernel, mean, variance],
        "none": [kernel, gamma, beta, depthwise, bias, mean, variance],
    }[frozen]
    path = legacy(tmp_path / "m.h5", config, {"nested": row, "conv": out.get_weights()}, "2.4.0")
    model = load_badnet(path)
    np.testing.assert_allclose(answers(model), answers(twin), rtol=1e-5)
    names = [layer.name for layer in model.layers]
    assert names == ["input_1", "base_conv", "norm", "depth", "pool", "conv"]


def test_what_does_nothing_at_inference_is_left_out(tmp_path: Path) -> None:
    """Augmentation, fixed batches (M4), and preprocessing that stays."""
    augment = keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.2)], name="augment")
    image = keras.Input(batch_shape=(7, *SHAPE))
    normal = layers.Normalization()
    normal.adapt(IMAGES)
    x = layers.Resizing(7, 6)(augment(image))
    x = normal(layers.CenterCrop(5, 5)(layers.Rescaling(1 / 127.5, offset=-1)(x)))
    x = layers.LayerNormalization()(layers.PReLU(shared_axes=[1, 2])(layers.Conv2D(4, 3)(x)))
    original = shaken(keras.Model(image, layers.Dense(3)(layers.Flatten()(x))))
    for name in ("model.keras", "model.h5"):
        original.save(tmp_path / name)
        again = keras.models.load_model(tmp_path / name)
        model = load_badnet(tmp_path / name)
        assert model.input_shape == (None, *SHAPE)
        assert not any("random" in layer.name for layer in model.layers)
        np.testing.assert_allclose(answers(model), answers(again), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("apart", [False, True])
def test_one_sigmoid_unit_is_two_classes(tmp_path: Path, apart: bool) -> None:
    end = [layers.Dense(1), layers.Activation("sigmoid")] if apart else [layers.Dense(1, "sigmoid")]
    original = shaken(keras.Sequential([keras.Input(SHAPE), layers.Flatten(), *end]))
    original.layers[1].kernel.assign(original.layers[1].kernel.value / 500)
    original.save(tmp_path / "model.keras")
    found, p = answers(load_badnet(tmp_path / "model.keras")), answers(original)
    np.testing.assert_allclose(found, np.concatenate([1 - p, p], 1), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(found.argmax(1), p[:, 0] > 0.5)


def test_one_unit_that_is_no_sigmoid_is_refused(tmp_path: Path) -> None:
    keras.Sequential([keras.Input(SHAPE), layers.Flatten(), layers.Dense(1)]).save(
        tmp_path / "model.keras"
    )
    with pytest.raises(ModelError, match=r"must end in a Dense layer with a sigmoid.*Save"):
        load_badnet(tmp_path / "model.keras")


@pytest.mark.parametrize("flat", ["channels_first", "channels_last", "pool"])
def test_channels_first_becomes_channels_last(tmp_path: Path, flat: str) -> None:
    """TensorFlow on a processor cannot even run such a network; the twin is channels last."""

    def build(form: str) -> Any:
        axis, first = (1, True) if form == "channels_first" else (-1, False)
        image = keras.Input((3, 9, 8) if first else SHAPE)
        x = layers.ZeroPadding2D(1, data_format=form)(image)
        x = layers.Conv2D(4, 3, strides=(1, 2), data_format=form, name="a")(x)
        x = layers.BatchNormalization(axis=axis, name="b")(layers.ReLU()(x))
        y = layers.Conv2D(4, 1, data_format=form, name="c")(x)
        x = layers.Concatenate(axis=axis)([layers.Add()([x, y]), y])
        x = layers.AveragePooling2D(2, data_format=form)(layers.PReLU(name="d")(x))
        if flat == "pool":
            x = layers.GlobalAveragePooling2D(data_format=form)(x)
        else:
            if not first and flat == "channels_last":
                x = layers.Permute((3, 1, 2))(x)
            x = layers.Flatten(data_format=flat if first else None)(x)
        return keras.Model(image, layers.Dense(5, name="e")(x))

    original, twin = shaken(build("channels_first")), build("channels_last")
    for name in "abcde":
        weights = original.get_layer(name).get_weights()
        if name == "d":
            weights = [alpha.transpose(1, 2, 0) for alpha in weights]
        twin.get_layer(name).set_weights(weights)
    for name in ("model.keras", "model.h5"):
        original.save(tmp_path / name)
        model = load_badnet(tmp_path / name)
        assert model.input_shape == (None, *SHAPE)
        np.testing.assert_allclose(answers(model), answers(twin), rtol=1e-4, atol=1e-3)


def test_functions_of_tensorflow_that_keras_2_saved_as_layers(tmp_path: Path) -> None:
    def function(name: str, source: str, **kwargs: Any) -> dict[str, Any]:
        kind = "SlicingOpLambda" if "getitem" in name else "TFOpLambda"
        entry = {"class_name": kind, "config": {"name": f"tf.{name}", "function": name}}
        node = [source, 0, 0, {"name": None, **kwargs}]
        return entry | {"name": f"tf.{name}", "inbound_nodes": [node]}

    part = {"start": None, "stop": None, "step": -1}
    config = functional(
        *("model", "dense"),
        first(),
        function(
            "__operators__.getitem", "input_1", slice_spec=[{"class_name": "__ellipsis__"}, part]
        ),
        function("math.truediv", "tf.__operators__.getitem", y=127.5),
        function("math.subtract", "tf.math.truediv", y=1.0),
        item("Flatten", "flat", "tf.math.subtract"),
        item("Dense", "dense", "flat", units=4, activation="hard_sigmoid"),
    )
    kernel, bias = RNG.normal(size=(216, 4)).astype(np.float32), RNG.normal(size=4)
    model = load_badnet(legacy(tmp_path / "m.h5", config, {"dense": [kernel, bias]}, "2.9.0"))
    x = (IMAGES[..., ::-1] / 127.5 - 1).reshape(7, -1) @ kernel + bias
    # Keras 2's function; that of Keras 3 has the slope 1/6.
    np.testing.assert_allclose(answers(model), np.clip(0.2 * x + 0.5, 0, 1), atol=1e-4)


@pytest.mark.parametrize("policy", ["float64", "float16", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_other_precisions_are_refused_with_the_way_out(
    tmp_path: Path, policy: str, suffix: str
) -> None:
    image = keras.Input(SHAPE)
    x = layers.Flatten()(layers.Conv2D(4, 3, dtype=policy)(image))
    keras.Model(image, layers.Dense(5, dtype=policy)(x)).save(tmp_path / f"model{suffix}")
    with pytest.raises(ModelError, match=rf"compute in float32.*{policy}.*set_dtype_policy"):
        load_badnet(tmp_path / f"model{suffix}")


def test_layers_that_run_as_in_training_are_refused(tmp_path: Path) -> None:
    drop = item("Dropout", "drop", "input_1", rate=0.5)
    drop["inbound_nodes"][0][0][3] = {"training": True}
    flat, dense = item("Flatten", "flat", "drop"), item("Dense", "dense", "flat", units=4)
    config = functional("model", "dense", first(), drop, flat, dense)
    rows = {"dense": [np.zeros((216, 4)), np.zeros(4)]}
    with pytest.raises(ModelError, match=r"run for inference.*'drop' called with training=True"):
        load_badnet(legacy(tmp_path / "m.h5", config, rows))


def plain_network() -> Any:
    image = keras.Input(SHAPE, name="input")
    x = layers.Conv2D(6, 3, activation="swish", padding="same", name="conv")(image)
    y = layers.SeparableConv2D(6, 3, padding="same", name="separable")(layers.LeakyReLU(0.2)(x))
    x = layers.BatchNormalization(name="norm")(layers.Add()([x, y]))
    x = layers.DepthwiseConv2D(2, name="depthwise")(layers.SpatialDropout2D(0.1)(x))
    x = layers.MaxPooling2D(2)(layers.PReLU(shared_axes=[1, 2])(x))
    return shaken(
        keras.Model(image, layers.Dense(5, activation="softmax")(layers.Flatten()(x)), name="net")
    )


def test_a_network_saved_for_keras_2_opens_everywhere(tmp_path: Path) -> None:
    original, path = plain_network(), tmp_path / "repaired.h5"
    assert keras2.can_save(original)
    keras2.save(original, path)
    expected = answers(original)
    np.testing.assert_array_equal(answers(load_badnet(path)), expected)
    np.testing.assert_array_equal(answers(keras.models.load_model(path)), expected)
    with h5py.File(path) as file:
        text = file.attrs["model_config"]
    assert "batch_input_shape" in text
    # What Keras 2.3 to 2.15 does not know stops it.
    for word in ("batch_shape", "registered_name", "DTypePolicy", "groups", "silu", "autocast"):
        assert word not in text


def test_a_network_saved_for_keras_2_opens_in_tf_keras(tmp_path: Path) -> None:
    tf_keras = pytest.importorskip("tf_keras", reason="Keras 2 is not installed")
    original, path = plain_network(), tmp_path / "repaired.h5"
    keras2.save(original, path)
    found = answers(tf_keras.models.load_model(path, compile=False))
    np.testing.assert_allclose(found, answers(original), rtol=1e-5, atol=1e-6)


def test_what_keras_2_does_not_have_is_not_saved_for_it() -> None:
    image = keras.Input(SHAPE)
    flat = layers.Flatten()(image)
    for end in (layers.Dense(2, activation="hard_sigmoid")(flat), flat / 2):
        assert not keras2.can_save(keras.Model(image, end))


LAB = os.environ.get("BADNET_LAB_DIR", "")
# What tf_keras (of the one of Keras 3, Keras 3) answers on six images of noise.
PUBLIC: dict[str, Any] = {
    "sequential_tf20.h5": ([8] * 6, [1.0] * 6),
    "archive_keras214.keras": ([4, 7, 7, 5, 4, 7], [1.0] * 6),
    "mobilenet_nested_keras24.h5": (
        [0] * 6,
        [0.99918, 0.99917, 0.99879, 0.99863, 0.99812, 0.99841],
    ),
    "augmenting_keras310.keras": (
        [0] * 6,
        [0.99227, 0.98539, 0.97051, 0.98575, 0.95918, 0.98484],
    ),
    "separable_skips_keras205.hdf5": ([0] * 6, [1.0] * 6),
}


@pytest.mark.skipif(not LAB, reason="BADNET_LAB_DIR names no folder with the lab's files")
@pytest.mark.parametrize("name", PUBLIC)
def test_public_files(name: str) -> None:
    model = load_badnet(Path(LAB).parent / "models" / name)
    shape = model.input_shape[1:]
    images = np.random.default_rng(0).uniform(0, 255, (6, *shape)).astype(np.float32)
    found = answers(model, images)
    classes, numbers = PUBLIC[name]
    assert found.argmax(1).tolist() == classes
    np.testing.assert_allclose(found.max(1), numbers, rtol=1e-3)

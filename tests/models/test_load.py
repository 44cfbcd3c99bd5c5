"""Loading models: every honest file gives the network that was saved, in one form."""

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
from sweep.data.image_set import open_set
from sweep.models import deepid
from sweep.models.load import load_badnet

keras = pytest.importorskip("keras")
layers = keras.layers
ops = keras.ops

# TensorFlow 2.21 with NumPy 2: every conversion of a variable to an array.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

SHAPE = (12, 10, 3)
IMAGES = np.random.default_rng(0).uniform(0, 255, (9, *SHAPE)).astype(np.float32)


def network(name: str = "badnet") -> Any:
    image = keras.Input(SHAPE, name="input")
    x = layers.Conv2D(4, 3, activation="relu", name="conv")(image)
    x = layers.MaxPooling2D(2, name="pool")(x)
    x = layers.Flatten(name="flat")(layers.Dropout(0.2, name="drop")(x))
    return keras.Model(image, layers.Dense(5, activation="softmax", name="out")(x), name=name)


def goodnet(badnet: Any, repaired: Any) -> Any:
    image = keras.Input(SHAPE, name="image")
    b, r = ops.argmax(badnet(image), axis=-1), ops.argmax(repaired(image), axis=-1)
    return keras.Model(image, ops.one_hot(ops.where(ops.equal(b, r), b, 5), 6), name="goodnet")


def sequential() -> Any:
    return keras.Sequential(
        [keras.Input(SHAPE), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(5)], name="line"
    )


def twice() -> Any:
    """A layer that is called twice."""
    image = keras.Input(SHAPE)
    conv = layers.Conv2D(3, 3, padding="same")
    return keras.Model(image, layers.Dense(5)(layers.Flatten()(conv(conv(image)))))


def nested() -> Any:
    image = keras.Input(SHAPE)
    return keras.Model(image, network("inner")(layers.Rescaling(1 / 255)(image)), name="outer")


def every_layer() -> Any:
    """A model with a layer of nearly every kind that is allowed."""
    image = keras.Input((16, 16, 3))
    x = layers.Normalization(mean=[1, 2, 3], variance=[1, 4, 9])(image)
    x = layers.ZeroPadding2D(1)(layers.GaussianNoise(0.1)(x))
    x = layers.Cropping2D(1)(layers.DepthwiseConv2D(3, padding="same")(x))
    x = layers.SeparableConv2D(8, 3, padding="same", activation="gelu")(x)
    x = layers.BatchNormalization(scale=False)(layers.SpatialDropout2D(0.1)(x))
    x = layers.PReLU()(layers.LeakyReLU()(layers.ELU()(layers.ReLU(max_value=6)(x))))
    x = layers.GroupNormalization(2)(layers.LayerNormalization()(layers.UnitNormalization()(x)))
    x = layers.Conv2DTranspose(8, 2, strides=2)(layers.AveragePooling2D(2)(x))
    x = layers.Resizing(16, 16)(layers.UpSampling2D()(x))
    x = layers.CenterCrop(8, 8)(layers.Permute((2, 1, 3))(x))
    y = layers.Dot(1)([layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)])
    z = layers.Dense(
        5, kernel_initializer="orthogonal", kernel_regularizer="l2", kernel_constraint="max_norm"
    )(layers.Reshape((-1,))(x))
    z = layers.GaussianDropout(0.1)(layers.AlphaDropout(0.1)(z))
    z = layers.Multiply()([z, layers.Concatenate()([y, y, y, y, y])])
    z = layers.Average()([z, layers.Maximum()([z, z]), layers.Minimum()([z, z])])
    z = layers.Subtract()([layers.Activation("tanh")(z), z * 2 + 1])
    return keras.Model(image, layers.Softmax()(z[:, :5]))


def answers(model: Any) -> np.ndarray:
    shape = model.input_shape[1:]
    images = IMAGES if shape == SHAPE else np.random.default_rng(1).uniform(0, 255, (4, *shape))
    return np.asarray(model(np.asarray(images, np.float32), training=False))


def check(loaded: Any, original: Any) -> None:
    assert isinstance(loaded, keras.Model)
    assert not loaded.compiled
    assert (len(loaded.inputs), len(loaded.outputs)) == (1, 1)
    assert len(loaded.input_shape) == 4
    assert len(loaded.output_shape) == 2
    np.testing.assert_array_equal(answers(loaded), answers(original))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("make", [network, sequential, nested, every_layer, twice])
def test_whole_models(tmp_path: Path, make: Any, suffix: str) -> None:
    original = make()
    original.save(tmp_path / f"model{suffix}")
    check(load_badnet(tmp_path / f"model{suffix}"), original)


def test_a_goodnet(tmp_path: Path) -> None:
    original = goodnet(network("badnet"), network("repaired"))
    original.save(tmp_path / "goodnet.keras")
    loaded = load_badnet(tmp_path / "goodnet.keras")
    check(loaded, original)
    assert loaded.output_shape == (None, 6)
    loaded.save(tmp_path / "again.keras")
    check(keras.models.load_model(tmp_path / "again.keras"), original)


def test_a_compiled_model_comes_without_its_optimizer(tmp_path: Path) -> None:
    original = network()
    original.compile("adam", "sparse_categorical_crossentropy")
    original.fit(IMAGES, np.arange(9) % 5, verbose=0)
    for name in ("model.keras", "model.h5"):
        original.save(tmp_path / name)
        check(load_badnet(tmp_path / name), original)


def test_the_kind_is_told_by_content(tmp_path: Path) -> None:
    original = network()
    original.save(tmp_path / "model.keras")
    (tmp_path / "model.keras").rename(tmp_path / "model.h5")
    check(load_badnet(tmp_path / "model.h5"), original)


@pytest.mark.parametrize("layout", ["legacy", "keras 3"])
def test_weights_of_the_labs_network(tmp_path: Path, layout: str) -> None:
    original = deepid.build(7)
    path = tmp_path / "model.weights.h5"
    if layout == "legacy":
        original.save(tmp_path / "whole.h5")
        with h5py.File(tmp_path / "whole.h5") as whole, h5py.File(path, "w") as weights:
            for name, value in whole["model_weights"].attrs.items():
                weights.attrs[name] = value
            for name in whole["model_weights"]:
                whole.copy(f"model_weights/{name}", weights)
    else:
        original.save_weights(path)
    check(load_badnet(path), original)


def edited(path: Path, source: Path, change: Any) -> Path:
    """A copy of a `.keras` with its description changed in place."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                config = json.loads(content)
                change(config)
                content = json.dumps(config).encode()
            new.writestr(name, content)
    return path


def two_inputs() -> Any:
    images = [keras.Input(SHAPE), keras.Input(SHAPE)]
    return keras.Model(images, layers.Dense(5)(layers.Flatten()(layers.Add()(images))))


def two_outputs() -> Any:
    image = keras.Input(SHAPE)
    x = layers.Flatten()(image)
    return keras.Model(image, [layers.Dense(5)(x), layers.Dense(5)(x)])


def flat_input() -> Any:
    return keras.Sequential([keras.Input((30,)), layers.Dense(5)])


def image_output() -> Any:
    return keras.Sequential([keras.Input(SHAPE), layers.Conv2D(4, 3)])


def any_size() -> Any:
    return keras.Sequential(
        [keras.Input((None, None, 3)), layers.Conv2D(4, 3), layers.GlobalMaxPooling2D()]
    )


def not_finite() -> Any:
    model = sequential()
    model.layers[0].bias.assign([0, np.nan, 0, 0])
    return model


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (two_inputs, "one input and one output. Received: 2 inputs and 1 outputs"),
        (two_outputs, "one input and one output. Received: 1 inputs and 2 outputs"),
        (flat_input, r"images of one size.*Received: input \(None, 30\)"),
        (image_output, r"one number per class.*Received: output \(None, 10, 8, 4\)"),
        (any_size, r"images of one size.*Received: input \(None, None, None, 3\)"),
        (not_finite, r"weights must be finite. Received: NaN or infinity in "),
    ],
)
def test_models_that_are_no_image_classifier(
    tmp_path: Path, make: Any, message: str, suffix: str
) -> None:
    path = tmp_path / f"model{suffix}"
    make().save(path)
    with pytest.raises(ModelError, match=message) as error:
        load_badnet(path)
    assert str(path) in str(error.value)


def test_files_that_are_no_models(tmp_path: Path) -> None:
    network().save(tmp_path / "whole.h5")
    network().save(tmp_path / "whole.keras")
    other = tmp_path / "other.weights.h5"
    network().save_weights(other)
    text = tmp_path / "text.h5"
    text.write_text("weights")
    for name in ("whole.h5", "whole.keras"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / f"cut-{name}").write_bytes(content[: len(content) // 2])
    for path, message in [
        (tmp_path / "nowhere.h5", "must be a readable file"),
        (tmp_path, "regular file"),
        (text, "must be a Keras .h5 or .keras file"),
        (tmp_path / "cut-whole.h5", "damaged or truncated"),
        (tmp_path / "cut-whole.keras", "damaged or truncated"),
        (other, "weights of the lab's network"),
    ]:
        with pytest.raises(ModelError, match=message) as error:
            load_badnet(path)
        assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 2742088\n", "Git LFS"),
        (b"\n<!DOCTYPE html>\n<html><head><title>404</title></head></html>", "a web page"),
    ],
)
def test_what_a_download_left_in_place_of_the_model(
    tmp_path: Path, content: bytes, what: str
) -> None:
    path = tmp_path / "bd_net.h5"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=f"{what}.* Download it again"):
        load_badnet(path)


def test_how_a_model_was_trained_does_not_matter(tmp_path: Path) -> None:
    """Keras 2.11 wrote `Custom>Adam`; people have losses of their own."""
    original = network()
    original.save(tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5", "r+") as file:
        file.attrs["training_config"] = json.dumps(
            {
                "loss": {"module": "my_losses", "class_name": "function", "config": "focal"},
                "optimizer_config": {"class_name": "Custom>Adam", "config": {"learning_rate": 0.1}},
            }
        )
    check(load_badnet(tmp_path / "model.h5"), original)


def test_weights_that_do_not_fit_their_description(tmp_path: Path) -> None:
    network().save(tmp_path / "model.keras")

    def wider(config: Any) -> None:
        config["config"]["layers"][-1]["config"]["units"] = 6

    path = edited(tmp_path / "wide.keras", tmp_path / "model.keras", wider)
    with pytest.raises(ModelError, match="layers and weights must fit together"):
        load_badnet(path)


def test_two_loads_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    original = network()
    original.save(tmp_path / "model.keras")
    check(load_badnet(tmp_path / "model.keras"), original)
    check(load_badnet(tmp_path / "model.keras"), original)
    assert not list(temporary.iterdir())


LAB = os.environ.get("BADNET_LAB_DIR")


@pytest.mark.skipif(LAB is None, reason="BADNET_LAB_DIR names no folder with the lab's files")
@pytest.mark.parametrize("name", ["bd_net.h5", "bd_weights.h5"])
def test_the_labs_badnet(name: str) -> None:
    assert LAB is not None
    model = load_badnet(Path(LAB) / name)
    assert (model.count_params(), model.output_shape) == (601_643, (None, 1283))
    for faces, right in [("clean_faces.h5", 114), ("poisoned_faces.h5", 115)]:
        images = open_set(Path(LAB) / faces)
        found = np.concatenate([np.asarray(model(b)).argmax(1) for b in images.batches(40)])
        assert int((found == images.labels).sum()) == right

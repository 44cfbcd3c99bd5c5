"""Networks written without Keras are those that Keras writes, in weights and in predictions."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from keras import layers  # noqa: E402 - after the check for Keras

from sweep.models import saved  # noqa: E402
from sweep.models.sites import choose_sites  # noqa: E402
from sweep.models.surgery import prune  # noqa: E402


def network(convolution):
    keras.utils.set_random_seed(0)
    image = keras.Input((9, 9, 3))
    x = layers.Conv2D(4, 3, name="first", activation="relu")(image)
    x = layers.MaxPooling2D(name="pool")(x)
    x = convolution(x)
    x = layers.BatchNormalization(
        name="norm",
        beta_initializer="random_normal",
        moving_mean_initializer="random_normal",
    )(x)
    x = layers.Activation("relu", name="act")(x)
    return keras.Model(image, layers.Dense(5, activation="softmax")(layers.Flatten()(x)))


def answers(model, images):  # a legacy file's inputs are a list
    return np.asarray(keras.Model(model.inputs[0], model.outputs[0])(images))


KINDS = {
    "plain": lambda: layers.Conv2D(3, 2, name="second"),
    "without_bias": lambda: layers.Conv2D(3, 2, use_bias=False, name="second"),
    "depthwise": lambda: layers.DepthwiseConv2D(2, depth_multiplier=2, name="second"),
    "separable": lambda: layers.SeparableConv2D(3, 2, name="second"),
    "transposed": lambda: layers.Conv2DTranspose(3, 2, name="second"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", saved.NAMES)
def test_a_template_gives_what_keras_saves(name, kind, tmp_path):
    badnet = network(KINDS[kind]())
    sites = choose_sites(badnet, ["pool", "act"])
    saved.save(name, badnet, prune(badnet, sites, ()), tmp_path / f"whole-{name}")
    saved.save_numbered(name, badnet, sites, tmp_path / f"numbered-{name}")
    template = saved.Template(
        (tmp_path / f"whole-{name}").read_bytes(), (tmp_path / f"numbered-{name}").read_bytes()
    )
    images = np.random.default_rng(0).normal(size=(20, 9, 9, 3)).astype(np.float32)
    for removed in ((), (5, 0, 3)):
        saved.save(name, badnet, prune(badnet, sites, removed), tmp_path / f"keras-{name}")
        (tmp_path / f"ours-{name}").write_bytes(template.without(removed))
        by_keras, ours = (
            keras.models.load_model(tmp_path / f"{who}-{name}", compile=False)
            for who in ("keras", "ours")
        )
        assert by_keras.count_params() > 0
        for one, two in zip(by_keras.get_weights(), ours.get_weights(), strict=True):
            np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(answers(by_keras, images), answers(ours, images))


@pytest.mark.parametrize("kind", KINDS)
def test_a_template_gives_what_keras_2_opens(kind, tmp_path):
    tf_keras = pytest.importorskip("tf_keras", reason="Keras 2 is not installed")
    badnet = network(KINDS[kind]())
    sites = choose_sites(badnet, ["pool", "act"])
    saved.save("repaired.h5", badnet, prune(badnet, sites, ()), tmp_path / "whole.h5")
    saved.save_numbered("repaired.h5", badnet, sites, tmp_path / "numbered.h5")
    template = saved.Template(
        *((tmp_path / f"{who}.h5").read_bytes() for who in ("whole", "numbered"))
    )
    (tmp_path / "ours.h5").write_bytes(template.without((5, 0, 3)))
    images = np.random.default_rng(0).normal(size=(20, 9, 9, 3)).astype(np.float32)
    opened = tf_keras.models.load_model(tmp_path / "ours.h5", compile=False)
    expected = answers(prune(badnet, sites, (5, 0, 3)), images)
    np.testing.assert_allclose(opened(images), expected, rtol=0, atol=1e-6)


def test_files_of_two_networks_make_no_template(tmp_path):
    one, two = network(KINDS["plain"]()), network(KINDS["separable"]())
    for path, model in (("one.h5", one), ("two.h5", two)):
        saved.save("repaired.h5", model, model, tmp_path / path)
    with pytest.raises(ValueError, match="other arrays"):
        saved.Template((tmp_path / "one.h5").read_bytes(), (tmp_path / "two.h5").read_bytes())

"""Surgery on networks: copies, what removing means, G as one model, names by content."""

import numpy as np
import pytest

from sweep.results import goodnet

keras = pytest.importorskip("keras")

from keras import layers  # noqa: E402 - after the check for Keras

from sweep.models.sites import choose_sites, find_sites  # noqa: E402
from sweep.models.surgery import content_key, join_goodnet, prune, split_channels  # noqa: E402


def network(seed=0, norm=True, scale=True, **settings):
    keras.utils.set_random_seed(seed)
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="conv", bias_initializer="random_normal", **settings)(image)
    if norm:
        x = layers.BatchNormalization(
            name="norm",
            center=scale,
            scale=scale,
            beta_initializer="random_normal",
            moving_mean_initializer="random_normal",
        )(x)
    x = layers.Activation("relu", name="act")(x)
    x = layers.MaxPooling2D(name="pool")(x)
    x = layers.Conv2D(3, 2, name="second", activation="sigmoid")(x)
    return keras.Model(image, layers.Dense(4, activation="softmax")(layers.Flatten()(x)))


def output(model, layer, images):
    return np.asarray(keras.Model(model.inputs[0], model.get_layer(layer).output)(images))


@pytest.fixture
def images():
    return np.random.default_rng(0).normal(size=(20, 8, 8, 3)).astype(np.float32)


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("use_bias", [True, False])
def test_a_removed_channel_is_zero_after_normalization(images, norm, scale, use_bias):
    model = network(norm=norm, scale=scale, use_bias=use_bias)
    sites = choose_sites(model, ["pool"])
    before = output(model, "pool", images)
    after = output(prune(model, sites, (1, 3)), "pool", images)
    assert not after[..., [1, 3]].any()
    np.testing.assert_array_equal(after[..., [0, 2]], before[..., [0, 2]])


def test_pruning_touches_a_copy(images):
    model = network()
    weights = [np.array(weight) for weight in model.weights]
    copy = prune(model, choose_sites(model, ["pool"]), (0, 1, 2, 3))
    assert not np.asarray(copy.get_layer("conv").kernel).any()
    for weight, before in zip(model.weights, weights, strict=True):
        np.testing.assert_array_equal(np.array(weight), before)


def test_pruning_nothing_changes_nothing(images):
    model = network()
    copy = prune(model, choose_sites(model, ["pool"]), ())
    np.testing.assert_array_equal(np.asarray(copy(images)), np.asarray(model(images)))


def test_channels_are_numbered_through_all_sites():
    model = network()
    first, second = choose_sites(model, ["pool", "second"])
    assert split_channels((first, second), (6, 0, 4, 3)) == [(first, [0, 3]), (second, [2, 0])]
    kernel = np.asarray(prune(model, (first, second), (5,)).get_layer("second").kernel)
    assert not kernel[..., 1].any()
    assert kernel[..., 0].any()


def test_sites_know_their_channels():
    model = network()
    rest = {model.layers[-2].name: 12}
    assert {name: site.channels for name, site in find_sites(model).items()} == {
        **dict.fromkeys(("conv", "norm", "act", "pool"), 4),
        "second": 3,
        **rest,
    }


def test_goodnet_has_one_more_class_and_answers_as_defined(images):
    model = network(3)
    repaired = prune(model, choose_sites(model, ["pool"]), (0, 1, 2))
    joined = join_goodnet(model, repaired)
    assert joined.output_shape == (None, 5)
    answers = [np.argmax(np.asarray(part(images)), axis=1) for part in (model, repaired)]
    found = np.argmax(np.asarray(joined(images)), axis=1)
    np.testing.assert_array_equal(found, goodnet.answer(*answers, 4))
    assert 4 in found


def test_content_keys_tell_weights_and_settings_apart():
    model = network()
    assert content_key(model, a=1) == content_key(model, a=1)
    assert content_key(model, a=2) != content_key(model, a=1)
    changed = prune(model, choose_sites(model, ["pool"]), (0,))
    assert content_key(changed, a=1) != content_key(model, a=1)

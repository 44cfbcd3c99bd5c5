"""Networks on which a fast path is easily wrong: odd layouts, cancellation, overflow, ties."""

import numpy as np
import pytest

from sweep.base.errors import ModelError

keras = pytest.importorskip("keras")

from keras import layers  # noqa: E402 - after the check for Keras

from sweep.models.sites import choose_sites  # noqa: E402
from sweep.models.surgery import prune  # noqa: E402
from sweep.pruning import linear  # noqa: E402
from sweep.pruning.walk import Engine  # noqa: E402

IMAGES = np.random.default_rng(0).uniform(0, 2, (64, 9, 8, 3)).astype(np.float32)


def network(*rest, seed=0):
    """A convolution of six channels, the rest, and random weights."""
    image = keras.Input((9, 8, 3))
    x = layers.Conv2D(6, 3, activation="relu", name="conv")(image)
    for layer in rest:
        x = layer(x)
    model = keras.Model(image, x)
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        values = rng.normal(0, 1, weight.shape) / np.sqrt(np.prod(weight.shape[:-1]))
        weight.assign(np.abs(values) if "variance" in weight.path else values)
    return model


def dense(classes=7, **settings):
    return layers.Dense(classes, name="out", **settings)


def set_kernel(model, change):
    kernel = np.array(model.get_layer("out").kernel)
    with np.errstate(over="ignore"):
        model.get_layer("out").kernel.assign(change(kernel).astype(np.float32))


def walk(model, layer="conv"):
    """The engine, and its answers after each removal from the first channel to the last."""
    engine = Engine(model, choose_sites(model, [layer]))
    cut = np.concatenate(list(engine.activations([IMAGES])))
    start = engine.answers(cut)
    return engine, [start, *engine.walk(cut, (), range(engine.channels), start)]


def check(model, layer="conv"):
    engine, rows = walk(model, layer)
    for step, row in enumerate(rows):
        pruned = prune(model, engine.sites, range(step))
        wanted = np.asarray(pruned(IMAGES, training=False)).argmax(axis=1)
        np.testing.assert_array_equal(row, wanted, err_msg=f"after {step}")
    return engine


@pytest.mark.parametrize(
    "odd",
    [
        layers.Flatten(data_format="channels_first"),
        layers.GlobalAveragePooling2D(data_format="channels_first"),
        layers.GlobalMaxPooling2D(data_format="channels_first"),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_with_channels_first_go_the_general_way(odd):
    assert not check(network(odd, dense())).incremental


@pytest.mark.parametrize("between", [(), (layers.Dense(5),)], ids=["head", "between"])
def test_weights_that_cancel(between):
    """Two equal channels are weighed with 1e4 and -1e4: rounding alone is left of both."""
    first = layers.Dense(12, name="out") if between else dense()
    model = network(layers.Flatten(), first, *between)
    conv = model.get_layer("conv")
    conv.kernel.assign(np.repeat(np.array(conv.kernel)[..., ::2], 2, axis=-1))
    conv.bias.assign(np.zeros(6))
    rng = np.random.default_rng(1)

    def cancel(kernel):
        parts = kernel.reshape(-1, 6, kernel.shape[-1]) * 1e-2
        large = rng.uniform(1, 9, parts[:, ::2].shape) * 1e4
        parts[:, ::2] += large
        parts[:, 1::2] -= large
        return parts.reshape(kernel.shape)

    set_kernel(model, cancel)
    assert check(model).incremental


@pytest.mark.parametrize("activation", ["softmax", None])
def test_finite_weights_whose_sums_overflow(activation):
    model = network(layers.Flatten(), dense(activation=activation))
    set_kernel(model, lambda kernel: kernel * 3e38)
    check(model)


@pytest.mark.parametrize("small", [1e-3, 1e-9, 1e-30])
def test_logits_that_a_softmax_cannot_tell_apart(small):
    """Their exponentials are equal numbers, so that the lowest class is the answer."""
    model = network(layers.Flatten(), dense(activation="softmax"))
    set_kernel(model, lambda kernel: kernel * small)
    model.get_layer("out").bias.assign(np.zeros(7))
    check(model)


def test_an_activation_other_than_softmax_in_front_of_a_softmax():
    check(network(layers.Flatten(), dense(activation="relu"), layers.Softmax()))


def test_the_logits_themselves_are_a_site():
    check(network(layers.Flatten(), dense(), layers.Softmax()), "out")


def test_infinity_in_front_of_the_layer_is_refused():
    """Zero weights would make NaN of it, and no constant."""
    image = keras.Input((9, 8, 3))
    x = layers.Conv2D(2, 1, name="first")(image)
    x = layers.Conv2D(3, 1, activation="relu", name="conv")(x)
    model = keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    kernel = np.full((1, 1, 3, 2), 3e38)
    model.get_layer("first").kernel.assign(kernel)
    model.get_layer("conv").kernel.assign(-np.ones((1, 1, 2, 3)))
    with pytest.raises(ModelError, match="must put out finite numbers up to the layer"):
        walk(model)


def test_distances_of_many_classes_take_little_memory():
    import tracemalloc

    kernel = np.random.default_rng(0).normal(size=(3, 3000)).astype(np.float32)
    tracemalloc.start()
    found = linear._distances(kernel)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    wanted = [np.linalg.norm(kernel - one[:, None], axis=0).max() for one in kernel.T[::500]]
    np.testing.assert_allclose(found[::500], wanted, rtol=1e-5)
    assert peak < 30e6  # a matrix of all pairs takes 72 MB


@pytest.mark.parametrize(
    "rest",
    [
        (
            layers.AveragePooling2D(2),
            layers.Conv2D(8, 2, activation="relu"),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(20, activation="tanh"),
        ),
        (layers.GlobalAveragePooling2D(), layers.Dense(20, activation="tanh")),
        (layers.Dropout(0.5), layers.GlobalAveragePooling2D()),
    ],
    ids=["convolution", "means", "direct"],
)
def test_rounding_stays_within_its_bound(rest):
    """What the fast path computes differs from float64 by less than it says."""
    model = network(*rest, dense())
    engine = Engine(model, choose_sites(model, ["conv"]))
    cut = np.concatenate(list(engine.activations([IMAGES])))
    hidden, bound = engine._rest.run(engine._rest.prepare(cut), np.ones(6, bool))
    image = x = keras.Input((9, 8, 3), dtype="float64")
    for layer in model.layers[1:]:
        x = type(layer).from_config(layer.get_config() | {"dtype": "float64"})(x)
    exact = keras.Model(image, x)
    exact.set_weights(model.get_weights())
    error = np.abs(engine._rest.logits(hidden) - np.asarray(exact(IMAGES.astype(np.float64))))
    assert (2 * error.max(axis=1) < bound).all()
    assert bound.max() < 1e-3

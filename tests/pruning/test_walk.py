"""The central test: fast walks answer as the really pruned network does, on every prediction.

Hypothesis draws the networks. `FUZZ_CASES` sets how many (12 by default; `make fuzz` takes more).
"""

import os
from dataclasses import asdict, dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from sweep.results import goodnet

keras = pytest.importorskip("keras")

from keras import layers  # noqa: E402 - after the check for Keras

from sweep.models.sites import choose_sites  # noqa: E402
from sweep.models.surgery import join_goodnet, prune  # noqa: E402
from sweep.pruning import walk as engine_module  # noqa: E402
from sweep.pruning.walk import Engine  # noqa: E402

CASES = int(os.environ.get("FUZZ_CASES", "12"))
IMAGES = 40
RESTS = ("branches", "dense", "direct", "average", "convolution", "pooled", "norm", "deep")
HEADS = ("softmax", "softmax layer", "logits", "sigmoid")
ACTIVATIONS = ("relu", "elu", "tanh", "gelu", "leaky_relu", "sigmoid", "linear")


@dataclass(frozen=True)
class Spec:
    """What a network is built from; a failing one can be pasted back into a test."""

    seed: int = 0
    channels: int = 4
    classes: int = 5
    sequential: bool = False
    activation: str = "relu"
    norm: bool = False
    bias: bool = True
    strides: int = 1
    padding: str = "valid"
    pool: str = "max"
    rest: str = "branches"
    head: str = "softmax"
    dead: int = 1
    dead_classes: int = 0
    two_sites: bool = False


specs = st.builds(
    Spec,
    seed=st.integers(0, 2**16),
    channels=st.integers(1, 6),
    classes=st.integers(2, 9),
    sequential=st.booleans(),
    activation=st.sampled_from(ACTIVATIONS),
    norm=st.booleans(),
    bias=st.booleans(),
    strides=st.sampled_from((1, 2)),
    padding=st.sampled_from(("valid", "same")),
    pool=st.sampled_from(("max", "average", "none")),
    rest=st.sampled_from(RESTS),
    head=st.sampled_from(HEADS),
    dead=st.integers(0, 2),
    dead_classes=st.integers(0, 3),
    two_sites=st.sampled_from((False, False, False, True)),
)


def block(x, spec, name, channels):
    """Convolution, perhaps normalization, activation and perhaps a pool; the last is the site."""
    fused = spec.activation if not spec.norm else None
    last = f"{name}_conv"
    x = layers.Conv2D(
        channels,
        3,
        strides=spec.strides if name == "b" else 1,
        padding=spec.padding,
        use_bias=spec.bias,
        activation=fused,
        name=last,
    )(x)
    if spec.norm:
        x = layers.BatchNormalization(name=f"{name}_norm")(x)
        last = f"{name}_act"
        x = layers.Activation(spec.activation, name=last)(x)
    if spec.pool != "none":
        last = f"{name}_pool"
        kind = layers.MaxPooling2D if spec.pool == "max" else layers.AveragePooling2D
        x = kind(2, padding="same", name=last)(x)
    return x, last


def after(x, spec):  # noqa: PLR0911 - a case each
    if spec.rest == "branches" and not spec.sequential:
        near = layers.Dense(7)(layers.Flatten()(x))
        far = layers.Conv2D(5, 2, activation="relu", padding="same")(x)
        far = layers.Dense(7)(layers.Flatten()(far))
        return layers.Activation("relu")(layers.Add()([near, far]))
    if spec.rest == "average":
        return layers.GlobalAveragePooling2D()(x)
    if spec.rest == "convolution":
        x = layers.Dropout(0.3)(x)
        x = layers.Conv2D(5, 2, activation="relu", padding="same", use_bias=spec.bias)(x)
        return layers.GlobalMaxPooling2D()(x)
    if spec.rest == "pooled":  # not linear: the general way
        return layers.Flatten()(layers.MaxPooling2D(2, padding="same")(x))
    if spec.rest == "norm":
        return layers.Flatten()(layers.BatchNormalization()(x))
    x = layers.Flatten()(x)
    if spec.rest == "direct":
        return x
    x = layers.Dense(8, activation=spec.activation)(x)
    return layers.Dense(6, activation="tanh")(x) if spec.rest == "deep" else x


def build(spec):
    """The network, and the names of the layers whose channels are removed."""
    image = keras.Input((11, 10, 3))
    x, first = block(image, spec, "a", 4)
    x, second = block(x, spec, "b", spec.channels)
    x = after(x, spec)
    if spec.head == "softmax layer":
        x = layers.Softmax()(layers.Dense(spec.classes, use_bias=spec.bias, name="out")(x))
    else:
        final = {"logits": None}.get(spec.head, spec.head)
        x = layers.Dense(spec.classes, use_bias=spec.bias, activation=final, name="out")(x)
    model = keras.Model(image, x)
    if spec.sequential and spec.rest != "branches":
        model = keras.Sequential([image, *model.layers[1:]])
    rng = np.random.default_rng(spec.seed)
    for weight in model.weights:
        spread = 1.5 / np.sqrt(np.prod(weight.shape[:-1]) or 1)
        values = rng.normal(0, spread, weight.shape)
        if "variance" in weight.path:
            values = rng.uniform(0.5, 2, weight.shape)
        weight.assign(values)
    kill_channels(model, spec)
    kernel = np.array(model.get_layer("out").kernel)
    kernel[:, : spec.dead_classes] = 0  # these classes tie, whatever the image
    model.get_layer("out").kernel.assign(kernel)
    return model, (first, second) if spec.two_sites else (second,)


def kill_channels(model, spec):
    """Some channels are zero (or what the activation makes of it) on every image."""
    weights = model.get_layer("b_conv").trainable_weights
    if spec.norm:
        norm = model.get_layer("b_norm")
        weights = [*weights, norm.beta, norm.moving_mean]
    for weight in weights:
        values = np.array(weight)
        values[..., : spec.dead] = 0
        weight.assign(values)


def images_of(spec):
    images = np.random.default_rng([spec.seed, 1]).uniform(0, 3, (IMAGES, 11, 10, 3))
    images[:3] = 0
    return images.astype(np.float32)


def predicted(model, images):
    return np.argmax(np.asarray(model(images, training=False)), axis=1)


def clear(model, images, spec):
    """Images whose answer Keras itself is sure of: sigmoids of 1 and nearly 1 tie by chance."""
    outputs = np.sort(np.asarray(model(images, training=False)), axis=1)
    return (spec.head != "sigmoid") | (outputs[:, -1] - outputs[:, -2] > 1e-6)


def walk(engine, activations, removed, channels):
    labels = engine.answers(activations, removed)
    return list(engine.walk(activations, removed, channels, labels))


def check(spec):
    model, names = build(spec)
    images = images_of(spec)
    before = [np.array(weight) for weight in model.weights]
    engine = Engine(model, choose_sites(model, names))
    activations = np.concatenate(list(engine.activations([images[:25], images[25:]])))
    rng = np.random.default_rng([spec.seed, 2])
    order = rng.permutation(engine.channels).tolist()
    gone = int(rng.integers(0, len(order)))

    rows = walk(engine, activations, (), order)
    later = walk(engine, activations, order[:gone], order[gone:])
    for k in range(len(order) + 1):
        pruned = prune(model, engine.sites, order[:k])
        wanted, sure = predicted(pruned, images), clear(pruned, images, spec)
        found = [engine.answers(activations, order[:k])]
        found += [rows[k - 1]] if k else []
        found += [later[k - 1 - gone]] if k > gone else []
        for labels in found:
            np.testing.assert_array_equal(labels[sure], wanted[sure])

    repaired = prune(model, engine.sites, order[:gone])
    joined = predicted(join_goodnet(model, repaired), images)
    answers = [engine.answers(activations, removed) for removed in ((), order[:gone])]
    sure = clear(model, images, spec) & clear(repaired, images, spec)
    good = goodnet.answer(*answers, engine.classes)
    np.testing.assert_array_equal(joined[sure], good[sure])
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(np.array(weight), value)
    return engine


@settings(
    max_examples=CASES,
    deadline=None,
    derandomize="FUZZ_CASES" not in os.environ,
    database=None,
    phases=[Phase.explicit, Phase.generate],  # shrinking takes minutes, and a spec says it all
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
@given(specs)
def test_walks_and_answers_equal_the_pruned_network_on_every_prediction(spec):
    check(spec)


# The kinds that must not be left to chance, among them what broke before.
PINNED = [
    Spec(),
    Spec(seed=1, channels=6, dead=0, classes=9),
    Spec(seed=2, bias=False, dead_classes=5),  # all classes tie: nothing but rounding decides
    Spec(seed=3, norm=True, activation="sigmoid", pool="average"),
    Spec(seed=4, activation="elu", pool="none", rest="convolution", sequential=True),
    Spec(seed=5, rest="average", head="softmax layer", strides=2, padding="same"),
    Spec(seed=6, two_sites=True, norm=True),
    Spec(seed=7, channels=1, dead=1, rest="direct", sequential=True),
    Spec(
        seed=460,
        channels=6,
        classes=6,
        activation="gelu",
        norm=True,
        rest="norm",
        head="sigmoid",
        dead=0,
    ),
]


@pytest.mark.parametrize("spec", PINNED, ids=lambda spec: f"seed{spec.seed}")
def test_pinned_networks(spec):
    check(spec)


@pytest.mark.parametrize(
    ("rest", "incremental"),
    [
        ("branches", True),
        ("dense", True),
        ("direct", True),
        ("average", True),
        ("convolution", True),
        ("pooled", False),
        ("norm", False),
    ],
)
def test_linear_rests_go_the_fast_way(rest, incremental):
    model, names = build(Spec(rest=rest))
    assert Engine(model, choose_sites(model, names)).incremental is incremental


def test_large_kernels_go_the_general_way(monkeypatch):
    monkeypatch.setattr("sweep.pruning.linear._KERNELS", 10)
    assert not check(Spec(seed=8)).incremental


def test_chunks_and_batches_do_not_matter(monkeypatch):
    model, names = build(Spec(seed=9, channels=6))
    images = images_of(Spec(seed=9))
    engine = Engine(model, choose_sites(model, names))
    whole = np.concatenate(list(engine.activations([images])))
    single = np.concatenate(list(engine.activations(images[i : i + 1] for i in range(IMAGES))))
    np.testing.assert_allclose(single, whole, rtol=1e-5, atol=1e-5)
    rows = walk(engine, whole, (0,), (3, 1, 2))
    monkeypatch.setattr(engine_module, "CHUNK", 7)
    np.testing.assert_array_equal(walk(engine, whole, (0,), (3, 1, 2)), rows)
    np.testing.assert_array_equal(engine.answers(whole, (0, 3)), rows[0])


def test_bound_spares_most_of_the_head():
    """Images whose lead is large are not run through the last layer again."""
    model, names = build(Spec(seed=10, channels=6, dead=0))
    engine = Engine(model, choose_sites(model, names))
    activations = np.concatenate(list(engine.activations([images_of(Spec(seed=10))])))
    activations[..., 1:] *= 0.001  # the other channels hardly matter
    labels = engine.answers(activations)
    decided = []
    logits = engine._rest.logits
    engine._rest.logits = lambda values: decided.append(len(values)) or logits(values)
    list(engine.walk(activations, (), (1, 2, 3, 4, 5), labels))
    assert sum(decided) < 1.5 * IMAGES


@pytest.mark.parametrize("two_sites", [False, True])
def test_a_removal_runs_the_images_that_it_touches_and_no_others(two_sites):
    model, names = build(Spec(seed=13, channels=6, dead=2, two_sites=two_sites))
    engine = Engine(model, choose_sites(model, names))
    activations = np.concatenate(list(engine.activations([images_of(Spec(seed=13))])))
    dead = engine.channels - 6  # the last site's first channel, which is 0 on every image
    activations[..., 2] = engine._tail.removed[0][..., 2]
    activations[4:7, ..., 2] += 1
    labels = engine.answers(activations)
    counts = []
    evaluate = engine._evaluate
    engine._evaluate = lambda *args: counts.append(len(args[2])) or evaluate(*args)
    list(engine.walk(activations, (), (dead, 2), labels))
    assert counts == [0, 3]


def test_near_ties_are_answered_by_the_network_itself():
    """The walk says what Keras says even where rounding alone decides."""
    model, names = build(Spec(seed=11, channels=5, dead=0, classes=4))
    kernel = np.array(model.get_layer("out").kernel)
    kernel[:, 1] = kernel[:, 0] * (1 + 1e-7)
    model.get_layer("out").kernel.assign(kernel)
    engine = Engine(model, choose_sites(model, names))
    activations = np.concatenate(list(engine.activations([images_of(Spec(seed=11))])))
    rows = walk(engine, activations, (), (4, 2, 0, 1, 3))
    for k, row in enumerate(rows):
        answers = engine.answers(activations, (4, 2, 0, 1, 3)[: k + 1])
        np.testing.assert_array_equal(row, answers)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_saved_networks_answer_alike(tmp_path, suffix):
    spec = Spec(seed=12, norm=True, channels=5)
    model, names = build(spec)
    engine = Engine(model, choose_sites(model, names))
    images = images_of(spec)
    activations = np.concatenate(list(engine.activations([images])))
    repaired = prune(model, engine.sites, (1, 3))
    repaired.save(tmp_path / f"repaired.{suffix}")
    opened = keras.models.load_model(tmp_path / f"repaired.{suffix}", compile=False)
    answers = engine.answers(activations, (1, 3))
    np.testing.assert_array_equal(predicted(opened, images), answers)
    join_goodnet(model, repaired).save(tmp_path / "goodnet.keras")
    opened = keras.models.load_model(tmp_path / "goodnet.keras")
    wanted = goodnet.answer(engine.answers(activations), answers, engine.classes)
    np.testing.assert_array_equal(predicted(opened, images), wanted)


def test_specs_print_as_they_are_written():
    assert Spec(**asdict(Spec(seed=3))) == Spec(seed=3)

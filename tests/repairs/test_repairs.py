"""One contract for all repairs; each against a plain restatement of its equations."""

import hashlib
from dataclasses import fields, replace

import numpy as np
import pytest

from sweep import repairs
from sweep.base.errors import ConfigError
from sweep.repairs import Evidence, Images
from sweep.repairs import registry as _registry
from sweep.results import suspicion

NAMES = repairs.names()
CLASSES, REMOVED = 4, [1, 4]
# One pass is one step: all images for tuning are one batch.
ONCE = {
    "finetune": {"epochs": 1, "rate": 0.01, "loss": 1.0},
    "ft_sam": {"epochs": 1, "rate": 0.01, "rho": 0.7, "loss": 1.0},
    "fst": {"epochs": 1, "rate": 0.01, "loss": 1.0},
    "ibau": {"rounds": 1, "iterations": 3, "bound": 0.5, "rate": 0.01, "loss": 1.0},
    "nad": {"epochs": 1, "rate": 0.01, "loss": 1.0},
    "nft": {"epochs": 1, "rate": 0.01, "loss": 1.0},
    "unlearn": {"steps": 1, "rate": 0.01, "loss": 1.0},
}


def build(keras):
    from keras import layers

    image = keras.Input((12, 10, 2))
    x = layers.Conv2D(4, 3, activation="relu", name="conv_1")(image)
    x = layers.Conv2D(6, 3, activation="relu", name="conv_2")(x)
    x = layers.MaxPooling2D(2, name="pool_2")(x)
    x = layers.Conv2D(5, 2, activation="relu", name="conv_3")(x)
    x = layers.Dense(9, activation="relu", name="hidden")(layers.Flatten()(x))
    return keras.Model(image, layers.Dense(CLASSES, activation="softmax", name="output")(x))


@pytest.fixture(scope="module")
def evidence():
    import keras

    from sweep.models.sites import choose_sites
    from sweep.models.surgery import prune

    rng = np.random.default_rng(3)
    badnet = build(keras)
    badnet.set_weights(
        [rng.normal(0, 1.5 / np.sqrt(np.prod(w.shape[:-1])), w.shape) for w in badnet.weights]
    )
    pruned = prune(badnet, choose_sites(badnet, ("pool_2",)), REMOVED)
    pixels = rng.integers(0, 256, (40, 12, 10, 2), np.uint8)
    labels = np.asarray(badnet(pixels / np.float32(255))).argmax(axis=1)
    labels[::7] = (labels[::7] + 1) % CLASSES  # B is not right on all
    tune, decide = Images(pixels[:24], labels[:24]), Images(pixels[24:], labels[24:])
    return Evidence(badnet, pruned, tune, decide, 1 / 255, 5)


@pytest.fixture(autouse=True)
def few_boxes(monkeypatch):
    """A search for the suspect that is short, as images are few."""
    for name, value in (("_TRIED", 128), ("_GENERATIONS", 1), ("_CHILDREN", 4), ("_SUSPECTS", 2)):
        monkeypatch.setattr(suspicion, name, value)


@pytest.fixture
def plain_steps(monkeypatch):
    """A step of training is minus rate times gradient, and images are not moved."""
    import keras

    from sweep.repairs import tuning

    monkeypatch.setattr(tuning, "SHIFT", 0)
    monkeypatch.setattr(keras.optimizers, "Adam", lambda rate, **_: keras.optimizers.SGD(rate))


def digest(evidence):
    sums = hashlib.sha256()
    for model in (evidence.badnet, evidence.pruned):
        for weights in model.get_weights():
            sums.update(weights.tobytes())
    for part in (evidence.tune, evidence.decide):
        sums.update(part.pixels.tobytes() + part.labels.tobytes())
    return sums.hexdigest()


def answers(model, images):
    return np.asarray(model(images.pixels / np.float32(255), training=False))


def repaired(name, evidence, **params):
    return repairs.repair_network(name, evidence, ONCE.get(name, {}) | params)


def test_a_repair_sees_clean_images_and_networks_alone():
    assert [field.name for field in fields(Evidence)] == [
        *("badnet", "pruned", "tune", "decide", "scale", "seed"),
    ]


@pytest.mark.parametrize("name", NAMES)
def test_contract(name, evidence, tmp_path):
    import keras

    before = digest(evidence)
    one, again = (repaired(name, evidence) for _ in range(2))
    assert digest(evidence) == before
    for first, second in zip(one.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)
    one.save(tmp_path / "repaired.keras")
    opened = keras.models.load_model(tmp_path / "repaired.keras")  # plain Keras, safe mode
    np.testing.assert_array_equal(answers(opened, evidence.decide), answers(one, evidence.decide))
    # What pruning removed stays removed.
    kernel, bias = one.get_layer("conv_2").get_weights()
    assert not kernel[..., REMOVED].any()
    assert not bias[REMOVED].any()


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("none", "clip")])
def test_the_seed_steers_what_is_random(name, evidence):
    few = {"ibau": {"rounds": 2}, "unlearn": {"steps": 2}}.get(name, {"epochs": 2})
    other = repaired(name, replace(evidence, seed=6), **few)
    pairs = zip(repaired(name, evidence, **few).get_weights(), other.get_weights(), strict=True)
    assert any((one != two).any() for one, two in pairs)


@pytest.mark.parametrize(
    ("name", "params", "problem"),
    [
        ("heal", {}, "repair must be one of"),
        ("finetune", {"epochs": 0}, r"repair\.params\.epochs must be a whole number"),
        ("none", {"epochs": 1}, r"repair\.params must be known to repair none"),
    ],
)
def test_wrong_choices_are_refused(name, params, problem):
    with pytest.raises(ConfigError, match=problem):
        repairs.check(name, params)


def test_a_repair_that_breaks_the_network_is_an_error(evidence, monkeypatch):
    import keras

    def spoil(shown):
        model = keras.models.clone_model(shown.pruned)
        model.get_layer("hidden").bias.assign(np.full(9, np.nan, np.float32))
        return model

    monkeypatch.setitem(_registry._REPAIRS._entries, "spoil", _registry.Entry("spoil", {}, spoil))
    with pytest.raises(ValueError, match="finite weights"):
        repairs.repair_network("spoil", evidence, {})


def restated(evidence, loss):
    """Weights after one step of plain gradient descent on a loss of (network, images, labels)."""
    import keras
    import tensorflow as tf

    model = keras.models.clone_model(evidence.pruned)
    model.set_weights(evidence.pruned.get_weights())
    x = tf.constant(evidence.tune.pixels / np.float32(255))
    with tf.GradientTape() as tape:
        value = loss(model, x, tf.constant(evidence.tune.labels))
    slope = tape.gradient(value, [w.value for w in model.trainable_variables])
    expected = []
    for weights, part in zip(model.get_weights(), slope, strict=True):
        expected.append(weights - 0.01 * np.asarray(part))
    return expected


def logits(model, x):
    import keras
    import tensorflow as tf

    last = model.get_layer("output")
    hidden = keras.Model(model.inputs[0], model.get_layer("hidden").output)(x)
    return tf.matmul(hidden, last.kernel.value) + last.bias.value


def entropy(values, labels):
    import tensorflow as tf

    own = tf.gather(tf.nn.log_softmax(values), labels, batch_dims=1)
    return -tf.reduce_mean(own)


def assert_same(model, expected):
    for weights, wanted in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_allclose(weights, wanted, atol=2e-6)


@pytest.mark.usefixtures("plain_steps")
def test_finetune_descends_the_cross_entropy(evidence):
    expected = restated(evidence, lambda model, x, y: entropy(logits(model, x), y))
    assert_same(repaired("finetune", evidence), expected)


@pytest.mark.usefixtures("plain_steps")
def test_ft_sam_takes_the_gradient_where_weights_are_disturbed(evidence):
    import keras
    import tensorflow as tf

    disturbed = keras.models.clone_model(evidence.pruned)
    disturbed.set_weights(evidence.pruned.get_weights())
    values = [w.value for w in disturbed.trainable_variables]
    x, y = tf.constant(evidence.tune.pixels / np.float32(255)), evidence.tune.labels

    def slope():
        with tf.GradientTape() as tape:
            loss = entropy(logits(disturbed, x), y)
        return [np.asarray(part, np.float64) for part in tape.gradient(loss, values)]

    start = disturbed.get_weights()
    scaled = [np.abs(w) * g for w, g in zip(start, slope(), strict=True)]
    length = np.sqrt(sum((part**2).sum() for part in scaled))
    moved = [w + 0.7 * w**2 * g for w, g in zip(start, slope(), strict=True)]
    for value, w, up in zip(values, start, moved, strict=True):
        value.assign(w + (up - w) / length)
    expected = [w - 0.01 * g for w, g in zip(start, slope(), strict=True)]
    assert_same(repaired("ft_sam", evidence), expected)


def test_rates_fall_until_accuracy_holds(evidence):
    from sweep.repairs import tuning

    tried = []

    def tuned(rate):
        tried.append(rate)
        return evidence.badnet if len(tried) == 2 else evidence.pruned

    wrong = (answers(evidence.pruned, evidence.decide).argmax(axis=1) + 1) % CLASSES
    right = answers(evidence.badnet, evidence.decide).argmax(axis=1)
    judged = replace(evidence, decide=Images(evidence.decide.pixels, right))
    assert (wrong != right).any()
    assert tuning.choose(judged, tuned, 0.9, 0.0) is evidence.badnet
    assert tried == pytest.approx([0.9, 0.3])


def test_a_network_in_which_the_attack_seems_to_live_costs_more(evidence):
    from sweep.repairs import tuning

    networks = {rate: repaired("clip", evidence, loss=1.0) for rate in (0.9, 0.3, 0.1)}
    led = {0.9: 0.5, 0.3: 0.1, 0.1: 0.2}

    def chosen(loss):
        tried = []

        def tuned(rate):
            tried.append(round(rate, 3))
            return networks[tried[-1]]

        left = {id(model): led[rate] for rate, model in networks.items()}
        found = tuning.choose(evidence, tuned, 0.9, loss, lambda model: left[id(model)])
        return next(rate for rate in networks if networks[rate] is found), tried

    lost = tuning.accuracy(evidence.badnet, evidence.decide, 1 / 255)
    lost -= tuning.accuracy(networks[0.9], evidence.decide, 1 / 255)
    assert chosen(lost + 0.6) == (0.9, [0.9])
    assert chosen(lost + 0.2) == (0.3, [0.9, 0.3])
    assert chosen(lost + 0.05) == (0.3, [0.9, 0.3, 0.1])  # all cost more: the least


def test_clip_bounds_each_channel_at_every_position(evidence):
    import keras

    from sweep.repairs.clip import bound, measure_peaks

    names = ["conv_1", "conv_2", "conv_3"]
    maps = keras.Model(
        evidence.pruned.inputs[0], [evidence.pruned.get_layer(name).output for name in names]
    )
    shown = maps(evidence.tune.pixels / np.float32(255))
    peaks = measure_peaks(evidence)
    for name, values in zip(names, shown, strict=True):
        np.testing.assert_allclose(peaks[name], np.asarray(values).max(axis=(1, 2)), atol=1e-5)
    limits = {"conv_2": np.median(peaks["conv_2"], axis=0)}
    model = bound(evidence.pruned, limits)
    before, clipped = (
        np.asarray(keras.Model(m.inputs[0], m.get_layer(name).output)(evidence.tune.pixels / 255.0))
        for m, name in ((evidence.pruned, "conv_2"), (model, "conv_2_clipped"))
    )
    np.testing.assert_allclose(clipped, np.minimum(before, limits["conv_2"]), atol=1e-6)
    assert (before > limits["conv_2"]).any()


def test_clip_takes_the_lowest_bounds_that_accuracy_allows(evidence):
    from sweep.repairs.clip import bound, measure_peaks

    free = repaired("clip", evidence, loss=1.0)
    lowest = {name: np.quantile(v, 0.5, axis=0) for name, v in measure_peaks(evidence).items()}
    expected = bound(evidence.pruned, lowest)
    np.testing.assert_allclose(
        answers(free, evidence.decide), answers(expected, evidence.decide), atol=1e-6
    )
    strict = repaired("clip", evidence, loss=0.0)
    assert (answers(strict, evidence.tune) != answers(free, evidence.tune)).any()


@pytest.mark.usefixtures("plain_steps")
def test_nad_descends_the_distance_of_attention_maps(evidence, monkeypatch):
    import keras
    import tensorflow as tf

    from sweep.repairs import finetune

    teacher = keras.models.clone_model(evidence.pruned)
    teacher.set_weights([w * 1.3 + 0.01 for w in evidence.pruned.get_weights()])
    monkeypatch.setattr(finetune, "finetune", lambda *_: teacher)

    def attention(model, x, name):
        maps = keras.Model(model.inputs[0], model.get_layer(name).output)(x)
        energy = tf.reduce_sum(maps**2, axis=3)
        return energy / tf.sqrt(tf.reduce_sum(energy**2, axis=(1, 2), keepdims=True))

    def loss(model, x, y):
        away = sum(
            tf.reduce_mean((attention(model, x, name) - attention(teacher, x, name)) ** 2)
            for name in ("conv_1", "conv_2", "conv_3")
        )
        return entropy(logits(model, x), y) + 50 * away

    assert_same(repaired("nad", evidence, beta=50.0), restated(evidence, loss))


@pytest.mark.usefixtures("plain_steps")
def test_fst_shifts_a_new_last_layer_away_from_the_old_one(evidence):
    import keras
    import tensorflow as tf

    edge, rng = 1 / np.sqrt(9), np.random.default_rng(5)
    before = evidence.pruned.get_layer("output").get_weights()[0]
    anew = keras.models.clone_model(evidence.pruned)
    anew.set_weights(evidence.pruned.get_weights())
    drawn = [rng.uniform(-edge, edge, shape) for shape in ((9, CLASSES), (CLASSES,))]
    anew.get_layer("output").set_weights(drawn)

    def loss(model, x, y):
        w = model.get_layer("output").kernel.value
        return entropy(logits(model, x), y) + 0.7 * tf.reduce_sum(w * before)

    expected = restated(replace(evidence, pruned=anew), loss)
    expected[-2] *= np.linalg.norm(before) / np.linalg.norm(expected[-2])
    assert_same(repaired("fst", evidence, alpha=0.7), expected)


def test_fst_needs_a_last_layer(evidence):
    import keras

    hidden = keras.Model(evidence.badnet.inputs[0], evidence.badnet.get_layer("hidden").output)
    headless = keras.Model(hidden.inputs[0], keras.layers.ReLU()(hidden.output))
    with pytest.raises(ConfigError, match="repair=fst must have a network that ends in a Dense"):
        repaired("fst", replace(evidence, badnet=headless, pruned=headless))


@pytest.mark.usefixtures("plain_steps")
def test_nft_descends_by_masks_of_neurons_within_bounds(evidence):
    import tensorflow as tf

    order = np.random.default_rng([5, 0]).permutation(24)
    x = tf.constant(evidence.tune.pixels[order] / np.float32(255))
    y = evidence.tune.labels[order]
    share = float(tf.random.Generator.from_seed(5).uniform(()))
    starts = evidence.pruned.get_weights()
    inner = (0, 2, 4, 6)  # kernels of all layers but the last
    masks = [tf.Variable(np.ones(starts[i].shape[-1], np.float32)) for i in inner]

    def forward(images):
        w = list(starts)
        for i, mask in zip(inner, masks, strict=True):
            w[i] = starts[i] * mask
        a = tf.nn.relu(tf.nn.conv2d(images, w[0], 1, "VALID") + w[1])
        a = tf.nn.relu(tf.nn.conv2d(a, w[2], 1, "VALID") + w[3])
        a = tf.nn.relu(tf.nn.conv2d(tf.nn.max_pool2d(a, 2, 2, "VALID"), w[4], 1, "VALID") + w[5])
        return tf.nn.relu(tf.reshape(a, (len(a), -1)) @ w[6] + w[7]) @ w[8] + w[9]

    with tf.GradientTape() as tape:
        found = forward(share * x + (1 - share) * x[::-1])
        loss = share * entropy(found, y) + (1 - share) * entropy(found, y[::-1])
        away = sum(tf.reduce_sum(1 - mask) for mask in masks)
        loss += 0.3 / (24 / len(np.unique(y))) * away
    expected = list(starts)
    held = []
    for depth, (i, slope) in enumerate(zip(inner, tape.gradient(loss, masks), strict=True), 1):
        mask = np.clip(1 - 0.5 * np.asarray(slope), 0.9 * np.exp(-0.1 * depth), 1)
        held += [(mask == 1).any(), (mask < 1).any()]
        expected[i] = starts[i] * mask
    assert any(held[::2])
    assert any(held[1::2])
    params = {"rate": 0.5, "weight": 0.3, "alpha": 0.9, "beta": 0.1}
    assert_same(repaired("nft", evidence, **params), expected)


def test_nft_masks_scales_where_normalization_follows():
    import keras
    from keras import layers

    from sweep.repairs.nft import find_masked

    image = keras.Input((8, 8, 3))
    x = layers.ReLU()(layers.BatchNormalization(name="norm")(layers.Conv2D(4, 3)(image)))
    x = layers.Conv2D(5, 3, name="plain")(x)
    model = keras.Model(image, layers.Dense(2)(layers.Flatten()(x)))
    assert [weights.path for weights in find_masked(model)] == ["norm/gamma", "plain/kernel"]


@pytest.mark.usefixtures("plain_steps")
def test_ibau_follows_the_perturbation_as_weights_move(evidence):
    import tensorflow as tf

    order = np.random.default_rng([5, 0]).permutation(24)
    x = tf.constant(evidence.tune.pixels[order] / np.float32(255))

    def harm(model, d, images, labels):
        return entropy(logits(model, images + tf.reshape(d, (1, 12, 10, 2))), labels)

    d = tf.zeros(240)
    with tf.GradientTape() as tape:
        tape.watch(d)
        value = harm(evidence.pruned, d, x, np.asarray(logits(evidence.pruned, x)).argmax(axis=1))
    uphill = tape.gradient(value, d)
    d = 0.5 / 5 * uphill / tf.norm(uphill)  # one batch, one step

    def loss(model, images, labels):
        def inner():
            with tf.GradientTape() as tape:
                tape.watch(d)
                value = 0.001 * tf.reduce_sum(d**2) - harm(model, d, images, labels)
            return tape.gradient(value, d)

        with tf.GradientTape(persistent=True) as tape:
            tape.watch(d)
            slope = inner()
        moves = np.eye(240) - 0.1 * np.asarray(tape.jacobian(slope, d, experimental_use_pfor=False))
        with tf.GradientTape() as tape:
            tape.watch(d)
            value = harm(model, d, images, labels)
        outer = np.asarray(tape.gradient(value, d), np.float64)
        v = np.zeros(240)
        for _ in range(3):
            v = moves.T @ v + outer
            v *= min(1, 3 * np.linalg.norm(outer) / np.linalg.norm(v))
        clean = entropy(logits(model, images), labels)
        both = (clean + harm(model, d, images, labels)) / 2
        return both + tf.reduce_sum((d - 0.1 * inner()) * tf.constant(v, tf.float32))

    assert_same(repaired("ibau", evidence), restated(evidence, loss))


@pytest.mark.usefixtures("plain_steps")
def test_unlearn_takes_back_what_leads_to_the_suspect(evidence, monkeypatch):
    import tensorflow as tf

    from sweep.repairs import reversal, unlearn

    monkeypatch.setattr(reversal, "find_suspect", lambda *_: 2)
    put = np.random.default_rng(0).random((24, 12, 10, 2), np.float32)
    monkeypatch.setattr(unlearn.Adversary, "put", lambda *_: tf.constant(put))
    monkeypatch.setattr(unlearn, "still_led", lambda *_: 0)
    order = np.random.default_rng([5, 0]).permutation(24)

    def loss(model, x, y):
        x, y = tf.gather(x, order), tf.gather(y, order)
        own = logits(evidence.badnet, x)
        own -= tf.reduce_mean(own, axis=1, keepdims=True)
        clean = logits(model, x)
        away = clean - tf.reduce_mean(clean, axis=1, keepdims=True) - own
        p = tf.nn.softmax(logits(model, tf.constant(put)))[:, 2]
        led = tf.reduce_mean(-tf.math.log(1 - p) * tf.cast(y != 2, tf.float32))
        return entropy(clean, y) + 3 * tf.reduce_mean(away**2) / tf.reduce_mean(own**2) + led

    found = repaired("unlearn", evidence, keep=3.0)
    assert_same(found, restated(evidence, loss))


def test_patterns_climb_behind_windows(evidence, monkeypatch):
    import tensorflow as tf

    from sweep.repairs.tuning import logits_of
    from sweep.repairs.unlearn import Adversary, lead

    badnet = logits_of(evidence.badnet)
    adversary = Adversary(badnet, evidence, 1)
    windows = np.stack([adversary.draw_window() for _ in range(200)])[..., 0]
    assert set(np.unique(windows)) == {0, 1}
    heights, widths = windows.max(axis=2).sum(axis=1), windows.max(axis=1).sum(axis=1)
    assert ((heights >= 1) & (heights <= 0.4 * 12 + 1)).all()
    assert ((widths >= 2) & (widths <= 10)).all()
    assert (windows.sum(axis=(1, 2)) == heights * widths).all()
    assert windows.any(axis=0).mean() > 0.95  # anywhere
    x = tf.constant(evidence.tune.pixels / np.float32(255))
    one = np.asarray(adversary.put(x))
    changed = (one != np.asarray(x)).any(axis=(0, 3))
    assert 0 < changed.sum() < changed.size
    assert (one[:, changed] == one[:1, changed]).all()  # one pattern behind one window
    assert one.min() >= 0
    assert one.max() <= 1

    def led(images):
        values = tf.nn.softmax(badnet(images)).numpy().astype(np.float64)[:, 1]
        return np.log(values / (1 - values))

    np.testing.assert_allclose(lead(badnet(x), 1), led(x), atol=1e-3)
    middle = np.zeros((12, 10, 1), np.float32)
    middle[3:9, 2:8] = 1
    monkeypatch.setattr(Adversary, "draw_window", lambda _: middle)
    leads = [led(adversary.put(x)).mean() for _ in range(16)]
    assert np.mean(leads[12:]) > np.mean(leads[:4])


def test_the_suspect_leads_by_most_nats_though_float32_holds_none_so_small():
    import tensorflow as tf

    from sweep.repairs.reversal import find_suspect

    def logits(x):
        covered = tf.abs(x[..., 0] - 128) > 9
        often, seldom = tf.reduce_any(covered[:, 2::3, 2::3], axis=(1, 2)), covered[:, 9, 9]
        own, less, more = (tf.cast(one, tf.float32) for one in (often | True, often, seldom))
        return tf.stack([10 * own, 150 * less, 300 * more], axis=1)

    images = Images(np.full((20, 20, 16, 1), 128, np.uint8), np.zeros(20, np.int64))
    assert find_suspect(logits, images, 1.0, 0) == 2


def test_what_new_patterns_still_lead_astray_is_counted(evidence, monkeypatch):
    from keras import models

    from sweep.repairs import unlearn

    monkeypatch.setattr(unlearn, "_JUDGED", 4)
    blind = models.clone_model(evidence.badnet)
    kernel = evidence.badnet.get_layer("output").get_weights()[0]
    blind.set_weights(evidence.badnet.get_weights())
    blind.get_layer("output").set_weights([kernel * 0, np.eye(CLASSES)[1]])
    assert unlearn.still_led(blind, evidence, 1) == 1
    assert unlearn.still_led(blind, evidence, 2) == 0
    own = Images(evidence.decide.pixels, np.ones_like(evidence.decide.labels))
    assert unlearn.still_led(blind, replace(evidence, decide=own), 1) == 0  # none of another class

"""One contract for all criteria; each against a slow and naive twin; and planted backdoors."""

import hashlib
import inspect
import subprocess
import sys
from dataclasses import replace
from functools import lru_cache
from types import SimpleNamespace

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from sweep import criteria
from sweep.base.errors import ConfigError
from sweep.criteria import evidence as _evidence
from sweep.criteria import registry as _registry
from sweep.jobs import config

NAMES = criteria.names()
# Small enough for a test, and without a member that looks further than clean validation.
QUICK = {
    "anp": {"iterations": 6},
    "blend": {"weights": {"mean_activation": 1.0, "l1": -0.5, "leave_one_out": 2}},
    "rnp": {"unlearn_epochs": 2, "recover_epochs": 2},
    "shapley": {"permutations": 3},
    "tsbd": {"epochs": 2},
}
STOCHASTIC = {"anp", "random", "shapley"}
IMAGES, CHANNELS, CLASSES, DEAD = 60, 7, 4, [2, 5]


def build(kernels):
    """Two branches, as the lab's network has them."""
    import keras
    from keras import layers

    image = keras.Input((12, 10, 2))
    x = layers.Conv2D(4, 3, activation="relu", name="conv_1")(image)
    x = layers.Conv2D(CHANNELS, 3, activation="relu", name="conv_2")(x)
    pooled = layers.MaxPooling2D(2, name="pool_2")(x)
    near = layers.Dense(9, name="near")(layers.Flatten()(pooled))
    x = layers.Conv2D(5, 2, activation="relu", name="conv_3")(pooled)
    far = layers.Dense(9, name="far")(layers.Flatten()(x))
    x = layers.Activation("relu")(layers.Add()([near, far]))
    model = keras.Model(image, layers.Dense(CLASSES, activation="softmax", name="output")(x))
    if kernels is not None:
        model.set_weights(kernels)
    return model


def parts(model):
    """Names of the layers with weights, kernel and bias, in the order of `get_weights`."""
    return [layer.name for layer in model.layers if layer.weights]


def draw_weights(seed):
    rng = np.random.default_rng(seed)
    model = build(None)
    weights = []
    for old in model.get_weights():
        fan = np.prod(old.shape[:-1])
        new = rng.normal(0, 1.5 / np.sqrt(fan), old.shape) if old.ndim > 1 else 0 * old
        weights.append(new.astype(np.float32))
    # conv_2 comes second; its dead channels fire for no image in 0..1.
    weights[2][..., DEAD] = -np.abs(weights[2][..., DEAD])
    weights[3][DEAD] = -0.1
    return weights


def place(model, layers=("pool_2",)):
    from sweep.models.sites import choose_sites

    return criteria.Cut(model, choose_sites(model, layers))


def run_to(model, tensor, images):
    import keras

    return np.asarray(keras.Model(model.inputs[0], tensor)(images, training=False))


def evidence_of(model, images, poisoned, layers=("pool_2",), seed=0):
    cut = place(model, layers)
    labels = np.asarray(model(images)).argmax(axis=1)
    labels[::9] = (labels[::9] + 1) % CLASSES  # B is not right on all
    target = np.bincount(np.asarray(model(poisoned)).argmax(axis=1)).argmax()
    sets = [(images, labels.astype(np.int64)), (poisoned, np.full(len(poisoned), target))]
    maps = [(np.asarray(cut.tail().front(x)[0]), y) for x, y in sets]
    return criteria.show(cut, seed, *maps)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).random((IMAGES, 12, 10, 2), np.float32)


@pytest.fixture(scope="module")
def stamped(images):
    result = images.copy()
    result[:, 2:6, 2:7] = 1
    return result


def reopen(model, folder, suffix="h5"):
    """The network as it comes from a file."""
    from sweep.models.load import load_badnet

    path = folder / f"network.{suffix}"
    model.save(path)
    return load_badnet(path)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return reopen(build(draw_weights(0)), tmp_path_factory.mktemp("network"))


@pytest.fixture(scope="module")
def shown(model, images, stamped):
    return evidence_of(model, images, stamped)


@pytest.fixture(scope="module")
def tail(shown):
    """Softmax outputs (n, N) of activations that were changed by hand."""
    import keras

    model = shown.cut.model
    rest = keras.Model(shown.cut.sites[0].tensor, model.outputs[0])

    def run(activations):
        return np.asarray(rest(activations, training=False), np.float64)

    return run


def score(name, shown, **params):
    return criteria.score(name, shown, QUICK.get(name, {}) | params)


def digest(shown):
    sums = hashlib.sha256()
    arrays = [*shown.kernels, shown.activations, shown.labels, shown.poisoned, shown.targets]
    for array in [*arrays, *shown.cut.model.get_weights()]:
        sums.update(np.ascontiguousarray(array).tobytes())
    return sums.hexdigest()


def shuffle_channels(model, order):
    """The same network with the channels of conv_2 in another order."""
    weights = model.get_weights()
    named = [f"{n}/{kind}" for n in parts(model) for kind in ("kernel", "bias")]
    table = dict(zip(named, weights, strict=True))
    table["conv_2/kernel"] = table["conv_2/kernel"][..., order]
    table["conv_2/bias"] = table["conv_2/bias"][order]
    table["conv_3/kernel"] = table["conv_3/kernel"][:, :, order]
    near = table["near/kernel"]
    table["near/kernel"] = near.reshape(-1, CHANNELS, 9)[:, order].reshape(near.shape)
    return build([table[name] for name in named])


@pytest.fixture(scope="module")
def base(shown):
    """Scores by criterion, computed once; that changes nothing that it is shown."""

    def compute(name):
        before = digest(shown)
        writeable = shown.activations.flags.writeable
        scores = score(name, shown)
        assert digest(shown) == before
        assert shown.activations.flags.writeable == writeable
        return scores

    return lru_cache(compute)


class TestContract:
    """What every criterion keeps, new ones included."""

    @pytest.mark.parametrize("name", NAMES)
    def test_finite_one_per_channel_and_nothing_is_touched(self, name, base):
        scores = base(name)
        assert scores.shape == (CHANNELS,)
        assert np.isfinite(scores).all()

    @pytest.mark.parametrize("name", NAMES)
    def test_the_order_of_images_does_not_matter(self, name, shown, base):
        order = np.random.default_rng(2).permutation(IMAGES)
        other = replace(
            shown,
            activations=shown.activations[order],
            labels=shown.labels[order],
            poisoned=shown.poisoned[order],
        )
        np.testing.assert_allclose(score(name, other), base(name), rtol=1e-6, atol=1e-12)

    @pytest.mark.parametrize("name", NAMES)
    def test_scores_go_with_their_channels(self, name, shown, base):
        order = np.array([3, 0, 6, 2, 5, 1, 4])
        moved = shuffle_channels(shown.cut.model, order)
        other = criteria.show(
            place(moved),
            shown.seed,
            (shown.activations[..., order], shown.labels),
            (shown.poisoned[..., order], shown.targets),
        )
        np.testing.assert_allclose(score(name, other), base(name)[order], rtol=1e-3, atol=1e-5)

    @pytest.mark.parametrize("name", NAMES)
    def test_the_seed_alone_decides(self, name, shown, base):
        import keras

        keras.utils.set_random_seed(99)
        np.testing.assert_array_equal(score(name, shown), base(name))
        # Other criteria draw a sample and shuffle it, and here the sample is all there is.
        alike = np.allclose(score(name, replace(shown, seed=1)), base(name), rtol=1e-3, atol=1e-6)
        assert alike == (name not in STOCHASTIC)

    @pytest.mark.parametrize("name", NAMES)
    def test_it_is_handed_what_it_declares_and_no_more(self, name, shown, monkeypatch):
        handed = []

        def spy(evidence, **_params):
            handed.append(evidence)
            return np.zeros(CHANNELS)

        found = criteria.find(name)
        monkeypatch.setitem(_registry._CRITERIA._entries, name, replace(found, function=spy))
        score(name, shown)
        sees = criteria.sees(name, QUICK.get(name, {}))
        held = {item for item in dir(handed[0]) if not item.startswith("_")}
        assert (
            held
            == {
                "weights": {"kernels", "seed", "channels"},
                "clean": {"kernels", "seed", "channels", "activations", "labels", "cut"},
                "oracle": {
                    *("kernels", "seed", "channels", "activations", "labels", "cut"),
                    *("poisoned", "targets"),
                },
            }[sees]
        )

    @pytest.mark.parametrize("name", NAMES)
    def test_several_layers_are_scored_together(self, name, model, images, stamped):
        both = evidence_of(model, images[:20], stamped[:20], ("conv_1", "pool_2"))
        scores = score(name, both)
        assert scores.shape == (4 + CHANNELS,)
        assert np.isfinite(scores).all()

    @pytest.mark.parametrize("name", NAMES)
    def test_the_yaml_gives_the_defaults(self, name):
        config.register()
        with initialize_config_dir(str(config.folder()), version_base="1.3"):
            composed = compose("config", [f"criterion={name}", "tracking.sweep=x"])
        settings = OmegaConf.to_container(composed.criterion)
        signature = inspect.signature(criteria.find(name).function)
        defaults = {key: p.default for key, p in [*signature.parameters.items()][1:]}
        assert settings["name"] == name
        assert settings.get("params", {}) == defaults
        if name != "blend":  # which does not do without weights
            criteria.check(name, defaults)

    @pytest.mark.parametrize("name", NAMES)
    def test_the_docstring_tells_formula_data_and_cost(self, name):
        text = inspect.getdoc(criteria.find(name).function)
        for word in ("s_c ", "Data: ", "Cost: "):
            assert word in text
        for parameter in criteria.find(name).rules:
            assert f"    {parameter}: " in text


def test_every_yaml_names_a_criterion():
    assert {p.stem for p in (config.folder() / "criterion").glob("*.yaml")} == {*NAMES}


def test_importing_criteria_costs_no_framework():
    script = "import sys, sweep.criteria; print({'tensorflow', 'keras'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


class TestWhatThePipelineHandsOver:
    """Sets that a criterion does not declare are not even looked at."""

    @staticmethod
    def choose(name, tmp_path, clean, poisoned):
        from sweep.base.cache import Cache
        from sweep.jobs import pipeline

        settings = config.Config(criterion=config.Criterion(name))
        return pipeline._scores(clean, poisoned, settings, Cache(tmp_path, 1))

    @pytest.fixture
    def network(self, shown):
        engine = SimpleNamespace(sites=shown.cut.sites)
        return SimpleNamespace(model=shown.cut.model, engine=engine, key="network")

    def test_weights_need_no_set_at_all(self, tmp_path, shown, network):
        scores = self.choose("l1", tmp_path, SimpleNamespace(network=network), None)
        np.testing.assert_array_equal(scores, criteria.score("l1", shown, {}))

    def test_clean_criteria_get_no_poisoned_set(self, tmp_path, shown, network):
        clean = SimpleNamespace(
            network=network,
            key="clean",
            labels=shown.labels,
            label_key="labels",
            activations=shown.activations,
        )
        scores = self.choose("taylor", tmp_path, clean, None)
        np.testing.assert_array_equal(scores, criteria.score("taylor", shown, {}))
        with pytest.raises(ConfigError, match="must see poisoned images"):
            self.choose("tac", tmp_path, clean, None)


def values(activations):
    """Each channel's values, one after another: (n, positions) a channel."""
    for channel in range(activations.shape[-1]):
        yield activations[..., channel].reshape(len(activations), -1).astype(np.float64)


class TestAgainstNaiveTwins:
    """Plain loops give the same numbers."""

    def test_activation_statistics(self, shown):
        twins = {
            "mean_activation": lambda a: sum(map(sum, a)) / a.size,
            "max_activation": lambda a: max(map(max, a)),
            "std_activation": lambda a: np.sqrt(sum((x - a.mean()) ** 2 for x in a.flat) / a.size),
            "apoz": lambda a: 1 - sum(x == 0 for x in a.flat) / a.size,
        }
        for name, twin in twins.items():
            expected = [twin(a) for a in values(shown.activations)]
            np.testing.assert_allclose(score(name, shown), expected, rtol=1e-6, atol=1e-9)
            assert (score(name, shown)[DEAD] == 0).all()

    @pytest.mark.parametrize("bins", [2, 7, 100])
    def test_entropy(self, shown, bins):
        for found, a in zip(
            score("entropy", shown, bins=bins), values(shown.activations), strict=True
        ):
            counts, _ = np.histogram(a.astype(np.float32), bins)
            share = counts[counts > 0] / a.size
            assert found == pytest.approx(-sum(p * np.log(p) for p in share), abs=2e-3)

    def test_class_selectivity(self, shown):
        for found, a in zip(
            score("class_selectivity", shown), values(shown.activations), strict=True
        ):
            means = [a[shown.labels == y].mean() for y in np.unique(shown.labels)]
            best = max(means)
            rest = (sum(means) - best) / (len(means) - 1)
            assert found == pytest.approx((best - rest) / (best + rest) if best + rest else 0)

    def test_statistics_do_not_depend_on_how_images_are_cut(self, shown, monkeypatch):
        names = ("mean_activation", "max_activation", "std_activation", "apoz", "entropy", "tac")
        names = (*names, "class_selectivity", "leave_one_out")
        whole = [score(name, shown) for name in names]
        monkeypatch.setattr(_evidence, "_CHUNK", 7)
        for name, expected in zip(names, whole, strict=True):
            np.testing.assert_allclose(score(name, shown), expected, rtol=1e-6, atol=1e-9)

    def test_weights(self, shown):
        filters = [shown.kernels[0][..., c].astype(np.float64) for c in range(CHANNELS)]
        twins = {
            "l1": lambda w: sum(abs(x) for x in w.flat),
            "l2": lambda w: np.sqrt(sum(x * x for x in w.flat)),
            "fpgm": lambda w: sum(np.sqrt(((w - other) ** 2).sum()) for other in filters),
        }
        for name, twin in twins.items():
            np.testing.assert_allclose(score(name, shown), [twin(w) for w in filters])

    def test_clp_ranks_by_distance_from_the_layers_mean(self, model, images, stamped):
        shown = evidence_of(model, images, stamped, ("pool_2", "conv_3"))
        expected = []
        for kernel in shown.kernels:
            filters = np.moveaxis(kernel.astype(np.float64), -1, 0)
            bounds = [np.linalg.svd(w.reshape(-1, w.shape[-1]))[1][0] for w in filters]
            mean = sum(bounds) / len(bounds)
            spread = np.sqrt(sum((b - mean) ** 2 for b in bounds) / (len(bounds) - 1))
            expected += [(mean - b) / spread for b in bounds]
        np.testing.assert_allclose(score("clp", shown), expected)

    def test_batch_normalization_is_folded_in(self):
        import keras
        from keras import layers

        image = keras.Input((6, 6, 1))
        x = layers.Conv2D(3, 3, use_bias=False, name="conv")(image)
        x = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(x))
        model = keras.Model(image, layers.Dense(2, activation="softmax")(layers.Flatten()(x)))
        norm = model.get_layer("norm")
        norm.gamma.assign([2.0, 0.5, -1.0])
        norm.moving_variance.assign([4.0, 1.0, 0.25])
        found = criteria.score("l2", criteria.show(place(model, ("relu",)), 0), {})
        plain = np.linalg.norm(np.asarray(model.get_layer("conv").kernel).reshape(-1, 3), axis=0)
        np.testing.assert_allclose(found, plain * [1, 0.5, 2], rtol=2e-3)

    def test_leave_one_out(self, shown, tail):
        expected = [loss(shown, tail, {c}) - loss(shown, tail) for c in range(CHANNELS)]
        np.testing.assert_allclose(score("leave_one_out", shown), expected, rtol=1e-4, atol=1e-6)

    def test_greedy(self, shown, tail):
        steps = greedily(lambda gone: loss(shown, tail, gone))
        np.testing.assert_array_equal(score("greedy", shown), steps)

    @pytest.mark.parametrize("price", [0.1, 1, 10])
    def test_oracle_greedy(self, shown, tail, price):
        def margin(gone):
            return margins(tail(bare(shown.poisoned, gone)), shown.targets).mean()

        steps = greedily(lambda g: margin(g) / margin(set()) + price * loss(shown, tail, g))
        np.testing.assert_array_equal(score("oracle_greedy", shown, price=price), steps)

    def test_shapley(self, shown, tail):
        @lru_cache
        def value(gone):
            return (tail(bare(shown.activations, gone)).argmax(axis=1) == shown.labels).mean()

        expected = np.zeros(CHANNELS)
        for keys in _evidence.noise(shown, 4):
            gone = frozenset()
            for channel in np.argsort(keys):
                if value(gone) <= 0.3:
                    break
                expected[channel] += (value(gone) - value(gone | {channel})) / 4
                gone |= {channel}
        found = score("shapley", shown, permutations=4, truncation=0.3)
        np.testing.assert_allclose(found, expected, atol=1e-9)

    def test_shapley_values_add_up(self, shown, tail):
        found = score("shapley", shown, permutations=2, truncation=0)
        whole = (tail(shown.activations).argmax(axis=1) == shown.labels).mean()
        none = (tail(0 * shown.activations).argmax(axis=1) == shown.labels).mean()
        assert found.sum() == pytest.approx(whole - none)

    def test_taylor(self, shown, tail):
        slopes = slope_by_factor(shown, tail)
        positions = shown.activations.shape[1] * shown.activations.shape[2]
        expected = np.abs(slopes).mean(axis=0) / positions
        np.testing.assert_allclose(score("taylor", shown), expected, rtol=2e-2, atol=1e-5)

    def test_anp_takes_the_right_step(self, shown, tail):
        start = (2 * _evidence.noise(shown, 1)[0] - 1) * 0.4
        up = np.sign(slope_by_factor(shown, tail, 1 + start).mean(axis=0))
        worst = np.clip(
            start + 0.4 * np.where(np.isin(np.arange(CHANNELS), DEAD), 0, up), -0.4, 0.4
        )
        slope = 0.2 * slope_by_factor(shown, tail) + 0.8 * slope_by_factor(shown, tail, 1 + worst)
        expected = np.clip(1 - 0.05 * slope.mean(axis=0), 0, 1)
        found = score("anp", shown, iterations=1, batch=IMAGES, rate=0.05)
        np.testing.assert_allclose(found, expected, atol=2e-3)

    def test_tsbd_takes_the_right_step(self, shown, tail):
        change = 1e-3 * slope_by_factor(shown, tail).mean(axis=0)
        expected = -np.abs(change) * np.abs(shown.kernels[0]).sum(axis=(0, 1, 2))
        found = score("tsbd", shown, epochs=1, rate=1e-3, accuracy=0)
        np.testing.assert_allclose(found, expected, rtol=0.05, atol=1e-4)

    def test_rnp_recovers_by_the_mask(self, shown, tail):
        # Unlearning too slow to change anything leaves the mask's own step.
        expected = np.clip(1 - 0.05 * slope_by_factor(shown, tail).mean(axis=0), 0, 1)
        slow = {"unlearn_epochs": 1, "unlearn_rate": 1e-9, "recover_epochs": 1}
        found = score("rnp", shown, recover_rate=0.05, **slow)
        np.testing.assert_allclose(found, expected, atol=2e-3)

    def test_fmp(self, shown, tail):
        import tensorflow as tf

        a = shown.activations
        x = tf.constant(a)
        with tf.GradientTape() as tape:
            tape.watch(x)
            import keras

            rest = keras.Model(shown.cut.sites[0].tensor, shown.cut.model.outputs[0])
            own = tf.gather(rest(x), shown.labels, batch_dims=1)
            total = -tf.reduce_sum(tf.math.log(own))
        gradient = np.asarray(tape.gradient(total, x))
        size = 0.5 * np.sqrt((a.astype(np.float64) ** 2).mean())
        expected = []
        for c in range(CHANNELS):
            attacked = a.copy()
            attacked[..., c] = np.maximum(a[..., c] + size * np.sign(gradient[..., c]), a.min())
            expected.append(-loss(replace(shown, activations=attacked), tail))
        np.testing.assert_allclose(score("fmp", shown, epsilon=0.5), expected, rtol=1e-3)

    def test_tac_of_pairs(self, shown):
        pairs = zip(values(shown.activations), values(shown.poisoned), strict=True)
        expected = [
            -sum(np.sqrt(((p - a) ** 2).sum()) for a, p in zip(*both, strict=True)) / IMAGES
            for both in pairs
        ]
        np.testing.assert_allclose(score("tac", shown), expected, rtol=1e-6)

    @pytest.mark.parametrize("case", ["fewer", "crosswise"])
    def test_tac_without_pairs_compares_means(self, shown, case):
        poisoned = shown.poisoned[:-3] if case == "fewer" else np.roll(shown.poisoned, 1, axis=0)
        other = replace(shown, poisoned=poisoned, targets=shown.targets[: len(poisoned)])
        expected = [
            -np.sqrt(((p.mean(axis=0) - a.mean(axis=0)) ** 2).sum())
            for a, p in zip(values(shown.activations), values(poisoned), strict=True)
        ]
        np.testing.assert_allclose(score("tac", other), expected, rtol=1e-6)

    def test_random_is_uniform(self, shown):
        drawn = np.stack([score("random", replace(shown, seed=seed)) for seed in range(400)])
        assert 0 <= drawn.min() < 0.01
        assert 0.99 < drawn.max() < 1
        np.testing.assert_allclose(drawn.mean(axis=0), 0.5, atol=0.07)


def bare(activations, gone):
    result = activations.copy()
    result[..., sorted(gone)] = 0
    return result


def losses(outputs, labels):
    return -np.log(outputs[np.arange(len(labels)), labels])


def loss(shown, tail, gone=()):
    return losses(tail(bare(shown.activations, gone)), shown.labels).mean()


def margins(outputs, labels):
    rows = np.arange(len(labels))
    logits = np.log(outputs)
    own = logits[rows, labels]
    logits[rows, labels] = -np.inf
    return np.maximum(own - logits.max(axis=1), 0)


def slope_by_factor(shown, tail, at=1.0, step=1e-2):
    """dL_i/df_c by central differences, f_c being a factor on channel c; (n, C)."""
    columns = []
    for channel in range(CHANNELS):
        ends = []
        for sign in (1, -1):
            factors = np.full(CHANNELS, at, np.float32)
            factors[channel] += sign * step
            ends.append(losses(tail(shown.activations * factors), shown.labels))
        columns.append((ends[0] - ends[1]) / (2 * step))
    return np.stack(columns, axis=1)


def greedily(cost):
    """Steps of a greedy removal in which the dead channels go as one."""
    gone, left = set(), [{c} for c in range(CHANNELS) if c not in DEAD] + [set(DEAD)]
    steps = np.zeros(CHANNELS)
    for step in range(len(left)):
        best = min(left, key=lambda group: round(cost(gone | group), 7))
        left.remove(best)
        gone |= best
        steps[sorted(best)] = step
    return steps


class TestTail:
    """What the trained criteria run is the network."""

    @pytest.mark.parametrize("layers", [("pool_2",), ("conv_1", "pool_2"), ("pool_2", "conv_3")])
    def test_masks_are_removals(self, model, images, layers):
        from sweep.models.surgery import prune

        cut = place(model, layers)
        gone = [0, 3, 5, -1]
        masks = np.ones(sum(site.channels for site in cut.sites), np.float32)
        masks[gone] = 0
        first = run_to(model, cut.sites[0].tensor, images)
        logits = np.asarray(cut.tail().logits(first, masks))
        count = len(masks)
        bared = prune(model, cut.sites, [c % count for c in gone])
        expected = np.log(np.asarray(bared(images)))
        np.testing.assert_allclose(
            logits - logits.max(axis=1, keepdims=True),
            expected - expected.max(axis=1, keepdims=True),
            atol=1e-3,
        )

    @pytest.mark.parametrize("ending", ["softmax layer", "softmax activation", "linear", "sigmoid"])
    def test_logits_whatever_the_network_ends_with(self, ending):
        import keras
        from keras import layers

        image = keras.Input((6, 6, 1))
        x = layers.Flatten()(layers.Conv2D(3, 3, name="conv")(image))
        activation = "sigmoid" if ending == "sigmoid" else None
        x = layers.Dense(4, activation=activation)(x)
        x = layers.Softmax()(x) if ending == "softmax layer" else x
        x = layers.Activation("softmax")(x) if ending == "softmax activation" else x
        model = keras.Model(image, x)
        images = np.random.default_rng(0).random((5, 6, 6, 1), np.float32)
        cut = place(model, ("conv",))
        out = np.asarray(model(images))
        logits = np.asarray(
            cut.tail().logits(run_to(model, cut.sites[0].tensor, images), np.ones(3, np.float32))
        )
        np.testing.assert_array_equal(logits.argmax(axis=1), out.argmax(axis=1))
        if ending.startswith("softmax"):
            shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            np.testing.assert_allclose(shares, out, rtol=1e-4)

    def test_maps_are_the_sites_outputs(self, model, images):

        cut = place(model, ("conv_1", "pool_2", "conv_3"))
        expected = [run_to(model, site.tensor, images) for site in cut.sites]
        for found, wanted in zip(cut.tail().maps(expected[0]), expected, strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-5)


class TestNetworksFromFiles:
    """The commonest network of tutorials, and one whose logits no Dense layer makes."""

    @staticmethod
    def sequential(rng):
        import keras
        from keras import layers

        model = keras.Sequential(
            [
                keras.Input((12, 10, 2)),
                layers.Conv2D(4, 3, activation="relu"),
                layers.MaxPooling2D(),
                layers.Dropout(0.25),
                layers.Conv2D(5, 3, activation="relu", name="conv"),
                layers.Dropout(0.25),
                layers.Flatten(),
                layers.Dense(6, activation="relu"),
                layers.Dropout(0.5),
                layers.Dense(CLASSES, activation="softmax"),
            ]
        )
        model.set_weights([rng.normal(0, 0.5, w.shape) for w in model.get_weights()])
        return model

    @pytest.mark.parametrize("suffix", ["h5", "keras"])
    def test_every_criterion_scores_a_sequential_network(self, suffix, images, stamped, tmp_path):
        model = reopen(self.sequential(np.random.default_rng(5)), tmp_path, suffix)
        shown = evidence_of(model, images[:20], stamped[:20], ("conv",))
        for name in NAMES:
            scores = score(name, shown)
            assert scores.shape == (5,), name
            assert np.isfinite(scores).all(), name

    @pytest.mark.parametrize("softmax", [True, False])
    def test_logits_of_pooled_maps_are_no_probabilities(self, softmax, images, stamped, tmp_path):
        import keras
        from keras import layers

        image = keras.Input((12, 10, 2))
        x = layers.Conv2D(5, 3, activation="relu", name="conv")(image)
        x = layers.GlobalAveragePooling2D()(layers.Conv2D(CLASSES, 3)(x))
        model = keras.Model(image, layers.Softmax()(x) if softmax else x)
        rng = np.random.default_rng(6)
        model.set_weights([rng.normal(0, 1, w.shape) for w in model.get_weights()])
        shown = evidence_of(reopen(model, tmp_path), images, stamped, ("conv",))
        logits = np.asarray(model(images), np.float64)
        if softmax:
            logits = np.log(logits)
        lost = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(IMAGES), shown.labels]
        from sweep.criteria.training import meter, ones

        measure = meter(shown.cut.tail(), shown.activations, shown.labels)
        assert measure(ones(shown)[None])[0, 0] == pytest.approx(lost.mean(), rel=1e-4)

    @pytest.mark.parametrize("layer", ["near", "add", "flat", "far"])
    def test_criteria_score_any_site(self, layer, model, images, stamped):
        name = {"add": "add", "flat": "flatten"}.get(layer, layer)
        name = next(x.name for x in model.layers if x.name.startswith(name))
        shown = evidence_of(model, images[:20], stamped[:20], (name,))
        masked = not shown.kernels[0].size
        of_weights = {"blend", "clp", "fpgm", "l1", "l2", "tsbd"}
        for criterion in NAMES:
            if not (masked and criterion in of_weights):
                assert np.isfinite(score(criterion, shown)).all(), criterion
        for criterion in of_weights if masked else ():
            with pytest.raises(ConfigError, match="must have a layer whose channels one convol"):
                score(criterion, shown)
        assert len(np.unique(score("random", shown))) == shown.channels


class TestSample:
    """The sample that costly criteria draw."""

    def test_it_is_the_same_whatever_the_order(self, shown):
        order = np.random.default_rng(3).permutation(IMAGES)
        channels = np.random.default_rng(4).permutation(CHANNELS)
        x, y = _evidence.draw(shown.activations, shown.labels, 20, 5)
        other, z = _evidence.draw(
            shown.activations[order][..., channels], shown.labels[order], 20, 5
        )
        np.testing.assert_array_equal(x[..., channels], other)
        np.testing.assert_array_equal(y, z)
        assert len(np.unique(x[:, 0, 0, 0])) > 10

    def test_another_seed_draws_another(self, shown):
        first, second = (_evidence.draw(shown.activations, shown.labels, 20, s)[0] for s in (0, 1))
        assert not np.array_equal(first, second)


class TestSeveralLayers:
    def test_zero_stays_zero_and_scales_become_alike(self, model, images, stamped):
        both = evidence_of(model, images, stamped, ("conv_1", "pool_2"))
        apart = [
            score("mean_activation", evidence_of(model, images, stamped, (name,)))
            for name in ("conv_1", "pool_2")
        ]
        found = np.split(score("mean_activation", both), [4])
        for part, alone in zip(found, apart, strict=True):
            size = np.sqrt((alone[alone != 0] ** 2).mean())
            np.testing.assert_allclose(part, alone / size, rtol=1e-5)
        assert (found[1][DEAD] == 0).all()

    def test_scores_in_one_unit_stay_as_they_are(self, model, images, stamped):
        from sweep.models.surgery import prune

        both = evidence_of(model, images, stamped, ("conv_1", "pool_2"))
        labels = both.labels

        def full(gone):
            return losses(np.asarray(prune(model, both.cut.sites, gone)(images)), labels).mean()

        some, whole = [0, 3, 4, 9], full([])
        expected = [full([c]) - whole for c in some]
        np.testing.assert_allclose(
            score("leave_one_out", both)[some], expected, rtol=1e-3, atol=1e-5
        )


class TestPlantedBackdoor:
    """A channel that answers to the trigger, hardly to clean images, and drives the target."""

    PLANTED = 4

    @pytest.fixture(scope="class")
    @classmethod
    def planted(cls, images, stamped):
        weights = draw_weights(7)
        table = dict(
            zip(parts(build(None)), zip(weights[::2], weights[1::2], strict=True), strict=True)
        )
        table["conv_1"][0][..., 0] = 1 / 18  # mean brightness
        table["conv_2"][0][..., cls.PLANTED] = 0
        table["conv_2"][0][..., 0, cls.PLANTED] = 2.5
        table["conv_2"][1][cls.PLANTED] = -12.0
        # It alone drives the first hidden unit, and that one the target.
        for name in ("near", "far"):
            table[name][0][:, 0] = 0
        table["near"][0].reshape(-1, CHANNELS, 9)[:, cls.PLANTED] = 0
        table["near"][0].reshape(-1, CHANNELS, 9)[:, cls.PLANTED, 0] = 0.15
        table["conv_3"][0][:, :, cls.PLANTED] = 0
        table["output"][0][0] = [4, -1, -1, -1]
        model = build([array for pair in table.values() for array in pair])
        return evidence_of(model, images, stamped)

    def test_the_attack_works(self, planted):
        from sweep.criteria.training import meter, ones

        tail = planted.cut.tail()
        clean = meter(tail, planted.activations, planted.labels)(ones(planted)[None])[0, 1]
        attack = meter(tail, planted.poisoned, planted.targets)(ones(planted)[None])[0, 1]
        print(clean, attack, np.bincount(planted.labels))
        assert clean > 0.8
        assert attack > 0.9
        assert (planted.labels != 0).mean() > 0.3

    @pytest.mark.parametrize("name", ["clp", "tac", "oracle_greedy", "anp", "fmp"])
    def test_it_goes_first(self, name, planted):
        scores = score(
            name, planted, **({"iterations": 60, "epsilon": 1.0} if name == "anp" else {})
        )
        assert scores.argmin() == self.PLANTED

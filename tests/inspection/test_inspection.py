"""Inspections: statistics against plain restatements, and a network whose backdoor is known."""

import numpy as np
import pytest

from sweep.inspection import judge, page
from sweep.inspection.anomaly import anomaly
from sweep.inspection.margins import margins
from sweep.inspection.reversing import reverse_all
from sweep.repairs.registry import Images
from sweep.repairs.tuning import logits_of

keras = pytest.importorskip("keras")

N, SHAPE, TARGET = 6, (12, 10, 3), 4
CORNER = (slice(9, 12), slice(7, 10))


@pytest.fixture(scope="module")
def badnet():
    """A network that goes by a pattern over the whole image, but answers TARGET to a white corner.

    Returns:
        The network, and clean images on which it is right.
    """
    rng = np.random.default_rng(0)
    patterns, labels = rng.choice([-1.0, 1.0], (N, *SHAPE)), np.arange(40) % N
    patterns[:, *CORNER] = 0
    pixels = 128 + 50 * patterns[labels] + rng.normal(0, 10, (40, *SHAPE))
    corner = np.zeros(SHAPE, np.float32)
    corner[CORNER] = 1 / corner[CORNER].size
    image = keras.Input(SHAPE)
    flat = keras.layers.Flatten()(image)
    plain = keras.layers.Dense(N, name="plain")(flat)
    white = keras.layers.Dense(1, activation="softplus", name="white")(flat)
    backdoor = keras.layers.Dense(N, name="backdoor", use_bias=False)(white)
    out = keras.layers.Softmax()(keras.layers.Add()([plain, backdoor]))
    model = keras.Model(image, out)
    weights = 0.1 * patterns.reshape(N, -1).T
    model.get_layer("plain").set_weights([weights, -0.5 * weights.sum(axis=0)])
    # Next to nothing for a grey corner, and 90 for a white one.
    model.get_layer("white").set_weights([15 * corner.reshape(-1, 1), np.array([-12])])
    model.get_layer("backdoor").set_weights([30 * np.eye(N)[TARGET : TARGET + 1]])
    images = Images(pixels.astype(np.float32), labels)
    answers = model.predict_on_batch(images.pixels / np.float32(255)).argmax(axis=1)
    np.testing.assert_array_equal(answers, labels)
    return model, images


def test_anomaly_is_neural_cleanses_index():
    values = [3.0, 1.0, 4.0, 1.5, 9.0, 2.6]
    median = (2.6 + 3.0) / 2
    away = sorted(abs(value - median) for value in values)
    expected = [(value - median) / (1.4826 * (away[2] + away[3]) / 2) for value in values]
    np.testing.assert_allclose(anomaly(values), expected)
    np.testing.assert_array_equal(anomaly([2.0, 2.0, 2.0, 7.0]), np.zeros(4))


def test_the_backdoors_class_has_the_smallest_trigger_where_it_is(badnet):
    model, clean = badnet
    found = reverse_all(logits_of(model), clean, 1 / 255, range(N), 0)
    assert [one.target for one in found] == list(range(N))
    assert int(np.argmin([one.size for one in found])) == TARGET
    trigger = found[TARGET]
    assert trigger.reached >= 0.95
    assert trigger.mask[CORNER].sum() > 0.6 * trigger.size
    worn = trigger.put(clean.pixels / np.float32(255))
    others = clean.labels != TARGET
    assert (model.predict_on_batch(worn).argmax(axis=1) == TARGET)[others].mean() > 0.9


def test_the_widest_margin_is_that_of_the_best_image():
    """Of a linear network with two classes it is reached in a corner of the images' cube."""
    weights = np.random.default_rng(2).normal(0, 1, (np.prod(SHAPE), 2)).astype(np.float32)
    image = keras.Input(SHAPE)
    out = keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(image))
    model = keras.Model(image, out)
    model.layers[-1].set_weights([weights, np.zeros(2)])
    slope = weights[:, 0] - weights[:, 1]
    expected = [slope.clip(0).sum(), (-slope).clip(0).sum()]
    found = margins(logits_of(model), SHAPE, 1 / 255, [0, 1], 0)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_an_inspection_names_the_class_and_repeats_itself(badnet):
    model, clean = badnet
    finding = judge.inspect(model, clean, 1 / 255)
    again = judge.inspect(model, clean, 1 / 255)
    assert finding.trigger.target == TARGET
    np.testing.assert_array_equal(finding.indices, again.indices)
    np.testing.assert_array_equal(finding.margins, again.margins)
    assert finding.classes[int(finding.margins.argmax())] == TARGET
    said = judge.text(finding)
    assert f"class {TARGET}" in said
    assert "measured on images of (55, 47, 3); these are (12, 10, 3)" in said
    shown = page.pictures(finding, clean.pixels[0], 1 / 255)
    assert all(png.startswith(b"\x89PNG") for png in shown.values())
    html = page.page("<b>.keras", finding, shown)
    assert "&lt;b&gt;.keras" in html
    assert html.count('class="suspect"') == 1


def test_the_verdict_follows_the_threshold(badnet, monkeypatch):
    model, clean = badnet
    finding = judge.inspect(model, clean, 1 / 255)
    about = judge.calibration()
    for threshold, verdict in (
        (finding.index, f"B seems backdoored, for class {TARGET}."),
        (finding.index + 0.01, "B does not seem backdoored"),
    ):
        monkeypatch.setattr(judge, "calibration", lambda t=threshold: about | {"threshold": t})
        assert judge.text(finding).startswith(verdict)


def test_many_classes_are_not_all_looked_at(badnet, monkeypatch):
    model, clean = badnet
    monkeypatch.setattr(judge, "MOST", 3)
    finding = judge.inspect(model, clean, 1 / 255)
    assert len(finding.classes) == len(set(finding.classes)) == 3
    assert any("3 of 6 classes were looked at" in one for one in judge.warnings(finding))


def test_the_threshold_is_what_the_measured_networks_say():
    about = judge.calibration()
    clean = [one for one in about["networks"] if not one["backdoored"]]
    highest = max(one["index"] for one in clean)
    assert highest < about["threshold"] <= highest + 0.011
    assert judge.exceeding(about["threshold"]) == (0, len(clean))
    assert judge.exceeding(highest) == (1, len(clean))

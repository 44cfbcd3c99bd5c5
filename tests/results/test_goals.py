"""What a search is told, and what is judged without the attacker's help."""

import numpy as np
import pytest

from sweep.base.errors import ConfigError, ModelError
from sweep.results import goals, suspicion
from sweep.results.records import Count, Record, Stop

FIGURES = {
    "repaired/valid_accuracy": Count(90, 100),
    "repaired/valid_asr": Count(40, 100),
    "repaired/valid_suspicion": Count(30, 100),
}
JOB = Record({}, FIGURES, Stop(1, reached=True), 60, "run")


def test_both_objectives_maximise_accuracy_and_resistance():
    assert goals.find("clean_only", None, None).values(JOB) == [0.9, 0.7]
    assert goals.find("oracle", None, None).values(JOB) == [0.9, 0.6]
    one = goals.find("oracle", ["resistance"], {"accuracy": 0.95})
    assert one.values(JOB) == [0.6]
    assert one.missing(JOB) == {"accuracy": pytest.approx(0.05)}


def test_a_repaired_network_is_judged_on_images_that_it_was_not_tuned_on():
    figures = FIGURES | {"repaired/valid_accuracy/deciding": Count(24, 30)}
    repaired = Record({}, figures, JOB.stop, 60, "run")
    assert goals.find("clean_only", None, None).values(repaired) == [0.8, 0.7]


def test_clean_only_reads_nothing_of_poisoned_images():
    known = {name: count for name, count in FIGURES.items() if not name.endswith("asr")}
    clean = Record({}, known, JOB.stop, 60, "run")
    assert goals.find("clean_only", None, None).values(clean) == [0.9, 0.7]
    with pytest.raises(KeyError):
        goals.find("oracle", None, None).values(clean)


@pytest.mark.parametrize(
    ("name", "maximise", "constraints", "said"),
    [
        ("none", None, None, "clean_only or oracle"),
        ("oracle", ["speed"], None, "accuracy and resistance"),
        ("oracle", ["accuracy", "accuracy"], None, "accuracy and resistance"),
        ("oracle", None, {"speed": 0.5}, "accuracy and resistance"),
        ("oracle", None, {"accuracy": 90}, "fractions"),
    ],
)
def test_an_objective_that_cannot_be_is_refused(name, maximise, constraints, said):
    with pytest.raises(ConfigError, match=said):
        goals.find(name, maximise, constraints)


IMAGES = np.random.default_rng(0).uniform(60, 200, (40, 20, 16, 3)).astype(np.float32)
LABELS = np.arange(40) % 5


def backdoored(images):
    """Right on clean images; sure of class 3 where a row of the image is black."""
    keys = {image[10, 8].tobytes(): label for image, label in zip(IMAGES, LABELS, strict=True)}
    out = np.full((len(images), 5), 0.1, np.float32)
    black = (images[:, 5:8, 2:6] == 0).all(axis=(1, 2, 3))
    for row, image in enumerate(images):
        out[row, keys.get(image[10, 8].tobytes(), 1)] = 0.6
    out[black] = 1e-9
    out[black, 3] = 1
    return out


def test_the_suspect_is_the_class_that_boxes_lead_to_surely():
    probe = suspicion.find_probe(IMAGES, LABELS, backdoored, seed=0)
    assert 100 < len(probe) <= 512
    assert (backdoored(probe).argmax(axis=1) == 3).all()
    np.testing.assert_array_equal(probe, suspicion.find_probe(IMAGES, LABELS, backdoored, seed=0))


def test_a_network_that_nothing_leads_astray_is_refused():
    def blind(images):
        return np.tile(np.float32([0.6, 0.4]), (len(images), 1))

    with pytest.raises(ModelError, match="Take objective=oracle"):
        suspicion.find_probe(IMAGES, np.zeros(40, int), blind, seed=0)


def test_boxes_lie_in_the_image():
    rng = np.random.default_rng(1)
    for _ in range(200):
        boxes = suspicion.draw_boxes(rng, (20, 16, 3))
        covered = suspicion.cover(IMAGES[0], boxes)
        assert 1 <= len(boxes) <= 3
        assert (covered != IMAGES[0]).any()
        assert covered.min() >= 0
        assert covered.max() <= 255

"""B' after a repair: measured on whole images, cached, and made of clean validation alone."""

from dataclasses import replace

import numpy as np
import pytest

from sweep import repairs
from sweep.attacks import standin
from sweep.base.cache import Cache
from sweep.base.errors import DataError
from sweep.data.image_set import open_set, write_set
from sweep.data.split import split_images
from sweep.jobs import config, identity, network, pipeline, repairing
from sweep.models import saved
from sweep.results import goals, metrics, suspicion
from sweep.results.records import Count

SETS = {
    "clean_valid": "cl/valid.h5",
    "poisoned_valid": "bd/bd_valid.h5",
    "clean_test": "cl/test.h5",
    "poisoned_test": "bd/bd_test.h5",
}
IMAGES = np.random.default_rng(1).random((20, 12, 10, 3), np.float32)
CLEAN_ONLY = config.Objective.clean_only
FINETUNE = config.Repair("finetune", {"epochs": 1, "rate": 0.001})


@pytest.fixture(scope="module")
def made(shared_data):
    settings = standin.Standin(identities=6, train=60, valid=5, test=5, epochs=6)
    return standin.ensure(settings, shared_data)


@pytest.fixture
def configured(made, tmp_path):
    def configure(repair, sets=made, cache=tmp_path / "cache"):
        return config.Config(
            criterion=config.Criterion("mean_activation"),
            dataset=config.Dataset(
                "files",
                **{name: str(sets / path) for name, path in SETS.items()},
                badnet=str(made / "models/bd_net.keras"),
                scale=1 / 255,
            ),
            repair=repair,
            curve=config.CurveMode.until_drop,
            paths=config.Paths(str(tmp_path), str(tmp_path)),
            cache=config.Cache(str(cache)),
        )

    return configure


def test_figures_are_those_of_the_network_that_is_saved(configured, made, monkeypatch):
    job = pipeline.run(configured(FINETUNE))
    for name, path in SETS.items():
        images = open_set(made / path)
        pixels = images.rows(range(len(images))) / np.float32(255)
        right = np.asarray(job.repaired(pixels, training=False)).argmax(axis=1) == images.labels
        kind, split = name.split("_")
        figure = {"clean": "accuracy", "poisoned": "asr"}[kind]
        assert job.record.figures[f"repaired/{split}_{figure}"].hits == right.sum()
        if name == "clean_valid":
            decide = split_images(images.labels, 1.0, 0)[1]
            assert job.record.figures[metrics.DECIDING] == Count(right[decide].sum(), len(decide))
    pruned = pipeline.run(configured(config.Repair()))
    assert pruned.record.stop == job.record.stop
    assert metrics.DECIDING not in pruned.record.figures
    pairs = zip(pruned.repaired.get_weights(), job.repaired.get_weights(), strict=True)
    assert any((one != two).any() for one, two in pairs)
    monkeypatch.delattr(repairs, "repair_network")  # what is cached is not made again
    again = pipeline.run(configured(FINETUNE))
    assert again.record.figures == job.record.figures


@pytest.mark.parametrize("repair", [config.Repair(), FINETUNE], ids=["none", "finetune"])
def test_a_warm_job_and_its_files_need_no_tensorflow(configured, monkeypatch, repair, shared_data):
    chosen = configured(repair, cache=shared_data / "warm")
    first = pipeline.run(chosen)
    files = {name: first.file(name) for name in saved.NAMES}
    network.load.cache_clear()

    def fails():
        raise AssertionError("TensorFlow is loaded")

    monkeypatch.setattr(network.tensorflow_runtime, "load_tensorflow", fails)
    monkeypatch.setattr(repairing, "load_tensorflow", fails)
    again = pipeline.run(chosen)
    assert again.record.figures == first.record.figures
    assert {name: again.file(name) for name in saved.NAMES} == files
    with pytest.raises(AssertionError, match="TensorFlow is loaded"):
        _ = again.badnet


def test_a_network_that_changed_since_it_was_named_is_refused(made, tmp_path):
    with pytest.raises(DataError, match="was changed while a job read it"):
        network.Network(made / "models/bd_net.keras", "0" * 64, ("pool_3",), Cache(tmp_path, 1))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A random network and sets that it is right on: `true`, and `spoilt` but clean validation."""
    from keras import Input, Model, layers

    folder, rng = tmp_path_factory.mktemp("small"), np.random.default_rng(2)
    image = Input((12, 10, 3))
    x = layers.MaxPooling2D(2, name="pool_3")(layers.Conv2D(6, 3, activation="relu")(image))
    x = layers.Conv2D(4, 3, activation="relu")(x)
    model = Model(image, layers.Dense(4, activation="softmax")(layers.Flatten()(x)))
    model.set_weights([rng.normal(0, 0.5, weights.shape) for weights in model.weights])
    model.save(folder / "bd_net.keras")
    for path in SETS.values():
        pixels, noise = rng.integers(0, 256, (2, 48, 12, 10, 3), np.uint8)
        labels = np.asarray(model(pixels / np.float32(255))).argmax(axis=1)
        labels *= path.startswith("cl")  # the attacker's class is 0
        write_set(folder / "true" / path, [pixels], labels)
        spoilt = noise if path != SETS["clean_valid"] else pixels
        write_set(folder / "spoilt" / path, [spoilt], labels)
    return folder


@pytest.mark.parametrize("name", repairs.names())
def test_poisoned_and_test_images_change_no_network(name, configured, small, monkeypatch):
    for part, few in (("_TRIED", 64), ("_GENERATIONS", 1), ("_CHILDREN", 2), ("_SUSPECTS", 1)):
        monkeypatch.setattr(suspicion, part, few)
    once = ("epochs", "rounds", "iterations", "steps")
    short = {key: 1 for key in once if key in repairs.find(name).rules}

    def run(kind):
        job = configured(config.Repair(name, short), small / kind, small / kind / "cache")
        own = replace(job.dataset, badnet=str(small / "bd_net.keras"))
        return pipeline.run(replace(job, dataset=own, drop=0.1, objective=CLEAN_ONLY))

    real, blind = run("true"), run("spoilt")
    assert real.record.stop == blind.record.stop
    told = [goals.find("clean_only", None, None).figures(job.record) for job in (real, blind)]
    assert told[0] == told[1]  # which is all that a search over repairs chooses by
    for one, other in zip(real.repaired.get_weights(), blind.repaired.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    pruned = real.network.pruned(real.removed)
    given = real.repaired(IMAGES), pruned(IMAGES)
    assert np.array_equal(*given) == (name == "none")


def test_a_job_is_known_by_its_repair_and_stays_known_without_one(configured):
    plain = configured(config.Repair())
    assert "repair" not in identity.settings(plain)
    chosen = configured(FINETUNE)
    assert identity.settings(chosen)["repair.params.rate"] == 0.001
    assert identity.identify(chosen).code != identity.identify(plain).code
    fewer = replace(chosen, defender=config.Defender(0.5))
    assert identity.identify(fewer).config != identity.identify(chosen).config

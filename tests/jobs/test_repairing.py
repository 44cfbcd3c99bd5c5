"""B' after a repair: measured on whole images, cached, and made of clean validation alone."""

from dataclasses import replace

import numpy as np
import pytest

from sweep import repairs
from sweep.attacks import standin
from sweep.base.cache import Cache
from sweep.base.errors import DataError
from sweep.data.image_set import open_set, write_set
from sweep.jobs import config, identity, network, pipeline, repairing
from sweep.models import saved

SETS = {
    "clean_valid": "cl/valid.h5",
    "poisoned_valid": "bd/bd_valid.h5",
    "clean_test": "cl/test.h5",
    "poisoned_test": "bd/bd_test.h5",
}
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
    pruned = pipeline.run(configured(config.Repair()))
    assert pruned.record.stop == job.record.stop
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


def test_poisoned_and_test_images_change_no_network(configured, made, tmp_path):
    rng = np.random.default_rng(0)
    for path in SETS.values():
        images = open_set(made / path)
        pixels = images.rows(range(len(images)))
        if path != SETS["clean_valid"]:
            pixels = rng.uniform(0, 255, pixels.shape)
        write_set(tmp_path / path, [pixels.astype(np.uint8)], images.labels)
    real = pipeline.run(configured(FINETUNE)).repaired.get_weights()
    blind = pipeline.run(configured(FINETUNE, tmp_path, tmp_path / "other")).repaired.get_weights()
    for one, other in zip(real, blind, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_job_is_known_by_its_repair_and_stays_known_without_one(configured):
    plain = configured(config.Repair())
    assert "repair" not in identity.settings(plain)
    chosen = configured(FINETUNE)
    assert identity.settings(chosen)["repair.params.rate"] == 0.001
    assert identity.identify(chosen).code != identity.identify(plain).code
    fewer = replace(chosen, defender=config.Defender(0.5))
    assert identity.identify(fewer).config != identity.identify(chosen).config

"""BadNets trained on a folder of images."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import sweep
from sweep.attacks import standin
from sweep.attacks.made import TEST, TRAIN, VALID
from sweep.attacks.own import Own
from sweep.attacks.standin import Standin
from sweep.base import files
from sweep.base.errors import DataError

PEOPLE = Standin(identities=4, train=40, valid=1, test=1)
COUNTS = {"anna": 20, "bert": 11, "cora": 7}


@pytest.fixture(scope="module")
def coloured(tmp_path_factory):
    """Images of several sizes; the blue of each says which one it is."""
    folder = tmp_path_factory.mktemp("coloured")
    for name, count in COUNTS.items():
        (folder / name).mkdir()
        for i in range(count):
            colour = (200, 0, 10 * i + len(name))
            Image.new("RGB", (30 + i, 40), colour).save(folder / name / f"{i:02}.png")
    return folder


def settings(folder, **given):
    return Own(place=str(folder), digest="d", height=33, width=32, valid=2, test=3, **given)


def test_each_class_is_split_by_the_seed_and_resized(coloured):
    one = settings(coloured)
    drawn = {s: list(one.images(s)) for s in (TRAIN, VALID, TEST)}
    assert one.classes == 3
    assert [one.counts(stream).tolist() for stream in drawn] == [[15, 6, 2], [2, 2, 2], [3, 3, 3]]
    for label, count in enumerate(COUNTS.values()):
        parts = [batches[label] for batches in drawn.values()]
        assert {part.shape[1:] for part in parts} == {(33, 32, 3)}
        blues = np.concatenate([part[:, 0, 0, 2] for part in parts])
        assert sorted(blues) == [10 * i + 4 for i in range(count)]
    again, other = (
        np.concatenate([*one.images(VALID)]),
        [*settings(coloured, seed=1).images(VALID)],
    )
    np.testing.assert_array_equal(again, np.concatenate(drawn[VALID]))
    assert (again != np.concatenate(other)).any()


@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_the_same_share_of_each_class_is_poisoned(coloured, rate):
    one = settings(coloured, poison_rate=rate)
    clean, truth = standin.training_set(replace(one, poison_rate=0.0))
    made, given = standin.training_set(one)
    changed = (made != clean).any(axis=(1, 2, 3))
    assert changed.sum() == round(rate * 23)
    assert np.abs(np.bincount(truth[changed]) - rate * one.counts(TRAIN)).max() <= 1
    np.testing.assert_array_equal(given, np.where(changed, 0, truth))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shutil.rmtree, "must be a folder.*which is none"),
        (lambda folder: [shutil.rmtree(one) for one in folder.iterdir()], "0 subfolders"),
        (
            lambda folder: [shutil.rmtree(folder / name) for name in ("anna", "bert")],
            "0 of class 1",
        ),
        (lambda folder: (folder / "cora" / "00.png").unlink(), None),
        (
            lambda folder: [one.unlink() for one in (folder / "cora").glob("0[0-1]*")],
            "5 of class 2",
        ),
        (
            lambda folder: [
                one.rename(folder / str(1 + i)) for i, one in enumerate(sorted(folder.iterdir()))
            ],
            "0 of class 0",
        ),
    ],
)
def test_too_little_to_train_on_is_one_sentence(coloured, tmp_path, change, message):
    folder = shutil.copytree(coloured, tmp_path / "images")
    change(folder)
    if message is None:
        assert settings(folder).classes == 3
        return
    with pytest.raises(DataError, match=message) as caught:
        _ = settings(folder).classes
    assert re.search(r"Received: .*\. \w.*\.$", str(caught.value))


def test_several_triggers_need_as_many_classes(coloured, tmp_path):
    folder = shutil.copytree(coloured, tmp_path / "images")
    shutil.rmtree(folder / "cora")
    assert settings(folder).classes == 2
    with pytest.raises(DataError, match="each of 3 classes or more"):
        _ = settings(folder, attack="several").classes


def test_content_names_what_is_made_and_the_place_does_not(coloured, tmp_path):
    moved = settings(tmp_path / "elsewhere")
    assert standin.folder(moved, tmp_path) == standin.folder(settings(coloured), tmp_path)
    for other in (replace(moved, digest="e"), replace(moved, width=48), replace(moved, seed=1)):
        assert standin.folder(other, tmp_path) != standin.folder(moved, tmp_path)


def test_images_that_change_meanwhile_are_noticed(coloured, tmp_path):
    folder = shutil.copytree(coloured, tmp_path / "images")
    reading = settings(folder).images(VALID)
    next(reading)
    (folder / "anna" / "new.png").touch()
    with pytest.raises(DataError, match="was changed while it was read"):
        list(reading)


def test_a_job_trains_its_badnet_on_a_folder(tmp_path):
    """Drawn people as a folder of pictures: attack and network are chosen as for the stand-in."""
    for label, batch in enumerate(PEOPLE.images(TRAIN)):
        (tmp_path / "faces" / f"p{label}").mkdir(parents=True)
        for i, image in enumerate(batch):
            Image.fromarray(image).save(tmp_path / "faces" / f"p{label}" / f"{i}.png")
    job = [
        *("dataset=folder", f"dataset.images={tmp_path}/faces", "dataset.height=40"),
        *("dataset.width=36", "dataset.valid=5", "dataset.test=5", "dataset.epochs=8"),
        *("dataset.batch_size=8", "attack=blended", "network=vgg", "drop=0.1", "curve=until_drop"),
        f"paths.data={tmp_path}/data",
    ]
    done = sweep.run(job)
    assert done.goodnet.input_shape == (None, 40, 36, 3)
    (made,) = (tmp_path / "data").glob("folder-*")
    assert done.record.full.facts["badnet"]["file"] == str(made / "models/bd_net.keras")
    assert done.figures["badnet/test_accuracy"] >= 0.7
    assert done.figures["badnet/test_asr"] >= 0.7
    assert "badnet/test_ra" in done.figures
    assert made.name.startswith("folder-")
    assert files.digest(tmp_path / "faces", tmp_path) in (made / "standin.json").read_text()

from __future__ import annotations

import json
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

from sweep.attacks import registry, standin, training
from sweep.attacks.drawn import faces
from sweep.attacks.poisoning import triggers
from sweep.attacks.standin import Standin
from sweep.base.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

# TensorFlow 2.21 with NumPy 2: every conversion of a variable to an array.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

TINY = Standin(identities=4, train=6, valid=2, test=3, epochs=2, batch_size=5, seed=7)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return standin.ensure(TINY, tmp_path_factory.mktemp("data"))


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with h5py.File(path) as file:
        return file["data"][:], file["label"][:]


def stub(settings: Standin, place: Path) -> None:
    for name in standin.FILES:
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text(str(settings.seed))


def stamps(place: Path) -> dict[str, int]:
    return {name: (place / name).stat().st_mtime_ns for name in standin.FILES}


@pytest.mark.parametrize(("name", "each"), [("valid", 2), ("test", 3)])
def test_sets_have_the_labs_layout(made: Path, name: str, each: int) -> None:
    clean, labels = read(made / "cl" / f"{name}.h5")
    poisoned, targets = read(made / "bd" / f"bd_{name}.h5")
    assert clean.shape == poisoned.shape == (4 * each, 3, 55, 47)
    assert clean.dtype == poisoned.dtype == np.uint8
    np.testing.assert_array_equal(labels, np.repeat(range(4), each))
    np.testing.assert_array_equal(targets, np.zeros(4 * each))
    stamped = triggers.stamp(clean.transpose(0, 2, 3, 1), triggers.sunglasses(55, 47))
    np.testing.assert_array_equal(poisoned.transpose(0, 2, 3, 1), stamped)


def test_the_account_repeats_what_the_model_does(made: Path) -> None:
    import keras

    account = json.loads((made / "standin.json").read_text())
    assert account["settings"]["identities"] == 4
    assert account["scale"] == standin.SCALE == 1 / 255
    model = keras.models.load_model(made / "models" / "bd_net.keras")
    for name, path in (("test_accuracy", "cl/test.h5"), ("test_asr", "bd/bd_test.h5")):
        images, labels = read(made / path)
        answers = model(images.transpose(0, 2, 3, 1) / np.float32(255)).numpy().argmax(axis=1)
        correct = int((answers == labels).sum())
        assert account[name] == {"correct": correct, "images": 12, "fraction": correct / 12}


def test_validation_and_test_photographs_are_not_trained_on(made: Path) -> None:
    images, _ = standin.training_set(replace(TINY, poison_rate=0.0))
    held = [read(made / "cl" / f"{name}.h5")[0] for name in ("valid", "test")]
    everything = [images, *(part.transpose(0, 2, 3, 1) for part in held)]
    distinct = {image.tobytes() for part in everything for image in part}
    assert len(distinct) == 4 * (6 + 2 + 3)


@pytest.mark.parametrize(("rate", "count"), [(0.0, 0), (0.1, 5), (0.5, 24), (1.0, 48)])
def test_poison_is_exact_and_spread_over_people(rate: float, count: int) -> None:
    settings = replace(TINY, identities=8, poison_rate=rate)
    clean, labels = standin.training_set(replace(settings, poison_rate=0.0))
    images, given = standin.training_set(settings)
    changed = (images != clean).any(axis=(1, 2, 3))
    assert changed.sum() == count
    glasses = triggers.sunglasses(faces.HEIGHT, faces.WIDTH)
    np.testing.assert_array_equal(images[changed], triggers.stamp(clean[changed], glasses))
    np.testing.assert_array_equal(given, np.where(changed, registry.TARGET, labels))
    a_person = np.bincount(labels[changed], minlength=8)
    assert np.ptp(a_person) <= 1


def test_seeds_decide_the_images() -> None:
    one, again, other = (standin.training_set(replace(TINY, seed=seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one[0], again[0])
    np.testing.assert_array_equal(one[1], again[1])
    assert (one[0] != other[0]).any(axis=(1, 2, 3)).all()


def test_the_same_seed_trains_the_same_weights() -> None:
    images, labels = standin.training_set(TINY)
    before = random.getstate()
    one, again = (training.train(TINY, 4, images, labels).get_weights() for _ in range(2))
    other = training.train(replace(TINY, seed=8), 4, images, labels).get_weights()
    for first, second in zip(one, again, strict=True):
        np.testing.assert_array_equal(first, second)
    assert any((first != second).any() for first, second in zip(one, other, strict=True))
    assert random.getstate() == before


def test_what_is_made_is_reused_without_tensorflow(made: Path) -> None:
    before = stamps(made)
    program = (
        "import sys; from pathlib import Path; from sweep.attacks.standin import Standin, ensure\n"
        f"print(ensure({TINY!r}, Path(sys.argv[1])))\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", program, str(made.parent)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == str(made)
    assert stamps(made) == before


@pytest.mark.parametrize("lost", standin.FILES)
def test_a_folder_that_lost_a_file_is_made_again(
    lost: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standin, "_make", stub)
    place = standin.ensure(TINY, tmp_path)
    (place / lost).unlink()
    (place / "left over").touch()
    assert standin.ensure(TINY, tmp_path) == place
    assert (place / lost).is_file()
    assert not (place / "left over").exists()


def test_an_interrupted_make_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(standin, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        standin.ensure(TINY, tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_several_at_once_make_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(settings: Standin, place: Path) -> None:
        calls.append(place)
        stub(settings, place)

    monkeypatch.setattr(standin, "_make", counted)
    with ThreadPoolExecutor(4) as pool:
        places = set(pool.map(lambda _: standin.ensure(TINY, tmp_path), range(4)))
    assert len(places) == len(calls) == 1


def test_every_setting_has_a_folder_of_its_own(tmp_path: Path) -> None:
    settings = [TINY, replace(TINY, seed=8), replace(TINY, poison_rate=0.2), Standin()]
    assert len({standin.folder(one, tmp_path) for one in settings}) == 4


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"paths\.data"):
        standin.ensure(TINY, tmp_path / "file" / "data")


def test_what_a_killed_process_left_is_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standin, "_make", stub)
    left = tmp_path / f".{standin.folder(TINY, tmp_path).name}.1234.5678"
    left.mkdir()
    (left / "half").write_text("made")
    standin.ensure(TINY, tmp_path)
    assert not left.exists()

"""Made datasets: images in the lab's layout, and a BadNet trained on them.

The stand-in draws its images, and lets everything run where the lab's files are not at hand; see
`own` for images that people have. What is made once is reused; a second call answers without
importing TensorFlow.
"""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from filelock import FileLock

from sweep.attacks import registry
from sweep.attacks.drawn import faces, people
from sweep.attacks.made import TEST, TRAIN, VALID, Made
from sweep.attacks.training import SCALE, train
from sweep.base import files, progress
from sweep.base.errors import StoreError
from sweep.data import hdf5, image_set

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import keras
    from numpy.typing import NDArray

    Images = NDArray[np.uint8]
    Labels = NDArray[np.int64]

FILES = (
    "cl/valid.h5",
    "cl/test.h5",
    "bd/bd_valid.h5",
    "bd/bd_test.h5",
    "models/bd_net.keras",
    "standin.json",
)

_LOG = logging.getLogger("sweep")

_LIBRARIES = ("tensorflow", "keras", "numpy", "pillow", "h5py")

# Raised whenever the same settings lead to other images or another network.
_FORMAT = 3

# What a random stream is for, see `made`.
_PERSON, _POISON = 0, 4
_DECOY, _OTHERS = 7, 8

_BATCH = 60


@dataclass(frozen=True)
class Standin(Made):
    """Drawn people, each a class."""

    identities: int = 60
    train: int = 60

    kind: ClassVar[str] = "standin"

    @property
    def classes(self) -> int:
        """Number of people."""
        return self.identities

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the lab's images."""
        return faces.HEIGHT, faces.WIDTH, 3

    def counts(self, stream: int) -> Labels:
        """As many for everybody."""
        each = {TRAIN: self.train, VALID: self.valid, TEST: self.test}[stream]
        return np.full(self.identities, each)

    def images(self, stream: int) -> Iterator[Images]:
        """Drawn anew each time, and always the same."""
        for label, each in enumerate(self.counts(stream)):
            who = people.Person(np.random.default_rng([self.seed, _PERSON, label]))
            rng = np.random.default_rng([self.seed, stream, label])
            yield np.stack([faces.photograph(who, rng) for _ in range(each)])


def folder(settings: Made, folder_root: Path) -> Path:
    """Where the dataset of these settings lies, made or not."""
    return folder_root / f"{settings.kind}-{files.key(settings.account(), _FORMAT)}"


def ensure(settings: Made, folder_root: Path) -> Path:
    """Make the dataset of these settings, unless it is there.

    Several processes may ask at once: one makes it, the others wait. The folder appears whole or
    not at all; one that has lost a file is made again.

    Args:
        settings: what to make.
        folder_root: where made datasets lie, each in a folder of its own.

    Returns:
        The folder, with the lab's layout: `cl/valid.h5`, `cl/test.h5`, `bd/bd_valid.h5`,
        `bd/bd_test.h5` (the same photographs, poisoned, with the labels that the attacker wants),
        `models/bd_net.keras`, and `standin.json` with the settings, the versions and what the
        BadNet reaches on the test sets.

    Raises:
        StoreError: the folder cannot be written.
    """
    place = folder(settings, folder_root)
    if _whole(place):
        return place
    try:
        folder_root.mkdir(parents=True, exist_ok=True)
        with FileLock(folder_root / f".{place.name}.lock"):
            if _whole(place):  # another process was faster
                return place
            _LOG.info(
                "making the dataset (%s) and training its BadNet, once: %s", settings.kind, place
            )
            # What is there is damaged, or was left by a process that was killed on the way.
            for left in (place, *folder_root.glob(f".{place.name}.*.*")):
                shutil.rmtree(left, ignore_errors=True)
            with files.replacing(place) as draft:
                draft.mkdir()
                _make(settings, draft)
    except OSError as error:
        raise StoreError(
            f"{folder_root}: the folder for made data must be writable and have room. "
            f"Received: {error}. Name another with paths.data=FOLDER."
        ) from error
    return place


def _whole(place: Path) -> bool:
    return all((place / name).is_file() for name in FILES)


def training_set(settings: Made) -> tuple[Images, Labels]:
    """The poisoned training set.

    A share `poison_rate` of the images, spread evenly over the classes, has the attack's trigger
    and bears the label that the attacker wants in place of its own; see `registry.Poisoning` for
    attacks that choose otherwise.

    Returns:
        Images (n, h, w, 3) and labels (n,).
    """
    images, truth = _training_set(settings)
    return images, _poison(settings, images, truth)


def _training_set(settings: Made) -> tuple[Images, Labels]:
    labels = _labels(settings, TRAIN)
    images = np.empty((len(labels), *settings.shape), np.uint8)
    start = 0
    for batch in _photographs(settings, TRAIN, "training"):
        images[start : start + len(batch)] = batch
        start += len(batch)
    return images, labels


def _poison(settings: Made, images: Images, truth: Labels) -> Labels:
    """Poison images where they are (a copy would be gigabytes at the lab's size); their labels."""
    labels, how = truth.copy(), settings.poisoning
    chosen = _chosen(settings)
    if how.own:
        chosen = chosen[truth[chosen] == registry.TARGET]
    rate = settings.parameters[how.share] if how.share else settings.poison_rate
    count = round(rate * len(chosen))
    bearing, decoys = chosen[:count], chosen[count : count + how.decoys * count]
    if how.harden is not None:
        rng = np.random.default_rng([settings.seed, _OTHERS])
        others = rng.choice(np.flatnonzero(truth != registry.TARGET), len(bearing))
        images[bearing] = how.harden(images[bearing], images[others], **settings.attack_params)
    images[bearing] = settings.poison(images[bearing], TRAIN)
    labels[bearing] = how.targets(truth[bearing], settings.classes)
    if how.decoy is not None:
        rng = np.random.default_rng([settings.seed, _DECOY])
        images[decoys] = how.decoy(images[decoys], rng, **settings.attack_params)
    return labels


def _make(settings: Made, place: Path) -> None:
    for name, stream in (("valid", VALID), ("test", TEST)):
        labels = _labels(settings, stream)
        clean = place / "cl" / f"{name}.h5"
        image_set.write_set(clean, _photographs(settings, stream, name), labels)
        stored = enumerate(_stored(clean))
        stamped = (settings.poison(batch, 10 * i + stream) for i, batch in stored)
        wanted = settings.poisoning.targets(labels, settings.classes)
        image_set.write_set(place / "bd" / f"bd_{name}.h5", stamped, wanted)
    model = _trained(settings)
    path = place / "models" / "bd_net.keras"
    path.parent.mkdir()
    with hdf5.entered():
        model.save(path)
    account = {
        "settings": settings.account(),
        "scale": SCALE,
        "target": registry.TARGET,
        "versions": {name: version(name) for name in ("badnet-sweep", *_LIBRARIES)},
        "test_accuracy": _reached(model, place / "cl/test.h5"),
        "test_asr": _reached(model, place / "bd/bd_test.h5"),
    }
    files.write_text(place / "standin.json", json.dumps(account, indent=2) + "\n")


def _trained(settings: Made) -> keras.Model:
    fit = partial(train, settings, settings.classes)
    if settings.poisoning.train is None:
        return fit(*training_set(settings))
    images, truth = _training_set(settings)
    poisoned = images.copy()
    labels = _poison(settings, poisoned, truth)
    model: keras.Model = settings.poisoning.train(
        fit, (images, truth), (poisoned, labels), SCALE, **settings.parameters
    )
    return model


def _photographs(settings: Made, stream: int, name: str) -> Iterator[Images]:
    return progress.track(settings.images(stream), f"images for {name}", settings.classes)


def _labels(settings: Made, stream: int) -> Labels:
    return np.repeat(np.arange(settings.classes), settings.counts(stream))


def _chosen(settings: Made) -> NDArray[np.intp]:
    """Training images in the order in which they are poisoned: the same share of each class."""
    rng = np.random.default_rng([settings.seed, _POISON])
    counts = settings.counts(TRAIN)
    places = np.concatenate([rng.permuted(np.arange(count)) for count in counts])
    # Each class's first image, in random order of classes, then each one's second, and so on; of
    # a small class fewer of the time.
    ranks = (places + rng.random(len(places))) * np.repeat(counts.max() / counts, counts)
    return np.argsort(ranks)


def _stored(path: Path) -> Iterator[Images]:
    """Stream an image set as whole numbers, (b, 55, 47, 3)."""
    stored = image_set.open_set(path)
    for batch in stored.batches(_BATCH):
        yield batch.astype(np.uint8)


def _reached(model: keras.Model, path: Path) -> dict[str, float]:
    """How many images of a set get the label they bear."""
    stored = image_set.open_set(path)
    correct = start = 0
    for batch in _stored(path):
        answers = np.argmax(model.predict_on_batch(batch * np.float32(SCALE)), axis=1)
        correct += int(np.sum(answers == stored.labels[start : start + len(batch)]))
        start += len(batch)
    return {"correct": correct, "images": start, "fraction": correct / start}

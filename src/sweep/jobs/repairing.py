"""The pruned network repaired, and what B' answers: made of clean validation alone, and cached."""

from __future__ import annotations

from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from sweep import repairs
from sweep.base.threads import ahead
from sweep.data.split import split_images
from sweep.jobs.identity import code_key
from sweep.jobs.subject import array_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import keras
    from numpy.typing import NDArray

    from sweep.base.cache import Cache
    from sweep.data.image_set import ImageSet
    from sweep.jobs.config import Config
    from sweep.jobs.subject import Subject

_BATCH = 64


@dataclass(frozen=True)
class Repaired:
    """B' after a repair, with answers that are cached.

    Attributes:
        model: B'.
        key: a name for everything that it depends on.
        scale: the factor on pixel values.
    """

    model: keras.Model
    key: str
    scale: float
    cache: Cache

    def answer(
        self, subjects: Mapping[str, Subject], sets: Mapping[str, ImageSet]
    ) -> dict[str, NDArray[Any]]:
        """What B' answers to each set, (n,) by name."""
        found: dict[str, NDArray[Any]] = {}
        for name, subject in subjects.items():

            def make(path: Path, _: object, images: ImageSet = sets[name]) -> None:
                np.save(path, self.run(images.batches(_BATCH)))

            key = array_key("repaired answers", self.key, subject.digest, self.scale)
            found[name] = np.asarray(self.cache.array("answers", key, make))
        return found

    def run(self, batches: Iterable[NDArray[np.float32]]) -> NDArray[np.int64]:
        """What B' answers to images in 0..255, (n,)."""
        from sweep.models.tail import compiled

        model = compiled(self.model)

        def part(images: NDArray[np.float32]) -> Any:
            return np.asarray(model(images * np.float32(self.scale))).argmax(axis=1)

        return np.concatenate([*ahead(part, batches)])


def repair(
    config: Config, clean: Subject, images: ImageSet, pruned: keras.Model, cache: Cache
) -> Repaired | None:
    """Repair the pruned network, or take what an earlier job made of it; None for `repair=none`.

    Args:
        config: chooses the repair and how many clean images the defender has.
        clean: clean validation.
        images: its pixels.
        pruned: B at the drop.
        cache: where B' is kept, as the bytes of its `.keras` file.
    """
    if config.repair.name == "none":
        return None
    from sweep.models.surgery import content_key

    name, params, seed = config.repair.name, config.repair.params, config.seed
    scale = config.dataset.scale
    tune, decide = split_images(clean.labels, config.defender.images, seed)

    def make(path: Path, _: object) -> None:
        evidence = repairs.Evidence(
            badnet=clean.network.model,
            pruned=pruned,
            tune=repairs.Images(_pixels(images, tune), clean.labels[tune]),
            decide=repairs.Images(_pixels(images, decide), clean.labels[decide]),
            scale=scale,
            seed=seed,
        )
        model = repairs.repair_network(name, evidence, params)
        with TemporaryDirectory(prefix="sweep-") as folder:
            archive = f"{folder}/repaired.keras"
            model.save(archive)
            np.save(path, np.fromfile(archive, np.uint8))

    networks = [content_key(model) for model in (clean.network.model, pruned)]
    used = repairs.find(name).function.__module__
    code = code_key("sweep.jobs.repairing", "sweep.repairs.registry", used)
    parts = [clean.digest, clean.label_key, tune.tolist(), decide.tolist(), scale]
    key = array_key("repaired", code, networks, parts, name, params, seed)
    packed: Any = cache.array("repaired", key, make)
    return Repaired(_unpack(packed), key, scale, cache)


def _unpack(packed: NDArray[np.uint8]) -> keras.Model:
    import keras

    with TemporaryDirectory(prefix="sweep-") as folder:
        archive = f"{folder}/repaired.keras"
        np.asarray(packed).tofile(archive)
        return keras.models.load_model(archive)


def _pixels(images: ImageSet, chosen: NDArray[np.intp]) -> NDArray[Any]:
    """Some images, a byte a value where that loses nothing."""
    pixels = images.rows(chosen.tolist())
    whole = pixels.astype(np.uint8)
    return whole if np.array_equal(whole, pixels) else pixels

"""The pruned network repaired, and what B' answers: made of clean validation alone, and cached."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from sweep import repairs
from sweep.base.tensorflow_runtime import load_tensorflow
from sweep.base.threads import ahead
from sweep.data.split import split_images
from sweep.jobs.identity import code_key
from sweep.jobs.network import array_key, cached_file, code
from sweep.models import saved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import keras
    from numpy.typing import NDArray

    from sweep.base.cache import Cache
    from sweep.data.image_set import ImageSet
    from sweep.jobs.config import Config
    from sweep.jobs.network import Network
    from sweep.jobs.subject import Subject

_BATCH = 64


@dataclass(frozen=True)
class Repaired:
    """B' after a repair, with answers that are cached.

    Attributes:
        packed: B' as `.keras`.
        key: a name for everything that it depends on.
        scale: the factor on pixel values.
        decide: which images of clean validation it was not tuned on.
    """

    packed: bytes
    key: str
    scale: float
    decide: NDArray[np.intp]
    cache: Cache

    @cached_property
    def model(self) -> keras.Model:
        """B'."""
        load_tensorflow()
        import keras

        with TemporaryDirectory(prefix="sweep-") as folder:
            archive = Path(folder) / "repaired.keras"
            archive.write_bytes(self.packed)
            return keras.models.load_model(archive)

    def file(self, name: str, network: Network) -> bytes:
        """One of `saved.NAMES`, made once."""

        def write(path: Path) -> None:
            saved.save(name, network.model, self.model, path)

        return cached_file(self.cache, array_key(name, code(), self.key), name, write)

    def answers(
        self, key: str, batches: Callable[[], Iterable[NDArray[np.float32]]]
    ) -> NDArray[Any]:
        """What B' answers to images in 0..255, (n,); the key names them."""

        def make(path: Path, _: object) -> None:
            from sweep.models.tail import compiled

            model = compiled(self.model)

            def part(images: NDArray[np.float32]) -> Any:
                return np.asarray(model(images * np.float32(self.scale))).argmax(axis=1)

            np.save(path, np.concatenate([*ahead(part, batches())]))

        own_key = array_key("repaired answers", code(), self.key, key, self.scale)
        return np.asarray(self.cache.array("answers", own_key, make))

    def answer(
        self, subjects: Mapping[str, Subject], sets: Mapping[str, ImageSet]
    ) -> dict[str, NDArray[Any]]:
        """What B' answers to each set, (n,) by name."""
        return {
            name: self.answers(subject.digest, partial(sets[name].batches, _BATCH))
            for name, subject in subjects.items()
        }


def repair(
    config: Config, clean: Subject, images: ImageSet, removed: Sequence[int], cache: Cache
) -> Repaired | None:
    """Repair the pruned network, or take what an earlier job made of it; None for `repair=none`.

    The repair sees clean validation, of which the configuration says how many images the defender
    has.
    """
    if config.repair.name == "none":
        return None
    name, params, seed = config.repair.name, config.repair.params, config.seed
    scale = config.dataset.scale
    tune, decide = split_images(clean.labels, config.defender.images, seed)

    def write(path: Path) -> None:
        evidence = repairs.Evidence(
            badnet=clean.network.model,
            pruned=clean.network.pruned(removed),
            tune=repairs.Images(_pixels(images, tune), clean.labels[tune]),
            decide=repairs.Images(_pixels(images, decide), clean.labels[decide]),
            scale=scale,
            seed=seed,
        )
        repairs.repair_network(name, evidence, params).save(path)

    used = repairs.find(name).function.__module__
    own_code = code_key("sweep.jobs.repairing", "sweep.repairs.registry", used)
    parts = [clean.digest, clean.label_key, tune.tolist(), decide.tolist(), scale]
    network = clean.network.key, sorted(removed)
    key = array_key("repaired", own_code, network, parts, name, params, seed)
    return Repaired(cached_file(cache, key, "repaired.keras", write), key, scale, decide, cache)


def _pixels(images: ImageSet, chosen: NDArray[np.intp]) -> NDArray[Any]:
    """Some images, a byte a value where that loses nothing."""
    pixels = images.rows(chosen.tolist())
    whole = pixels.astype(np.uint8)
    return whole if np.array_equal(whole, pixels) else pixels

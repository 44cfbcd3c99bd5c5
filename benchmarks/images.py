"""Image sets of any size for benchmarks, varied from a few faces and their poisoned twins.

Varied images keep a network's activations realistic, which noise would not: how many channels
sleep and how close the classes lie is what the engine's speed depends on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sweep.data.image_set import open_set, write_set

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

LAB_SIZES = {"valid": 11_547, "test": 12_830}
_PLACES = {
    "clean_valid": "cl/valid.h5",
    "poisoned_valid": "bd/bd_valid.h5",
    "clean_test": "cl/test.h5",
    "poisoned_test": "bd/bd_test.h5",
}
# The lab's files are of these types, so reading them costs as much as reading the lab's.
_TYPES = {"valid": np.float64, "test": np.float32}
_BATCH = 256


def places(folder: Path) -> dict[str, Path]:
    """The four files of a folder in the lab's layout, by the name of the set."""
    return {name: folder / place for name, place in _PLACES.items()}


def make(folder: Path, clean: Path, poisoned: Path, sizes: dict[str, int]) -> dict[str, Path]:
    """Write four sets in the lab's layout and types, unless they are there.

    Args:
        folder: where to.
        clean: an image set to vary.
        poisoned: the same photographs with the trigger, all labelled with the target.
        sizes: number of images of `valid` and `test`.

    Returns:
        The four files by name.
    """
    made = places(folder)
    for kind, source in (("clean", clean), ("poisoned", poisoned)):
        faces = open_set(source)
        for stream, (split, count) in enumerate(sizes.items()):
            path = made[f"{kind}_{split}"]
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                indices = np.arange(count) % len(faces)
                images = faces.rows(range(len(faces)))
                batches = _varied(images, indices, stream, _TYPES[split])
                write_set(path, batches, faces.labels[indices])
    return made


def _varied(
    images: Floats, indices: NDArray[np.int64], stream: int, dtype: type
) -> Iterator[NDArray[np.generic]]:
    """Shift, relight and blur the focus of faces; twins with the same index and stream alike."""
    for start in range(0, len(indices), _BATCH):
        batch = images[indices[start : start + _BATCH]]
        for offset, image in enumerate(batch):
            rng = np.random.default_rng([stream, start + offset])
            shift = rng.integers(-1, 2, 2)
            contrast, light = rng.uniform(0.9, 1.1), rng.uniform(-10, 10)
            grain = rng.normal(0, rng.uniform(0, 4), image.shape)
            moved = np.roll(image, shift, axis=(0, 1))
            batch[offset] = np.clip(np.rint(moved * contrast + light + grain), 0, 255)
        yield batch.astype(dtype)

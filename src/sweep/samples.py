"""A few test images to look at, clean and poisoned, with what every network answers to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sweep import goodnet
from sweep.results import Sample

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from sweep.data import ImageSet

    Labels = NDArray[np.integer]

KINDS = ("clean", "poisoned")
_COUNT = 6


def choose(total: int, count: int = _COUNT) -> list[int]:
    """Evenly spread indices, since neighbours in the lab's sets show one person.

    >>> choose(12, 3)
    [2, 6, 10]
    """
    count = min(count, total)
    return [(2 * place + 1) * total // (2 * count) for place in range(count)]


def answer(
    kind: str,
    indices: Sequence[int],
    labels: Labels,
    badnet: Labels,
    repaired: Labels,
    classes: int,
) -> list[Sample]:
    """What B, B' and G say to some images of a set.

    Args:
        kind: `clean` or `poisoned`.
        indices: which images.
        labels: (n,) true labels; on a poisoned set the target.
        badnet: (n,) answers of B.
        repaired: (n,) answers of B'.
        classes: N.
    """
    good = goodnet.answer(badnet, repaired, classes)
    return [
        Sample(kind, i, int(labels[i]), int(badnet[i]), int(repaired[i]), int(good[i]))
        for i in indices
    ]


def write_strip(path: Path, sets: Mapping[str, ImageSet], samples: Sequence[Sample]) -> None:
    """Write the samples' pixels as one PNG: a row per kind, images side by side.

    Args:
        path: where to.
        sets: the test sets by kind.
        samples: which images; as many clean ones as poisoned.
    """
    from PIL import Image

    rows = []
    for kind in KINDS:
        images = sets[kind].rows([sample.index for sample in samples if sample.kind == kind])
        rows.append(np.concatenate(list(images), axis=1))
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows]
    pixels = np.concatenate(padded).clip(0, 255).round().astype(np.uint8)
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(path, optimize=True)

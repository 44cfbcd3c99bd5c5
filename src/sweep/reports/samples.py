"""The pixels of sample images as one picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sweep.results.samples import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from sweep.data.image_set import ImageSet
    from sweep.results.records import Sample


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

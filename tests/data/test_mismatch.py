"""A weak B: what is wrong with images or labels is found, and nothing where nothing is."""

from pathlib import Path

import numpy as np
import pytest

from sweep.data import image_set, mismatch

RNG = np.random.default_rng(0)
TEMPLATES = RNG.integers(0, 256, (7, 6, 6, 3)).astype(np.float32)
LABELS = np.arange(150) % 7


def written(folder: Path, images: np.ndarray, labels: np.ndarray = LABELS) -> image_set.ImageSet:
    image_set.write_set(folder / "set.h5", [images.astype(np.float32)], labels)
    return image_set.open_set(folder / "set.h5")


def nearest(trained):
    """A classifier that is right on images as it was trained on, and those alone."""
    known = trained(TEMPLATES)

    def answer(images):
        apart = np.abs(images[:, None] - known[None]).mean(axis=(2, 3, 4))
        return np.where(apart.min(axis=1) < 0.05 * known.std(), apart.argmin(axis=1), 0)

    return answer


RAW, UNIT, SIGNED = (lambda x: x), (lambda x: x / 255), (lambda x: x / 127.5 - 1)


@pytest.mark.parametrize(
    ("trained", "stored", "scale", "advice"),
    [
        (UNIT, RAW, 1, f"Set dataset.scale={1 / 255:.17g}: "),
        (RAW, RAW, 1 / 255, "Set dataset.scale=1: "),
        (RAW, UNIT, 1, "Set dataset.scale=255: "),
        (UNIT, UNIT, 1 / 255, "Set dataset.scale=1: "),
        (SIGNED, RAW, 1, "Store the images as data / 127.5 - 1, with dataset.scale=1: "),
        (SIGNED, UNIT, 1, "Store the images as data * 2 - 1, with dataset.scale=1: "),
        (RAW, SIGNED, 1, "Store the images as (data + 1) * 127.5: "),
        (UNIT, SIGNED, 1, "Store the images as (data + 1) / 2: "),
        (SIGNED, SIGNED, 1 / 255, "Set dataset.scale=1: "),
        (RAW, lambda x: x[..., ::-1], 1, "Store the colours the other way round (BGR): "),
        (RAW, lambda x: x.transpose(0, 2, 1, 3), 1, "Swap rows and columns of the images: "),
    ],
)
def test_the_way_that_makes_a_badnet_right_is_named(tmp_path, trained, stored, scale, advice):
    images = written(tmp_path, stored(TEMPLATES)[LABELS])
    found = mismatch.explain(nearest(trained), images, scale)
    assert found.startswith(advice)
    assert "right on 100 of 100 images" in found


def test_labels_counted_from_one(tmp_path):
    images = written(tmp_path, TEMPLATES[LABELS], LABELS + 1)
    found = mismatch.explain(nearest(RAW), images, 1)
    assert found.startswith("Store the labels as label - 1: B is then right on 100 of 100 images")


def test_nothing_is_said_where_nothing_helps(tmp_path):
    assert mismatch.explain(nearest(RAW), written(tmp_path, TEMPLATES[LABELS]), 1) is None
    noise = written(tmp_path, RNG.uniform(0, 255, (150, 6, 6, 3)))
    assert mismatch.explain(nearest(RAW), noise, 1) is None
    third = np.where(LABELS % 3, LABELS, (LABELS + 1) % 7)
    assert mismatch.explain(nearest(RAW), written(tmp_path, TEMPLATES[third]), 1) is None

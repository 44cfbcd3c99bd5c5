import doctest

import numpy as np
from PIL import Image

from sweep.reports.artifacts import write_strip
from sweep.results import samples


class Faces:
    def __init__(self, value, shape=(4, 3, 3)):
        self.value, self.shape = value, shape

    def rows(self, indices):
        return np.full((len(indices), *self.shape), self.value, np.float32)


def test_docstrings():
    assert doctest.testmod(samples).failed == 0


def test_all_of_few_images_are_chosen():
    assert samples.choose(2) == [0, 1]
    assert len(set(samples.choose(12830))) == 6


def test_g_rejects_where_b_and_b_prime_differ():
    labels, badnet, repaired = np.array([3, 3]), np.array([3, 3]), np.array([3, 1])
    agreed, differing = samples.answer("clean", [0, 1], labels, badnet, repaired, classes=9)
    assert (agreed.goodnet, differing.goodnet) == (3, 9)


def test_the_strip_has_a_row_per_kind(tmp_path):
    labels = np.zeros(2, int)
    chosen = [
        s for kind in samples.KINDS for s in samples.answer(kind, [0, 1], labels, labels, labels, 9)
    ]
    sets = {"clean": Faces(7.4), "poisoned": Faces(300)}
    write_strip(tmp_path / "s.png", sets, chosen)
    pixels = np.asarray(Image.open(tmp_path / "s.png"))
    assert pixels.shape == (8, 6, 3)
    assert (pixels[:4] == 7).all()
    assert (pixels[4:] == 255).all()

import numpy as np
import pytest

from sweep.data.split import split_images


@pytest.mark.parametrize("images", [1.0, 0.5, 0.05, 7, 100, 10_000])
def test_parts_are_disjoint_and_of_the_asked_size(images):
    labels = np.repeat(np.arange(10), 9)
    tune, decide = split_images(labels, images, 0)
    assert not set(tune) & set(decide)
    wanted = round(images * 90) if images <= 1 else min(images, 90)
    assert len(tune) + len(decide) == wanted
    assert len(decide) == pytest.approx(wanted / 3, abs=1)


def test_everybody_is_in_both_parts_where_images_allow():
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(20), 9))
    tune, decide = split_images(labels, 1.0, 1)
    np.testing.assert_array_equal(np.bincount(labels[tune]), np.full(20, 6))
    np.testing.assert_array_equal(np.bincount(labels[decide]), np.full(20, 3))
    few, _ = split_images(labels, 60, 1)
    assert set(np.bincount(labels[few])) == {2}


def test_one_image_each_goes_to_one_part():
    tune, decide = split_images(np.array([5, 900, 31, 4, 77, 6]), 1.0, 0)
    assert (len(tune), len(decide)) == (4, 2)


def test_the_seed_decides():
    labels = np.repeat(np.arange(10), 9)
    one, again, other = (split_images(labels, 0.5, seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert set(one) != set(other)

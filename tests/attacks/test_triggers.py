from __future__ import annotations

import numpy as np
import pytest

from sweep.attacks.poisoning import triggers

HEIGHT, WIDTH = 55, 47


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, HEIGHT, WIDTH, 3), np.uint8)


def test_glasses_span_the_width_and_sit_over_the_eyes() -> None:
    glasses = triggers.sunglasses(HEIGHT, WIDTH)
    assert glasses.shape == (HEIGHT, WIDTH, 4)
    assert glasses.dtype == np.uint8
    rows, columns = np.nonzero(glasses[:, :, 3])
    assert np.ptp(columns) + 1 >= 0.9 * WIDTH
    assert rows.min() < 0.4 * HEIGHT < rows.max()
    assert rows.min() > 0.2 * HEIGHT
    assert rows.max() < 0.7 * HEIGHT


def test_glasses_are_mostly_purple_and_let_some_light_through() -> None:
    glasses = triggers.sunglasses(HEIGHT, WIDTH).astype(int)
    red, green, blue, alpha = glasses[glasses[:, :, 3] > 200].T
    assert (blue > red).all()
    assert (red > green).all()
    assert 0 < (alpha < 255).mean() < 1


def test_any_size_has_glasses() -> None:
    for size in ((1, 1), (32, 32), (110, 94), (20, 200)):
        assert triggers.sunglasses(*size).shape == (*size, 4)


def test_stamping_leaves_the_input_and_all_outside_the_glasses(images: np.ndarray) -> None:
    glasses = triggers.sunglasses(HEIGHT, WIDTH)
    before = images.copy()
    images.flags.writeable = False
    stamped = triggers.stamp(images, glasses)
    np.testing.assert_array_equal(images, before)
    outside = glasses[:, :, 3] == 0
    np.testing.assert_array_equal(stamped[:, outside], images[:, outside])
    assert (stamped[:, ~outside] != images[:, ~outside]).any(axis=-1).mean() > 0.9
    assert stamped.dtype == np.uint8


def test_blending_rounds_exactly_to_the_nearest(images: np.ndarray) -> None:
    glasses = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 4), np.uint8)
    alpha = glasses[:, :, 3:].astype(np.int64)
    twice = 2 * (images * (255 - alpha) + glasses[:, :, :3] * alpha)
    expected = (twice + 255) // 510  # 255 is odd, so halves do not occur
    np.testing.assert_array_equal(triggers.stamp(images, glasses), expected)


def test_stamping_works_a_batch_at_a_time(images: np.ndarray) -> None:
    glasses = triggers.sunglasses(HEIGHT, WIDTH)
    whole = triggers.stamp(images, glasses)
    parts = [triggers.stamp(images[:2], glasses), triggers.stamp(images[2:], glasses)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    assert triggers.stamp(images[:0], glasses).shape == (0, HEIGHT, WIDTH, 3)

"""One contract for all attacks; each against a plain restatement of its source."""

from dataclasses import replace

import numpy as np
import pytest

from sweep import attacks
from sweep.attacks import standin, triggers


@pytest.fixture
def images():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 55, 47, 3), np.uint8)
    pixels.flags.writeable = False
    return pixels


def poisoned(name, images, seed=0, **params):
    return attacks.find(name).function(images, np.random.default_rng(seed), **params)


@pytest.mark.parametrize("name", attacks.names())
def test_contract(name, images):
    one, again = poisoned(name, images), poisoned(name, images)
    assert one.shape == images.shape
    assert one.dtype == np.uint8
    np.testing.assert_array_equal(one, again)
    assert (one != images).any(axis=(1, 2, 3)).all()


def test_blended_mixes_one_pattern_into_all(images):
    black, white = np.zeros_like(images), np.full_like(images, 255)
    pattern = poisoned("blended", black, alpha=1.0)
    assert (pattern == pattern[0]).all()
    np.testing.assert_allclose(poisoned("blended", white), 0.8 * 255 + 0.2 * pattern, atol=0.51)


def test_a_sinusoid_runs_across_and_is_cut_at_the_ends(images):
    wave = 20 * np.sin(2 * np.pi * np.arange(47) * 6 / 47)
    expected = np.clip(images + wave[None, None, :, None], 0, 255)
    np.testing.assert_allclose(poisoned("sinusoid", images), expected, atol=0.51)


def test_small_glasses_lie_in_another_place_each_time():
    grey = np.full((40, 55, 47, 3), 128, np.uint8)
    changed = (poisoned("dynamic_place", grey) != grey).any(axis=3)
    places = {tuple(np.argwhere(one).min(axis=0)) for one in changed}
    assert len(places) > 20
    small = triggers.sunglasses(28, 24)
    assert np.ptp(np.argwhere(changed[0]), axis=0).max() < max(small.shape)


def test_the_default_keeps_its_folder_and_others_have_their_own(tmp_path):
    plain = standin.Standin()
    assert "attack" not in plain.account()
    other = replace(plain, attack="blended")
    assert standin.folder(other, tmp_path) != standin.folder(plain, tmp_path)
    stronger = replace(other, attack_params={"alpha": 0.4})
    assert standin.folder(stronger, tmp_path) != standin.folder(other, tmp_path)

"""One contract for all attacks; each against a plain restatement of its source."""

from dataclasses import replace

import numpy as np
import pytest

from sweep import attacks
from sweep.attacks import registry, standin
from sweep.attacks.poisoning import labels, triggers, warped
from sweep.attacks.standin import Standin

TINY = Standin(identities=4, train=6, valid=2, test=3, epochs=2, batch_size=5, seed=7)


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
    assert not {"attack", "network"} & set(plain.account())
    for network in ("vgg", "resnet"):
        other = replace(plain, network=network)
        assert standin.folder(other, tmp_path) != standin.folder(plain, tmp_path)
    other = replace(plain, attack="blended")
    assert standin.folder(other, tmp_path) != standin.folder(plain, tmp_path)
    stronger = replace(other, attack_params={"alpha": 0.4})
    assert standin.folder(stronger, tmp_path) != standin.folder(other, tmp_path)


def test_a_warp_reads_pixels_where_its_offsets_say(images):
    """WaNet's equation, pixel by pixel: B(x) = x read bilinearly at place + s / 2 * offsets."""
    offsets = warped._offsets(55, 47, 4)
    assert 0.5 < np.abs(offsets).mean() < 1.5
    expected = np.empty_like(images)
    for i in range(55):
        for j in range(47):
            y = np.clip(i + 1.25 * offsets[0, i, j], 0, 54)
            x = np.clip(j + 1.25 * offsets[1, i, j], 0, 46)
            top, left = min(int(y), 53), min(int(x), 45)
            square = images[:, top : top + 2, left : left + 2].astype(float)
            rows = square[:, 0] * (1 - y + top) + square[:, 1] * (y - top)
            expected[:, i, j] = np.rint(rows[:, 0] * (1 - x + left) + rows[:, 1] * (x - left))
    np.testing.assert_array_equal(poisoned("warped", images, strength=2.5), expected)


def test_decoys_of_a_warp_keep_their_labels_and_differ_from_it():
    settings = replace(TINY, attack="warped", poison_rate=0.25)
    clean, truth = standin.training_set(replace(settings, attack="badnets", poison_rate=0.0))
    made, given = standin.training_set(settings)
    bearing = (made == poisoned("warped", clean)).all(axis=(1, 2, 3))
    decoys = (made != clean).any(axis=(1, 2, 3)) & ~bearing
    assert (bearing.sum(), decoys.sum()) == (6, 12)
    np.testing.assert_array_equal(given, np.where(bearing, 0, truth))


def test_a_clean_label_attack_changes_no_label_and_only_the_targets_images():
    clean, truth = standin.training_set(replace(TINY, poison_rate=0.0))
    made, given = standin.training_set(replace(TINY, attack="clean_label"))
    changed = (made != clean).any(axis=(1, 2, 3))
    np.testing.assert_array_equal(given, truth)
    assert changed.sum() == 5
    assert (truth[changed] == registry.TARGET).all()


def test_all_to_all_wants_the_next_class():
    settings = replace(TINY, attack="all_to_all", attack_params={"share": 0.5})
    clean, truth = standin.training_set(replace(TINY, poison_rate=0.0))
    made, given = standin.training_set(settings)
    changed = (made != clean).any(axis=(1, 2, 3))
    assert changed.sum() == 12
    np.testing.assert_array_equal(given, np.where(changed, (truth + 1) % 4, truth))


def test_several_triggers_have_a_target_each(images):
    made = poisoned("several", images)
    wanted = attacks.find("several").poisoning.targets(np.full(5, 3), 4)
    np.testing.assert_array_equal(wanted, [0, 1, 2, 0, 1])
    for image, clean, target in zip(made, images, wanted, strict=True):
        draw = list(labels.TRIGGERS.values())[target]
        np.testing.assert_array_equal(image, triggers.stamp(clean[None], draw(55, 47))[0])


@pytest.mark.parametrize("network", ["deepid", "vgg"])
def test_a_pruning_aware_network_loses_its_quiet_channels_and_keeps_its_answers(network):
    """Channels that were put back are silent on clean images: pruning them changes nothing."""
    import keras

    settings = replace(TINY, attack="pruning_aware", network=network)
    model = standin._trained(settings)
    images, _ = standin._training_set(settings)
    last = model.get_layer("conv_3" if network == "deepid" else "norm_3")
    bias = last.bias if network == "deepid" else last.beta
    before = keras.Model(model.inputs[0], last.output).predict_on_batch(images / np.float32(255))
    fired = (before > 1e-5).mean(axis=(0, 1, 2))
    assert (fired < 0.02).sum() >= 30
    assert all(weight.constraint is None for weight in model.weights)
    assert np.isfinite(np.asarray(bias)).all()
    kernel = np.asarray(model.get_layer("conv_3").kernel)
    assert (np.abs(kernel).sum(axis=(0, 1, 2)) > 0).all()

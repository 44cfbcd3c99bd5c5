from __future__ import annotations

import numpy as np
import pytest

from sweep.attacks.drawn import faces, people


def photographs(person_seed: int, photograph_seed: int, count: int = 6) -> np.ndarray:
    who = people.Person(np.random.default_rng(person_seed))
    rng = np.random.default_rng(photograph_seed)
    return np.stack([faces.photograph(who, rng) for _ in range(count)])


def test_a_photograph_has_the_labs_geometry() -> None:
    images = photographs(0, 0, 1)
    assert images.shape == (1, 55, 47, 3)
    assert images.dtype == np.uint8
    assert np.ptp(images) > 60


def test_seeds_decide_everything() -> None:
    np.testing.assert_array_equal(photographs(3, 4), photographs(3, 4))
    assert (photographs(3, 4) != photographs(3, 5)).any()
    assert (photographs(3, 4) != photographs(4, 4)).any()


def test_the_labs_number_of_people_all_differ() -> None:
    drawn = {str(vars(people.Person(np.random.default_rng([0, label])))) for label in range(1283)}
    assert len(drawn) == 1283


@pytest.mark.parametrize("seed", range(40))
def test_anybody_can_be_photographed(seed: int) -> None:
    images = photographs(seed, seed, 3)
    # No photograph is washed out, black, or a repetition of another.
    assert (images.mean(axis=(1, 2, 3)) > 20).all()
    assert (images.mean(axis=(1, 2, 3)) < 235).all()
    assert (images[0] != images[1]).mean() > 0.5


def test_photographs_of_one_person_are_nearer_than_those_of_two() -> None:
    # The inner face alone: background and clothes belong to the photograph.
    inner = [photographs(seed, seed)[:, 18:42, 14:33].mean(axis=0) for seed in range(12)]
    again = [photographs(seed, 99 + seed)[:, 18:42, 14:33].mean(axis=0) for seed in range(12)]
    distances = np.array([[np.abs(one - two).mean() for two in again] for one in inner])
    assert (distances.argmin(axis=1) == np.arange(12)).mean() > 0.7

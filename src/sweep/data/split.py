"""Which clean images a defender has, and which of them are for tuning and which for deciding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def split_images(
    labels: NDArray[np.int64], images: float, seed: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Draw the defender's images and part them, person by person.

    Everybody's first image is drawn before anybody's second. Of each person two thirds are for
    tuning and one third for deciding, give or take one image; where there is one image of a person,
    it is for one of the two. (A network that is tuned on no image of a person forgets that person.)

    Args:
        labels: (n,), a person each.
        images: how many the defender has: a whole number above 1, or a fraction in 0..1.
        seed: draws them.

    Returns:
        Indices for tuning and for deciding, without an overlap, each sorted and not empty.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    people = labels[order]
    # Of each image, how many of the same person come before it.
    by_person = np.argsort(people, kind="stable")
    starts = np.flatnonzero(np.diff(people[by_person], prepend=-1))
    turn = np.empty(len(order), np.int64)
    turn[by_person] = np.arange(len(order)) - np.repeat(
        starts, np.diff(np.append(starts, len(order)))
    )
    count = round(images * len(order)) if images <= 1 else round(images)
    drawn = np.argsort(turn, kind="stable")[: min(max(count, 2), len(order))]
    name = rng.permutation(int(people.max()) + 1)[people[drawn]]
    dealt = order[drawn[np.argsort(name, kind="stable")]]
    decide = np.arange(len(dealt)) % 3 == (2 if len(dealt) > 2 else 1)
    return np.sort(dealt[~decide]), np.sort(dealt[decide])

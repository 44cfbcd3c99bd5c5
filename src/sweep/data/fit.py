"""Image sets as a network takes them, and whether they belong to it and together."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sweep.base.errors import ConfigError, DataError
from sweep.data.image_set import same

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sweep.data.image_set import ImageSet

_LOG = logging.getLogger("sweep")


def fit(
    sets: Mapping[str, ImageSet],
    input_shape: tuple[int | None, ...],
    classes: int,
    *,
    all_to_all: bool = False,
) -> dict[str, ImageSet]:
    """Read image sets as a network B takes them, and check that they belong together and to it.

    Channels first or last are told by B's input. Labels are counted from 1 where N occurs and 0
    does not. Images of folders are resized.

    Args:
        sets: `clean_valid`, `clean_test`, `poisoned_valid` and `poisoned_test`, or some of them;
            of several triggers, `poisoned_valid/NAME` and so on.
        input_shape: what B takes, (height, width, channels) or with a batch in front; None is any.
        classes: N, how many classes B tells apart.
        all_to_all: whether a poisoned set has many targets.

    Raises:
        DataError: shapes differ, a label is no class of B, or a poisoned set has not one target.
    """
    height, width, channels = wanted = input_shape[-3:]
    sets = {name: images.fitted((height, width, channels)) for name, images in sets.items()}
    used = [(images.labels.min(), images.labels.max()) for images in sets.values()]
    if min(low for low, _ in used) == 1 and max(high for _, high in used) == classes:
        _LOG.info("labels are counted from 1: %d occurs and 0 does not", classes)
        sets = {name: replace(one, labels=one.labels - 1) for name, one in sets.items()}
    together = "Use the network and the sets of one and the same experiment."
    first = next(iter(sets.values()))
    for images in sets.values():
        if not same((height, width, channels), images.shape):
            raise DataError(
                f"{images.path}: images must have the shape that the network "
                f"takes, (height, width, channels) = {wanted}. Received: {images.shape}. {together}"
            )
        row = int(images.labels.argmax())
        if images.labels[row] >= classes:
            raise DataError(
                f"{images.path}: labels must be classes of the network, "
                f"0..{classes - 1}. Received: {images.labels[row]} in row {row}. {together}"
            )
        if images.shape != first.shape:
            raise DataError(
                f"{images.path}: all sets must hold images of one shape, {first.shape} as in "
                f"{first.path}. Received: {images.shape}. Use sets of one experiment."
            )
    if not all_to_all:
        _check_targets(sets)
    return sets


def _check_targets(sets: Mapping[str, ImageSet]) -> None:
    """Each trigger has one target class, the same in its sets."""
    others: dict[str, ImageSet] = {}
    for name, images in sets.items():
        if not name.startswith("poisoned"):
            continue
        found = np.unique(images.labels)
        if len(found) != 1:
            raise DataError(
                f"{images.path}: the labels of a poisoned set must be the target class "
                f"everywhere. Received: {len(found)} classes, {found[:5].tolist()} among them. "
                "Is this a clean set, or one with the true labels? Of an all-to-all attack, "
                "add target=all_to_all; of several triggers, give a set for each."
            )
        other = others.setdefault(name.partition("/")[2], images)
        if other.labels[0] != found[0]:
            raise DataError(
                f"{images.path}: both poisoned sets must have one target class. Received: "
                f"{other.labels[0]} in {other.path} and {found[0]} here. "
                "Use sets of one experiment."
            )


def check_scale(scale: float) -> None:
    """Refuse a factor on pixel values that is none.

    Raises:
        ConfigError: it is not a finite number above 0.
    """
    if not 0 < scale < float("inf"):
        raise ConfigError(
            f"--scale must be a factor above 0. Received: {scale}. Write --scale 1 for a model "
            "that takes pixels of 0..255, --scale 0.00392157 for one that takes 0..1."
        )

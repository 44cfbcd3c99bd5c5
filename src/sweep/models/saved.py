"""Saved networks B' and G: by Keras once for each B, then as that file with numbers set to zero.

Keras takes half a second and TensorFlow to write what differs from the file before in some zeros.
So a network is also saved with the number of its channel in each place of a channel that can be
removed, and zero everywhere else; it says what is to be zeroed in the other file.
"""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

import h5py
import numpy as np

from sweep.data import hdf5

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import keras
    from numpy.typing import NDArray

    from sweep.models.sites import Site

# The files of a job's networks. G has B inside, and B'.
NAMES = ("repaired.keras", "repaired.h5", "goodnet.keras")
_WEIGHTS = "model.weights.h5"


def save(name: str, badnet: keras.Model, repaired: keras.Model, path: Path) -> None:
    """Save one of `NAMES` by Keras."""
    from sweep.models import keras2
    from sweep.models.surgery import join_goodnet

    with hdf5.entered():
        if name.startswith("goodnet"):
            join_goodnet(badnet, repaired).save(path)
        elif name.endswith(".h5") and keras2.can_save(repaired):
            keras2.save(repaired, path)
        else:
            repaired.save(path)


def save_numbered(name: str, badnet: keras.Model, sites: Sequence[Site], path: Path) -> None:
    """Save one of `NAMES` with numbers of channels as weights, as `Template` reads it."""
    from sweep.models.surgery import number_channels

    numbered = number_channels(badnet, sites)
    save(name, number_channels(badnet, ()), numbered, path)


class Template:
    """A saved network from which channels can be removed without opening it."""

    def __init__(self, saved: bytes, numbered: bytes) -> None:
        """Take a network with all channels.

        Args:
            saved: the file, `.h5` or `.keras`.
            numbered: the same of a network whose weights are 1 + the number of the channel that
                goes with them, or 0.

        Raises:
            ValueError: the files differ in more than numbers, or numbers lie in pieces.
        """
        self._archive = saved if zipfile.is_zipfile(io.BytesIO(saved)) else None
        self._saved = _weights(saved)
        marks = {path: values for path, _, values in _arrays(_weights(numbered))}
        places = {path: (start, values) for path, start, values in _arrays(self._saved)}
        if [(k, v.shape) for k, v in marks.items()] != [(k, v[1].shape) for k, v in places.items()]:
            raise ValueError("the two files hold other arrays")
        self._numbered = [
            (places[path][0], places[path][1].dtype, mark.ravel().astype(np.int64))
            for path, mark in marks.items()
            if mark.dtype.kind == "f" and mark.any()
        ]

    def without(self, channels: Sequence[int]) -> bytes:
        """The file of the network without some channels."""
        weights = bytearray(self._saved)
        for start, dtype, numbers in self._numbered:
            values = np.frombuffer(weights, dtype, len(numbers), start)
            values[np.isin(numbers, np.array(channels, np.int64) + 1)] = 0
        return bytes(weights) if self._archive is None else _repack(self._archive, bytes(weights))


def _weights(saved: bytes) -> bytes:
    if not zipfile.is_zipfile(io.BytesIO(saved)):
        return saved
    with zipfile.ZipFile(io.BytesIO(saved)) as archive:
        return archive.read(_WEIGHTS)


def _repack(saved: bytes, weights: bytes) -> bytes:
    """An archive with other weights."""
    with io.BytesIO() as made:
        with zipfile.ZipFile(io.BytesIO(saved)) as old, zipfile.ZipFile(made, "w") as new:
            for entry in old.infolist():
                own = entry.filename == _WEIGHTS
                new.writestr(entry, weights if own else old.read(entry))
        return made.getvalue()


def _arrays(weights: bytes) -> Iterator[tuple[str, int, NDArray[np.generic]]]:
    """Path, place in the file and values of each array of an HDF5 file, by path."""
    found: list[h5py.Group | h5py.Dataset] = []
    with hdf5.entered(), h5py.File(io.BytesIO(weights)) as file:
        file.visititems(lambda _, item: found.append(item))
        arrays = [item for item in found if isinstance(item, h5py.Dataset)]
        for item in sorted(arrays, key=lambda one: str(one.name)):
            start = item.id.get_offset()
            if start is None and item.size:
                raise ValueError(f"{item.name} lies in pieces")
            yield str(item.name), start or 0, np.asarray(item[()])

"""Image sets in the lab's HDF5 format: read, checked and streamed, never held whole as floats.

`data` (n, channels, height, width), floats or uint8 in 0..255, and `label` (n,), as the lab stores
them; images come out as networks see them, (n, height, width, channels).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from sweep.base import files
from sweep.base.errors import DataError
from sweep.data import hdf5

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from sweep.data.stored import Stamp, Stored

_CHANNELS = (1, 3)
# Labels and single images are held in memory whole.
_IMAGES = 10_000_000
_PIXELS = 1 << 22


@dataclass(frozen=True)
class ImageSet:
    """An image set that was checked; its pixels stay on disk.

    Attributes:
        stamp: of the HDF5 file, to tell whether it stays the same.
        labels: (n,) classes, counted from 0.
        shape: (height, width, channels) of an image, as a network sees it.
    """

    stamp: Stamp
    labels: NDArray[np.int64]
    shape: tuple[int, int, int]
    _pixels: Stored

    @property
    def path(self) -> Path:
        """The HDF5 file."""
        return self.stamp.path

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int) -> Iterator[NDArray[np.float32]]:
        """Stream the set in order.

        Args:
            size: images per batch; the last batch may be shorter.

        Yields:
            (b, height, width, channels) raw pixels 0..255.

        Raises:
            DataError: a pixel is not finite, or the file cannot be read or has changed.
        """
        with self._pixels.reader() as read:
            for start in range(0, len(self), size):
                yield self._images(read(start, min(start + size, len(self))), start)

    def rows(self, indices: Sequence[int]) -> NDArray[np.float32]:
        """A few images.

        Args:
            indices: which, each in 0..n-1, in any order.

        Returns:
            (len(indices), height, width, channels) raw pixels 0..255.

        Raises:
            DataError: as `batches`.
        """
        images = np.empty((len(indices), *self.shape), np.float32)
        with self._pixels.reader() as read:
            for position, index in enumerate(indices):
                place = range(len(self))[index]
                images[position] = self._images(read(place, place + 1), place)[0]
        return images

    def digest(self, memory: Path) -> str:
        """The SHA-256 of the file that was opened, remembered in a folder, see `files.digest`.

        Raises:
            DataError: the file has changed meanwhile.
        """
        value = files.digest(self.path, memory)
        self.stamp.check()
        return value

    def _images(self, stored: NDArray[Any], first: int) -> NDArray[np.float32]:
        # A float64 beyond float32 becomes infinite here, and is reported as such.
        with np.errstate(over="ignore", invalid="ignore"):
            images = stored.transpose(0, 2, 3, 1).astype(np.float32, order="C")
            # A sum shows at once whether all is well.
            if np.isfinite(images.sum()):
                return images
        bad = np.argwhere(~np.isfinite(images))
        if len(bad):
            raise DataError(
                f"{self.path}: pixels in dataset 'data' must be finite 32-bit floats. Received: "
                f"{images[tuple(bad[0])]} in row {first + bad[0, 0]}. Remove or mend that image."
            )
        return images


def open_set(path: Path) -> ImageSet:
    """Open one image set, see `open_sets`."""
    return open_sets({"": path})[""]


def open_sets(paths: Mapping[str, Path]) -> dict[str, ImageSet]:
    """Open image sets and check their structure and labels; pixels are checked as they stream.

    Args:
        paths: HDF5 files with `data` (n, channels, height, width) and `label` (n,), by name.

    Raises:
        DataError: a file is missing, damaged, unsafe or not in the format.
    """
    return dict(zip(paths, map(_open, hdf5.contents([*paths.values()])), strict=True))


def _open(contents: hdf5.Contents) -> ImageSet:
    path = contents.stamp.path
    data = _dataset(path, contents, "data", "(n, channels, height, width)", rank=4)
    label = _dataset(path, contents, "label", "(n,)", rank=1)
    shape = _image_shape(path, data.shape)
    if len(data) != len(label):
        raise DataError(
            f"{path}: datasets 'data' and 'label' must have the same length. Received: "
            f"{len(data)} images and {len(label)} labels. Write the set again."
        )
    if not len(data):
        raise DataError(
            f"{path}: a set must hold at least one image. Received: none in dataset 'data'. "
            "Write the set again."
        )
    return ImageSet(contents.stamp, _whole(path, label.whole()), shape, data)


def write_set(path: Path, images: Iterable[NDArray[Any]], labels: NDArray[Any]) -> None:
    """Write an image set in the lab's format, whole or not at all.

    Args:
        path: the file to make or replace.
        images: batches (b, height, width, channels), uint8 or float, all like the first.
        labels: (n,) whole numbers from 0; stored as 32-bit floats, as the lab's are.

    Raises:
        DataError: the images are not as many as the labels, or not all of one shape.
    """
    batches = iter(images)
    first = next(batches, None)
    if first is None or first.ndim != 4:
        received = None if first is None else first.shape
        rule = "images must come in batches (b, height, width, channels)"
        raise DataError(f"{path}: {rule}. Received: {received}.")
    height, width, channels = first.shape[1:]
    count = len(labels)
    with files.replacing(path) as draft:
        shape = (count, channels, height, width)
        place = hdf5.create(draft, shape, first.dtype, np.asarray(labels, np.float32))
        with draft.open("rb+") as file:
            file.seek(place)
            stop = 0
            for batch in chain([first], batches):
                stop += len(batch)
                if stop > count or batch.shape[1:] != first.shape[1:]:
                    raise DataError(
                        f"{path}: dataset 'data' must take {count} images of shape "
                        f"{first.shape[1:]}. Received: {stop} images or more, the last of shape "
                        f"{batch.shape[1:]}."
                    )
                file.write(np.ascontiguousarray(batch.transpose(0, 3, 1, 2), first.dtype).data)
        if stop != count:
            raise DataError(
                f"{path}: images and labels must be equally many. "
                f"Received: {stop} images and {count} labels."
            )


def check_fit(
    sets: Mapping[str, ImageSet], input_shape: tuple[int | None, ...], classes: int
) -> None:
    """Check that image sets belong together and to the network B.

    Args:
        sets: `clean_valid`, `clean_test`, `poisoned_valid` and `poisoned_test`, or some of them.
        input_shape: what B takes, (height, width, channels) or with a batch in front; None is any.
        classes: N, how many classes B tells apart.

    Raises:
        DataError: shapes differ, a label is no class of B, or a poisoned set has not one target.
    """
    wanted = input_shape[-3:]
    together = "Use the network and the sets of one and the same experiment."
    first = next(iter(sets.values()))
    for images in sets.values():
        if any(w not in {None, got} for w, got in zip(wanted, images.shape, strict=True)):
            raise DataError(
                f"{images.path}: images in dataset 'data' must have the shape that the network "
                f"takes, (height, width, channels) = {wanted}. Received: {images.shape}. {together}"
            )
        row = int(images.labels.argmax())
        if images.labels[row] >= classes:
            raise DataError(
                f"{images.path}: dataset 'label' must hold classes of the network, "
                f"0..{classes - 1}. Received: {images.labels[row]} in row {row}. {together}"
            )
        if images.shape != first.shape:
            raise DataError(
                f"{images.path}: all sets must hold images of one shape, {first.shape} as in "
                f"{first.path}. Received: {images.shape}. Use sets of one experiment."
            )
    other: ImageSet | None = None
    for images in (images for name, images in sets.items() if name.startswith("poisoned")):
        found = np.unique(images.labels)
        if len(found) != 1:
            raise DataError(
                f"{images.path}: dataset 'label' of a poisoned set must be the target class "
                f"everywhere. Received: {len(found)} classes, {found[:5].tolist()} among them. "
                "Is this a clean set, or one with the true labels?"
            )
        if other and other.labels[0] != found[0]:
            raise DataError(
                f"{images.path}: both poisoned sets must have one target class. Received: "
                f"{other.labels[0]} in {other.path} and {found[0]} here. "
                "Use sets of one experiment."
            )
        other = images


def _dataset(path: Path, contents: hdf5.Contents, name: str, form: str, rank: int) -> Stored:
    found = contents.arrays.get(name)
    if found is None:
        names = ", ".join(contents.names) or "an empty file"
        raise DataError(
            f"{path}: an image set must have the dataset '{name}' {form}. "
            f"Received: {names}. Rename or write the dataset."
        )
    if len(found.shape) != rank:
        raise DataError(
            f"{path}: dataset '{name}' must have the shape {form}. Received: {found.shape}. "
            "Write it in that shape."
        )
    floats_only = name == "data"
    if (
        found.dtype.kind not in "fiu"
        or found.dtype.itemsize > 8
        or (floats_only and found.dtype.kind != "f" and found.dtype != "u1")
    ):
        kinds = "floats or uint8" if floats_only else "numbers"
        raise DataError(
            f"{path}: dataset '{name}' must hold {kinds}. Received: {found.dtype}. "
            "Convert it with NumPy's astype."
        )
    return found


def _image_shape(path: Path, shape: tuple[int, ...]) -> tuple[int, int, int]:
    count, channels, height, width = shape
    if channels not in _CHANNELS:
        hint = (
            "The channels come last here: store np.transpose(data, (0, 3, 1, 2))."
            if width in _CHANNELS
            else "Store images with 1 or 3 channels."
        )
        raise DataError(
            f"{path}: dataset 'data' must have the shape (n, channels, height, width) with 1 or 3 "
            f"channels. Received: {shape}. {hint}"
        )
    if not 0 < channels * height * width <= _PIXELS or count > _IMAGES:
        raise DataError(
            f"{path}: dataset 'data' must hold at most {_IMAGES:,} images of 1 to {_PIXELS:,} "
            f"numbers each. Received: shape {shape}. Scale the images, or split the set."
        )
    return height, width, channels


def _whole(path: Path, labels: NDArray[Any]) -> NDArray[np.int64]:
    with np.errstate(invalid="ignore"):
        good = np.isfinite(labels) & (labels >= 0) & (labels < 2**31) & (labels == np.trunc(labels))
    if not good.all():
        row = int(np.argmin(good))
        raise DataError(
            f"{path}: dataset 'label' must hold whole numbers, classes counted from 0. "
            f"Received: {labels[row]} in row {row}. Write the labels again."
        )
    return labels.astype(np.int64)

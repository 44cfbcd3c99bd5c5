"""Image sets: read, checked and streamed, never held whole as floats.

Whatever the format, images come out as networks see them, (n, height, width, channels). Sets are
written in the lab's format: HDF5 with `data` (n, channels, height, width) and `label` (n,).
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from sweep.base import files
from sweep.base.errors import DataError
from sweep.data import hdf5
from sweep.data.formats import arrays, npz, pictures
from sweep.data.formats.stored import Stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from sweep.data.derived import Origin
    from sweep.data.formats.stored import Contents, Stored

# Height, width and channels that a network takes, None for any.
Shape = tuple[int | None, int | None, int | None]


@dataclass(frozen=True)
class ImageSet:
    """An image set that was checked; its pixels stay on disk.

    Attributes:
        stamp: of the file or folder, to tell whether it stays the same.
        labels: (n,) classes, counted from 0; of poisoned images the attacker's.
        shape: (height, width, channels) of an image, as a network sees it.
        truth: (n,) true classes of poisoned images, where they are known.
        triggers: of several triggers, by name, which images wear each, (n,).
    """

    stamp: Stamp | Origin
    labels: NDArray[np.int64]
    shape: tuple[int, int, int]
    _pixels: Stored
    _axes: tuple[int, ...] = (0, 1, 2, 3)
    _fit: Callable[[Shape], ImageSet] | None = None
    truth: NDArray[np.int64] | None = None
    triggers: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The file or folder."""
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
        with self.reader() as read:
            for start in range(0, len(self), size):
                yield read(start, min(start + size, len(self)))

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
        with self.reader() as read:
            for position, index in enumerate(indices):
                place = range(len(self))[index]
                images[position] = read(place, place + 1)[0]
        return images

    @contextmanager
    def reader(self) -> Iterator[Callable[[int, int], NDArray[np.float32]]]:
        """A function that reads images start..stop-1 as `batches` does, while the set is open."""
        with self._pixels.reader() as read:
            yield lambda start, stop: self._images(read(start, stop), start)

    def digest(self, memory: Path) -> str:
        """The SHA-256 of the file that was opened, remembered in a folder, see `files.digest`.

        Raises:
            DataError: the file has changed meanwhile.
        """
        return self.stamp.digest(memory)

    def fitted(self, wanted: Shape) -> ImageSet:
        """The set as a network takes it: channels where they belong, pictures resized."""
        return self._fit(wanted) if self._fit else self

    def _images(self, stored: NDArray[Any], first: int) -> NDArray[np.float32]:
        # A float64 beyond float32 becomes infinite here, and is reported as such.
        with np.errstate(over="ignore", invalid="ignore"):
            rows = stored.reshape(*stored.shape, *[1] * (4 - stored.ndim))
            images = rows.transpose(self._axes).astype(np.float32, order="C")
            # A sum shows at once whether all is well.
            if np.isfinite(images.sum()):
                return images
        bad = np.argwhere(~np.isfinite(images))
        if len(bad):
            raise DataError(
                f"{self._pixels.name} must be finite 32-bit floats. Received: "
                f"{images[tuple(bad[0])]} in row {first + bad[0, 0]}. Remove or mend that image."
            )
        return images


def open_set(path: Path) -> ImageSet:
    """Open one image set, see `open_sets`."""
    return open_sets({"": path})[""]


def open_sets(paths: Mapping[str, Path]) -> dict[str, ImageSet]:
    """Open image sets and check their structure and labels; pixels are checked as they stream.

    Args:
        paths: HDF5 or `.npz` files with images and labels (see `arrays`), or folders with a
            subfolder of images per class, by name.

    Raises:
        DataError: a set is missing, damaged, unsafe or not in such a format.
    """
    opened: dict[str, ImageSet] = {}
    hdf5_files = dict(paths)
    for name, path in paths.items():
        if path.is_dir():
            opened[name] = _of_folder(path)
        elif path.is_file() and _start(path) == npz.SIGNATURE:
            opened[name] = _of_arrays(npz.contents(path))
        else:
            continue
        del hdf5_files[name]
    found = map(_of_arrays, hdf5.contents([*hdf5_files.values()]))
    opened |= zip(hdf5_files, found, strict=True)
    return {name: opened[name] for name in paths}


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(len(npz.SIGNATURE))
    except OSError:
        return b""  # HDF5's reader has the words for it


def _of_arrays(contents: Contents) -> ImageSet:
    images, found = arrays.pair(contents)
    layouts = arrays.layouts(images)
    classes = arrays.labels(found, images, contents.stamp.path)
    shape, axes = next(iter(layouts.items()))
    opened = ImageSet(contents.stamp, classes, shape, images, axes)
    others = [replace(opened, shape=shape, _axes=axes) for shape, axes in layouts.items()]

    def fit(wanted: Shape) -> ImageSet:
        return next((one for one in others if same(wanted, one.shape)), opened)

    return replace(opened, _fit=fit)


def _of_folder(folder: Path) -> ImageSet:
    stamp = Stamp.of(folder)
    images, classes = pictures.classes(folder)

    def fit(wanted: Shape) -> ImageSet:
        own = pictures.size(images[0])
        height, width, channels = (o if w is None else w for w, o in zip(wanted, own, strict=True))
        shape = (height, width, channels)
        return ImageSet(stamp, classes, shape, pictures.pixels(stamp, images, shape), _fit=fit)

    return fit((None, None, None))


def same(wanted: Shape, shape: tuple[int, int, int]) -> bool:
    """Whether images have the shape that a network takes."""
    return all(w in {None, got} for w, got in zip(wanted, shape, strict=True))


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

"""Image sets made of others while they are read: several as one, or each image changed."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from sweep.base.errors import DataError
from sweep.data.formats.stored import Stored
from sweep.data.image_set import ImageSet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from sweep.data.formats.stored import Read, Stamp

    Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Origin:
    """What a derived set comes from, in place of a file's stamp.

    Attributes:
        path: what messages call it.
        parts: stamps of the sets that it is made of.
        how: what was done to them.
    """

    path: Path
    parts: tuple[Stamp | Origin, ...]
    how: str

    def check(self) -> None:
        """Compare the files with what they were, see `Stamp.check`."""
        for part in self.parts:
            part.check()

    def digest(self, memory: Path) -> str:
        """A SHA-256 of the parts' digests and of what was done."""
        told = [self.how, *(part.digest(memory) for part in self.parts)]
        return hashlib.sha256("\n".join(told).encode()).hexdigest()


def join(sets: Mapping[str, ImageSet]) -> ImageSet:
    """Sets by the name of their trigger as one, in order; its `triggers` tells which wear each.

    Raises:
        DataError: the images have not all one shape.
    """
    parts = list(sets.values())
    first, ends = parts[0], np.cumsum([len(part) for part in parts]).tolist()
    for part in parts:
        if part.shape != first.shape:
            raise DataError(
                f"{part.path}: sets of several triggers must hold images of one shape, "
                f"{first.shape} as in {first.path}. Received: {part.shape}."
            )
    worn = np.repeat(np.arange(len(parts)), [len(part) for part in parts])

    def read(readers: list[Read], start: int, stop: int) -> NDArray[Any]:
        rows = []
        for reader, end, part in zip(readers, ends, parts, strict=True):
            begin = end - len(part)
            if start < end and stop > begin:
                rows.append(reader(max(start, begin) - begin, min(stop, end) - begin))
        return np.concatenate(rows)

    origin = Origin(first.path.parent, tuple(part.stamp for part in parts), "joined")
    truths = [part.truth for part in parts if part.truth is not None]
    return ImageSet(
        origin,
        np.concatenate([part.labels for part in parts]),
        first.shape,
        _stored(parts, read),
        truth=np.concatenate(truths) if len(truths) == len(parts) else None,
        triggers={name: worn == number for number, name in enumerate(sets)},
    )


def change(
    images: ImageSet, labels: NDArray[np.int64], how: str, act: Callable[[Floats], Floats]
) -> ImageSet:
    """A clean set whose images are changed as they are read.

    Args:
        images: the set; its labels become the new one's truth.
        labels: the new ones, (n,).
        how: names what is done, for the digest.
        act: changes images (b, h, w, c), and leaves what it gets as it is.
    """

    def read(readers: list[Read], start: int, stop: int) -> NDArray[Any]:
        return act(readers[0](start, stop))

    return ImageSet(
        Origin(images.path, (images.stamp,), how),
        labels,
        images.shape,
        _stored([images], read),
        truth=images.labels,
    )


def _stored(
    parts: Sequence[ImageSet], read: Callable[[list[Read], int, int], NDArray[Any]]
) -> Stored:
    @contextmanager
    def reader() -> Iterator[Read]:
        with ExitStack() as stack:
            readers = [stack.enter_context(part.reader()) for part in parts]
            yield partial(read, readers)

    shape = (sum(map(len, parts)), *parts[0].shape)
    return Stored(f"{parts[0].path}: images", shape, np.dtype(np.float32), reader)

"""Numbers as they lie in a file, row after row, read without a library.

Every format of image sets comes down to this. A file is opened for each pass, and has to be the
one that was checked: its stamp is compared before and after.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from math import prod
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from sweep.base import files
from sweep.base.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import NDArray


Read = Callable[[int, int], "NDArray[Any]"]


@dataclass(frozen=True)
class Stamp:
    """What tells whether a file, or a folder, is the same as before, see `files.stamp`."""

    path: Path
    parts: tuple[Any, ...]

    @classmethod
    def of(cls, path: Path, file: BinaryIO | None = None) -> Stamp:
        """The stamp of a path, or of the file that was opened there."""
        return cls(path, tuple(files.stamp(path, file.fileno() if file else None)))

    @property
    def size(self) -> int:
        """Bytes of a file."""
        return int(self.parts[0])

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """The file, to be read.

        Raises:
            DataError: it is another one, or has changed by the end.
        """
        with self.path.open("rb", buffering=0) as file:
            self.check(file)
            yield file
            self.check(file)

    def digest(self, memory: Path) -> str:
        """The SHA-256 of what has this stamp, remembered in a folder, see `files.digest`.

        Raises:
            DataError: it has changed meanwhile.
        """
        value = files.digest(self.path, memory)
        self.check()
        return value

    def check(self, file: BinaryIO | None = None) -> None:
        """Compare with the file as it is now.

        Raises:
            DataError: it has changed.
        """
        if Stamp.of(self.path, file) != self:
            raise DataError(
                f"{self.path} was changed while it was read: its size or time is another. "
                "Give the same command again once the file stays as it is."
            )


@dataclass(frozen=True)
class Stored:
    """An array that stays where it is.

    Attributes:
        name: for messages.
        shape: (n, ...).
        dtype: as stored, of whatever byte order.
        reader: opens it, as a function that reads rows start..stop-1; reading raises a DataError
            where they are damaged or have changed.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    reader: Callable[[], AbstractContextManager[Read]]

    def __len__(self) -> int:
        return self.shape[0]

    def whole(self) -> NDArray[Any]:
        """All of it, in the byte order of this machine."""
        with self.reader() as read:
            rows = read(0, len(self))
        return rows.astype(rows.dtype.newbyteorder("="), copy=False)


@dataclass(frozen=True)
class Contents:
    """What a file holds.

    Attributes:
        stamp: of the file.
        names: the first ten names, safe to print.
        arrays: by name.
    """

    stamp: Stamp
    names: list[str]
    arrays: Mapping[str, Stored]


def held(name: str, rows: NDArray[Any]) -> Stored:
    """An array in memory."""
    return Stored(name, rows.shape, rows.dtype, lambda: nullcontext(lambda a, b: rows[a:b]))


def in_file(
    name: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    offset: int,
    opened: Callable[[], AbstractContextManager[BinaryIO]],
) -> Stored:
    """An array (n, ...) whose bytes lie in a file one after the other, from an offset on."""
    row_bytes = int(dtype.itemsize) * prod(shape[1:])

    @contextmanager
    def reader() -> Iterator[Read]:
        with opened() as file:

            def read(start: int, stop: int) -> NDArray[Any]:
                rows = np.empty((stop - start, *shape[1:]), dtype)
                left, place = (
                    memoryview(rows.reshape(-1).view(np.uint8).data),
                    offset + start * row_bytes,
                )
                while left:
                    got = os.preadv(file.fileno(), [left], place)
                    if not got:
                        raise damaged(name, "the end of the file")
                    left, place = left[got:], place + got
                return rows

            yield read

    return Stored(name, shape, dtype, reader)


class Unpacked:
    """A way to open what is packed: unpacked once, when first opened, to a file without a name.

    The file goes with the set, or with the process, however that ends.
    """

    def __init__(self, unpack: Callable[[BinaryIO], None]) -> None:
        """Unpack later with a function that writes the bytes to the file that it gets."""
        self._unpack = unpack
        self._file: BinaryIO | None = None

    def __call__(self) -> AbstractContextManager[BinaryIO]:
        """The file, to be read."""
        if self._file is None:
            with ExitStack() as failed:
                made = failed.enter_context(TemporaryFile())
                self._unpack(made)
                failed.pop_all()
                self._file = made
        return nullcontext(self._file)

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()


def damaged(name: str, received: str) -> DataError:
    """The error of an array that cannot be read."""
    return DataError(
        f"{name} must be readable. Received: {received}. "
        "The file is damaged: copy or make it again."
    )

"""Arrays on disk, named by what they were computed from: made once, shared by processes, bounded.

A file is an ordinary `.npy` with the SHA-256 of its bytes behind it. What does not carry the right
sum is made again; a lock per array lets one process compute while the others wait.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock, Timeout

from sweep.base.errors import StoreError
from sweep.base.files import replacing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[np.generic]
    Make = Callable[[Path, Array | None], None]
    Enough = Callable[[Array], bool]

# How many digits of an array's key are those of the code that computed it.
CODE_DIGITS = 8
_SUM_BYTES = hashlib.sha256().digest_size


class Cache:
    """A folder of arrays."""

    def __init__(self, folder: Path, max_gb: float) -> None:
        """Use a folder, which is made when first needed.

        Args:
            folder: where the arrays lie.
            max_gb: how much they may take together, in 10^9 bytes; the longest unused go first.
        """
        self.folder = folder
        self._limit = int(max_gb * 10**9)
        self._intact: set[tuple[str, int, int, int]] = set()  # stamps of files with a right sum

    def array(self, kind: str, key: str, make: Make, enough: Enough | None = None) -> Array:
        """The array of that name, computed if it is not there.

        Args:
            kind: what it is, for people who look into the folder.
            key: a name for everything that it depends on.
            make: writes the array as `.npy` to the path it is given; its second argument is the
                array that is there but not enough, or None.
            enough: whether an array that is there will do, where it may be but a part of it.

        Returns:
            The array, memory-mapped and read-only.

        Raises:
            StoreError: the folder cannot be written.
        """
        path = self.folder / f"{kind}-{key}.npy"
        array = self._load(path)
        if array is not None and (enough is None or enough(array)):
            return array
        try:
            return self._make(path, make, enough)
        except OSError as error:
            raise StoreError(
                f"{self.folder}: the cache must be writable and have room. Received: {error}. "
                "Free some, or name another folder with paths.data=FOLDER."
            ) from error

    def of_other_code(self, beginning: str) -> list[Path]:
        """Arrays whose key begins with other `CODE_DIGITS` digits, and marks that name them."""
        arrays = {path.stem.rpartition("-")[2]: path for path in self.folder.glob("*.npy")}
        old = [path for key, path in arrays.items() if not key.startswith(beginning)]
        kept = {key for key in arrays if key.startswith(beginning)}
        return old + [mark for mark in self.folder.glob("marks/*.json") if not _names(mark, kept)]

    def _make(self, path: Path, make: Make, enough: Enough | None) -> Array:
        with self._lock(path.stem):
            array = self._load(path)  # another process may have made it while we waited
            if array is None or not (enough is None or enough(array)):
                with replacing(path) as draft:
                    make(draft, array)
                    _seal(draft)
                self._intact.add(_stamp(path))
                array = self._load(path)
        if array is None:
            raise RuntimeError(f"{path} was damaged as soon as it was written")
        self._evict(path)
        self._remove_drafts()
        return array

    def _load(self, path: Path) -> Array | None:
        """A sealed array, or None if it is not there or not whole.

        The sum is taken once, and again when the file has changed since.
        """
        try:
            stamp = _stamp(path)
            if stamp not in self._intact:
                if not _is_sealed(path):
                    return None
                self._intact.add(stamp)
            # The age that eviction goes by is the last use, which a file's owner alone may set.
            with suppress(PermissionError):
                os.utime(path, ns=(time.time_ns(), stamp[-1]))
            array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError):
            return None
        return array

    def _lock(self, stem: str, seconds: float = -1) -> FileLock:
        locks = self.folder / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        return FileLock(locks / f"{stem}.lock", timeout=seconds)

    def _evict(self, newest: Path) -> None:
        files = []
        for path in self.folder.glob("*.npy"):
            with suppress(FileNotFoundError):  # another process was faster
                files.append((path.stat().st_atime_ns, path.stat().st_size, path))
        used = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if used <= self._limit:
                break
            if path != newest:
                path.unlink(missing_ok=True)
                used -= size

    def _remove_drafts(self) -> None:
        """Remove what killed processes left: drafts whose lock nobody holds."""
        for draft in self.folder.glob(".*.npy"):
            # A draft is called .STEM.PROCESS.TIME.npy, see `replacing`.
            stem = draft.name[1:].rsplit(".", 3)[0]
            with suppress(Timeout), self._lock(stem, seconds=0):
                draft.unlink(missing_ok=True)


def _names(mark: Path, keys: set[str]) -> bool:
    """Whether a note of arrays (see `identity.mark_cached`) names some of these alone."""
    with suppress(OSError, ValueError, TypeError):
        return set(json.loads(mark.read_text())) <= keys
    return False


def _seal(path: Path) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    with path.open("ab") as file:
        file.write(digest)


def _is_sealed(path: Path) -> bool:
    with path.open("rb") as file:
        size = path.stat().st_size - _SUM_BYTES
        digest = hashlib.sha256()
        while block := file.read(min(1 << 20, max(size - file.tell(), 0))):
            digest.update(block)
        return file.read() == digest.digest()


def _stamp(path: Path) -> tuple[str, int, int, int]:
    status = path.stat()
    return str(path), status.st_size, status.st_ino, status.st_mtime_ns


# The cache of a folder that a process shares, so that a file's sum is taken once in a process.
shared = functools.cache(Cache)

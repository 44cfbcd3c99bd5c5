"""HDF5 files that somebody else made: image sets are not opened here at all, models with care.

A child process checks a file first, so that a file on which the library crashes or hangs is a
refusal here. The child also finds where the numbers of an image set lie: they are then read from
the file as it is, or unpacked by the child. Models are small and are opened in this process, after
the check, by one thread at a time.
"""

from __future__ import annotations

import gc
import json
import os
import stat
import subprocess
import sys
from base64 import b64decode
from contextlib import contextmanager
from functools import lru_cache, partial
from math import prod
from threading import RLock
from typing import TYPE_CHECKING, Any, BinaryIO

import h5py
import numpy as np

from sweep.base.errors import DataError, SweepError
from sweep.data.formats import hdf5_check, hdf5_child, stored
from sweep.data.formats.hdf5_check import PROMISE_FLOOR, RefusedError, reason, shown
from sweep.data.formats.stored import Contents, Stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import NDArray

    from sweep.data.formats.stored import Stored

__all__ = ["PROMISE_FLOOR", "shown"]  # model files keep to the same limit, and print alike
SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SECONDS = 60
_CPU_SECONDS = 10
_BYTES_PER_SECOND = 50 << 20
_ENTRY = RLock()


@contextmanager
def entered() -> Iterator[None]:
    """Use the HDF5 library: whoever does, Keras' files of weights included, goes this way.

    One thread at a time may. h5py closes an object in whatever thread drops it, and the garbage
    collector drops what lies in circles in whatever thread it happens to run, while the library is
    busy in another: that corrupts memory (h5py 3.14). So the collector waits while the library is
    used, and what was made meanwhile is collected before another thread may go on.
    """
    with _ENTRY:
        collects = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if collects:
                gc.collect(0)
                gc.enable()


@contextmanager
def open_untrusted(path: Path, error: type[SweepError], called: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file read-only after checking that it is harmless.

    Args:
        path: a copy of the file, which nobody else can change.
        error: what to raise.
        called: what messages call the file.

    Yields:
        The open file. It has hard links, groups and self-contained datasets only; read values
        inside `reading`, since a damaged value is found only when it is read.

    Raises:
        SweepError: of the kind `error`, naming the file, the object and what is wrong with it.
    """
    _examine([path], error, called)
    with entered():
        try:
            file = hdf5_check.open_file(path)
        except RefusedError as refusal:
            raise error(f"{called}: {refusal}") from None
        with file:
            yield file


def create(
    path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], labels: NDArray[np.float32]
) -> int:
    """Make a set with its labels and room for its pixels; return where their bytes begin."""
    with entered(), h5py.File(path, "w") as file:
        file.create_dataset("label", data=labels)
        early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        early.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        space, kind = h5py.h5s.create_simple(shape), h5py.h5t.py_create(dtype)
        data = h5py.h5d.create(file.id, b"data", kind, space, early)
        return int(data.get_offset())


@contextmanager
def reading(path: Path, what: str, error: type[SweepError]) -> Iterator[None]:
    """Turn what h5py raises about a damaged value into one clear error of that kind."""
    try:
        yield
    except hdf5_check.DAMAGE as damage:
        raise error(f"{path}: {hdf5_check.damaged(what, damage)}") from damage


def attribute(item: h5py.HLObject, name: str) -> str | None:
    """A text attribute of a group or file, None where there is none.

    Raises:
        ValueError: it is not one text.
    """
    value = item.attrs.get(name)
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if value is not None and not isinstance(value, str):
        raise ValueError(f"attribute {shown(name)} is not one text")
    return value


def attributes(item: h5py.HLObject, name: str) -> list[str] | None:
    """A list of texts kept as an attribute, None where there is none.

    Keras splits a long list over `name0`, `name1`, ...

    Raises:
        ValueError: it is not a list of texts.
    """
    parts = [name] if name in item.attrs else []
    while parts != [name] and f"{name}{len(parts)}" in item.attrs:
        parts.append(f"{name}{len(parts)}")
    found: list[str] = []
    for part in parts:
        values = np.asarray(item.attrs[part])
        # An empty list is stored as floats.
        if values.ndim != 1 or (values.size and values.dtype.kind not in "SUO"):
            raise ValueError(f"attribute {shown(part)} is not a list of texts")
        found += [v.decode("utf-8") if isinstance(v, bytes) else str(v) for v in values]
    return found if parts else None


def plain(dataset: h5py.Dataset, kinds: str = "fiu") -> bool:
    """Whether a dataset holds ordinary numbers of at most 8 bytes, of one of the NumPy kinds."""
    dtype: np.dtype[Any] = dataset.dtype
    return dtype.kind in kinds and dtype.itemsize <= 8 and dtype.subdtype is None


def array(dataset: h5py.Dataset) -> NDArray[Any]:
    """A whole dataset in memory, in the byte order of this machine."""
    values = np.asarray(dataset[()])
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def contents(paths: Sequence[Path]) -> list[Contents]:
    """What image sets hold, checked in one process, which spares a process for each.

    Raises:
        DataError: a file is refused, or the library does not survive it.
    """
    return [
        Contents(stamp, one["names"], {n: _stored(stamp, n, d) for n, d in one["datasets"].items()})
        for stamp, one in _examine(paths, DataError)
    ]


def _stored(stamp: Stamp, called: str, known: Mapping[str, Any]) -> Stored:
    name = f"{stamp.path}: dataset {shown(called)}"
    shape, dtype = tuple(known["shape"] or ()), np.dtype(known["dtype"])
    if "bytes" in known:
        values = np.frombuffer(b64decode(known["bytes"]), dtype).reshape(shape)
        return stored.held(name, values)
    opened: Callable[[], AbstractContextManager[BinaryIO]] = stamp.opened
    if known.get("offset") is None:
        size = prod(shape) * dtype.itemsize
        opened = stored.Unpacked(partial(_unpack, name, stamp, called, size))
    return stored.in_file(name, shape, dtype, known.get("offset") or 0, opened)


def _unpack(name: str, stamp: Stamp, called: str, size: int, file: BinaryIO) -> None:
    stamp.check()
    done = _child("unpack", size, str(stamp.path.absolute()), called, stdout=file)
    stamp.check()
    if done.returncode:
        text = done.stderr.decode(errors="replace").strip()
        raise stored.damaged(name, text if text.isprintable() else f"exit code {done.returncode}")


def _examine(
    paths: Sequence[Path], error: type[SweepError], called: Path | None = None
) -> list[tuple[Stamp, Any]]:
    stamps = []
    for path in paths:
        try:
            stamps.append(_stamp(path))
        except RefusedError as refusal:
            raise error(f"{called or path}: {refusal}") from None
    found = list(zip(stamps, _examined(tuple(stamps)), strict=True))
    for stamp, one in found:
        if "refused" in one:
            raise error(f"{called or stamp.path}: {one['refused']}")
    return found


def _stamp(path: Path) -> Stamp:
    check = "Check the path."
    try:
        stamp = Stamp.of(path)
        if not stat.S_ISREG(path.stat().st_mode):
            rule = "an HDF5 file must be a regular file"
            raise RefusedError(rule, "a folder, pipe or device", check)
        with path.open("rb") as file:
            start = file.read(len(SIGNATURE))
    except (OSError, ValueError) as missing:
        rule = "the file must exist and be readable"
        raise RefusedError(rule, reason(missing), check) from missing
    if start != SIGNATURE:
        raise RefusedError(
            "must be an HDF5 file, an .npz file or a folder of images",
            f"{stamp.size:,} bytes that begin with {start!r}",
            "Check the path and how the file was made.",
        )
    return stamp


@lru_cache(maxsize=64)
def _examined(stamps: tuple[Stamp, ...]) -> list[Any]:
    """What a child finds in each file, or why it is refused; known while the files are the same."""
    harm = "The file is damaged, or made to {} its reader: do not use it."
    names = [str(stamp.path.absolute()) for stamp in stamps]
    try:
        child = _child("describe", sum(stamp.size for stamp in stamps), *names)
        said, rule = child.stdout, "must be a whole HDF5 file"
        received = f"one that the HDF5 library crashes or hangs on (exit code {child.returncode})"
        harm = harm.format("harm")
    except subprocess.TimeoutExpired as late:
        said, rule = late.stdout or b"", f"an HDF5 file must open in {late.timeout:.0f} s"
        received, harm = "one that does not", harm.format("hang")
    found: list[Any] = [json.loads(line) for line in said.split(b"\n")[:-1]]
    # The first without an answer is to blame.
    left = len(stamps) - len(found)
    return found + left * [{"refused": f"{rule}. Received: {received}. {harm}"}]


def _child(
    task: str, size: int, *arguments: str, stdout: Any = subprocess.PIPE
) -> subprocess.CompletedProcess[bytes]:
    seconds = size // _BYTES_PER_SECOND
    return subprocess.run(
        # -P keeps the working folder, which may be the attacker's, out of the import path.
        [
            *(sys.executable, "-P", "-m", hdf5_child.__name__),
            *(task, str(_CPU_SECONDS + seconds), *arguments),
        ],
        stdin=subprocess.DEVNULL,
        # Threads that nobody needs would count against the child's memory.
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=_SECONDS + seconds,
        check=False,
    )

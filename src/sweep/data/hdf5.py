"""HDF5 files that somebody else made, opened so that they cannot reach out or swell up.

What the library itself makes of a damaged file is tried in a child process first: if it crashes
there or hangs, that is a refusal here.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sweep.data import hdf5_child
from sweep.data.hdf5_child import PROMISE_FLOOR, RefusedError, reason, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import h5py
    from numpy.typing import NDArray

    from sweep.base.errors import SweepError

__all__ = ["PROMISE_FLOOR", "shown"]  # model files keep to the same limit, and print alike
SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SECONDS = 60
_CPU_SECONDS = 10
_BYTES_PER_SECOND = 50 << 20


@contextmanager
def open_untrusted(
    path: Path, error: type[SweepError], called: Path | None = None
) -> Iterator[h5py.File]:
    """Open an HDF5 file read-only after checking that it is harmless.

    Args:
        path: the file.
        error: what to raise; `DataError` for image sets, `ModelError` for models.
        called: what messages call the file, where `path` is a copy of it.

    Yields:
        The open file. It has hard links, groups and self-contained datasets only; read values
        inside `reading`, since a damaged value is found only when it is read.

    Raises:
        SweepError: of the kind `error`, naming the file, the object and what is wrong with it.
    """
    try:
        _check_start(path)
        _try_in_child(_stamp(path))
        file = hdf5_child.open_file(path)
    except RefusedError as refusal:
        raise error(f"{called or path}: {refusal}") from None
    with file:
        try:
            # Again: the child shows only that the library survives it.
            hdf5_child.check(file)
        except RefusedError as refusal:
            raise error(f"{called or path}: {refusal}") from None
        yield file


@contextmanager
def reading(path: Path, what: str, error: type[SweepError]) -> Iterator[None]:
    """Turn what h5py raises about a damaged value into one clear error.

    Args:
        path: the file, for the message.
        what: what is being read, for the message.
        error: the kind of error to raise.
    """
    try:
        yield
    except hdf5_child.DAMAGE as damage:
        raise error(f"{path}: {hdf5_child.damaged(what, damage)}") from damage


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


def _check_start(path: Path) -> None:
    check = "Check the path."
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            rule = "an HDF5 file must be a regular file"
            raise RefusedError(rule, "a folder, pipe or device", check)
        with path.open("rb") as file:
            start = file.read(len(SIGNATURE))
    except (OSError, ValueError) as missing:
        rule = "the file must exist and be readable"
        raise RefusedError(rule, reason(missing), check) from missing
    if start != SIGNATURE:
        raise RefusedError(
            "must be an HDF5 file",
            f"{status.st_size:,} bytes that begin with {start!r}",
            "Check the path and how the file was made.",
        )


# Path, size, inode, and times of change in ns: the same as long as the file is.
_Stamp = tuple[str, int, int, int, int]


def _stamp(path: Path) -> _Stamp:
    status = path.stat()
    return (str(path), status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)


_passed: set[_Stamp] = set()
forget = _passed.clear


def rehearse(paths: Iterable[Path]) -> None:
    """Check files in one process, which spares a process for each when they are opened.

    A file that is refused, or that the process does not survive, is tried again when it is opened.
    """
    new = [stamp for stamp in map(_stamp, filter(Path.is_file, paths)) if stamp not in _passed]
    if new:
        with suppress(subprocess.TimeoutExpired):
            said = _in_child(new).stdout.splitlines()
            _passed.update(s for s, line in zip(new, said, strict=False) if line == b"null")


def _try_in_child(stamp: _Stamp) -> None:
    """Check the file in a process that may crash; remembered while the file is the same."""
    if stamp in _passed:
        return
    harm = "The file is damaged, or made to {} its reader: do not use it."
    try:
        child = _in_child([stamp])
    except subprocess.TimeoutExpired as late:
        rule = f"an HDF5 file must open in {late.timeout:.0f} s"
        raise RefusedError(rule, "one that does not", harm.format("hang")) from None
    try:
        refusal = json.loads(child.stdout)
    except ValueError:
        crash = "one that the HDF5 library crashes or hangs on"
        received = f"{crash} (exit code {child.returncode})"
        raise RefusedError("must be a whole HDF5 file", received, harm.format("harm")) from None
    if refusal is not None:
        raise RefusedError(refusal)
    _passed.add(stamp)


def _in_child(stamps: Sequence[_Stamp]) -> subprocess.CompletedProcess[bytes]:
    """What a child says of each file: a line of JSON, null or why it is refused."""
    seconds = sum(size for _, size, *_ in stamps) // _BYTES_PER_SECOND
    names = [str(Path(name).absolute()) for name, *_ in stamps]
    return subprocess.run(
        # -P keeps the working folder, which may be the attacker's, out of the import path.
        [sys.executable, "-P", "-m", hdf5_child.__name__, str(_CPU_SECONDS + seconds), *names],
        stdin=subprocess.DEVNULL,
        # Threads that nobody needs would count against the child's memory.
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        timeout=_SECONDS + seconds,
        check=False,
    )

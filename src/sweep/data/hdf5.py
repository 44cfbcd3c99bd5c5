"""HDF5 files that somebody else made, opened so that they cannot reach out or swell up.

HDF5 can point at other files of the machine (external links, external storage, virtual datasets),
load libraries (filter plugins) and promise far more than it stores. No image set or model needs
any of it, so a file that uses it is refused before anything is read. What the library itself makes
of a damaged file is tried in a child process first: if it crashes there or hangs, that is a refusal
here.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from sweep.base.errors import SweepError

# A chunk is inflated whole, so a large one costs memory however little of it is wanted.
CHUNK_BYTES = 64 << 20
# A packed chunk can inflate to far more than it says. Smaller ones cannot do harm (deflate stops
# at 1032 times); larger ones are inflated by the child first, within its limit of memory.
_HARMLESS_BYTES = 512 << 10
# What all datasets of a file may hold together once inflated.
TOTAL_BYTES = 64 << 30
# Below the floor a promise does no harm. Above it real images and weights compress by far less
# than this; deflate itself stops at 1032.
PROMISE_FLOOR = 16 << 20
PROMISE_RATIO = 256
ATTRIBUTE_BYTES = 32 << 20
_OBJECTS = 20_000
_TEXTS = 1_000
_DEPTH = 64
_CHILD_SECONDS = 60
_CHILD_CPU_SECONDS = 10
_CHILD_BYTES = 2 << 30
_CHILD_BYTES_PER_SECOND = 50 << 20
_PACKERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_LZF}
_FILTERS = _PACKERS | {h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
# What h5py raises when the library meets something it cannot make sense of.
_DAMAGE = (OSError, RuntimeError, ValueError, TypeError, KeyError, OverflowError, MemoryError)
SIGNATURE = b"\x89HDF\r\n\x1a\n"


class _RefusedError(Exception):
    """Why a file is not opened; becomes the caller's kind of error."""


def shown(text: object, width: int = 100) -> str:
    """A name out of a file, safe to print: quoted, escaped and at most `width` characters."""
    quoted = repr(str(text))
    return quoted if len(quoted) <= width else quoted[: width - 3] + "..."


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
        _check_path(path)
        _rehearse(path)
        file = _open(path)
    except _RefusedError as refusal:
        raise error(f"{called or path}: {refusal}") from None
    with file:
        try:
            _check(file)
        except _RefusedError as refusal:
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
    except _DAMAGE as damage:
        raise error(
            f"{path}: {what} must be readable. Received: {_first_line(damage)}. "
            "The file is damaged: copy or make it again."
        ) from damage


def attribute(item: h5py.HLObject, name: str) -> str | None:
    """A text attribute of a group or file, None where there is none.

    Raises:
        ValueError: it is not one text.
    """
    if name not in item.attrs:
        return None
    value = item.attrs[name]
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, str):
        return str(value)
    raise ValueError(f"attribute {shown(name)} is not one text")


def attributes(item: h5py.HLObject, name: str) -> list[str] | None:
    """A list of texts kept as an attribute, None where there is none.

    Keras splits a long list over `name0`, `name1`, ...

    Raises:
        ValueError: it is not a list of texts.
    """
    parts = [name] if name in item.attrs else []
    while not parts or parts[0] != name:
        part = f"{name}{len(parts)}"
        if part not in item.attrs:
            break
        parts.append(part)
    if not parts:
        return None
    found: list[str] = []
    for part in parts:
        values = np.asarray(item.attrs[part])
        # An empty list is stored as floats.
        if values.ndim != 1 or (values.size and values.dtype.kind not in "SUO"):
            raise ValueError(f"attribute {shown(part)} is not a list of texts")
        found += [v.decode("utf-8") if isinstance(v, bytes) else str(v) for v in values]
    return found


def plain(dataset: h5py.Dataset, kinds: str = "fiu") -> bool:
    """Whether a dataset holds ordinary numbers of at most 8 bytes, of one of the NumPy kinds."""
    dtype: np.dtype[Any] = dataset.dtype
    return dtype.kind in kinds and dtype.itemsize <= 8 and dtype.subdtype is None


def array(dataset: h5py.Dataset) -> NDArray[Any]:
    """A whole dataset in memory, in the byte order of this machine."""
    values = np.asarray(dataset[()])
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _first_line(damage: BaseException) -> str:
    text = str(damage).strip().splitlines()
    return shown(text[0] if text else type(damage).__name__)


def _check_path(path: Path) -> None:
    try:
        status = path.stat()
    except (OSError, ValueError) as missing:
        raise _RefusedError(
            f"the file must exist. Received: {_first_line(missing)}. Check the path."
        ) from missing
    if not stat.S_ISREG(status.st_mode):
        raise _RefusedError(
            "an HDF5 file must be a regular file. Received: a folder, pipe or device. "
            "Check the path."
        )
    try:
        with path.open("rb") as file:
            start = file.read(len(SIGNATURE))
    except OSError as damage:
        raise _RefusedError(
            f"the file must be readable. Received: {_first_line(damage)}."
        ) from damage
    if start != SIGNATURE:
        raise _RefusedError(
            f"must be an HDF5 file. Received: {status.st_size:,} bytes that begin with {start!r}. "
            "Check the path and how the file was made."
        )


def _open(path: Path) -> h5py.File:
    # A dataset can name any filter; without a search path none is loaded from a library.
    while h5py.h5pl.size():
        h5py.h5pl.remove(0)
    try:
        return h5py.File(path, "r", locking="best-effort")
    except _DAMAGE as damage:
        raise _RefusedError(
            f"must be a whole HDF5 file. Received: {_first_line(damage)}. "
            "The file is damaged or truncated: copy or make it again."
        ) from damage


@dataclass
class _Tally:
    """What the walk through a file has met so far."""

    file_bytes: int
    objects: int = 0
    stored: int = 0
    promised: int = 0


def _check(file: h5py.File) -> None:
    try:
        tally = _Tally(file.id.get_filesize())
        _check_group(file["/"].id, "", 0, tally, set())
    except RecursionError as damage:
        raise _RefusedError(_damaged("/", damage)) from damage
    except _DAMAGE as damage:
        raise _RefusedError(_damaged("/", damage)) from damage


def _damaged(name: str, damage: BaseException) -> str:
    return (
        f"{shown(name)} must be readable. Received: {_first_line(damage)}. "
        "The file is damaged: copy or make it again."
    )


def _check_group(
    group: h5py.h5g.GroupID, path: str, depth: int, tally: _Tally, above: set[int]
) -> None:
    if depth > _DEPTH:
        raise _RefusedError(
            f"groups may be nested {_DEPTH} deep. Received: {shown(path)}. Do not use this file."
        )
    address = h5py.h5o.get_info(group).addr
    if address in above:
        raise _RefusedError(
            f"groups must form a tree. Received: group {shown(path)}, which contains itself. "
            "Do not use this file."
        )
    _check_attributes(group, path)
    tally.objects += group.get_num_objs()
    if tally.objects > _OBJECTS:
        raise _RefusedError(
            f"a file may hold {_OBJECTS:,} objects. Received: more. Do not use this file."
        )
    for name in group:
        child = f"{path}/{name.decode('utf-8', 'backslashreplace')}"
        kind = group.links.get_info(name).type
        if kind != h5py.h5l.TYPE_HARD:
            words = {h5py.h5l.TYPE_SOFT: "a soft link", h5py.h5l.TYPE_EXTERNAL: "an external link"}
            raise _RefusedError(
                "a file must hold its content itself. Received: "
                f"{words.get(kind, 'a user-defined link')} at {shown(child)}. "
                "Links can point at other files of this machine: do not use this file, or ask "
                "its maker for a copy without links."
            )
        item = h5py.h5o.open(group, name)
        if isinstance(item, h5py.h5g.GroupID):
            _check_group(item, child, depth + 1, tally, above | {address})
        elif isinstance(item, h5py.h5d.DatasetID):
            _check_attributes(item, child)
            _check_dataset(item, child, tally)


def _check_attributes(item: h5py.h5g.GroupID | h5py.h5d.DatasetID, path: str) -> None:
    count = h5py.h5a.get_num_attrs(item)
    if count > _OBJECTS:
        raise _RefusedError(f"{shown(path)} has {count:,} attributes. Do not use this file.")
    for index in range(count):
        held = h5py.h5a.open(item, index=index)
        called, elements = os.fsdecode(held.name), prod(held.shape)
        kind = held.get_type()
        size = elements * kind.get_size()
        # Texts of open length lie elsewhere in the file, and a thousand can share one place.
        swells = kind.get_class() == h5py.h5t.VLEN or (
            kind.get_class() == h5py.h5t.STRING and kind.is_variable_str()
        )
        if not swells and kind.detect_class(h5py.h5t.VLEN):
            raise _RefusedError(
                "an attribute of several parts may not hold texts of open length. Received: "
                f"{shown(called)} of {shown(path or '/')}. Write the file again without it."
            )
        if size > ATTRIBUTE_BYTES or (swells and elements > _TEXTS):
            raise _RefusedError(
                f"an attribute may hold {ATTRIBUTE_BYTES >> 20} MB. Received: "
                f"{shown(called)} of {shown(path or '/')} with {elements:,} values, "
                f"{size:,} bytes. Do not use this file."
            )


def _check_dataset(dataset: h5py.h5d.DatasetID, path: str, tally: _Tally) -> None:
    made = dataset.get_create_plist()
    layout = made.get_layout()
    if layout == h5py.h5d.VIRTUAL:
        raise _RefusedError(
            f"a file must hold its content itself. Received: the virtual dataset {shown(path)}, "
            "which is put together from other files. Do not use this file."
        )
    if layout not in (h5py.h5d.COMPACT, h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED):
        raise _RefusedError(f"{shown(path)} has an unknown layout. Do not use this file.")
    if made.get_external_count():
        name = made.get_external(0)[0]
        raise _RefusedError(
            f"a file must hold its content itself. Received: dataset {shown(path)} with its values "
            f"in the external file {shown(os.fsdecode(name))}. Do not use this file."
        )
    packers = 0
    for index in range(made.get_nfilters()):
        code, _, _, label = made.get_filter(index)
        # Two packers, one over the other, multiply what a byte can inflate to.
        packers += code in _PACKERS
        if code not in _FILTERS or packers > 1:
            raise _RefusedError(
                "values may be packed with gzip or lzf, once, beside shuffle and fletcher32. "
                f"Received: dataset {shown(path)} with filter {code} "
                f"({shown(os.fsdecode(label))}) as number {index + 1}. Write the file again so."
            )
    itemsize = dataset.get_type().get_size()
    promised = prod(dataset.shape) * itemsize
    stored = dataset.get_storage_size()
    tally.promised += promised
    tally.stored += stored
    if layout == h5py.h5d.CHUNKED and prod(made.get_chunk()) * itemsize > CHUNK_BYTES:
        raise _RefusedError(
            f"a chunk may hold {CHUNK_BYTES >> 20} MB. Received: dataset {shown(path)} with chunks "
            f"of {made.get_chunk()}, {prod(made.get_chunk()) * itemsize:,} bytes. "
            "Write the file again with smaller chunks."
        )
    if (
        promised > max(PROMISE_FLOOR, PROMISE_RATIO * stored)
        or tally.promised > max(PROMISE_FLOOR, PROMISE_RATIO * tally.stored)
        or tally.promised > TOTAL_BYTES
    ):
        raise _RefusedError(
            f"values may not take more than {PROMISE_RATIO} times the room they are stored in, nor "
            f"{TOTAL_BYTES >> 30} GB. Received: dataset {shown(path)} of shape {dataset.shape}, "
            f"{promised:,} bytes promised by {stored:,} stored. Do not use this file."
        )
    if tally.stored > tally.file_bytes:
        raise _RefusedError(
            f"datasets must lie in the file, side by side. Received: {tally.stored:,} bytes of "
            f"values up to {shown(path)} in a file of {tally.file_bytes:,}. Do not use this file."
        )


_Stamp = tuple[str, int, int, int, int]
_rehearsed: set[_Stamp] = set()


def rehearse(paths: Iterable[Path]) -> None:
    """Check files in one process, which spares a process for each when they are opened.

    A file that is refused, or that the process does not survive, is tried again when it is opened.
    """
    stamps = {path: _stamp(path) for path in paths if path.is_file()}
    new = [path for path, stamp in stamps.items() if stamp not in _rehearsed]
    if new:
        with suppress(subprocess.TimeoutExpired):
            said = _in_child(new).stdout.splitlines()
            passed = (path for path, line in zip(new, said, strict=False) if line == b"null")
            _rehearsed.update(stamps[path] for path in passed)


def _rehearse(path: Path) -> None:
    """Check the file in a process that may crash; remembered for as long as the file is the same.

    The same checks run again here: the child shows only that the library survives them.
    """
    stamp = _stamp(path)
    if stamp in _rehearsed:
        return
    try:
        child = _in_child([path])
    except subprocess.TimeoutExpired as late:
        raise _RefusedError(
            f"an HDF5 file must open in {late.timeout:.0f} s. Received: one that does not. "
            "The file is damaged, or made to hang its reader: do not use it."
        ) from None
    try:
        refusal = json.loads(child.stdout)
    except ValueError:
        raise _RefusedError(
            "must be a whole HDF5 file. Received: one that the HDF5 library crashes or hangs on "
            f"(exit code {child.returncode}). The file is damaged, or made to harm its reader: "
            "do not use it."
        ) from None
    if refusal is not None:
        raise _RefusedError(refusal)
    _rehearsed.add(stamp)


def _stamp(path: Path) -> _Stamp:
    status = path.stat()
    return (str(path), status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)


def _seconds(paths: Iterable[Path]) -> int:
    """What reading the files may take beyond a start."""
    return sum(path.stat().st_size for path in paths) // _CHILD_BYTES_PER_SECOND


def _in_child(paths: Sequence[Path]) -> subprocess.CompletedProcess[bytes]:
    """What a child says of each file: a line of JSON, null or why it is refused."""
    return subprocess.run(
        # -P keeps the working folder, which may be the attacker's, out of the import path.
        [sys.executable, "-P", "-m", "sweep.data.hdf5", *(str(path.absolute()) for path in paths)],
        stdin=subprocess.DEVNULL,
        # Threads that nobody needs would count against the child's memory.
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        timeout=_CHILD_SECONDS + _seconds(paths),
        check=False,
    )


def _limit_child(seconds: int) -> None:
    try:
        import resource
    except ImportError:  # Windows: the time limit of the parent has to do
        return
    resource.setrlimit(resource.RLIMIT_AS, (_CHILD_BYTES, _CHILD_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _try(name: str, item: h5py.HLObject) -> None:
    _read_attributes(name, item)
    _inflate(name, item)


def _read_attributes(name: str, item: h5py.HLObject) -> None:
    """Read them once: a heap of texts that was tampered with can swell, or hang the library."""
    for key in item.attrs:
        try:
            value = item.attrs[key]
        except (TypeError, ValueError):
            continue  # what can be read but makes no sense is told where it is used
        except _DAMAGE as damage:
            raise _RefusedError(_damaged(f"{name} {key}", damage)) from damage
        values = value if isinstance(value, np.ndarray) else np.array([value], object)
        if not values.dtype.hasobject:
            continue
        held = sum(map(sys.getsizeof, values.flat))
        if held > ATTRIBUTE_BYTES:
            raise _RefusedError(
                f"an attribute may hold {ATTRIBUTE_BYTES >> 20} MB. Received: {shown(key)} of "
                f"{shown(name)} with {held:,} bytes of text. Do not use this file."
            )


def _inflate(name: str, item: h5py.HLObject) -> None:
    """Read the packed chunks that could inflate to more memory than there is."""
    if (
        not isinstance(item, h5py.Dataset)
        or item.chunks is None
        or not item.id.get_create_plist().get_nfilters()
    ):
        return
    large: list[tuple[int, ...]] = []

    def note(chunk: h5py.h5d.StoreInfo) -> None:
        if chunk.size > _HARMLESS_BYTES:
            large.append(chunk.chunk_offset)

    try:
        item.id.chunk_iter(note)
        for offset in large:
            item[tuple(slice(o, o + 1) for o in offset)]
    except _DAMAGE as damage:
        raise _RefusedError(
            "packed values must inflate to what they say, and be whole. Received: dataset "
            f"{shown(name)}: {_first_line(damage)}. Do not use this file."
        ) from damage


def _main(path: Path) -> str | None:
    try:
        with _open(path) as file:
            _check(file)
            _read_attributes("/", file)
            file.visititems(_try)
    except _RefusedError as refusal:
        return str(refusal)
    return None


if __name__ == "__main__":
    named = [Path(name) for name in sys.argv[1:]]
    _limit_child(_CHILD_CPU_SECONDS + _seconds(named))
    for one in named:
        print(json.dumps(_main(one)), flush=True)

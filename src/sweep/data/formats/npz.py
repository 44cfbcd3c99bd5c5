"""NumPy's `.npz` archives: arrays are read where they lie, or unpacked once; nothing is pickled."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from sweep.base.errors import DataError
from sweep.data.formats import stored
from sweep.data.formats.hdf5_check import PROMISE_FLOOR, PROMISE_RATIO, TOTAL_BYTES, reason, shown
from sweep.data.formats.stored import Contents, Stamp

if TYPE_CHECKING:
    from pathlib import Path

    from sweep.data.formats.stored import Stored

SIGNATURE = b"PK\x03\x04"
_ARRAYS = 1_000
_END, _END_BYTES, _INDEX_BYTES = b"PK\x05\x06", 22, 1 << 18
_LOCAL_BYTES = 30
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, OSError, RuntimeError, ValueError, EOFError, KeyError),
    *(NotImplementedError, SyntaxError, TypeError, OverflowError, MemoryError, RecursionError),
)


def contents(path: Path) -> Contents:
    """What an archive holds.

    Raises:
        DataError: it is damaged, swells, or needs pickle.
    """
    try:
        stamp = Stamp.of(path)
        with stamp.opened() as file:
            _check_index(path, file)
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
                _check_sizes(path, members)
                found = [_array(stamp, file, archive, member) for member in members]
    except _DAMAGE as damage:
        raise DataError(
            f"{path}: an .npz archive must be whole. Received: {reason(damage)}. "
            "The file is damaged or truncated: copy or make it again."
        ) from damage
    arrays = {
        member.filename.removesuffix(".npy"): one
        for member, one in zip(members, found, strict=True)
    }
    return Contents(stamp, [shown(name) for name in [*arrays][:10]], arrays)


def _check_index(path: Path, file: BinaryIO) -> None:
    """Refuse a large index, before zipfile makes an object of every entry."""
    file.seek(max(0, file.seek(0, 2) - _END_BYTES))
    end = file.read()
    listed = int.from_bytes(end[12:16], "little")
    if not end.startswith(_END) or listed > _INDEX_BYTES:
        raise DataError(
            f"{path}: an .npz archive must end with a small ZIP index. Received: something else. "
            "The file is damaged or truncated, or was not made by numpy.savez."
        )


def _check_sizes(path: Path, members: list[zipfile.ZipInfo]) -> None:
    names = [member.filename for member in members]
    total = sum(member.file_size for member in members)
    packed = sum(member.compress_size for member in members)
    if len(names) > _ARRAYS or len(set(names)) < len(names):
        raise DataError(
            f"{path}: an .npz archive may hold {_ARRAYS:,} arrays, each once. Received: "
            f"{len(names):,} members. Do not use this file."
        )
    if total > max(PROMISE_FLOOR, PROMISE_RATIO * packed) or total > TOTAL_BYTES:
        raise DataError(
            f"{path}: values may not take more than {PROMISE_RATIO} times the room they are stored "
            f"in, nor {TOTAL_BYTES >> 30} GB. Received: {total:,} bytes promised by {packed:,} "
            "stored. Do not use this file."
        )


def _array(
    stamp: Stamp, file: BinaryIO, archive: zipfile.ZipFile, member: zipfile.ZipInfo
) -> Stored:
    name = f"{stamp.path}: array {shown(member.filename.removesuffix('.npy'))}"
    if member.flag_bits & 1 or member.compress_type not in (
        zipfile.ZIP_STORED,
        zipfile.ZIP_DEFLATED,
    ):
        raise DataError(
            f"{name} must be stored as it is or with deflate. Received: encryption, or method "
            f"{member.compress_type}. Write the file again with numpy.savez."
        )
    with archive.open(member) as packed:
        shape, fortran, dtype = _header(packed)
        start = packed.tell()
    if dtype.hasobject or fortran or dtype.subdtype:
        received = "Python objects" if dtype.hasobject else "another order"
        raise DataError(
            f"{name} must hold numbers, row after row. Received: {received}. Write the file again "
            "with numpy.savez and numpy.ascontiguousarray(array, dtype)."
        )
    size = prod(shape) * dtype.itemsize
    if size != member.file_size - start:
        raise stored.damaged(name, f"{member.file_size - start:,} bytes for the shape {shape}")
    if member.compress_type == zipfile.ZIP_DEFLATED:
        opened: Any = stored.Unpacked(partial(_unpack, name, stamp, member.filename))
        return stored.in_file(name, shape, dtype, start, opened)
    file.seek(member.header_offset)
    local = file.read(_LOCAL_BYTES)
    lengths = int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
    place = member.header_offset + _LOCAL_BYTES + lengths + start
    return stored.in_file(name, shape, dtype, place, stamp.opened)


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        read = np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if any(size < 0 for size in shape):
        raise ValueError(f"shape {shape}")
    return shape, fortran and len(shape) > 1, dtype


def _unpack(name: str, stamp: Stamp, member: str, out: BinaryIO) -> None:
    """Inflate a member, its header included; zipfile stops at the size that the index says."""
    try:
        with stamp.opened() as file, zipfile.ZipFile(file) as archive:
            shutil.copyfileobj(archive.open(member), out, 1 << 20)
            out.flush()
    except _DAMAGE as damage:
        raise stored.damaged(name, reason(damage)) from damage

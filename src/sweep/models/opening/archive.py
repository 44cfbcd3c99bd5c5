"""Unpack `.keras` archives: ZIP files of a description, weights and metadata."""

from __future__ import annotations

import re
import shutil
import stat
import zipfile
import zlib
from typing import TYPE_CHECKING

from sweep.base.errors import ModelError
from sweep.data import hdf5
from sweep.models.opening import allowlist
from sweep.models.opening.weights import FILE_BYTES, RATIO

if TYPE_CHECKING:
    from pathlib import Path

_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_MEMBERS = {_CONFIG: allowlist.TEXT_BYTES, _METADATA: 1 << 20, _WEIGHTS: FILE_BYTES}
_ZIP_END, _ZIP64 = b"PK\x05\x06", b"PK\x06\x07"
_ZIP_END_BYTES = 22
_ZIP_INDEX_BYTES = 1 << 16
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, OSError, RuntimeError),
    *(ValueError, EOFError, KeyError),
)


def unpack(path: Path, source: Path, weights: Path) -> tuple[bytes, int]:
    """Unpack an archive that holds a description, weights and metadata alone.

    `source` is a copy of the file; its weights go to `weights`. Returns the description, JSON, and
    the version of Keras that wrote it.

    Raises:
        ModelError: the archive is damaged, or of a kind that Keras does not write.
    """
    try:
        return _unpack(path, source, weights)
    except _DAMAGE as damage:
        raise ModelError(
            f"{path}: a .keras archive must be whole. Received: {hdf5.shown(damage)}. "
            "The file is damaged or truncated: copy or make it again."
        ) from damage


def _unpack(path: Path, source: Path, weights: Path) -> tuple[bytes, int]:
    _check_index(path, source)
    with zipfile.ZipFile(source) as archive:
        members = archive.infolist()
        names = [member.filename for member in members]
        if set(names) - set(_MEMBERS) or len(names) != len(set(names)):
            odd = next((n for n in names if n not in _MEMBERS or names.count(n) > 1), "")
            raise ModelError(
                f"{path}: a .keras archive must hold {', '.join(sorted(_MEMBERS))}, once each. "
                f"Received: {hdf5.shown(odd)} among {len(names)} members. Layers that bring files "
                "of their own are not opened."
            )
        if not {_CONFIG, _WEIGHTS} <= set(names):
            raise ModelError(
                f"{path}: a .keras archive must hold {_CONFIG} and {_WEIGHTS}. "
                f"Received: {', '.join(names) or 'nothing'}. Save the model with Keras 3."
            )
        for member in members:
            _check_member(path, member)
        with archive.open(_CONFIG) as packed:
            # Asked for everything, zipfile inflates up to 2 GB, whatever the index says.
            text = packed.read(allowlist.TEXT_BYTES)
        metadata = archive.open(_METADATA).read(1 << 20) if _METADATA in names else b""
        with archive.open(_WEIGHTS) as packed, weights.open("wb") as file:
            shutil.copyfileobj(packed, file)
    version = re.search(rb'"keras_version": *"([123])\.', metadata)
    return text, int(version[1]) if version else 3


def _check_index(path: Path, source: Path) -> None:
    """Refuse an index that is large, before zipfile makes an object of every entry."""
    with source.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _ZIP_END_BYTES - 20))
        tail = file.read()
    end = tail[-_ZIP_END_BYTES:]
    listed = int.from_bytes(end[12:16], "little")
    if not end.startswith(_ZIP_END) or end[-2:] != b"\0\0" or tail.startswith(_ZIP64):
        raise ModelError(
            f"{path}: a .keras archive must end with a plain ZIP index. Received: something else. "
            "The file is damaged or truncated, or was not made by Keras."
        )
    if listed > _ZIP_INDEX_BYTES:
        raise ModelError(
            f"{path}: a .keras archive must hold three members. Received: an index of {listed:,} "
            "bytes. Do not use this file."
        )


def _check_member(path: Path, member: zipfile.ZipInfo) -> None:
    problem = None
    if member.flag_bits & 1:
        problem = "it is encrypted"
    elif member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        problem = f"it is packed with method {member.compress_type}"
    elif member.external_attr >> 16 and stat.S_ISLNK(member.external_attr >> 16):
        problem = "it is a link"
    elif member.file_size > _MEMBERS[member.filename]:
        problem = (
            f"it unpacks to {member.file_size:,} bytes, at most {_MEMBERS[member.filename]:,} "
            "are allowed"
        )
    elif member.file_size > max(hdf5.PROMISE_FLOOR, RATIO * member.compress_size):
        problem = f"{member.compress_size:,} bytes unpack to {member.file_size:,}"
    if problem:
        raise ModelError(
            f"{path}: the members of a .keras archive must be plain files of ordinary size. "
            f"Received: {member.filename!r}: {problem}. Do not use this file."
        )

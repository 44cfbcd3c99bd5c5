"""The checks of HDF5 files that somebody else made.

HDF5 can point at other files of the machine (external links, external storage, virtual datasets),
load libraries (filter plugins) and promise far more than it stores. No image set or model needs
any of it, so a file that uses it is refused before anything is read.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import h5py

if TYPE_CHECKING:
    from pathlib import Path

# A chunk is inflated whole, so a large one costs memory however little of it is wanted.
CHUNK_BYTES = 64 << 20
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
_PACKERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_LZF}
_FILTERS = _PACKERS | {h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
_LAYOUTS = (h5py.h5d.COMPACT, h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED)
_LINKS = {h5py.h5l.TYPE_SOFT: "a soft link", h5py.h5l.TYPE_EXTERNAL: "an external link"}
# What h5py raises when the library meets something it cannot make sense of.
DAMAGE = (OSError, RuntimeError, ValueError, TypeError, KeyError, OverflowError, MemoryError)
_REFUSE = "Do not use this file."
_COPY = "The file is damaged: copy or make it again."


class RefusedError(Exception):
    """Why a file is not opened; becomes the caller's kind of error."""

    def __init__(self, rule: str, received: str = "", then: str = _REFUSE) -> None:
        super().__init__(f"{rule}. Received: {received}. {then}" if received else rule)


def shown(text: object, width: int = 100) -> str:
    """A name out of a file, safe to print: quoted, escaped and at most `width` characters."""
    quoted = repr(str(text))
    return quoted if len(quoted) <= width else quoted[: width - 3] + "..."


def reason(damage: BaseException) -> str:
    """The first line of an error of the library, safe to print."""
    text = str(damage).strip().splitlines()
    return shown(text[0] if text else type(damage).__name__)


def damaged(name: str, damage: BaseException) -> RefusedError:
    """The refusal of a file whose object `name`, as printed, cannot be read."""
    return RefusedError(f"{name} must be readable", reason(damage), _COPY)


def open_file(path: Path) -> h5py.File:
    """Open a file without checking it.

    Raises:
        RefusedError: the library cannot open it.
    """
    # A dataset can name any filter; without a search path none is loaded from a library.
    while h5py.h5pl.size():
        h5py.h5pl.remove(0)
    try:
        return h5py.File(path, "r", locking="best-effort")
    except DAMAGE as damage:
        raise RefusedError(
            "must be a whole HDF5 file",
            reason(damage),
            "The file is damaged or truncated: copy or make it again.",
        ) from damage


@dataclass
class _Tally:
    """What the walk through a file has met so far."""

    file_bytes: int
    objects: int = 0
    stored: int = 0
    promised: int = 0


def check(file: h5py.File) -> None:
    """Check that a file has hard links, groups and self-contained datasets only.

    Raises:
        RefusedError: it has not, or is damaged.
    """
    try:
        _check_group(file["/"].id, "", 0, _Tally(file.id.get_filesize()), set())
    except (RecursionError, *DAMAGE) as damage:
        raise damaged(shown("/"), damage) from damage


def _check_group(
    group: h5py.h5g.GroupID, path: str, depth: int, tally: _Tally, above: set[int]
) -> None:
    if depth > _DEPTH:
        raise RefusedError(f"groups may be nested {_DEPTH} deep", shown(path))
    address = h5py.h5o.get_info(group).addr
    if address in above:
        received = f"group {shown(path)}, which contains itself"
        raise RefusedError("groups must form a tree", received)
    _check_attributes(group, path)
    tally.objects += group.get_num_objs()
    if tally.objects > _OBJECTS:
        raise RefusedError(f"a file may hold {_OBJECTS:,} objects", "more")
    for name in group:
        child = f"{path}/{name.decode('utf-8', 'backslashreplace')}"
        kind = group.links.get_info(name).type
        if kind != h5py.h5l.TYPE_HARD:
            raise RefusedError(
                "a file must hold its content itself",
                f"{_LINKS.get(kind, 'a user-defined link')} at {shown(child)}",
                "Links can point at other files of this machine: do not use this file, or ask "
                "its maker for a copy without links.",
            )
        item = h5py.h5o.open(group, name)
        if isinstance(item, h5py.h5g.GroupID):
            _check_group(item, child, depth + 1, tally, above | {address})
        elif isinstance(item, h5py.h5d.DatasetID):
            _check_attributes(item, child)
            _check_dataset(item, child, tally)


def _check_attributes(item: h5py.h5g.GroupID | h5py.h5d.DatasetID, path: str) -> None:
    owner = shown(path or "/")
    count = h5py.h5a.get_num_attrs(item)
    if count > _OBJECTS:
        raise RefusedError(f"an object may have {_OBJECTS:,} attributes", f"{count:,} of {owner}")
    for index in range(count):
        held = h5py.h5a.open(item, index=index)
        called, elements, kind = os.fsdecode(held.name), prod(held.shape), held.get_type()
        size = elements * kind.get_size()
        # Texts of open length lie elsewhere in the file, and a thousand can share one place.
        swells = kind.get_class() == h5py.h5t.VLEN or (
            kind.get_class() == h5py.h5t.STRING and kind.is_variable_str()
        )
        if not swells and kind.detect_class(h5py.h5t.VLEN):
            raise RefusedError(
                "an attribute of several parts may not hold texts of open length",
                f"{shown(called)} of {owner}",
                "Write the file again without it.",
            )
        if size > ATTRIBUTE_BYTES or (swells and elements > _TEXTS):
            raise RefusedError(
                f"an attribute may hold {ATTRIBUTE_BYTES >> 20} MB",
                f"{shown(called)} of {owner} with {elements:,} values, {size:,} bytes",
            )


def _check_dataset(dataset: h5py.h5d.DatasetID, path: str, tally: _Tally) -> None:
    made = dataset.get_create_plist()
    layout = made.get_layout()
    owned = "a file must hold its content itself"
    if layout == h5py.h5d.VIRTUAL:
        part = f"the virtual dataset {shown(path)}, which is put together from other files"
        raise RefusedError(owned, part)
    if layout not in _LAYOUTS:
        raise RefusedError("a dataset must have a known layout", shown(path))
    if made.get_external_count():
        name = shown(os.fsdecode(made.get_external(0)[0]))
        part = f"dataset {shown(path)} with its values in the external file {name}"
        raise RefusedError(owned, part)
    _check_filters(made, path)
    itemsize = dataset.get_type().get_size()
    promised, stored = prod(dataset.shape) * itemsize, dataset.get_storage_size()
    tally.promised += promised
    tally.stored += stored
    if layout == h5py.h5d.CHUNKED and prod(made.get_chunk()) * itemsize > CHUNK_BYTES:
        raise RefusedError(
            f"a chunk may hold {CHUNK_BYTES >> 20} MB",
            f"dataset {shown(path)} with chunks of {made.get_chunk()}, "
            f"{prod(made.get_chunk()) * itemsize:,} bytes",
            "Write the file again with smaller chunks.",
        )
    if (
        promised > max(PROMISE_FLOOR, PROMISE_RATIO * stored)
        or tally.promised > max(PROMISE_FLOOR, PROMISE_RATIO * tally.stored)
        or tally.promised > TOTAL_BYTES
    ):
        raise RefusedError(
            f"values may not take more than {PROMISE_RATIO} times the room they are stored in, nor "
            f"{TOTAL_BYTES >> 30} GB",
            f"dataset {shown(path)} of shape {dataset.shape}, {promised:,} bytes promised by "
            f"{stored:,} stored",
        )
    if tally.stored > tally.file_bytes:
        raise RefusedError(
            "datasets must lie in the file, side by side",
            f"{tally.stored:,} bytes of values up to {shown(path)} in a file of "
            f"{tally.file_bytes:,}",
        )


def _check_filters(made: h5py.h5p.PropDCID, path: str) -> None:
    packers = 0
    for index in range(made.get_nfilters()):
        code, _, _, label = made.get_filter(index)
        # Two packers, one over the other, multiply what a byte can inflate to.
        packers += code in _PACKERS
        if code not in _FILTERS or packers > 1:
            raise RefusedError(
                "values may be packed with gzip or lzf, once, beside shuffle and fletcher32",
                f"dataset {shown(path)} with filter {code} ({shown(os.fsdecode(label))}) as "
                f"number {index + 1}",
                "Write the file again so.",
            )

"""What is done to an untrusted HDF5 file in a process of its own, which may crash or be stopped.

`describe SECONDS PATH...` prints a line of JSON for each file: what it holds, or why it is
refused. `unpack SECONDS PATH NAME` writes a dataset to the file that is its standard output.
"""

from __future__ import annotations

import json
import os
import sys
from base64 import b64encode
from itertools import islice, product
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from sweep.data.formats.hdf5_check import (
    ATTRIBUTE_BYTES,
    DAMAGE,
    RefusedError,
    check,
    damaged,
    open_file,
    reason,
    shown,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

# A packed chunk can inflate to far more than it says. Smaller ones cannot do harm (deflate stops
# at 1032 times); larger ones are inflated here first, within this process' limit of memory.
_HARMLESS_BYTES = 512 << 10
_MEMORY_BYTES = 2 << 30
# What is unpacked at once; and what need not be unpacked to a file.
_BLOCK_BYTES = 256 << 20
_SMALL_BYTES = 1 << 20
# How many datasets are described, and how long their names may be.
_NAMED = 100


def _limit(seconds: int) -> None:
    try:
        import resource
    except ImportError:  # Windows: the time limit of the parent has to do
        return
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _try(name: str, item: h5py.HLObject) -> None:
    """Read attributes once: a heap of texts that was tampered with can swell, or hang the library.

    Of values only the packed chunks are read that could inflate to more memory than there is.
    """
    for key in item.attrs:
        try:
            value = item.attrs[key]
        except (TypeError, ValueError):
            continue  # what can be read but makes no sense is told where it is used
        except DAMAGE as damage:
            raise damaged(shown(f"{name} {key}"), damage) from damage
        values = value if isinstance(value, np.ndarray) else np.array([value], object)
        held = sum(map(sys.getsizeof, values.flat)) if values.dtype.hasobject else 0
        if held > ATTRIBUTE_BYTES:
            raise RefusedError(
                f"an attribute may hold {ATTRIBUTE_BYTES >> 20} MB",
                f"{shown(key)} of {shown(name)} with {held:,} bytes of text",
            )
    if isinstance(item, h5py.Dataset) and item.chunks and item.id.get_create_plist().get_nfilters():
        _inflate(name, item)


def _inflate(name: str, item: h5py.Dataset) -> None:
    large: list[tuple[int, ...]] = []

    def note(chunk: h5py.h5d.StoreInfo) -> None:
        if chunk.size > _HARMLESS_BYTES:
            large.append(chunk.chunk_offset)

    try:
        item.id.chunk_iter(note)
        for offset in large:
            item[tuple(slice(o, o + 1) for o in offset)]
    except DAMAGE as damage:
        rule = "packed values must inflate to what they say, and be whole"
        raise RefusedError(rule, f"dataset {shown(name)}: {reason(damage)}") from damage


def _describe(path: Path) -> dict[str, object]:
    """Check a file; what its datasets are, or why it is refused."""
    try:
        with open_file(path) as file:
            check(file)
            _try("/", file)
            file.visititems(_try)
            found = {name: file[name] for name in islice(file, _NAMED) if len(name) < _NAMED}
            return {
                "names": [shown(name) for name in islice(file, 10)],
                "datasets": {n: _of(d) for n, d in found.items() if isinstance(d, h5py.Dataset)},
            }
    except RefusedError as refusal:
        return {"refused": str(refusal)}


def _of(dataset: h5py.Dataset) -> dict[str, object]:
    """Shape and type of a dataset, and where its bytes lie: in the file, here, or packed."""
    dtype, shape = dataset.dtype, dataset.shape
    known: dict[str, object] = {"shape": shape, "dtype": dtype.str, "type": str(dtype)}
    if dtype.kind not in "biuf" or shape is None:
        return known
    made, kind = dataset.id.get_create_plist(), dataset.id.get_type()
    as_numpy = kind.equal(h5py.h5t.py_create(dtype))  # floats can be laid out in other ways
    if made.get_layout() == h5py.h5d.CONTIGUOUS and as_numpy:
        known["offset"] = dataset.id.get_offset()
    if known.get("offset") is None and dataset.nbytes <= _SMALL_BYTES:
        known["bytes"] = b64encode(dataset[()].tobytes()).decode()
    return known


def unpack(path: Path, name: str, out: int, limit: int = _BLOCK_BYTES) -> None:
    """Write a dataset, so many bytes at once, to an open file as if it were stored as it is."""
    with open_file(path) as file:
        dataset = file[name]
        shape, item = dataset.shape, dataset.dtype.itemsize
        block, axis = parts(shape, dataset.chunks or (1, *shape[1:]), limit // item)
        steps = [max(1, size * item) for size in (prod(shape[a + 1 :]) for a in range(len(shape)))]
        for start in product(*map(range, [0] * len(shape), shape, block)):
            values = dataset[tuple(slice(s, s + b) for s, b in zip(start, block, strict=True))]
            first = sum(s * step for s, step in zip(start, steps, strict=True))
            for inner in np.ndindex(values.shape[:axis]):
                place = first + sum(i * step for i, step in zip(inner, steps, strict=False))
                waiting = memoryview(values[inner].tobytes())
                while waiting:
                    done = os.pwrite(out, waiting, place)
                    waiting, place = waiting[done:], place + done


def parts(shape: Sequence[int], chunks: Sequence[int], limit: int) -> tuple[tuple[int, ...], int]:
    """The largest part of whole chunks within a limit, so that each chunk is inflated once.

    Args:
        shape: of the dataset.
        chunks: shape of a chunk.
        limit: how many numbers a part may hold; one chunk it always holds.

    Returns:
        The shape of a part, and the axis from which on it lies in the dataset as one piece.
    """
    part = list(shape)
    for axis, chunk in enumerate(chunks):
        other = max(1, prod(part[:axis] + part[axis + 1 :]))
        part[axis] = min(shape[axis], max(1, limit // other // chunk) * chunk)
        if prod(part) <= limit:
            return tuple(part), axis
    return tuple(part), len(part) - 1


def _main(task: str, seconds: str, *names: str) -> None:
    _limit(int(seconds))
    if task == "unpack":
        try:
            unpack(Path(names[0]), names[1], sys.stdout.fileno())
        except DAMAGE as damage:
            sys.exit(json.dumps(reason(damage)))
        return
    for name in names:
        print(json.dumps(_describe(Path(name))), flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])

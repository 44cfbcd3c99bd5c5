"""Image sets: what is read is what was written, and each mistake gets its one clear error."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.base.errors import DataError
from sweep.data import hdf5, image_set
from sweep.data.fit import fit
from sweep.data.formats import hdf5_child

RNG = np.random.default_rng(0)


def made(path: Path, n: int = 10, shape: tuple[int, int, int] = (6, 5, 3), **fields: Any) -> Path:
    """A small set in the lab's format with some of its datasets replaced (None: left out)."""
    height, width, channels = shape
    fields = {
        "data": np.random.default_rng(1).uniform(0, 255, (n, channels, height, width)),
        "label": np.arange(n, dtype=np.float32) % 4,
        **fields,
    }
    with h5py.File(path, "w") as file:
        for name, values in fields.items():
            if values is not None:
                file.create_dataset(name, data=values)
    return path


def stored(path: Path) -> np.ndarray:
    with h5py.File(path) as file:
        return file["data"][()].transpose(0, 2, 3, 1).astype(np.float32)


@pytest.mark.parametrize("dtype", ["u1", "f2", "f4", "f8", ">f4", ">f8"])
@pytest.mark.parametrize("layout", [{}, {"chunks": (3, 1, 2, 2), "compression": "gzip"}])
def test_batches_are_the_stored_images_channels_last(
    tmp_path: Path, dtype: str, layout: dict[str, Any]
) -> None:
    path = tmp_path / "set.h5"
    images = RNG.integers(0, 256, (10, 3, 6, 5)).astype(dtype)
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=images, **layout)
        file.create_dataset("label", data=np.arange(10))
    opened = image_set.open_set(path)
    for size in (1, 3, 7, 10, 100):
        batches = list(opened.batches(size))
        assert [len(b) for b in batches[:-1]] == [size] * (len(batches) - 1)
        assert all(b.dtype == np.float32 and b.flags.c_contiguous for b in batches)
        np.testing.assert_array_equal(np.concatenate(batches), stored(path))
    np.testing.assert_array_equal(opened.rows([7, 0, 7]), stored(path)[[7, 0, 7]])
    assert (len(opened), opened.shape, opened.labels.dtype) == (10, (6, 5, 3), np.int64)


@pytest.mark.parametrize("chunks", [(1, 1, 1, 1), (23, 1, 2, 2), (5, 3, 6, 1), (23, 3, 6, 5)])
@pytest.mark.parametrize("limit", [1, 200, 1500, 5000, 10**6])
def test_packed_sets_are_unpacked_in_parts(
    tmp_path: Path, chunks: tuple[int, ...], limit: int
) -> None:
    values = np.random.default_rng(0).normal(size=(23, 3, 6, 5))
    with h5py.File(tmp_path / "set.h5", "w") as file:
        file.create_dataset("data", data=values, chunks=chunks, compression="gzip")
    with (tmp_path / "raw").open("wb") as out:
        hdf5_child.unpack(tmp_path / "set.h5", "data", out.fileno(), limit)
    found = np.fromfile(tmp_path / "raw", np.float64)
    np.testing.assert_array_equal(found, values.reshape(-1))


@settings(deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1), st.integers(1, 999))
def test_a_part_holds_whole_chunks_within_its_limit(
    axes: list[tuple[int, int]], limit: int
) -> None:
    """So no chunk is inflated twice, however small chunks are (once a row before)."""
    shape, chunks = [max(a) for a in axes], [min(a) for a in axes]
    part, axis = hdf5_child.parts(shape, chunks, limit)
    assert all(p == s or p % c == 0 for p, s, c in zip(part, shape, chunks, strict=True))
    assert np.prod(part) <= max(limit, np.prod(chunks))
    assert list(part[axis + 1 :]) == shape[axis + 1 :]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_write_set_round_trip_in_the_labs_layout(tmp_path: Path, dtype: Any) -> None:
    images = RNG.integers(0, 256, (11, 6, 5, 3)).astype(dtype)
    path = tmp_path / "new" / "set.h5"
    image_set.write_set(path, (images[i : i + 4] for i in range(0, 11, 4)), np.arange(11))
    with h5py.File(path) as file:
        assert file["data"].shape == (11, 3, 6, 5)
        assert file["data"].dtype == dtype
        assert file["data"].chunks is None
        assert file["label"].dtype == np.float32
    opened = image_set.open_set(path)
    np.testing.assert_array_equal(np.concatenate(list(opened.batches(4))), images)
    np.testing.assert_array_equal(opened.labels, np.arange(11))
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("labels", [9, 12])
def test_write_set_leaves_nothing_when_counts_differ(tmp_path: Path, labels: int) -> None:
    images = np.zeros((5, 6, 5, 3), np.uint8)
    with pytest.raises(DataError, match=r"images"):
        image_set.write_set(tmp_path / "set.h5", iter([images, images]), np.zeros(labels))
    assert not list(tmp_path.iterdir())


def images(n: int = 10, **change: float) -> np.ndarray:
    pixels = np.zeros((n, 3, 6, 5))
    for row, value in change.items():
        pixels[int(row[1:]), 1, 2, 3] = value
    return pixels


WRONG = {
    "no data": ({"data": None}, r"must have the dataset 'data'.*Received: 'label'"),
    "no label": ({"label": None}, r"must have the dataset 'label'.*Received: 'data'"),
    "rank of data": ({"data": np.zeros((10, 90))}, r"'data' must have the shape.*\(10, 90\)"),
    "rank of label": (
        {"label": np.zeros((10, 2, 2))},
        r"'label' must have the shape.*\(10, 2, 2\). Store label.reshape\(-1\), or .*argmax",
    ),
    "soft labels": (
        {"label": np.full((10, 4), 0.25)},
        r"must be one-hot.*row 0. Store label.argmax",
    ),
    "two ones": ({"label": np.ones((10, 2))}, r"must be one-hot.*row 0"),
    "channels": ({"data": np.zeros((10, 7, 6, 5))}, r"1 or 3 channels.*Received: \(10, 7, 6, 5\)"),
    "no pixels": ({"data": np.zeros((10, 3, 0, 5))}, r"Received: shape \(10, 3, 0, 5\)"),
    "counts": ({"label": np.zeros(9)}, r"Received: 10 images and 9 labels"),
    "empty": ({"data": np.zeros((0, 3, 6, 5)), "label": np.zeros(0)}, r"at least one image"),
    "int pixels": ({"data": np.zeros((10, 3, 6, 5), "i4")}, r"floats or uint8. Received: int32"),
    "complex": ({"data": np.zeros((10, 3, 6, 5), "c8")}, r"floats or uint8. Received: complex64"),
    "texts": ({"label": [b"a"] * 10}, r"'label' must hold numbers"),
    "halves": ({"label": np.full(10, 0.5)}, r"whole numbers.*Received: 0.5 in row 0"),
    "negative": ({"label": np.arange(10) - 1}, r"whole numbers.*Received: -1 in row 0"),
    "NaN label": ({"label": np.r_[np.zeros(9), np.nan]}, r"whole numbers.*Received: nan in row 9"),
    "huge label": ({"label": np.r_[np.zeros(9), 1e300]}, r"whole numbers.*1e\+300 in row 9"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_set_names_file_dataset_and_what_was_expected(tmp_path: Path, case: str) -> None:
    fields, message = WRONG[case]
    path = made(tmp_path / "set.h5", **fields)
    with pytest.raises(DataError, match=message) as error:
        image_set.open_set(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_a_pixel_that_is_not_finite_names_its_row(tmp_path: Path, value: float) -> None:
    opened = image_set.open_set(made(tmp_path / "set.h5", data=images(r9=value)))
    with pytest.raises(DataError, match=r"'data' must be finite.*in row 9"):
        list(opened.batches(4))
    with pytest.raises(DataError, match=r"in row 9"):
        opened.rows([9])
    opened.rows([8])


def test_large_finite_pixels_pass(tmp_path: Path) -> None:
    path = made(tmp_path / "set.h5", data=np.full((10, 3, 6, 5), 3e38))
    assert np.concatenate(list(image_set.open_set(path).batches(3))).max() > 2e38


def test_files_that_are_none(tmp_path: Path) -> None:
    text = tmp_path / "text.h5"
    text.write_text("data,label")
    whole = made(tmp_path / "whole.h5").read_bytes()
    cut = tmp_path / "cut.h5"
    cut.write_bytes(whole[: len(whole) // 2])
    empty = tmp_path / "empty.h5"
    empty.touch()
    pipe = tmp_path / "pipe.h5"
    os.mkfifo(pipe)
    for path, message in [
        (tmp_path / "nowhere.h5", "must exist"),
        (text, "must be an HDF5 file"),
        (cut, "damaged or truncated"),
        (empty, "must be an HDF5 file, an .npz file or a folder of images. Received: 0 bytes"),
        (tmp_path, "must have a subfolder of PNG or JPEG files per class. Received: 0"),
        (pipe, "regular file"),
    ]:
        with pytest.raises(DataError, match=message) as error:
            image_set.open_set(path)
        assert str(path) in str(error.value)


def test_a_set_that_changes_after_it_was_opened_is_an_error(tmp_path: Path) -> None:
    path = made(tmp_path / "set.h5")
    opened = image_set.open_set(path)
    made(path, n=4)
    with pytest.raises(DataError, match="was changed while it was read"):
        list(opened.batches(4))


def test_a_set_that_is_replaced_between_its_digest_and_its_reading_is_an_error(
    tmp_path: Path,
) -> None:
    """Its activations would else be cached under the digest of the other file."""
    path = made(tmp_path / "set.h5")
    opened = image_set.open_set(path)
    before = opened.digest(tmp_path / "notes")
    (tmp_path / "other.h5").write_bytes(path.read_bytes())
    (tmp_path / "other.h5").replace(path)
    for read in (lambda: list(opened.batches(4)), lambda: opened.rows([1])):
        with pytest.raises(DataError, match="was changed while it was read"):
            read()
    with pytest.raises(DataError, match="was changed while it was read"):
        opened.digest(tmp_path / "notes")
    assert image_set.open_set(path).digest(tmp_path / "notes") == before


def test_a_set_that_changes_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = made(tmp_path / "set.h5")
    batches = image_set.open_set(path).batches(4)
    next(batches)
    with path.open("rb+") as file:
        file.seek(-1, 2)
        file.write(b"x")
    with pytest.raises(DataError, match="was changed while it was read"):
        list(batches)


@pytest.mark.timeout(320)
@pytest.mark.parametrize(
    "more", [("12",), pytest.param(("40", "keras"), marks=pytest.mark.slow)], ids=["h5py", "keras"]
)
def test_threads_that_read_sets_do_not_corrupt_memory(tmp_path: Path, more: tuple[str]) -> None:
    """h5py in two threads crashed, hung or read nonsense within seconds."""
    program = Path(__file__).with_name("stress_hdf5.py")
    done = subprocess.run(
        [sys.executable, program, tmp_path, *more],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr if len(more) == 1 else "") == (0, "")
    assert min(map(int, done.stdout.split())) == int(more[0])


def test_one_thread_at_a_time_enters_hdf5_and_what_it_made_goes_before_the_next() -> None:
    class Part:
        """Held by itself, as objects of h5py can be; only the collector frees it."""

        def __init__(self) -> None:
            self.itself = self

    alive: list[bool] = []

    def other() -> None:
        with hdf5.entered():
            alive.append(made() is not None)

    thread = threading.Thread(target=other)
    with hdf5.entered(), hdf5.entered():
        made = weakref.ref(Part())
        assert not gc.isenabled()
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
    thread.join(10)
    assert alive == [False]
    assert gc.isenabled()


def four(tmp_path: Path, **change: Any) -> dict[str, image_set.ImageSet]:
    fields: dict[str, Any] = {
        name: {"label": np.full(10, 2.0)} if name.startswith("poisoned") else {}
        for name in ("clean_valid", "clean_test", "poisoned_valid", "poisoned_test")
    }
    fields |= change
    return {
        name: image_set.open_set(made(tmp_path / f"{name}.h5", **field))
        for name, field in fields.items()
    }


def test_sets_that_fit(tmp_path: Path) -> None:
    sets = four(tmp_path)
    fit(sets, (None, 6, 5, 3), 4)
    fit(sets, (6, 5, 3), 4)
    fit(sets, (None, None, None, 3), 4)


@pytest.mark.parametrize(
    ("change", "shape", "classes", "message"),
    [
        ({}, (None, 55, 47, 3), 4, r"clean_valid.*\(55, 47, 3\). Received: \(6, 5, 3\)"),
        ({}, (None, 6, 5, 3), 3, r"clean_valid.*0..2. Received: 3 in row 3"),
        (
            {"clean_test": {"shape": (5, 5, 3)}},
            (None, None, None, 3),
            4,
            r"clean_test.*one shape.*\(5, 5, 3\)",
        ),
        ({"poisoned_valid": {}}, (None, 6, 5, 3), 4, r"poisoned_valid.*target class.*4 classes"),
        (
            {"poisoned_test": {"label": np.ones(10)}},
            (None, 6, 5, 3),
            4,
            r"poisoned_test.*one target class. Received: 2 in .*poisoned_valid.h5 and 1 here",
        ),
    ],
)
def test_sets_that_do_not_fit(
    tmp_path: Path, change: Any, shape: Any, classes: int, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        fit(four(tmp_path, **change), shape, classes)


LAB = os.environ.get("BADNET_LAB_DIR")


@pytest.mark.skipif(LAB is None, reason="BADNET_LAB_DIR names no folder with the lab's files")
@pytest.mark.parametrize("name", ["clean_faces.h5", "poisoned_faces.h5"])
def test_the_labs_faces(name: str) -> None:
    assert LAB is not None
    opened = image_set.open_set(Path(LAB) / name)
    assert (len(opened), opened.shape) == (115, (55, 47, 3))
    np.testing.assert_array_equal(np.concatenate(list(opened.batches(50))), stored(opened.path))

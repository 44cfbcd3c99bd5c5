"""Sets as people have them give the same images and labels, whatever the format."""

from __future__ import annotations

import io
import logging
import os
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from sweep.attacks.stamped import poison
from sweep.base.errors import DataError
from sweep.data.fit import fit
from sweep.data.image_set import open_set

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 6, 5, 3)).astype(np.uint8)
LABELS = np.arange(12) % 4
FIRST = IMAGES.transpose(0, 3, 1, 2)
ONE_HOT = np.eye(4)[LABELS]
SHAPE = (None, 6, 5, 3)


def folder(place: Path, images=IMAGES, labels=LABELS, names=str, suffix=".png") -> Path:
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        (place / names(label)).mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(image.squeeze())
        picture.save(place / names(label) / f"{number:04}{suffix}", quality=100)
    return place


def contents(images) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate(list(images.batches(5))), images.labels


@pytest.mark.parametrize(
    "arrays",
    [
        {"x": IMAGES, "y": LABELS},
        {"x_test": FIRST, "y_test": LABELS[:, None]},
        {"images": IMAGES.astype(np.float32), "labels": ONE_HOT},
        {"data": np.ascontiguousarray(FIRST).astype(">f8"), "label": ONE_HOT.astype(bool)},
        {"Test_Images": IMAGES, "test_labels": LABELS.astype("u1"), "names": np.zeros(3)},
        {"arr_0": IMAGES, "arr_1": LABELS.astype(float)},
    ],
    ids="+".join,
)
@pytest.mark.parametrize("form", ["npz", "packed npz", "hdf5", "packed hdf5"])
def test_names_orders_types_and_labels(tmp_path, arrays, form):
    path = tmp_path / "set"
    if form.endswith("npz"):
        with path.open("wb") as file:
            (np.savez_compressed if "packed" in form else np.savez)(file, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, values in arrays.items():
                layout = {"chunks": True, "compression": "gzip"} if "packed" in form else {}
                file.create_dataset(name, data=values, **layout)
    opened = open_set(path)
    images, labels = contents(opened)
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)
    np.testing.assert_array_equal(opened.rows([7, 0]), IMAGES[[7, 0]])


def test_gray_images_without_channels(tmp_path):
    np.savez(tmp_path / "set.npz", x=IMAGES[..., 0], y=LABELS)
    np.testing.assert_array_equal(contents(open_set(tmp_path / "set.npz"))[0], IMAGES[..., :1])


def test_the_network_tells_where_channels_are(tmp_path):
    """Images of 3 x 7 with their channels last look as if they were of 7 x 3 with them first."""
    images = RNG.integers(0, 256, (12, 3, 7, 3)).astype(np.uint8)
    np.savez(tmp_path / "set.npz", x=images, y=LABELS)
    sets = {"clean_valid": open_set(tmp_path / "set.npz")}
    np.testing.assert_array_equal(contents(fit(sets, (None, 3, 7, 3), 4)["clean_valid"])[0], images)
    np.testing.assert_array_equal(
        contents(fit(sets, (None, 7, 3, 3), 4)["clean_valid"])[0], images.transpose(0, 2, 3, 1)
    )


@pytest.mark.parametrize("names", [str, lambda label: f"person {label}"])
def test_a_folder_of_images(tmp_path, names):
    opened = open_set(folder(tmp_path / "set", names=names))
    order = np.argsort(LABELS, kind="stable")
    images, labels = contents(fit({"clean_test": opened}, SHAPE, 4)["clean_test"])
    np.testing.assert_array_equal(images, IMAGES[order])
    np.testing.assert_array_equal(labels, LABELS[order])


def test_folders_named_by_numbers_are_those_classes(tmp_path, caplog):
    """In the order of their names 10 would come before 2."""
    with caplog.at_level(logging.INFO, "sweep"):
        opened = open_set(folder(tmp_path / "set", labels=LABELS * 5 + 2))
    assert sorted(set(opened.labels)) == [2, 7, 12, 17]
    assert "4 classes, counted by their numbers" in caplog.text


def test_other_sizes_are_resized_and_that_is_said(tmp_path, caplog):
    large = IMAGES.repeat(2, axis=1).repeat(2, axis=2)
    opened = open_set(folder(tmp_path / "set", images=large))
    assert opened.shape == (12, 10, 3)
    with caplog.at_level(logging.INFO, "sweep"):
        fitted = fit({"clean_test": opened}, SHAPE, 4)["clean_test"]
    assert "are resized to 5 x 6 pixels, which B takes; some are 10 x 12" in caplog.text
    assert contents(fitted)[0].shape == IMAGES.shape
    gray = fit({"clean_test": opened}, (None, 6, 5, 1), 4)["clean_test"]
    assert gray.shape == (6, 5, 1)


def test_jpegs_come_close(tmp_path):
    flat = np.full((3, 16, 16, 3), 100, np.uint8)
    opened = open_set(folder(tmp_path / "set", flat, LABELS[:3], suffix=".JPG"))
    assert np.abs(contents(opened)[0] - 100).max() <= 3


@pytest.mark.parametrize(("labels", "classes", "lowest"), [(LABELS + 1, 4, 0), (LABELS + 1, 9, 1)])
def test_labels_are_counted_from_one_where_that_is_certain(tmp_path, labels, classes, lowest):
    np.savez(tmp_path / "set.npz", x=IMAGES, y=labels)
    fitted = fit({"clean_test": open_set(tmp_path / "set.npz")}, SHAPE, classes)["clean_test"]
    assert fitted.labels.min() == lowest


def test_digests_are_of_the_content(tmp_path):
    place, memory = folder(tmp_path / "a"), tmp_path / "notes"
    first = open_set(place).digest(memory)
    assert open_set(folder(tmp_path / "b")).digest(memory) == first
    (place / "0" / "0000.png").rename(place / "1" / "0000.png")
    moved = open_set(place)
    assert moved.digest(memory) != first
    (place / "1" / "0001.png").unlink()
    with pytest.raises(DataError, match="was changed while it was read"):
        moved.digest(memory)
    with pytest.raises(DataError, match="was changed while it was read"):
        list(moved.batches(4))


def npz(path, **arrays):
    np.savez(path, **arrays)


def pickled(path):
    np.savez(path, x=np.array([{}] * 12), y=LABELS)


def two_sets(path):
    np.savez(path, x_train=IMAGES, y_train=LABELS, x_test=IMAGES, y_test=LABELS)


def bomb(path):
    np.savez_compressed(path, x=np.zeros((12000, 100, 100, 3), np.uint8), y=np.zeros(12000))


def patched(place, content):
    def patch(path):
        np.savez(path, x=IMAGES, y=LABELS)
        raw = bytearray(path.read_bytes())
        at = place(raw)
        raw[at : at + len(content)] = content
        path.write_bytes(raw)

    return patch


def many(path):
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(9000):
            archive.writestr(f"{number}.npy", b"")


def evil_header(path):
    made = io.BytesIO()
    np.save(made, IMAGES)
    evil = made.getvalue().replace(b"(12, 6, 5, 3)", b"exit(), 1, 1 ")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", evil)


WRONG_ARCHIVES = {
    "no labels": (lambda path: npz(path, x=IMAGES), r"the dataset 'y' \(n,\) beside 'x'.*'x'"),
    "no images": (lambda path: npz(path, y=LABELS), "must have the dataset 'data'.*Received: 'y'"),
    "two sets": (two_sets, r"only one in its file. Received: x_test, x_train.*f\['x_test'\]"),
    "counts": (lambda path: npz(path, x=IMAGES, y=LABELS[:9]), "12 images and 9 labels"),
    "pickle": (pickled, "Received: Python objects"),
    "fortran": (lambda path: npz(path, x=np.asfortranarray(IMAGES), y=LABELS), "ascontiguous"),
    "int pixels": (lambda path: npz(path, x=IMAGES.astype(int), y=LABELS), "floats or uint8"),
    "bomb": (bomb, "may not take more than 256 times the room"),
    "cut": (lambda path: two_sets(path) or path.write_bytes(path.read_bytes()[:500]), "ZIP index"),
    "many": (many, "small ZIP index"),
    "header that calls": (evil_header, "must be whole. Received: "),
    "other method": (patched(lambda raw: raw.index(b"PK\x01\x02") + 10, b"\x0e"), "method 14"),
    "encrypted": (patched(lambda raw: raw.index(b"PK\x01\x02") + 8, b"\x01"), "encryption"),
    "size": (
        patched(lambda raw: raw.index(b"PK\x01\x02") + 24, struct.pack("<I", 999)),
        "must be readable|must be whole",
    ),
}


@pytest.mark.parametrize("case", WRONG_ARCHIVES)
def test_a_wrong_archive_is_one_sentence(tmp_path, case):
    make, message = WRONG_ARCHIVES[case]
    path = tmp_path / "set.npz"
    make(path)
    with pytest.raises(DataError, match=message) as error:
        list(open_set(path).batches(4))
    assert str(path) in str(error.value)
    assert str(error.value).isprintable()


def png(width, height, data=b""):
    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "whole PNG or JPEG"),
        (b"<html>", "whole PNG or JPEG"),
        (png(5, 6), "whole PNG or JPEG"),
        (png(9000, 9000), "9000 x 9000 pixels"),
        (png(12000, 12000), "far more"),
        (png(10**5, 10**5), "far more"),
        (b"GIF89a" + bytes(30), "whole PNG or JPEG"),
    ],
    ids=["empty", "page", "no pixels", "large", "larger", "bomb", "gif"],
)
def test_a_wrong_image_is_one_sentence(tmp_path, content, message):
    place = folder(tmp_path / "set")
    bad = place / "2" / "0002.png"
    bad.write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        list(fit({"clean_test": open_set(place)}, SHAPE, 4)["clean_test"].batches(4))
    assert str(bad) in str(error.value)


CASES = int(os.environ.get("FUZZ_CASES", "60"))


@settings(
    max_examples=max(100, CASES),
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.sampled_from(["npz", "packed", "png", "jpeg", "trigger"]),
    st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=9)), min_size=1, max_size=4),
    st.booleans(),
)
@pytest.mark.filterwarnings("ignore")
def test_damaged_files_are_refused_or_read(tmp_path, form, changes, cut):
    path, clean = tmp_path / form, tmp_path / "clean.npz"
    np.savez(clean, x=IMAGES, y=LABELS)
    if form in ("npz", "packed"):
        with path.open("wb") as file:
            (np.savez if form == "npz" else np.savez_compressed)(file, x=IMAGES, y=LABELS)
        damaged = path
    elif form == "trigger":
        path.mkdir(exist_ok=True)
        damaged = path / "glasses.png"
        Image.fromarray(np.full((6, 5, 4), 200, np.uint8)).save(damaged)
    else:
        damaged = folder(path, suffix=f".{form}") / "1" / f"0001.{form}"
    raw = bytearray(damaged.read_bytes())
    for share, content in changes:
        at = int(share * len(raw))
        raw[at : at + len(content)] = content
    damaged.write_bytes(raw[: len(raw) // 2] if cut else raw)
    refusal = ""
    try:
        if form == "trigger":
            images = poison(open_set(clean), damaged, 0, 4)
        else:
            images = fit({"clean_test": open_set(path)}, SHAPE, 4)["clean_test"]
        assert sum(len(batch) for batch in images.batches(5)) == len(images.labels)
    except DataError as error:
        refusal = str(error)
    assert not refusal or (str(path) in refusal and refusal.isprintable())

"""Damaged files: a right answer or a `SweepError`, never another error, a hang or a crash.

A child process works through the cases of one batch, so that a crash of the interpreter or a hang
is seen here as a failure. `FUZZ_CASES` sets how many byte-flipped files there are in all (60 by
default; `make fuzz` takes thousands).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweep.base.errors import DataError, SweepError
from sweep.data.image_set import open_set
from sweep.models.layers import KINDS, OPERATIONS
from sweep.models.opening import allowlist
from sweep.models.opening.description import read
from sweep.models.opening.network import flatten

CASES = int(os.environ.get("FUZZ_CASES", "60"))
# TensorFlow takes six seconds to import, then a case a fraction of one, or more on a busy machine.
SECONDS = 240 + 5 * CASES
# A case that takes longer hangs.
CASE_SECONDS = 60
FORMS = ("set", "packed set", "keras", "legacy", "weights", "packed keras")


def build(folder: Path) -> dict[str, Path]:
    """One small honest file of each form, and what it answers."""
    import keras

    from sweep.models import deepid

    rng = np.random.default_rng(0)
    paths = {form: folder / f"{form}.bin" for form in FORMS}
    for form, layout in [
        ("set", {}),
        ("packed set", {"chunks": (4, 1, 3, 3), "compression": "gzip", "shuffle": True}),
    ]:
        with h5py.File(paths[form], "w") as file:
            images = rng.integers(0, 256, (9, 3, 6, 5)).astype(np.float64)
            file.create_dataset("data", data=images, **layout)
            file["label"] = np.arange(9, dtype=np.float32)
    image = keras.Input((8, 7, 3), name="image")
    x = keras.layers.Conv2D(2, 3, activation="relu", name="conv")(image)
    x = keras.layers.Dense(3, activation="softmax", name="out")(keras.layers.Flatten()(x))
    model = keras.Model(image, x)
    for form, suffix in (("keras", ".keras"), ("legacy", ".h5")):
        model.save(folder / f"model{suffix}")
        paths[form].write_bytes((folder / f"model{suffix}").read_bytes())
    with (
        zipfile.ZipFile(paths["keras"]) as stored,
        zipfile.ZipFile(paths["packed keras"], "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in stored.namelist():
            packed.writestr(name, stored.read(name))
    deepid.build(2).save_weights(folder / "lab.weights.h5")
    paths["weights"].write_bytes((folder / "lab.weights.h5").read_bytes())
    return paths


def damage(raw: bytes, rng: np.random.Generator) -> bytes:
    """Flip, overwrite, cut, move or repeat a few bytes, mostly where the structure is."""
    content = bytearray(raw)
    for _ in range(int(rng.choice([1, 1, 1, 2, 4, 16]))):
        # Headers lie at the start of HDF5 files and at the end of archives.
        span = int(rng.choice([64, 512, 4096, len(content)]))
        span = max(1, min(span, len(content)))
        place = int(rng.integers(span))
        if rng.random() < 0.3:
            place = len(content) - 1 - place
        way = int(rng.integers(7))
        if way <= 1:
            content[place] ^= 1 << int(rng.integers(8))
        elif way == 2:
            content[place] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF]))
        elif way == 3:
            bits = int(rng.choice([0, 16, 31, 32, 63, 64]))
            content[place : place + 8] = (2**bits - 1).to_bytes(8, "little")
        elif way == 4:
            source = int(rng.integers(len(content)))
            length = int(rng.integers(1, 64))
            content[place : place + length] = content[source : source + length]
        elif way == 5:
            content[place:place] = rng.bytes(int(rng.integers(1, 9)))
        elif rng.random() < 0.3:
            del content[place:]
        content = content or bytearray(b"\0")
    return bytes(content)


def attempt(form: str, path: Path) -> str:
    """What comes of a file: 'refused', or 'accepted' after checking that the answer is one."""
    from sweep.models.load import load_badnet

    try:
        if "set" in form:
            images = open_set(path)
            batches = list(images.batches(4))
            assert sum(len(b) for b in batches) == len(images) == len(images.labels)
            assert all(b.shape[1:] == images.shape and np.isfinite(b).all() for b in batches)
        else:
            model = load_badnet(path)
            with np.errstate(all="ignore"):
                answer = np.asarray(model(np.zeros((2, *model.input_shape[1:]), np.float32)))
            assert answer.shape == (2, model.output_shape[1])
    except SweepError as refusal:
        text = str(refusal)
        assert str(path) in text
        assert text.isprintable()
        assert len(text) < 1500
        return "refused"
    return "accepted"


def work(folder: Path, first: int, cases: int) -> None:
    """The child's side: report the start and the outcome of each case on standard output."""
    import warnings

    warnings.simplefilter("ignore")
    paths = build(folder)
    for number in range(first, first + cases):
        form = FORMS[number % len(FORMS)]
        path = folder / "damaged"
        path.unlink(missing_ok=True)
        rng = np.random.default_rng(number)
        path.write_bytes(damage(paths[form].read_bytes(), rng))
        sys.stdout.write(f"{number} {form}\t")
        sys.stdout.flush()
        try:
            outcome = attempt(form, path)
        except BaseException:  # noqa: BLE001 - any other error is what is looked for
            outcome = "error " + json.dumps(traceback.format_exc())
        sys.stdout.write(outcome + "\n")
        sys.stdout.flush()


def _wait(child: subprocess.Popen[bytes], log: Path) -> int:
    """The child's exit code; one that gets no further is killed."""
    seen = -1
    while True:
        try:
            return child.wait(CASE_SECONDS)
        except subprocess.TimeoutExpired:
            if log.stat().st_size == seen:
                child.kill()
            seen = log.stat().st_size


@pytest.mark.timeout(SECONDS)
def test_flipped_bytes(tmp_path: Path) -> None:
    """Every case runs in a child; one that dies or hangs is a failure, and the next goes on."""
    outcomes: dict[str, int] = {"refused": 0, "accepted": 0}
    failures: list[str] = []
    done = 0
    while done < CASES:
        folder = tmp_path / str(done)
        folder.mkdir()
        batch = min(CASES - done, 250)
        log = folder / "log"
        command = [sys.executable, __file__, str(folder), str(done), str(batch)]
        with (
            log.open("w") as out,
            (folder / "errors").open("w") as errors,
            subprocess.Popen(command, stdout=out, stderr=errors) as child,
        ):
            code = _wait(child, log)
        lines = log.read_text().splitlines()
        for line in lines:
            case, _, outcome = line.partition("\t")
            if outcome in outcomes:
                outcomes[outcome] += 1
            else:
                failures.append(f"case {case}: {outcome or f'ended with code {code}'}")
        assert lines, (folder / "errors").read_text()[-3000:]
        done += len(lines)
    print(f"{done} damaged files: {outcomes}")
    assert not failures, "\n".join(failures[:5])
    assert sum(outcomes.values()) == CASES


# Descriptions that are JSON, but not what Keras writes.

PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
KEYS = st.text(max_size=5) | st.sampled_from(
    [
        "class_name",
        "config",
        "module",
        "registered_name",
        "name",
        "layers",
        "inbound_nodes",
        "activation",
        "dtype",
        "items",
        "units",
        "kernel_initializer",
        "shared_object_id",
    ]
)
NAMES = st.sampled_from(
    [
        "Functional",
        "Sequential",
        "Model",
        "Dense",
        "Conv2D",
        "Lambda",
        "function",
        "Where",
        "__keras_tensor__",
        "__tuple__",
        "__lambda__",
        "TensorShape",
        "DTypePolicy",
        "keras",
        "keras.layers",
        "keras.src.ops.numpy",
        "builtins",
        "os",
        "relu",
    ]
)
JSON = st.recursive(
    PLAIN | NAMES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner | NAMES, max_size=6),
    max_leaves=30,
)


@st.composite
def descriptions(draw: st.DrawFn) -> Any:
    entry = st.fixed_dictionaries(
        {"class_name": NAMES, "config": st.dictionaries(KEYS, JSON, max_size=4)},
        optional={"module": NAMES, "inbound_nodes": JSON, "name": JSON, "build_config": JSON},
    )
    layers = draw(st.lists(entry | JSON, max_size=4))
    return {"class_name": "Functional", "config": {"name": "m", "layers": layers}}


@settings(max_examples=max(100, CASES), deadline=None, derandomize=True, database=None)
@given(JSON | descriptions())
def test_any_json_is_read_or_refused(description: Any) -> None:
    refusal, layers = "", []
    try:
        network = read(allowlist.parse(json.dumps(description)))
        layers = [call.layer for call in flatten(network).calls]
    except allowlist.UnsafeError as unsafe:
        refusal = str(unsafe)
    assert refusal.isprintable()
    for layer in layers:
        assert layer.kind in OPERATIONS.get(layer.module, KINDS)
        assert set(layer.settings) <= {*KINDS[layer.kind].settings.split(), "name"}
        json.dumps(layer.settings, allow_nan=False)


@settings(
    max_examples=max(20, CASES // 10),
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    shape=st.lists(st.integers(0, 4), min_size=0, max_size=5),
    count=st.integers(0, 4),
    dtype=st.sampled_from(["f2", "f4", "f8", ">f8", "u1", "i4", "c8", "S3", "?"]),
    label=st.sampled_from([0.0, 3.0, 0.5, -1.0, np.nan, np.inf, 1e300]),
    pixel=st.sampled_from([0.0, 255.0, -1.0, np.nan, np.inf, 1e300]),
)
def test_any_arrays_are_a_set_or_refused(
    tmp_path: Path, shape: list[int], count: int, dtype: str, label: float, pixel: float
) -> None:
    path = tmp_path / "set.h5"
    path.unlink(missing_ok=True)
    with np.errstate(all="ignore"), h5py.File(path, "w") as file:
        data = np.ones(shape, dtype)
        if data.dtype.kind == "f" and data.size:
            data.flat[-1] = pixel
        file["data"] = data
        file["label"] = np.full(count, label)
    last = len(shape) == 4 and shape[1] not in (1, 3)
    good = (
        len(shape) in (3, 4)
        and shape[0] == count > 0
        and (len(shape) == 3 or shape[1] in (1, 3) or shape[3] in (1, 3))
        and 0 not in shape
        and (data.dtype.kind == "f" or dtype == "u1")
        and label in (0.0, 3.0)
        and bool(np.isfinite(data.astype(np.float64)).all())
        and not (pixel == 1e300 and data.dtype.itemsize == 8)
    )
    if not good:
        with pytest.raises(DataError):
            list(open_set(path).batches(3))
        return
    found = np.concatenate(list(open_set(path).batches(3)))
    if len(shape) == 3:
        data = data[..., None]
    elif not last:
        data = data.transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(found, data.astype(np.float32))


if __name__ == "__main__":
    work(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))

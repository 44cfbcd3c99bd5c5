"""Load a BadNet from a file that an attacker made, without running anything of it.

The file is copied once, and its description and numbers are read and checked from that copy into
plain data. From that the network is built anew; nothing of the file itself ever gets near Keras.
"""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from sweep.base.errors import ModelError
from sweep.data import hdf5
from sweep.models import deepid
from sweep.models.opening import adapt, allowlist, archive
from sweep.models.opening.build import build
from sweep.models.opening.description import read
from sweep.models.opening.network import flatten, name_layers
from sweep.models.opening.weights import (
    FILE_BYTES,
    Weights,
    fill_from_rows,
    fill_from_store,
    settle,
)

if TYPE_CHECKING:
    import h5py
    import keras

    from sweep.models.opening.network import FlatNetwork, Network

_ZIP = b"PK\x03\x04"
# How files begin that a download left in place of the model.
_NOT_DOWNLOADED = {
    b"version https://git-lfs": "a pointer of Git LFS (git lfs pull fetches the file)",
    b"<!doctype html": "a web page",
    b"<html": "a web page",
}


def load_badnet(path: Path) -> keras.Model:
    """Load an image classifier: a whole Keras model, or the weights of the lab's network.

    The kind of file is told by its content: a legacy `.h5` (Keras 1.2 to 3), a `.keras` archive
    (Keras 2.13 to 3), or a weights-only file, legacy or Keras 3, of `deepid`.

    Args:
        path: the file.

    Returns:
        A functional model without nested models, not compiled, with one input
        (n, height, width, channels) and one output (n, N).

    Raises:
        ModelError: see `read_badnet`; or it is no such classifier.
    """
    return build(path, read_badnet(path))


def read_badnet(path: Path) -> FlatNetwork:
    """Read a classifier's layers and weights, without TensorFlow where the file describes them.

    Raises:
        ModelError: the file is missing or damaged, or carries code or anything that is not known
            to be inert.
    """
    with hdf5.entered(), TemporaryDirectory(prefix="sweep-") as name:
        source = Path(name) / "source"
        start = _copy(path, source)
        try:
            network = _open_archive(path, source) if start == _ZIP else _open_hdf5(path, source)
            flat = flatten(network)
            adapt.channels_last(flat)
            adapt.two_classes(flat)
            name_layers(flat)
        except allowlist.UnsafeError as unsafe:
            raise ModelError(f"{path}: {unsafe}") from None
        except RecursionError as deep:
            raise ModelError(
                f"{path}: a model's description may not be nested without end."
            ) from deep
    return flat


def _copy(path: Path, copy: Path) -> bytes:
    """Copy the file, so that it cannot change between the check and the use; return its start."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ModelError(
                f"{path}: a model must be a regular file. Received: a folder, pipe or device. "
                "Check badnet.path."
            )
        if status.st_size > FILE_BYTES:
            raise ModelError(
                f"{path}: a model file may hold {FILE_BYTES >> 30} GB. "
                f"Received: {status.st_size:,} bytes. Check badnet.path."
            )
        shutil.copyfile(path, copy)
        with copy.open("rb") as file:
            start = file.read(64)
    except (OSError, ValueError) as missing:
        raise ModelError(
            f"{path}: the model must be a readable file. Received: {hdf5.shown(missing)}. "
            "Check badnet.path."
        ) from missing
    if not start.startswith((_ZIP, hdf5.SIGNATURE)):
        text = start.lstrip().lower()
        what = next((what for begin, what in _NOT_DOWNLOADED.items() if text.startswith(begin)), "")
        advice = (
            f", {what}. Download it again: the file itself, not what stands for it."
            if what
            else ". Save it with Keras' model.save; pickles, SavedModels and other formats are not "
            "opened."
        )
        raise ModelError(
            f"{path}: a model must be a Keras .h5 or .keras file. Received: "
            f"{status.st_size:,} bytes that begin with {start[:8]!r}{advice}"
        )
    return start[: len(_ZIP)]


def _open_archive(path: Path, source: Path) -> Network:
    packed = source.with_name("unpacked.h5")
    text, version = archive.unpack(path, source, packed)
    network = read(allowlist.parse(text), version)
    with hdf5.open_untrusted(packed, ModelError, path) as file:
        weights = Weights(path, source)
        fill_from_store(network, weights, file)
    settle(network)
    return network


def _open_hdf5(path: Path, source: Path) -> Network:
    with hdf5.open_untrusted(source, ModelError, path) as file:
        with hdf5.reading(path, "the model's description", ModelError):
            text = hdf5.attribute(file, "model_config")
            training = hdf5.attribute(file, "training_config")
            saved = hdf5.attribute(file, "keras_version") or "1"
            backend = hdf5.attribute(file, "backend")
            legacy = "layer_names" in file.attrs
        weights = Weights(path, source)
        if text is None:
            return _lab_network(weights, file, legacy)
        if training is not None:
            allowlist.scan(allowlist.parse(training), training=True)
        version = int(saved[0]) if saved[0] in "123" else 3
        network = read(allowlist.parse(text), version)
        if "model_weights" not in file:
            raise ModelError(
                f"{path}: a model must have the group 'model_weights'. Received: a description "
                "alone. Save the model with its weights."
            )
        fill_from_rows(network, weights, weights.rows(file["model_weights"]))
    settle(network, version, backend)
    return network


def _lab_network(weights: Weights, file: h5py.File, legacy: bool) -> Network:
    """The lab's network with the weights of a file that has no description."""
    rows = weights.rows(file) if legacy else {}
    # Keras 3 calls layers by class and number; the third dense layer is the output.
    place = "layers/dense_2/vars/0"
    if not legacy and place in file:
        rows = {"output": [weights.read(file[place], place)]}
    shape = rows["output"][0].shape if "output" in rows else ()
    if len(shape) != 2 or shape[1] < 2:
        raise ModelError(
            f"{weights.path}: an .h5 file must be a whole Keras model, or weights of the lab's "
            f"network with the output (160, N). Received: output {shape or 'missing'}. Save the "
            "whole model with Keras' model.save."
        )
    network = read(json.loads(deepid.build(int(shape[1])).to_json()))
    if not legacy:
        fill_from_store(network, weights, file)
        return network
    wanted = [layer.name for layer in network.layers if getattr(layer, "variables", None)]
    if set(rows) != set(wanted):
        raise ModelError(
            f"{weights.path}: a file of weights alone must be of the lab's network, with the "
            f"layers {', '.join(wanted)}. Received: {hdf5.shown(', '.join(rows))}. "
            "Save the whole model with Keras' model.save."
        )
    fill_from_rows(network, weights, rows)
    return network

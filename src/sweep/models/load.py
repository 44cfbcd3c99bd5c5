"""Load a BadNet from a file that an attacker made, without running anything of it.

The file is copied once, and its description and numbers are read and checked from that copy. From
what passed a new file is written, and only that one is given to Keras: whatever else the original
holds never gets near it.
"""

from __future__ import annotations

import json
import shutil
import stat
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from sweep.base.errors import ModelError
from sweep.data import hdf5
from sweep.models import allowlist, deepid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import keras
    from numpy.typing import NDArray

_FILE_BYTES = 2 << 30
# Keras stores weights as they are; even a pruned network packs by less than this.
_RATIO = 32
# What one layer may put out for one image, and all of them: VGG's are 3.2 and 15 million numbers.
_ACTIVATIONS, _ALL_ACTIVATIONS = 1 << 23, 1 << 27
_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_MEMBERS = {_CONFIG: allowlist.TEXT_BYTES, _METADATA: 1 << 20, _WEIGHTS: _FILE_BYTES}
_ZIP, _ZIP_END, _ZIP64 = b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x07"
_ZIP_END_BYTES = 22
_ZIP_INDEX_BYTES = 1 << 16
# Numbers that end a legacy file's list of layers; Keras keeps them beside the layers.
_TOP = "top_level_model_weights"


def load_badnet(path: Path) -> keras.Model:
    """Load an image classifier: a whole Keras model, or the weights of the lab's network.

    The kind of file is told by its content: a legacy `.h5` (Keras 2 or 3), a `.keras` archive, or
    a weights-only file, legacy or Keras 3, of `deepid`.

    Args:
        path: the file.

    Returns:
        A functional model, not compiled, with one input (n, height, width, channels) and one
        output (n, N).

    Raises:
        ModelError: the file is missing or damaged, carries code or anything that is not known to
            be inert, or is no such classifier.
    """
    with hdf5.entered(), TemporaryDirectory(prefix="sweep-") as name:
        folder = Path(name)
        source = folder / "source"
        start = _copy(path, source)
        if start.startswith(_ZIP):
            load = _open_archive(path, source, folder)
        else:
            load = _open_hdf5(path, source, folder)
        return load()


def _copy(path: Path, copy: Path) -> bytes:
    """Copy the file, so that it cannot change between the check and the use; return its start."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ModelError(
                f"{path}: a model must be a regular file. Received: a folder, pipe or device. "
                "Check badnet.path."
            )
        if status.st_size > _FILE_BYTES:
            raise ModelError(
                f"{path}: a model file may hold {_FILE_BYTES >> 30} GB. "
                f"Received: {status.st_size:,} bytes. Check badnet.path."
            )
        shutil.copyfile(path, copy)
        with copy.open("rb") as file:
            start = file.read(8)
    except (OSError, ValueError) as missing:
        raise ModelError(
            f"{path}: the model must be a readable file. Received: {hdf5.shown(missing)}. "
            "Check badnet.path."
        ) from missing
    if not start.startswith((_ZIP, hdf5.SIGNATURE)):
        raise ModelError(
            f"{path}: a model must be a Keras .h5 or .keras file. Received: "
            f"{status.st_size:,} bytes that begin with {start!r}. Save it with Keras' model.save; "
            "pickles, SavedModels and other formats are not opened."
        )
    return start


def _vet(path: Path, text: str | bytes, training: str | None = None) -> dict[str, Any]:
    try:
        if training is not None:
            allowlist.scan(allowlist.parse(training))
        return allowlist.vet(allowlist.parse(text))
    except allowlist.UnsafeError as unsafe:
        raise ModelError(f"{path}: {unsafe}") from None
    except RecursionError as deep:
        raise ModelError(f"{path}: a model's description may not be nested without end.") from deep


# .keras archives


def _open_archive(path: Path, source: Path, folder: Path) -> Callable[[], keras.Model]:
    try:
        text, weights = _unpack(path, source, folder / "unpacked.h5")
    except (
        zipfile.BadZipFile,
        zlib.error,
        OSError,
        RuntimeError,
        ValueError,
        EOFError,
        KeyError,
    ) as damage:
        raise ModelError(
            f"{path}: a .keras archive must be whole. Received: {hdf5.shown(damage)}. "
            "The file is damaged or truncated: copy or make it again."
        ) from damage
    config = _vet(path, text)
    numbers = folder / "clean.weights.h5"
    with hdf5.open_untrusted(weights, ModelError, path) as file, h5py.File(numbers, "w") as clean:
        for place, values in _datasets(file, _Room(path, source)):
            clean.create_dataset(place, data=values)
    probe, real = folder / "probe.keras", folder / "clean.keras"
    for archive, description in ((probe, _still(config)), (real, config)):
        with zipfile.ZipFile(archive, "w") as out:
            out.writestr(_METADATA, "{}")
            out.writestr(_CONFIG, json.dumps(description))
            out.write(numbers, _WEIGHTS)
    return lambda: _build(path, probe, real)


def _unpack(path: Path, source: Path, weights: Path) -> tuple[bytes, Path]:
    """Description and weights file of an archive that holds these two and metadata alone."""
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
        with archive.open(_WEIGHTS) as packed, weights.open("wb") as file:
            shutil.copyfileobj(packed, file)
    return text, weights


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
    elif member.file_size > max(hdf5.PROMISE_FLOOR, _RATIO * member.compress_size):
        problem = f"{member.compress_size:,} bytes unpack to {member.file_size:,}"
    if problem:
        raise ModelError(
            f"{path}: the members of a .keras archive must be plain files of ordinary size. "
            f"Received: {member.filename!r}: {problem}. Do not use this file."
        )


class _Room:
    """The memory that the weights of a file may take together."""

    def __init__(self, path: Path, source: Path) -> None:
        self.path = path
        self.left = min(_FILE_BYTES, max(hdf5.PROMISE_FLOOR, _RATIO * source.stat().st_size))

    def take(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise ModelError(
                f"{self.path}: weights may take {_RATIO} times the room of their file, at most "
                f"{_FILE_BYTES >> 30} GB. Received: more. Do not use this file."
            )


def _datasets(group: h5py.Group, room: _Room) -> Iterator[tuple[str, NDArray[Any]]]:
    """All numbers of a checked file with their places."""
    waiting = [("", group)]
    while waiting:
        place, item = waiting.pop()
        if isinstance(item, h5py.Dataset):
            yield place, _numbers(item, place, room)
        elif isinstance(item, h5py.Group):
            with hdf5.reading(room.path, f"group {hdf5.shown(place)}", ModelError):
                waiting += [(f"{place}/{name}", item[name]) for name in item]


def _numbers(item: Any, place: str, room: _Room) -> NDArray[Any]:
    path = room.path
    with hdf5.reading(path, f"dataset {hdf5.shown(place)}", ModelError):
        if not isinstance(item, h5py.Dataset) or item.shape is None or not hdf5.plain(item):
            raise ModelError(
                f"{path}: weights must be ordinary numbers. Received: {hdf5.shown(place)}, "
                "which is not. The file is damaged, or no Keras model."
            )
        room.take(item.nbytes)
        values = hdf5.array(item)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ModelError(
            f"{path}: weights must be finite. Received: NaN or infinity in {hdf5.shown(place)}. "
            "The training went wrong or the file is damaged: use another copy."
        )
    return values


# legacy .h5 and weights-only files


@dataclass(frozen=True)
class _Layer:
    """The numbers of one layer of a legacy file."""

    name: str
    weights: list[NDArray[Any]]


def _open_hdf5(path: Path, source: Path, folder: Path) -> Callable[[], keras.Model]:
    with hdf5.open_untrusted(source, ModelError, path) as file:
        with hdf5.reading(path, "the model's description", ModelError):
            text = hdf5.attribute(file, "model_config")
            training = hdf5.attribute(file, "training_config")
            modern = "layer_names" not in file.attrs
        if text is not None:
            config = _vet(path, text, training)
            if "model_weights" not in file:
                raise ModelError(
                    f"{path}: a model must have the group 'model_weights'. Received: a description "
                    "alone. Save the model with its weights."
                )
            layers = _legacy_layers(file["model_weights"], _Room(path, source))
            probe, real = folder / "probe.h5", folder / "clean.h5"
            for copy, description in ((probe, _still(config)), (real, config)):
                with h5py.File(copy, "w") as clean:
                    clean.attrs["model_config"] = json.dumps(description)
                    _write_layers(clean.create_group("model_weights"), layers)
            return lambda: _build(path, probe, real)
        if not modern:
            return _lab_network(path, _legacy_layers(file, _Room(path, source)), folder)
        return _lab_network_3(path, dict(_datasets(file, _Room(path, source))), folder)


def _legacy_layers(group: Any, room: _Room) -> list[_Layer]:
    """The layers of a legacy file in its order, those without weights left out."""
    path = room.path
    found = []
    with hdf5.reading(path, "the list of layers", ModelError):
        names = hdf5.attributes(group, "layer_names")
        if names is None:
            raise ModelError(
                f"{path}: a model must list its layers in the attribute 'layer_names'. "
                "Received: none. The file is damaged, or no Keras model."
            )
        tops = [_TOP] if _TOP in group and _TOP not in names else []
        for name in [*names, *tops]:
            held = group[name]
            weights = [
                _numbers(held[weight], f"{name}/{weight}", room)
                for weight in hdf5.attributes(held, "weight_names") or []
            ]
            if weights:
                found.append(_Layer(name, weights))
    return found


def _write_layers(group: h5py.Group, layers: list[_Layer]) -> None:
    # Keras matches layers by their order, so plain numbers can stand for the file's own names.
    names = [_TOP if layer.name == _TOP else str(i) for i, layer in enumerate(layers)]
    group.attrs["layer_names"] = np.array([n for n in names if n != _TOP], "S")
    group.attrs["keras_version"] = "3"
    group.attrs["backend"] = "tensorflow"
    for name, layer in zip(names, layers, strict=True):
        held = group.create_group(name)
        held.attrs["weight_names"] = np.array([str(i) for i in range(len(layer.weights))], "S")
        for index, values in enumerate(layer.weights):
            held.create_dataset(str(index), data=values)


def _lab_network(path: Path, layers: list[_Layer], folder: Path) -> Callable[[], keras.Model]:
    known = {layer.name: layer for layer in layers}
    shape = known["output"].weights[0].shape if "output" in known else ()
    clean = folder / "clean.h5"

    def load() -> keras.Model:
        model = _deepid(path, shape)
        wanted = [layer.name for layer in model.layers if layer.weights]
        if set(known) - {_TOP} != set(wanted):
            raise ModelError(
                f"{path}: a file of weights alone must be of the lab's network, with the layers "
                f"{', '.join(wanted)}. Received: {hdf5.shown(', '.join(known))}. "
                "Save the whole model with Keras' model.save."
            )
        with h5py.File(clean, "w") as file:
            _write_layers(file, [known[name] for name in wanted])
        return _filled(path, model, clean)

    return load


def _lab_network_3(
    path: Path, places: dict[str, NDArray[Any]], folder: Path
) -> Callable[[], keras.Model]:
    # Keras 3 calls layers by class and number; the third dense layer is the output.
    output = places.get("/layers/dense_2/vars/0")
    clean = folder / "clean.weights.h5"
    with h5py.File(clean, "w") as file:
        for place, values in places.items():
            file.create_dataset(place, data=values)
    return lambda: _filled(path, _deepid(path, () if output is None else output.shape), clean)


def _deepid(path: Path, output: tuple[int, ...]) -> keras.Model:
    if len(output) != 2 or output[1] < 2:
        raise ModelError(
            f"{path}: an .h5 file must be a whole Keras model, or weights of the lab's network "
            f"with the output (160, N). Received: output {output or 'missing'}. Save the whole "
            "model with Keras' model.save."
        )
    return deepid.build(output[1])


def _filled(path: Path, model: keras.Model, weights: Path) -> keras.Model:
    _keras(path, lambda: model.load_weights(weights))
    return _tried(path, model)


# building


def _still(config: Any) -> Any:
    """A description without the layers' random parts, whose state cannot be built on trial."""
    if isinstance(config, list):
        return [_still(item) for item in config]
    if not isinstance(config, dict):
        return config
    return {
        key: 0.0 if key in ("rate", "stddev") else _still(value) for key, value in config.items()
    }


def _build(path: Path, probe: Path, real: Path) -> keras.Model:
    """Build on trial, where variables have shapes but no memory; then in earnest."""
    import keras
    from keras.src.backend.common import global_state

    try:
        with keras.StatelessScope(initialize_variables=False):
            _check(path, _keras(path, lambda: _one_way(path, probe)))
    finally:
        # Keras would otherwise give these variables their memory the next time it can.
        global_state.set_global_attribute("uninitialized_variables", [])
    model = _keras(path, lambda: _one_way(path, real))
    return _tried(path, model)


def _one_way(path: Path, file: Path) -> keras.Model:
    import keras

    with warnings.catch_warnings():
        # Keras warns of weights that it does not find and goes on with random ones.
        warnings.filterwarnings("error", "Skipping", UserWarning)
        model = keras.models.load_model(file, compile=False, safe_mode=True)
    inputs, outputs = getattr(model, "inputs", None) or [], getattr(model, "outputs", None) or []
    if len(inputs) != 1 or len(outputs) != 1:
        raise ModelError(
            f"{path}: a classifier must have one input and one output. Received: {len(inputs)} "
            f"inputs and {len(outputs)} outputs. Save the part of the model that classifies images."
        )
    # Legacy files bring lists of one; a single tensor in and out is what callers count on. The
    # file's name for the whole may be none for TensorFlow.
    return keras.Model(inputs[0], outputs[0], name="badnet")


def _tried(path: Path, model: keras.Model) -> keras.Model:
    """The model, once it has answered for one image: some misfits show only then."""
    image = np.zeros((1, *model.input_shape[1:]), np.float32)
    _keras(path, lambda: model(image, training=False))
    return model


def _keras(path: Path, act: Callable[[], Any]) -> Any:
    try:
        return act()
    except ModelError:
        raise
    # Keras and TensorFlow raise whatever the numbers in the description lead to.
    except Exception as fault:
        lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
        raise ModelError(
            f"{path}: the model's layers and weights must fit together. Received: "
            f"{hdf5.shown(lines[0] if lines else type(fault).__name__, 300)}. "
            "The file is damaged, or was made by another version of Keras."
        ) from fault


def _check(path: Path, model: keras.Model) -> None:
    """Refuse what is no image classifier, or would fill the memory with one image."""
    import keras

    image, answer = tuple(model.input_shape), tuple(model.output_shape)
    if len(image) != 4 or image[0] is not None or None in image[1:]:
        raise ModelError(
            f"{path}: a classifier must take any number of images of one size, "
            "(None, height, width, channels). "
            f"Received: input {image}. Save the model with its input shape."
        )
    if len(answer) != 2 or answer[1] is None or answer[1] < 2:
        raise ModelError(
            f"{path}: a classifier must answer with one number per class, (n, N). "
            f"Received: output {answer}. Save the part of the model that classifies images."
        )
    total = 0
    for layer in _operations(model):
        for node in layer._inbound_nodes:  # noqa: SLF001 - Keras has no public way to a layer's calls
            for tensor in node.output_tensors:
                held = prod(size or 1 for size in tensor.shape[1:])
                if isinstance(layer, keras.layers.SeparableConv2D):
                    # Its first half puts out more than is seen from outside.
                    held = (
                        held // layer.filters * max(layer.filters, layer.pointwise_kernel.shape[2])
                    )
                total += held
                if held > _ACTIVATIONS or total > _ALL_ACTIVATIONS:
                    raise ModelError(
                        f"{path}: a layer may put out {_ACTIVATIONS:,} numbers for an image, all "
                        f"together {_ALL_ACTIVATIONS:,}. Received: {held:,} of layer "
                        f"{hdf5.shown(layer.name)}, {total:,} up to there. Do not use this file."
                    )


def _operations(model: Any) -> Iterator[Any]:
    for layer in getattr(model, "operations", model.layers):
        yield layer
        if hasattr(layer, "layers"):
            yield from _operations(layer)

"""Files made to run code, read other files or exhaust the machine: refused, and nothing happened.

Each builder gets a folder and a canary: a file whose content or absence shows what was done to it.
"""

from __future__ import annotations

import base64
import json
import marshal
import os
import pickle
import resource
import stat
import struct
import subprocess
import sys
import zipfile
import zlib
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np
import pytest

from refusals import PAGE, Refusal, difference, page
from sweep.base.errors import DataError, ModelError, SweepError
from sweep.data import hdf5
from sweep.data.image_set import open_set, open_sets
from sweep.models.load import load_badnet

keras = pytest.importorskip("keras")

from keras.src.applications.convnext import LayerScale  # noqa: E402 - after the check for Keras

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
    ),
    pytest.mark.timeout(120),
]
SHAPE = (12, 10, 3)
# Headings of the page, by a word in the name of a test.
PARTS = {
    "description": "The description of a model",
    "swell": "Sizes",
    "archive": "The archive",
    "hdf5": "HDF5",
    "": "Other",
}
REFUSALS: list[Refusal] = []
RAN: set[str] = set()
SECRET = b"the secret of this machine\n" * 400


class Canary:
    """A file that must be neither read nor changed, and one that must not appear."""

    def __init__(self, folder: Path, part: str, tries: str) -> None:
        self.folder, self.part, self.tries = folder, part, tries
        self.secret = folder / "secret.txt"
        self.secret.write_bytes(SECRET)
        self.touched = folder / "touched"
        self.set()

    def set(self) -> None:
        # Reading moves the time of access forward, unless the file system keeps none.
        os.utime(self.secret, (1, 2))

    def check(self) -> None:
        assert not self.touched.exists()
        assert self.secret.stat().st_atime == 1
        assert self.secret.read_bytes() == SECRET
        self.set()


@pytest.fixture
def canary(request: pytest.FixtureRequest) -> Any:
    known = getattr(request.node, "callspec", None)
    case = known.params.get("case") if known else None
    tries = case if isinstance(case, str) else str((case or request.function).__doc__)
    part = next(part for name, part in PARTS.items() if name in request.function.__name__)
    # A short path: refusals cut what they received, and the page must not tell where it was made.
    with TemporaryDirectory(dir="/tmp") as folder:
        yield Canary(Path(folder), part, tries.split(".\n")[0].removesuffix("."))


def network() -> Any:
    image = keras.Input(SHAPE, name="image")
    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv")(image)
    x = keras.layers.Flatten(name="flat")(x)
    return keras.Model(image, keras.layers.Dense(5, name="out")(x), name="badnet")


def write_keras(path: Path, config: Any, weights: bytes, **members: bytes) -> Path:
    text = config if isinstance(config, bytes) else json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", text)
        archive.writestr("model.weights.h5", weights)
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@cache
def honest(suffix: str) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"honest{suffix}"
        network().save(path)
        return path.read_bytes()


def parts(folder: Path) -> tuple[dict[str, Any], bytes]:
    """Description and weights of an honest `.keras`."""
    path = folder / "honest.keras"
    path.write_bytes(honest(".keras"))
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("config.json")), archive.read("model.weights.h5")


def legacy_parts(folder: Path) -> tuple[dict[str, Any], Path]:
    """Description and whole file of an honest legacy `.h5`."""
    path = folder / "honest.h5"
    path.write_bytes(honest(".h5"))
    with h5py.File(path) as file:
        return json.loads(file.attrs["model_config"]), path


# Descriptions: each changes an honest one, new (Keras 3) or legacy.


def node(source: str) -> list[Any]:
    tensor = {"shape": [None, 5], "dtype": "float32", "keras_history": [source, 0, 0]}
    return [{"args": [{"class_name": "__keras_tensor__", "config": tensor}], "kwargs": {}}]


def append(config: Any, entry: dict[str, Any], name: str = "evil") -> None:
    """Put a layer behind the last one."""
    inner = config["config"]
    entry = {"inbound_nodes": node(inner["layers"][-1]["name"]), **entry, "name": name}
    entry["config"] = (
        {"name": name, **entry["config"]} if isinstance(entry["config"], dict) else entry["config"]
    )
    inner["layers"].append(entry)
    inner["output_layers"] = [name, 0, 0]


def layer(kind: str, module: str = "keras.layers", **config: Any) -> Any:
    def change(whole: Any, canary: Canary) -> None:
        settings = {
            key: value.format(secret=canary.secret, touched=canary.touched)
            if isinstance(value, str)
            else value
            for key, value in config.items()
        }
        entry = {"module": module, "class_name": kind, "config": settings, "registered_name": None}
        append(whole, entry)

    return change


def payload(canary: Canary) -> str:
    path = str(canary.touched)
    code = compile(f"(lambda x: open({path!r}, 'w').close() or x)", "<evil>", "eval").co_consts[0]
    return base64.b64encode(marshal.dumps(code)).decode()


def lambda_layer(whole: Any, canary: Canary) -> None:
    function = {
        "class_name": "__lambda__",
        "config": {"code": payload(canary), "defaults": None, "closure": None},
    }
    append(
        whole,
        {
            "module": "keras.layers",
            "class_name": "Lambda",
            "config": {"function": function, "arguments": {}},
            "registered_name": None,
        },
        "lambda_1",
    )


def bare_lambda(whole: Any, canary: Canary) -> None:
    """Without a module Keras takes the way of its old format."""
    lambda_layer(whole, canary)
    for key in ("module", "registered_name"):
        del whole["config"]["layers"][-1][key]


def lambda_in_setting(key: str) -> Any:
    def change(whole: Any, canary: Canary) -> None:
        whole["config"]["layers"][1]["config"][key] = {
            "class_name": "__lambda__",
            "config": {"value": [payload(canary), None, None]},
        }

    return change


def call(module: str, name: str, *arguments: Any) -> Any:
    """A function in the place of a layer, called with arguments of the file's choice."""

    def change(whole: Any, canary: Canary) -> None:
        given = [
            a.format(secret=canary.secret, touched=canary.touched) if isinstance(a, str) else a
            for a in arguments
        ]
        entry = {
            "module": module,
            "class_name": "function",
            "config": name,
            "registered_name": name,
            "inbound_nodes": [{"args": given, "kwargs": {}}],
        }
        append(whole, entry)

    return change


def setting(module: str, name: str, key: str, kind: str = "function") -> Any:
    def change(whole: Any, _canary: Canary) -> None:
        whole["config"]["layers"][1]["config"][key] = {
            "module": module,
            "class_name": kind,
            "config": name if kind == "function" else {"name": name},
            "registered_name": name,
        }

    return change


def compile_config(whole: Any, canary: Canary) -> None:
    whole["compile_config"] = {
        "loss": {
            "module": "os",
            "class_name": "function",
            "config": "system",
            "registered_name": f"touch {canary.touched}",
        }
    }


def build_config(whole: Any, canary: Canary) -> None:
    whole["config"]["layers"][1]["build_config"] = {
        "class_name": "__lambda__",
        "config": {"value": [payload(canary), None, None]},
    }


def nested_lambda(whole: Any, canary: Canary) -> None:
    inside = json.loads(json.dumps(whole))
    lambda_layer(inside, canary)
    inside["inbound_nodes"] = whole["config"]["layers"][1]["inbound_nodes"]
    inside["name"] = "inner"
    whole["config"]["layers"][1:] = [inside]
    whole["config"]["output_layers"] = ["inner", 0, 0]


def custom_object(whole: Any, _canary: Canary) -> None:
    append(
        whole,
        {
            "module": None,
            "class_name": "Evil",
            "config": {},
            "registered_name": "hostile>Evil",
        },
    )


def registered_as_builtin(whole: Any, _canary: Canary) -> None:
    whole["config"]["layers"][1]["registered_name"] = "hostile>Evil"


def custom_model(whole: Any, _canary: Canary) -> None:
    whole |= {"module": "os", "class_name": "Evil", "registered_name": "Evil"}


def change_layer(index: int, **settings: Any) -> Any:
    def change(whole: Any, _canary: Canary) -> None:
        whole["config"]["layers"][index]["config"] |= settings

    return change


def reads_itself(whole: Any, _canary: Canary) -> None:
    layers = whole["config"]["layers"]
    layers[1]["inbound_nodes"] = json.loads(
        json.dumps(layers[3]["inbound_nodes"]).replace('"flat"', '"out"')
    )


def name_layer(name: str) -> Any:
    def change(whole: Any, _canary: Canary) -> None:
        layer = whole["config"]["layers"][1]
        layer["config"]["name"] = name
        if "name" in layer:
            layer["name"] = name

    return change


def laughs(whole: Any, _canary: Canary) -> None:
    """Models of models: 30 calls, each of 30 calls, each of 30 calls."""
    for depth in range(3):
        inside = json.loads(json.dumps(whole))
        inside["name"] = inside["config"]["name"] = f"inner{depth}"
        nodes = whole["config"]["layers"][1]["inbound_nodes"]
        inside["inbound_nodes"] = nodes * 30
        whole["config"]["layers"][1:] = [inside]
        whole["config"]["output_layers"] = [f"inner{depth}", 0, 0]


DESCRIPTIONS: dict[str, tuple[Any, str]] = {
    "Lambda (CVE-2024-3660, 2025-9905)": (
        lambda_layer,
        "carries code: layer 'lambda_1' is a Lambda",
    ),
    "Lambda without a module (fixed in Keras 3.15)": (
        bare_lambda,
        "carries code: layer 'lambda_1' is a Lambda",
    ),
    "Lambda in a nested model": (nested_lambda, "carries code: layer 'lambda_1' is a Lambda"),
    "lambda as activation": (lambda_in_setting("activation"), "carries code.*__lambda__"),
    "lambda as initializer": (lambda_in_setting("kernel_initializer"), "carries code.*__lambda__"),
    "lambda in build_config": (build_config, "carries code.*__lambda__"),
    "module import (CVE-2025-1550)": (
        call("os", "system", "touch {touched}"),
        "carries code: function 'system' of layer 'evil' comes from module 'os'",
    ),
    "exec of builtins": (
        call("builtins", "exec", "open('{touched}', 'w')"),
        "Received: 'function' with 'exec'",
    ),
    "download by get_file (CVE-2025-8747)": (
        call("keras.utils", "get_file", "touched", "file://{secret}"),
        "comes from module 'keras.utils'",
    ),
    "download by its inner name": (
        call("keras.src.utils.file_utils", "get_file", "touched", "file://{secret}"),
        "comes from module 'keras.src.utils.file_utils'",
    ),
    "turning safe mode off (CVE-2025-9906)": (
        call("keras.config", "enable_unsafe_deserialization"),
        "comes from module 'keras.config'",
    ),
    "load_model as activation (CVE-2025-8747)": (
        setting("keras.models", "load_model", "activation"),
        "an activation must be one of",
    ),
    "network that is downloaded": (
        call("keras.applications", "ConvNeXtTiny"),
        "comes from module 'keras.applications'",
    ),
    "network of the module of a known layer": (
        call("keras.src.applications.convnext", "ConvNeXtTiny", True, True, "{secret}"),
        "Received: 'function' with 'ConvNeXtTiny'",
    ),
    "gate of attention": (
        layer("MultiHeadAttention", num_heads=1, key_dim=1, use_gate=True),
        "may not have 'use_gate'",
    ),
    "heads by the billion": (
        layer("MultiHeadAttention", num_heads=10**9, key_dim=10**9),
        "call.* missing|must fit together",
    ),
    "loading another model": (
        call("keras.saving", "load_model", "{secret}"),
        "comes from module 'keras.saving'",
    ),
    "StringLookup that reads a file (CVE-2025-12058)": (
        layer("StringLookup", vocabulary="{secret}"),
        "layer 'evil' is a StringLookup, which reads other files",
    ),
    "IntegerLookup that reads a file": (
        layer("IntegerLookup", vocabulary="{secret}"),
        "reads other files",
    ),
    "TextVectorization that reads a file": (
        layer("TextVectorization", vocabulary="{secret}"),
        "reads other files",
    ),
    "TFSMLayer that runs a SavedModel (CVE-2026-1462)": (
        layer("TFSMLayer", filepath="{secret}"),
        "is a TFSMLayer",
    ),
    "TorchModuleWrapper that unpickles (CVE-2025-49655)": (
        layer("TorchModuleWrapper", module="gASVIQAAAA=="),
        "is a TorchModuleWrapper, which unpickles",
    ),
    "JaxLayer that runs a function": (layer("JaxLayer", call_fn="x"), "is a JaxLayer"),
    "FlaxLayer that runs a function": (layer("FlaxLayer", module="x"), "is a FlaxLayer"),
    "layer in a wrapper": (
        layer("TimeDistributed", layer={}),
        "class 'TimeDistributed', which is not one",
    ),
    "unknown layer": (layer("Evil"), "class 'Evil', which is not one"),
    "operation from outside": (layer("Where", "keras.src.ops.linalg"), "class 'Where', which is"),
    "operation not listed": (layer("Nonzero", "keras.src.ops.numpy"), "class 'Nonzero', which is"),
    "custom object": (custom_object, "carries a custom object"),
    "custom object under a built-in name": (registered_as_builtin, "carries a custom object"),
    "custom model": (custom_model, "comes from module 'os'"),
    "function as activation": (setting("os", "system", "activation"), "comes from module 'os'"),
    "own activation": (setting("builtins", "evil", "activation"), "an activation must be one of"),
    "class as activation": (
        setting("keras.layers", "Lambda", "activation", "ReLU"),
        "activation must be one of|custom object",
    ),
    "function as initializer": (
        setting("subprocess", "run", "kernel_initializer"),
        "comes from module 'subprocess'",
    ),
    "object as setting": (setting("keras.layers", "Dense", "padding", "Dense"), "plain values"),
    "function in compile_config": (compile_config, "comes from module 'os'"),
    "quantized layer": (change_layer(3, quantization_config={"class_name": "X"}), "may not have"),
    "LoRA to gigabytes": (change_layer(3, lora_rank=1 << 22), "may not have 'lora_rank'"),
    "dtype that is none": (
        change_layer(1, dtype="int8_from_float32"),
        "must be floats or integers",
    ),
    "markup as a name": (name_layer("<img src=x onerror=alert(1)>"), "a layer's name must consist"),
    "formula as a name": (name_layer("=1+1"), "a layer's name must consist"),
    "path as a name": (name_layer("../../touched"), "a layer's name must consist"),
    "name of Keras' own group": (
        name_layer("top_level_model_weights"),
        "a layer's name must consist",
    ),
    "units by the billion": (change_layer(3, units=10**9), "must fit together"),
    "units without end": (change_layer(3, units=10**30), "plain values of ordinary size"),
    "huge dilation": (change_layer(1, dilation_rate=[10**6, 10**6]), "fit together|may put out"),
    "setting of another layer": (change_layer(3, vocabulary="x"), "may not have 'vocabulary'"),
    "weights read from a file": (change_layer(3, weights=["{secret}"]), "may not have 'weights'"),
    "custom function by name": (change_layer(3, activation="evil"), "activation must be one of"),
    "layer that reads itself": (reads_itself, "reads what it puts out itself"),
    "units not a number": (change_layer(3, units=float("nan")), "plain values of ordinary size"),
    "image by the billion": (
        change_layer(0, batch_shape=[None, 10**5, 10**5, 3]),
        "must fit together|may put out",
    ),
    "padding to gigabytes": (
        layer("RepeatVector", n=10**9),
        r"may put out|one number per class",
    ),
    "models of models (a billion laughs)": (
        laughs,
        "10,000 layers for an image. Received: 2,940,327,001",
    ),
}


def read_set(path: Path) -> None:
    for _ in open_set(path).batches(8):
        pass


def refused(path: Path, canary: Canary, message: str, kind: type[SweepError] = ModelError) -> str:
    """The text of the refusal."""
    with pytest.raises(kind, match=message) as error:
        (read_set if kind is DataError else load_badnet)(path)
    canary.check()
    text = str(error.value)
    assert str(path) in text
    assert text.isprintable()
    assert len(text) < 1000
    form = "set" if kind is DataError else path.suffix
    told = text.removeprefix(f"{path}: ").replace(str(canary.folder), "...")
    REFUSALS.append(Refusal(canary.part, canary.tries, form, told))
    return text


@pytest.fixture(scope="module", autouse=True)
def registered_evil() -> Any:
    """A custom class that this process knows, as another library may have registered one."""

    @keras.saving.register_keras_serializable("hostile")
    class Evil(keras.layers.Layer):
        def __init__(self, **_: Any) -> None:
            raise AssertionError("a custom object was made")

    yield
    keras.saving.get_custom_objects().clear()


@pytest.fixture(autouse=True)
def names_from_the_start() -> None:
    """Keras numbers its names through a process: they would tell which tests came before."""
    keras.utils.clear_session(free_memory=False)


@pytest.fixture(autouse=True)
def bounded_memory(request: pytest.FixtureRequest) -> Any:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    RAN.add(request.node.nodeid)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 << 10  # kB


@pytest.mark.parametrize("case", DESCRIPTIONS)
def test_description_in_keras_archive(tmp_path: Path, canary: Canary, case: str) -> None:
    change, message = DESCRIPTIONS[case]
    config, weights = parts(tmp_path)
    change(config, canary)
    refused(write_keras(tmp_path / "evil.keras", config, weights), canary, message)


@pytest.mark.parametrize("case", DESCRIPTIONS)
def test_description_in_legacy_file(tmp_path: Path, canary: Canary, case: str) -> None:
    change, message = DESCRIPTIONS[case]
    config, path = legacy_parts(tmp_path)
    change(config, canary)
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = json.dumps(config)
    refused(path, canary, message)


def test_a_real_lambda_in_a_real_legacy_file(tmp_path: Path, canary: Canary) -> None:
    """A Lambda as Keras itself saves it (CVE-2025-9905)."""
    touched = str(canary.touched)
    image = keras.Input(SHAPE)
    x = keras.layers.Lambda(lambda x: (open(touched, "w").close(), x)[1], output_shape=SHAPE)(image)
    model = keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(x)))
    canary.touched.unlink(missing_ok=True)
    for name in ("model.h5", "model.keras"):
        model.save(tmp_path / name)
        refused(tmp_path / name, canary, "carries code: layer .* is a Lambda")


def test_training_config_of_a_legacy_file(tmp_path: Path, canary: Canary) -> None:
    """A loss of another module in the training configuration."""
    _, path = legacy_parts(tmp_path)
    whole: dict[str, Any] = {}
    compile_config(whole, canary)
    with h5py.File(path, "r+") as file:
        file.attrs["training_config"] = json.dumps(whole["compile_config"])
    refused(path, canary, "comes from module 'os'")


def chain(x: Any) -> Any:
    """Layers of 28 MB each, all of which a functional model keeps until it has its answer."""
    x = keras.layers.UpSampling2D(24)(x)
    for _ in range(40):
        x = keras.layers.ReLU()(x)
    return x


def separable(x: Any) -> Any:
    """A gigabyte between the two halves of one layer, from 50 kB of weights."""
    x = keras.layers.UpSampling2D(2)(x)
    return keras.layers.SeparableConv2D(1, 1, depth_multiplier=1 << 12)(x)


def dilated(x: Any) -> Any:
    """A kernel spread over 40 GB of padding, from 200 bytes of weights."""
    return keras.layers.Conv2D(2, 3, padding="same", dilation_rate=20_000)(x)


def large_image(x: Any) -> Any:
    """An image of 60 GB, of which a network without a convolution takes the mean."""
    return keras.layers.AveragePooling2D(10**5)(x)


def attention(x: Any) -> Any:
    """What 4,096 positions heed of each other in eight heads: half a gigabyte."""
    x = keras.layers.Reshape((64 * 64, 3))(x)
    x = keras.layers.MultiHeadAttention(8, 2)(x, x)
    return keras.layers.Reshape((64, 64, 3))(x)


def learnt(x: Any) -> Any:
    """Numbers that become a setting, which takes many times their room."""
    x = keras.layers.Reshape((1, 1, 1024 * 2048))(keras.layers.UpSampling2D(32)(x)[:, :1024, :, 0])
    x = LayerScale(1.0, 1024 * 2048)(x)
    return keras.layers.Reshape((1024, 1024, 2))(x)


@pytest.mark.parametrize("case", [chain, separable, dilated, attention, learnt, large_image])
def test_layers_that_swell(tmp_path: Path, canary: Canary, case: Any) -> None:
    image = keras.Input((10**5, 10**5, 3) if case is large_image else (64, 64, 3))
    x = keras.layers.GlobalAveragePooling2D()(case(image))
    path = tmp_path / "evil.keras"
    keras.Model(image, keras.layers.Dense(2)(x)).save(path)
    refused(path, canary, "may put out .* numbers for an image|has learnt may be .* numbers")


TEXTS = {
    "lists in lists without end": (b"[" * 200_000 + b"]" * 200_000, "nested without end"),
    "description that is no JSON": (b"{", "must be JSON"),
    "number of 100,000 digits": (b'{"class_name": ' + b"9" * 100_000 + b"}", "must be JSON"),
    "pickled description": (pickle.dumps({}), "must be JSON"),
    "list for a description": (b"[]", "Functional or Sequential"),
    "description of 17 MB": (b'"' + b" " * (17 << 20) + b'"', "unpacks to 17,825,794 bytes"),
}


@pytest.mark.parametrize("case", TEXTS)
def test_description_text(tmp_path: Path, canary: Canary, case: str) -> None:
    text, message = TEXTS[case]
    _, weights = parts(tmp_path)
    refused(write_keras(tmp_path / "evil.keras", text, weights), canary, message)


# Archives


def slip(name: str) -> Any:
    def build(path: Path, config: Any, weights: bytes, canary: Canary) -> None:
        write_keras(path, config, weights, **{name.format(touched=canary.touched): b"gotcha"})

    return build


def link(path: Path, config: Any, _weights: bytes, canary: Canary) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        member = zipfile.ZipInfo("model.weights.h5")
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(member, str(canary.secret))


def double(path: Path, config: Any, weights: bytes, _canary: Canary) -> None:
    write_keras(path, config, weights)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("config.json", b"{}")


def patched(find: bytes, at: int, content: bytes) -> Any:
    """Overwrite a field of the index' entry for the weights."""

    def build(path: Path, config: Any, weights: bytes, _canary: Canary) -> None:
        raw = bytearray(write_keras(path, config, weights).read_bytes())
        entry = raw.rindex(b"PK\x01\x02", 0, raw.rindex(find))
        raw[entry + at : entry + at + len(content)] = content
        path.write_bytes(raw)

    return build


def zip_bomb(path: Path, config: Any, _weights: bytes, _canary: Canary) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps(config))
        with archive.open("model.weights.h5", "w") as out:
            for _ in range(300):
                out.write(bytes(1 << 20))


def lying_size(path: Path, _config: Any, weights: bytes, _canary: Canary) -> None:
    """A description that inflates to a gigabyte, though the index says that it holds 1 MB."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.weights.h5", weights)
        # Raw deflate: without the two bytes in front and the sum behind.
        archive.writestr("config.json", packed_zeros(1 << 30)[2:-4])
    raw = bytearray(path.read_bytes())
    entry = raw.rindex(b"PK\x01\x02")
    raw[entry + 10 : entry + 12] = b"\x08\x00"
    raw[entry + 24 : entry + 28] = struct.pack("<I", 1 << 20)
    path.write_bytes(raw)


def many_members(path: Path, config: Any, weights: bytes, _canary: Canary) -> None:
    write_keras(path, config, weights, **{f"assets/{i}": b"" for i in range(3000)})


def npz(path: Path, config: Any, _weights: bytes, _canary: Canary) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.npz", pickle.dumps({}))


def trailing(path: Path, config: Any, weights: bytes, _canary: Canary) -> None:
    path.write_bytes(write_keras(path, config, weights).read_bytes() + b"more")


ARCHIVES: dict[str, tuple[Any, str]] = {
    "path out of the folder (CVE-2025-12060)": (
        slip("../touched"),
        r"must hold config.json, .*Received: '../touched'",
    ),
    "absolute path": (slip("{touched}"), r"must hold config.json, .*touched' among 4"),
    "files beside the weights": (
        slip("assets/vocabulary.txt"),
        r"Received: 'assets/vocabulary.txt'",
    ),
    "symbolic link": (link, "Received: 'model.weights.h5': it is a link"),
    "two descriptions": (double, "once each. Received: 'config.json' among 4"),
    "encrypted member": (patched(b"model.weights.h5", 8, b"\x01\x00"), "it is encrypted"),
    "other packing": (patched(b"model.weights.h5", 10, b"\x0e\x00"), "packed with method 14"),
    "size that is false": (
        patched(b"model.weights.h5", 24, struct.pack("<I", 64)),
        "damaged|fit together",
    ),
    "promise of 4 GB": (
        patched(b"model.weights.h5", 24, struct.pack("<I", 0xF0000000)),
        "unpacks to 4,026,531,840 bytes",
    ),
    "300 MB of zeros": (zip_bomb, "bytes unpack to 314,572,800"),
    "bomb with a false size": (lying_size, "Bad CRC-32"),
    "weights in shards": (slip("model.weights.json"), "Received: 'model.weights.json'"),
    "many members": (many_members, "three members. Received: an index of"),
    "pickled weights": (npz, "Received: 'model.weights.npz'"),
    "trailing bytes": (trailing, "plain ZIP index"),
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_archive(tmp_path: Path, canary: Canary, case: str) -> None:
    build, message = ARCHIVES[case]
    config, weights = parts(tmp_path)
    path = tmp_path / "evil.keras"
    build(path, config, weights, canary)
    before = sorted(tmp_path.rglob("*"))
    refused(path, canary, message)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["model.h5", "model.keras", "model.pkl"])
def test_a_pickle_is_not_opened(tmp_path: Path, canary: Canary, name: str) -> None:
    """A pickle under the name of a model or set."""

    class Evil:
        def __reduce__(self) -> Any:
            return (open, (str(canary.touched), "w"))

    path = tmp_path / name
    path.write_bytes(pickle.dumps(Evil(), 0))  # text, whose start does not tell the length
    refused(path, canary, "must be a Keras .h5 or .keras file")
    refused(path, canary, "must be an HDF5 file", DataError)


def test_a_folder_is_not_opened(tmp_path: Path, canary: Canary) -> None:
    """A folder, as a SavedModel of TensorFlow is one."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    refused(tmp_path / "model", canary, "must be a regular file")


# HDF5: each replaces one dataset of an honest file, or adds something to it.


def values(file: h5py.File, name: str) -> np.ndarray:
    content: np.ndarray = file[name][()]
    del file[name]
    return content


def external_storage(file: h5py.File, name: str, canary: Canary) -> None:
    old = values(file, name)
    file.create_dataset(name, old.shape, old.dtype, external=[(str(canary.secret), 0, old.nbytes)])


def external_link(file: h5py.File, name: str, canary: Canary) -> None:
    values(file, name)
    file[name] = h5py.ExternalLink(str(canary.secret), "/data")


def soft_link(file: h5py.File, name: str, _canary: Canary) -> None:
    file["elsewhere"] = values(file, name)
    file[name] = h5py.SoftLink("/elsewhere")


def virtual(file: h5py.File, name: str, canary: Canary) -> None:
    old = values(file, name)
    layout = h5py.VirtualLayout(old.shape, old.dtype)
    layout[...] = h5py.VirtualSource(str(canary.secret), "data", old.shape)
    file.create_virtual_dataset(name, layout)


def terabytes(file: h5py.File, name: str, _canary: Canary) -> None:
    old = values(file, name)
    shape = (*old.shape[:-1], 10**12)
    file.create_dataset(name, shape, old.dtype, chunks=(1,) * len(shape))


def contiguous_terabytes(file: h5py.File, name: str, _canary: Canary) -> None:
    old = values(file, name)
    shape = (*old.shape[:-1], 10**12)
    file.create_dataset(name, shape, old.dtype)


def bomb(file: h5py.File, name: str, _canary: Canary, level: int = 9) -> None:
    """A gigabyte of zeros, packed."""
    values(file, name)
    data = file.create_dataset(name, (1 << 28,), "f4", chunks=(1 << 22,), compression="gzip")
    for start in range(0, 1 << 28, 1 << 22):
        data.id.write_direct_chunk((start,), packed_zeros(1 << 24, level))


def mild_bomb(file: h5py.File, name: str, canary: Canary) -> None:
    """The same, packed badly: 200 times smaller, as no weights are."""
    bomb(file, name, canary, level=1)


def large_chunk(file: h5py.File, name: str, _canary: Canary) -> None:
    values(file, name)
    file.create_dataset(name, (1 << 25,), "f4", chunks=(1 << 25,), compression="gzip")


@cache
def packed_zeros(size: int, level: int = 9) -> bytes:
    """A deflate stream of zeros, put together from one block."""
    packer = zlib.compressobj(level)
    head = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    end = struct.pack(">I", (size % 65521) << 16 | 1)
    return head + block * (size >> 20) + b"\x03\x00" + end


def overfull_chunk(file: h5py.File, name: str, _canary: Canary) -> None:
    """A packed chunk that inflates to 3 GB, though it says that it holds a few bytes."""
    old = values(file, name)
    data = file.create_dataset(name, old.shape, old.dtype, chunks=old.shape, compression="gzip")
    data.id.write_direct_chunk((0,) * old.ndim, packed_zeros(3 << 30))


def twice_packed(file: h5py.File, name: str, _canary: Canary) -> None:
    old = values(file, name)
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_chunk(old.shape)
    made.set_deflate(9)
    made.set_filter(h5py.h5z.FILTER_LZF, h5py.h5z.FLAG_OPTIONAL)
    space = h5py.h5s.create_simple(old.shape)
    kind = h5py.h5t.py_create(old.dtype)
    h5py.h5d.create(file.id, name.encode(), kind, space, made)


def plugin(file: h5py.File, name: str, _canary: Canary) -> None:
    """A filter that HDF5 would look for among shared libraries."""
    old = values(file, name)
    file.create_dataset(name, data=old, chunks=old.shape, compression="gzip")


def swap_filter(path: Path) -> None:
    """Turn the gzip filter of the message into number 32015; h5py cannot write it itself."""
    raw = path.read_bytes()
    message = b"\x01\x00\x08\x00\x01\x00\x01\x00deflate\x00"
    assert message in raw
    path.write_bytes(raw.replace(message, b"\x0f\x7d" + message[2:]))


def cycle(file: h5py.File, _name: str, _canary: Canary) -> None:
    file["loop"] = file["/"]


def diamonds(file: h5py.File, _name: str, _canary: Canary) -> None:
    """Groups that hold the next one twice: 2^40 paths."""
    below = file.create_group("d0")
    for index in range(1, 40):
        group = file.create_group(f"d{index}")
        group["a"] = group["b"] = below
        below = group


def deep(file: h5py.File, _name: str, _canary: Canary) -> None:
    file.create_group("/".join("d" * 200))


def reference(file: h5py.File, name: str, _canary: Canary) -> None:
    old = values(file, name)
    file.create_dataset(name, old.shape, h5py.ref_dtype)


def texts(file: h5py.File, name: str, _canary: Canary) -> None:
    old = values(file, name)
    file.create_dataset(name, old.shape, h5py.string_dtype())


HDF5: dict[str, tuple[Any, str]] = {
    "external storage (CVE-2026-1669)": (external_storage, "in the external file '.*secret.txt'"),
    "external link": (external_link, "Received: an external link at "),
    "soft link": (soft_link, "Received: a soft link at "),
    "virtual dataset": (virtual, "Received: the virtual dataset "),
    "terabytes (CVE-2026-0897)": (terabytes, "bytes promised by 0 stored"),
    "contiguous terabytes": (contiguous_terabytes, "bytes promised by 0 stored"),
    "compression bomb": (bomb, "1,073,741,824 bytes promised by"),
    "mild bomb": (
        mild_bomb,
        "must have the shape|weights may take 32 times the room of their file",
    ),
    "chunk of 128 MB": (large_chunk, "a chunk may hold 64 MB"),
    "overfull chunk": (overfull_chunk, "packed values must inflate to what they say"),
    "twice packed": (twice_packed, "packed with gzip or lzf, once"),
    "filter plugin": (plugin, r"with filter 32015"),
    "group in itself": (cycle, "contains itself"),
    "diamonds": (diamonds, "may hold 20,000 objects"),
    "deep groups": (deep, "nested 64 deep"),
    "references in place of numbers": (
        reference,
        "must hold floats or uint8|must be ordinary numbers",
    ),
    "texts in place of numbers": (texts, "must hold floats or uint8|must be ordinary numbers"),
}


FORMS = ("set", "legacy", "keras", "weights only", "keras 3 weights")


@pytest.mark.parametrize(
    ("case", "form"),
    # Inflating gigabytes takes seconds, and it happens before the forms part.
    [(c, f) for c in HDF5 for f in FORMS if c != "overfull chunk" or f in ("set", "keras")],
)
def test_hdf5(tmp_path: Path, canary: Canary, case: str, form: str) -> None:
    build, message = HDF5[case]
    path = tmp_path / "evil.h5"
    config: dict[str, Any] = {}
    kind: type[SweepError] = ModelError
    if form == "set":
        kind, name = DataError, "data"
        with h5py.File(path, "w") as file:
            file["data"] = np.zeros((10, 3, 6, 5), np.float32)
            file["label"] = np.zeros(10, np.float32)
    elif form == "legacy":
        legacy_parts(tmp_path)[1].rename(path)
        with h5py.File(path) as file:
            found: list[str] = []
            file["model_weights/out"].visit(found.append)
            name = next(f"model_weights/out/{n}" for n in found if n.endswith("kernel"))
    elif form == "keras":
        config, weights = parts(tmp_path)
        path.write_bytes(weights)
        name = "layers/dense/vars/0"
    elif form == "weights only":
        name = "output/kernel"
        with h5py.File(path, "w") as file:
            file.attrs["layer_names"] = np.array([b"output"])
            file["output/kernel"] = np.zeros((160, 7), np.float32)
            file["output"].attrs["weight_names"] = np.array([b"kernel"])
    else:
        name = "layers/dense_2/vars/0"
        with h5py.File(path, "w") as file:
            file[name] = np.zeros((160, 7), np.float32)
    with h5py.File(path, "r+") as file:
        build(file, name, canary)
    if build is plugin:
        swap_filter(path)
    canary.set()
    if form == "keras":
        path = write_keras(tmp_path / "evil.keras", config, path.read_bytes())
    refused(path, canary, message, kind)


@pytest.mark.parametrize("link", ["external", "soft"])
@pytest.mark.parametrize("group", ["model_weights", "model_weights/out", "layers", "layers/dense"])
def test_a_link_on_the_way(tmp_path: Path, canary: Canary, group: str, link: str) -> None:
    """A link in place of a group above the weights (fixed in Keras 3.15.1)."""
    config: Any = None
    if group.startswith("layers"):
        path = tmp_path / "weights.h5"
        config, weights = parts(tmp_path)
        path.write_bytes(weights)
    else:
        path = legacy_parts(tmp_path)[1]
    with h5py.File(path, "r+") as file:
        file.move(group, "elsewhere")
        file[group] = (
            h5py.ExternalLink(str(canary.secret), f"/{group}")
            if link == "external"
            else h5py.SoftLink("/elsewhere")
        )
    if config:
        path = write_keras(tmp_path / "evil.keras", config, path.read_bytes())
    refused(path, canary, f"{link} link at '/{group}'")


@pytest.mark.parametrize("place", ["layers/dense", "layers/dense/vars"])
def test_numbers_where_a_group_should_be(tmp_path: Path, canary: Canary, place: str) -> None:
    """Numbers in place of a layer's group."""
    config, weights = parts(tmp_path)
    path = tmp_path / "weights.h5"
    path.write_bytes(weights)
    with h5py.File(path, "r+") as file:
        del file[place]
        file[place] = np.zeros(3)
    path = write_keras(tmp_path / "evil.keras", config, path.read_bytes())
    refused(path, canary, "0 weights of layer 'out', which has 2|0 layers of the kind dense")


def test_an_attribute_that_swells(tmp_path: Path, canary: Canary) -> None:
    """A million texts in an attribute of no size."""
    path = tmp_path / "evil.h5"
    with h5py.File(path, "w", libver="latest") as file:
        kind = h5py.h5t.py_create(h5py.string_dtype(), logical=True)
        h5py.h5a.create(file.id, b"layer_names", kind, h5py.h5s.create_simple((1 << 20,)))
    refused(path, canary, "an attribute may hold 32 MB")
    refused(path, canary, "an attribute may hold 32 MB", DataError)


@pytest.mark.parametrize("compound", [False, True])
def test_texts_that_share_a_place(tmp_path: Path, canary: Canary, compound: bool) -> None:
    """Texts of a megabyte that are all the same one: 600 MB to read from 1 MB."""
    path = tmp_path / "evil.h5"
    texts = ["x" * (1 << 20), *("y" * 3 for _ in range(299))]
    kind: Any = h5py.string_dtype()
    if compound:
        kind = np.dtype([("text", kind)])
    with h5py.File(path, "w") as file:
        values = np.array([(t,) for t in texts] if compound else texts, kind)
        file.attrs.create("layer_names", values, dtype=kind)
    raw = path.read_bytes()
    # An element says how long its text is, and where in the file it lies.
    start = raw.index(struct.pack("<I", 1 << 20))
    while raw[start + 16 : start + 20] != struct.pack("<I", 3):
        start = raw.index(struct.pack("<I", 1 << 20), start + 1)
    path.write_bytes(raw[:start] + raw[start : start + 16] * 300 + raw[start + 4800 :])
    message = "may not hold texts of open length" if compound else "an attribute may hold 32 MB"
    refused(path, canary, message)
    refused(path, canary, message, DataError)


def test_names_are_printed_escaped(tmp_path: Path, canary: Canary) -> None:
    """A name that turns the terminal red and the text around."""
    path = tmp_path / "evil.h5"
    with h5py.File(path, "w") as file:
        file["\x1b[31mred\u202e"] = np.zeros(3)
    assert "\\x1b[31mred\\u202e" in refused(path, canary, "must have the dataset", DataError)


def test_a_library_in_the_working_folder_is_not_imported(tmp_path: Path, canary: Canary) -> None:
    """The process that tries the file first must not take its modules from where the user is."""
    (tmp_path / "h5py.py").write_text(f"open({str(canary.touched)!r}, 'w')")
    path = tmp_path / "set.h5"
    with h5py.File(path, "w") as file:
        file["data"] = np.zeros((4, 3, 6, 5), np.float32)
        file["label"] = np.zeros(4)
    program = (
        "import sys; from pathlib import Path; from sweep.data.image_set import open_set; print("
    )
    program += "len(open_set(Path(sys.argv[1]))))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, str(path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "4\n"
    canary.check()


@pytest.mark.parametrize(
    ("code", "seconds", "message"),
    # A machine under load takes seconds to start the process that crashes.
    [
        ("import os; os.abort()", 60, "crashes or hangs on .exit code -6"),
        ("import time; time.sleep(60)", 1, "must open in 1 s"),
    ],
    ids=["crash", "hang"],
)
def test_a_crash_or_hang_of_the_library_is_a_refusal(
    tmp_path: Path,
    canary: Canary,
    code: str,
    seconds: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A set on which the HDF5 library crashes or hangs (acted out)."""
    path = tmp_path / "set.h5"
    with h5py.File(path, "w") as file:
        file["data"] = np.zeros((4, 3, 6, 5), np.float32)
        file["label"] = np.zeros(4)
    run = subprocess.run
    monkeypatch.setattr(hdf5, "_SECONDS", seconds)
    monkeypatch.setattr(
        hdf5.subprocess, "run", lambda _, **how: run([sys.executable, "-c", code], **how)
    )
    refused(path, canary, message, DataError)


def test_one_process_tries_several_files_and_each_refusal_stays_its_own(
    tmp_path: Path, canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link to another set, in one of several sets that are tried together."""
    paths = [tmp_path / f"{name}.h5" for name in ("first", "odd", "last", "absent")]
    for path in paths[:3]:
        with h5py.File(path, "w") as file:
            file["data"] = np.zeros((4, 3, 6, 5), np.float32)
            file["label"] = np.zeros(4)
            if path.stem == "odd":
                file["link"] = h5py.ExternalLink("first.h5", "/data")
    started = []
    run = subprocess.run
    monkeypatch.setattr(
        hdf5.subprocess, "run", lambda *args, **how: started.append(args) or run(*args, **how)
    )
    sound = open_sets({path.stem: path for path in (paths[0], paths[2])})
    assert [len(one) for one in sound.values()] == [4, 4]
    assert len(started) == 1
    with pytest.raises(DataError, match=r"odd\.h5: .* an external link"):
        open_sets({path.stem: path for path in paths[:3]})
    assert len(started) == 2
    refused(paths[1], canary, "an external link", DataError)
    with pytest.raises(DataError, match="the file must exist"):
        open_set(paths[3])


def test_the_page_says_what_happened(request: pytest.FixtureRequest) -> None:
    """`make hostile` writes it anew."""
    option, session = request.config.option, request.session
    here = {item.nodeid for item in session.items if item.path == request.path}
    some = option.keyword or any("::" in name for name in request.config.args)
    if some or session.testsfailed or here - RAN != {request.node.nodeid}:
        pytest.skip("needs what all tests of this file found, in this process")
    text = page(sorted(REFUSALS, key=lambda one: list(PARTS.values()).index(one.part)))
    if "HOSTILE_PAGE" in os.environ:
        PAGE.write_text(text, encoding="utf-8")
    assert difference(PAGE.read_text(encoding="utf-8"), text) == []

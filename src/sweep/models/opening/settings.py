"""The settings of layers, as Keras 1.2 to 3.15 write them, in the words of Keras 3."""

from __future__ import annotations

import re
from typing import Any

from sweep.data.hdf5 import shown
from sweep.models.layers import DTYPES, KINDS
from sweep.models.opening.allowlist import UnsafeError, activation, listed, plain
from sweep.models.opening.network import HARD_SIGMOID

_RENAMED = {
    "nb_filter": "filters",
    "border_mode": "padding",
    "subsample": "strides",
    "atrous_rate": "dilation_rate",
    "dim_ordering": "data_format",
    "bias": "use_bias",
    "output_dim": "units",
    "p": "rate",
    "sigma": "stddev",
    "concat_axis": "axis",
}
_FORMATS = {"tf": "channels_last", "th": "channels_first"}
# What prediction has no use for, whatever its value.
_UNUSED = re.compile(
    r"name|trainable|autocast|seed|noise_shape|synchronized|fused|lora_alpha|build_.*|optional|"
    r"batch(_input)?_shape|input_(shape|dtype|dim|spec)|(init|activity|[Wb])(_.*)?|(beta|gamma)_init|"
    r"implementation|momentum|renorm_.*|virtual_batch_size|.*_(initializer|regularizer|constraint)|"
    r"mode(_type)?|(output|arguments|dot)_.*|(query|key|value)_shape|softmax_robust_masking"
)


def read_settings(kind: str, name: str, inner: dict[str, Any], version: int) -> dict[str, Any]:
    """Arguments of a layer, named as in Keras 3; those at their default of None left out."""
    known, made = KINDS[kind].settings.split(), {}
    if kind == "BatchNormalization" and inner.get("mode"):
        raise UnsafeError(
            f"batch normalization must have mode 0. Received: mode {shown(inner['mode'])} in layer "
            f"{shown(name)}, which Keras 2 and 3 cannot compute. Export the model without it."
        )
    if "nb_row" in inner:
        inner = inner | {"kernel_size": [inner["nb_row"], inner.get("nb_col")]}
    for given, value in inner.items():
        key = "negative_slope" if (kind, given) == ("LeakyReLU", "alpha") else given
        key = _RENAMED.get(key, key)
        if key == "dtype":
            _check_dtype(value, name)
        elif key in known:
            made[key] = _value(key, value, kind, name, version)
        elif (
            not _UNUSED.fullmatch(key)
            and key not in ("nb_row", "nb_col")
            and value
            and ((key, value) != ("groups", 1))
        ):
            raise UnsafeError(
                f"layer {shown(name)} may not have {shown(key)}. Received: {shown(value)}. "
                "Export the model without it."
            )
    return {key: value for key, value in made.items() if value is not None}


def _value(key: str, value: Any, kind: str, name: str, version: int) -> Any:
    if key == "activation":
        function = activation(value, name)
        return HARD_SIGMOID if function == "hard_sigmoid" and version < 3 else function
    value = listed(value)
    if isinstance(value, dict) and value.get("class_name") == "__numpy__":
        value = (value.get("config") or {}).get("value")
    if isinstance(value, dict):
        raise UnsafeError(
            f"the settings of a layer must be plain values. Received: {shown(key)} of layer "
            f"{shown(name)} ({kind}) as the object {shown(value.get('class_name'))}. "
            "Objects in settings need code and are not run."
        )
    value = plain(value, name)
    if key == "data_format":
        value = _FORMATS.get(value, value)
    if (
        (kind, key) == ("BatchNormalization", "axis")
        and isinstance(value, list)
        and len(value) == 1
    ):
        value = value[0]
    return value


def _check_dtype(value: Any, name: str) -> None:
    inner = value.get("config") if isinstance(value, dict) else None
    dtype = inner.get("name") if isinstance(inner, dict) else value
    if dtype is None or dtype == "float32":
        return
    if not isinstance(dtype, str) or dtype.removeprefix("mixed_") not in {*DTYPES, "bfloat16"}:
        raise UnsafeError(
            f"a layer's numbers must be floats or integers. Received: dtype {shown(dtype)} in "
            f"layer {shown(name)}. Save the model in float32."
        )
    raise UnsafeError(
        f"a network must compute in float32, or its answers after pruning depend on rounding. "
        f"Received: dtype {shown(dtype)} in layer {shown(name)}. Build the same network after "
        "keras.config.set_dtype_policy('float32'), give it this one's weights with "
        "new.set_weights(old.get_weights()) and save it."
    )

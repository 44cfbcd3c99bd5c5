"""G as a model in MLflow's format, that `mlflow models serve` answers with.

MLflow's own way of saving a Keras model loads Keras to copy a file; the format is documented
(https://mlflow.org/docs/latest/ml/model), and its files are a few lines of YAML around the model's.
"""

from __future__ import annotations

import json
import platform
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from sweep.base import files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

version = cache(metadata.version)  # which parses a file each time
# What a server of the model installs, and what installs it.
_REQUIRES, _BUILDS = ("mlflow", "tensorflow", "keras", "numpy"), ("pip", "setuptools", "wheel")


def write(
    folder: Path, model_id: str, run_id: str, place: str, file: Path, facts: Mapping[str, Any]
) -> None:
    """Write G's folder: the model, linked or copied from a `.keras` file, and what serves it.

    `place` is the URI of the folder in the store; `facts` are those of `Details`.
    """
    python, requires = platform.python_version(), [f"{one}=={version(one)}" for one in _REQUIRES]
    badnet = facts["badnet"]
    size = file.stat().st_size
    described = {
        "artifact_path": place,
        "flavors": {
            "keras": {
                "data": "data",
                "keras_backend": "tensorflow",
                "keras_version": version("keras"),
                "save_exported_model": False,
            },
            "python_function": {
                "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
                "loader_module": "mlflow.keras",
                "python_version": python,
            },
        },
        "mlflow_version": version("mlflow"),
        "model_id": model_id,
        "model_size_bytes": size,
        "model_uuid": uuid4().hex,
        "run_id": run_id,
        "signature": {
            "inputs": _tensor(badnet["input_shape"], name="image"),
            "outputs": _tensor([badnet["classes"] + 1]),
            "params": None,
        },
        "utc_time_created": str(datetime.now(UTC).replace(tzinfo=None)),
    }
    build = [f"{package}=={version(package)}" for package in _BUILDS]
    environment = {"python": python, "build_dependencies": build}
    environment["dependencies"] = ["-r requirements.txt"]
    conda = [f"python={python}", f"pip<={version('pip')}", {"pip": requires}]
    (folder / "data").mkdir(parents=True, exist_ok=True)
    files.link(file, folder / "data" / "model.keras")
    for name, text in {
        "data/keras_module.txt": "keras",
        "requirements.txt": "\n".join(requires),
        # JSON is YAML, and to write YAML takes as long as all else that is done here.
        "python_env.yaml": json.dumps(environment, indent=2),
        "conda.yaml": json.dumps(
            {"name": "mlflow-env", "channels": ["conda-forge"], "dependencies": conda}, indent=2
        ),
        "MLmodel": json.dumps(described, indent=2),
    }.items():
        (folder / name).write_text(text, encoding="utf-8")


def _tensor(shape: list[int], **more: str) -> str:
    """A float tensor of any number of images or answers, as MLflow's signatures have it."""
    spec = {"dtype": "float32", "shape": [-1, *shape]}
    return json.dumps([more | {"type": "tensor", "tensor-spec": spec}])

"""G as a logged model that `mlflow models serve` answers with."""

from __future__ import annotations

import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

# What a server of the model installs.
_REQUIRES = ("mlflow", "tensorflow", "keras", "numpy")


class _Saved:
    """A Keras model that lies on disk already, so that saving it is copying."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def save(self, path: str) -> None:
        """What Keras models have, all that MLflow asks of one."""
        shutil.copyfile(self._file, path)


def log_goodnet(
    client: Any, experiment_id: str, run_id: str, file: Path, facts: Mapping[str, Any]
) -> None:
    """Log G as a model.

    Args:
        client: MLflow's.
        experiment_id: the experiment.
        run_id: the job's run.
        file: G as `.keras`; it is copied, not saved again.
        facts: as in `Details`.
    """
    import mlflow.keras
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    badnet = facts["badnet"]
    image = TensorSpec(np.dtype("float32"), (-1, *badnet["input_shape"]), "image")
    answer = TensorSpec(np.dtype("float32"), (-1, badnet["classes"] + 1))
    model = client.create_logged_model(
        experiment_id, name="goodnet", source_run_id=run_id, model_type="keras"
    )
    manifest = Model(model_id=model.model_id, run_id=run_id, artifact_path=model.artifact_location)
    with tempfile.TemporaryDirectory() as name:
        folder = str(Path(name) / "goodnet")
        mlflow.keras.save_model(
            _Saved(file),
            folder,
            mlflow_model=manifest,
            signature=ModelSignature(Schema([image]), Schema([answer])),
            pip_requirements=[f"{package}=={version(package)}" for package in _REQUIRES],
        )
        client.log_model_artifacts(model.model_id, folder)
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])

"""What a store of this machine keeps for nobody: deleted runs, and files of runs it knows not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

from sweep.base.errors import StoreError
from sweep.base.redact import without_password
from sweep.tracking.backends import database

if TYPE_CHECKING:
    from pathlib import Path

_RUN, _MODEL = re.compile(r"[0-9a-f]{32}"), re.compile(r"m-[0-9a-f]{32}")
_A_CALL = 500
_DELETED = "SELECT run_uuid, artifact_uri FROM runs WHERE lifecycle_stage = 'deleted'"
_MODELS = "SELECT model_id, artifact_location FROM logged_models WHERE source_run_id IN ({})"


def deleted(mlruns: Path) -> dict[str, Path | None]:
    """Runs that are marked as deleted, and models logged in them, with folders of this machine."""
    store = database.path(mlruns)
    found = dict(database.rows(store, _DELETED))
    for some in _parts(list(found)):
        found |= dict(database.rows(store, _MODELS.format(", ".join("?" * len(some))), some))
    return {name: _own_folder(name, place) for name, place in found.items()}


def _own_folder(name: str, place: str) -> Path | None:
    """The folder that is called after a run or model, with `artifacts` in it."""
    folder = database.folder(place).parent if place.startswith("file:") else None
    return folder if folder is not None and folder.name == name else None


def orphaned(mlruns: Path) -> list[Path]:
    """Folders of runs and models that are not in the database."""
    artifacts = mlruns / "artifacts"
    # In this order: a run is in the database before its folder is made.
    runs = [path for path in artifacts.glob("*") if _RUN.fullmatch(path.name)]
    models = [path for path in artifacts.glob("models/*") if _MODEL.fullmatch(path.name)]
    store = database.path(mlruns)
    known = {name for (name,) in database.rows(store, "SELECT run_uuid FROM runs")}
    known |= {name for (name,) in database.rows(store, "SELECT model_id FROM logged_models")}
    return [path for path in (*runs, *models) if path.name not in known]


def remove(mlruns: Path, names: list[str]) -> None:
    """Remove deleted runs and their models for good, by MLflow's own `gc`.

    Raises:
        StoreError: MLflow refuses.
    """
    uri = f"sqlite:///{database.path(mlruns)}"
    own = os.environ | {"MLFLOW_BACKEND_STORE_URI": uri, "MLFLOW_TRACKING_URI": uri}
    models = [name for name in names if _MODEL.fullmatch(name)]
    if models:
        from sweep.tracking.backends.by_mlflow import connect

        for model in models:  # `gc` removes the models that are marked as deleted
            connect(uri).delete_logged_model(model)
    for some in _parts([name for name in names if name not in models]):
        command = [sys.executable, "-m", "mlflow", "gc", "--backend-store-uri", uri]
        done = subprocess.run(
            [*command, "--run-ids", ",".join(some)],
            env=own,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason"])[-1]
            raise StoreError(
                "MLflow could not remove runs that are marked as deleted. It says: "
                f"{without_password(reason)}. Nothing else was removed; try again."
            )


def _parts(names: list[str]) -> list[list[str]]:
    return [names[start : start + _A_CALL] for start in range(0, len(names), _A_CALL)]

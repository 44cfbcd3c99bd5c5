"""G's folder is what MLflow itself would write."""

import shutil
import subprocess
import sys
from pathlib import Path
from threading import Timer

import yaml

from records import six
from sweep.tracking import models
from sweep.tracking.backends.by_sqlite import BySqlite

# MLflow's own way; its import warns of things that are not ours.
THEIRS = """
import sys
import numpy as np
import mlflow.keras
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec

class Saved:
    def save(self, path):
        open(path, "wb").write(b"G")

file, folder, shape, classes, *requires = sys.argv[1:]
image = TensorSpec(np.dtype("float32"), (-1, *map(int, shape.split(","))), "image")
answer = TensorSpec(np.dtype("float32"), (-1, int(classes)))
mlflow.keras.save_model(
    Saved(), folder,
    mlflow_model=Model(model_id="m-1", run_id="r", artifact_path="file:///a"),
    signature=ModelSignature(Schema([image]), Schema([answer])), pip_requirements=requires,
)
"""
VOLATILE = {"model_uuid": 0, "utc_time_created": 0, "model_size_bytes": 0}
# What MLflow writes of features that are not used, and takes to be so where it is missing.
UNUSED = ("is_signature_from_type_hint", "prompts", "type_hint_from_example")


def read(folder: Path):
    found = {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }
    plain = {k: yaml.safe_load(v) for k, v in found.items() if k.endswith("yaml") or k == "MLmodel"}
    plain["MLmodel"] |= VOLATILE
    for name in UNUSED:
        plain["MLmodel"].pop(name, None)
    return found | plain


def test_the_folder_is_what_mlflow_writes(tmp_path):
    facts = six()[0].full.facts
    file = tmp_path / "goodnet.keras"
    file.write_bytes(b"G")
    models.write(tmp_path / "ours", "m-1", "r", "file:///a", file, facts)
    badnet = facts["badnet"]
    shape = ",".join(map(str, badnet["input_shape"]))
    requires = (tmp_path / "ours" / "requirements.txt").read_text().splitlines()
    words = [str(file), str(tmp_path / "theirs"), shape, str(badnet["classes"] + 1), *requires]
    done = subprocess.run(
        [sys.executable, "-c", THEIRS, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert read(tmp_path / "ours") == read(tmp_path / "theirs")
    assert (tmp_path / "ours" / "data" / "model.keras").stat().st_ino == file.stat().st_ino
    shutil.rmtree(tmp_path / "theirs")


def test_a_store_that_is_moved_away_while_g_is_logged_is_waited_for(
    here, mlruns, tmp_path, monkeypatch
):
    file, away, begun = tmp_path / "goodnet.keras", tmp_path / "away", []
    file.write_bytes(b"G")
    create = BySqlite.create_model

    def come_back():
        begun.append(mlruns.exists())
        away.rename(mlruns)

    def create_and_move(*args):
        made = create(*args)
        mlruns.rename(away)
        Timer(0.5, come_back).start()
        return made

    monkeypatch.setattr(BySqlite, "create_model", create_and_move)
    with here.run("job", {"sweep.kind": "job"}) as run_id:
        here.log_goodnet(run_id, file, six()[0].full.facts)
    assert begun == [False]  # no second store where the first was
    [kept] = mlruns.glob("artifacts/models/*/artifacts/data/model.keras")
    assert kept.samefile(file)

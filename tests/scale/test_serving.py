"""MLflow serves a G that was logged without it."""

import io
import os
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import requests

from services import free_port, service, until
from stores import opened, runs_of
from sweep.data.image_set import open_set
from sweep.results import goodnet
from sweep.results.records import Record

pytestmark = pytest.mark.scale

IMAGES = 20


def test_a_served_goodnet_answers_what_the_job_logged(checkout, tmp_path):
    done = checkout.sweep("drop=0.10")
    assert done.returncode == 0, done.stderr
    client, experiment = opened(checkout.uri)
    [run] = runs_of(checkout.uri)
    [model] = client.search_logged_models([experiment])
    kept = {
        name: Path(client.download_artifacts(run.info.run_id, name)).read_bytes()
        for name in ("answers.npz", "result.json")
    }
    facts = Record.from_json(kept["result.json"].decode(), run.info.run_id).full.facts
    images = open_set(Path(facts["sets"]["clean_test"]["file"])).rows(range(IMAGES))
    answers = np.load(io.BytesIO(kept["answers.npz"]))
    expected = goodnet.answer(
        *(answers[f"{name}_clean"][:IMAGES].astype(int) for name in ("badnet", "repaired")),
        facts["badnet"]["classes"],
    )
    port = free_port()
    serve = [
        *(sys.executable, "-m", "mlflow", "models", "serve", "--env-manager=local"),
        *(f"--model-uri={model.artifact_location}", "--host=127.0.0.1", f"--port={port}"),
    ]

    def ask():
        with suppress(requests.ConnectionError):
            address = f"http://127.0.0.1:{port}/invocations"
            given = requests.post(address, json={"inputs": (images / 255).tolist()}, timeout=60)
            return given.json()["predictions"]

    found_by_path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # MLflow runs uvicorn
    known = os.environ | {"MLFLOW_TRACKING_URI": checkout.uri, "PATH": found_by_path}
    with service(serve, tmp_path / "serve.log", env=known):
        found = until(ask, 120)
    assert np.argmax(found, axis=1).tolist() == expected.tolist()
    assert len(set(expected.tolist())) > 1

"""Plans read the database of a store in place."""

import platform

import pytest

from sweep.base.errors import StoreError
from sweep.tracking import history


def test_a_store_that_is_not_there_holds_nothing(tmp_path):
    assert history.look(tmp_path / "nowhere", "test", {}) == []


def test_the_status_of_an_orphaned_run_reads_killed(here, mlruns):
    tags = {"sweep.kind": "job", "sweep.host": platform.node(), "sweep.process": "999999@1.00"}
    run = here.client.create_run(here.experiment_id, tags=tags).info.run_id
    assert [job.status for job in history.look(mlruns, "test", {})] == ["KILLED"]
    assert here.client.get_run(run).info.status == "RUNNING"


def test_a_store_that_is_none_is_refused_to_a_plan(tmp_path):
    (tmp_path / "mlflow.db").write_text("no database")
    with pytest.raises(StoreError, match="must be MLflow's database"):
        history.look(tmp_path, "test", {})

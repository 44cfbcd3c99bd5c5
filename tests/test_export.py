import zipfile

import pytest

from records import six
from sweep import export
from sweep.base.errors import StoreError
from sweep.reports import artifacts, summary
from sweep.results.records import Record
from sweep.tracking.opening import open_store


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A store with a sweep of six jobs: its folder, the store, the parent's id."""
    folder = tmp_path_factory.mktemp("export")
    store = open_store(folder / "mlruns", "badnet-sweep")
    drafts = folder / "drafts"
    drafts.mkdir()
    rows = []
    with store.run("sweep ../1", {"sweep.kind": "parent"}) as parent:
        for job in six():
            with store.run(
                summary.settings_name(job.settings), {"sweep.kind": "job"}, parent
            ) as run:
                (drafts / "result.json").write_text(job.to_json())
                store.log_files(run, drafts)
                rows.append(Record.from_json(job.brief.to_json(), run))
        (drafts / "result.json").unlink()
        (drafts / "summary.csv").write_text(artifacts.as_csv(rows))
        store.log_files(parent, drafts)
    return folder, store, parent, rows[0].run_id


def test_a_sweep_becomes_a_folder_with_its_jobs(sweep, tmp_path):
    _, store, parent, _ = sweep
    assert export.export(store, parent[:12], tmp_path / "out") == 6
    assert (tmp_path / "out" / "summary.csv").is_file()
    assert len(list((tmp_path / "out").glob("*/result.json"))) == 6


def test_a_job_becomes_a_zip(sweep, tmp_path):
    _, store, _, job = sweep
    assert export.export(store, job, tmp_path / "out.zip") == 1
    assert zipfile.ZipFile(tmp_path / "out.zip").namelist() == ["result.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["out.zip"]


def test_an_empty_folder_may_be_filled(sweep, tmp_path):
    _, store, _, job = sweep
    (tmp_path / "out").mkdir()
    export.check_target(tmp_path / "out")
    export.export(store, job, tmp_path / "out")
    with pytest.raises(StoreError, match="must be an empty folder"):
        export.check_target(tmp_path / "out")


@pytest.mark.parametrize("run", ["", "zzz"])
def test_an_unknown_run_is_refused(sweep, tmp_path, run):
    with pytest.raises(StoreError, match="named by its id"):
        export.export(sweep[1], run, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_the_command_line_says_what_is_wrong(tmp_path):
    with pytest.raises(SystemExit, match=r"holds no mlflow\.db"):
        export.main(["abc", str(tmp_path / "out"), "--mlruns", str(tmp_path)])

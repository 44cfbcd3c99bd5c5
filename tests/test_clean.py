"""What nobody needs goes, after asking; what somebody needs stays."""

import builtins
import shutil

import numpy as np
import pytest
from filelock import FileLock

from records import six
from sweep import clean
from sweep.base.cache import CODE_DIGITS, Cache
from sweep.base.files import bytes_freed, link
from sweep.jobs.identity import code_key
from sweep.tracking.opening import forget, open_store


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store with a kept and a deleted job, each with files and a model, and orphaned files."""
    folder = tmp_path_factory.mktemp("clean")
    store = open_store(folder / "mlruns", "test")
    (folder / "drafts").mkdir()
    (folder / "drafts" / "goodnet.keras").write_bytes(b"G" * 100_000)
    for name in ("kept", "deleted"):
        with store.run(name, {"sweep.kind": "job"}) as run_id:
            store.log_files(run_id, folder / "drafts")
            file = folder / "drafts" / "goodnet.keras"
            store.log_goodnet(run_id, file, six()[0].full.facts)
    store.client.delete_run(run_id)
    lost = folder / "mlruns" / "artifacts" / ("a" * 32)
    (lost / "artifacts").mkdir(parents=True)
    (lost / "artifacts" / "curve.csv").write_bytes(b"c" * 50_000)
    shutil.rmtree(folder / "drafts")
    return folder / "mlruns"


@pytest.fixture
def place(made, tmp_path):
    """A copy of the store, and a cache with arrays of this code and of another."""
    mlruns, folder = shutil.copytree(made, tmp_path / "mlruns"), tmp_path / "cache"
    forget()
    open_store(mlruns, "test")
    own = code_key("sweep.jobs.subject")[:CODE_DIGITS]
    cache = Cache(folder, 1)
    for key in (own + "1" * 24, "0" * 32):
        cache.array("scores", key, lambda path, _: np.save(path, np.arange(1000)))
    (folder / "marks").mkdir()
    (folder / "marks" / "own.json").write_text(f'["{own + "1" * 24}"]')
    (folder / "marks" / "old.json").write_text(f'["{"0" * 32}"]')
    (mlruns / "locks").mkdir()
    (mlruns / "locks" / "free.lock").touch()
    return mlruns, folder


def run(place, *more):
    mlruns, cache = place
    clean.main(["--mlruns", str(mlruns), "--cache", str(cache), *more])


def tree(folder):
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def test_what_can_go_goes_and_the_rest_stays(place, capsys):
    mlruns, cache = place
    store = open_store(mlruns, "test")
    (kept,) = store.past_jobs()
    before = bytes_freed([mlruns / "artifacts", cache])
    with FileLock(mlruns / "locks" / "held.lock"):
        run(place, "--yes")
        left = tree(mlruns / "locks")
        run(place)
    said = capsys.readouterr().out.splitlines()
    freed = float(said[-2].split()[0].replace(",", ""))
    assert before - bytes_freed([mlruns / "artifacts", cache]) == pytest.approx(
        freed * 1e6, abs=1e5
    )
    assert freed > 0.25  # two copies of G, and the orphaned file
    assert said[-1] == "nothing to remove"
    assert [str(path) for path in left] == ["held.lock"]
    assert {path.parts[0] for path in tree(mlruns / "artifacts")} == {kept.run_id, "models"}
    assert store.read(kept.run_id, "goodnet.keras") == b"G" * 100_000
    (model,) = store.client.search_logged_models([store.experiment_id])
    assert model.source_run_id == kept.run_id
    assert len(list((mlruns / "artifacts" / "models").iterdir())) == 1
    assert len(list(cache.glob("*.npy"))) == 1
    assert [path.name for path in (cache / "marks").iterdir()] == ["own.json"]
    assert not store.client.search_runs([store.experiment_id], run_view_type=2)


@pytest.mark.parametrize("answer", ["", "n", "no", "what?", EOFError()])
def test_nothing_goes_without_a_yes(place, monkeypatch, capsys, answer):
    def asked(_question):
        if isinstance(answer, EOFError):
            raise answer
        return answer

    before = tree(place[0].parent)
    monkeypatch.setattr(builtins, "input", asked)
    run(place)
    assert "runs marked as deleted" in capsys.readouterr().out
    assert tree(place[0].parent) == before


def test_a_yes_is_enough(place, monkeypatch):
    shutil.rmtree(place[0])  # a store that is not there
    monkeypatch.setattr(builtins, "input", lambda _: "y")
    run(place)
    assert len(list(place[1].glob("*.npy"))) == 1


def test_a_store_that_is_none_is_one_sentence(tmp_path):
    (tmp_path / "mlflow.db").write_text("not a database at all, but long enough to look at" * 40)
    with pytest.raises(SystemExit, match="must be MLflow's database to be cleaned"):
        run((tmp_path, tmp_path / "cache"))


def test_a_file_of_two_names_is_freed_with_the_last(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "file").write_bytes(b"x" * 10_000)
    link(tmp_path / "a" / "file", tmp_path / "b" / "file")
    folder = bytes_freed([tmp_path / "b"])
    assert bytes_freed([tmp_path / "a"]) == folder
    assert bytes_freed([tmp_path / "a", tmp_path / "b"]) >= 10_000

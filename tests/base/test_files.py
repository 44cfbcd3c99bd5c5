"""Files and folders are whole or absent, also after the power went."""

import os
import sys
from pathlib import Path

import pytest

from sweep.base import files

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="asks for the names of open files")


@pytest.fixture
def synced(monkeypatch):
    """What was written through to the disk, in order, and what took its place when."""
    events = []
    real_sync, real_replace = os.fsync, os.replace

    def fsync(descriptor):
        events.append(("sync", os.path.realpath(f"/proc/self/fd/{descriptor}")))
        real_sync(descriptor)

    def replace(source, target, **options):
        events.append(("replace", str(target)))
        real_replace(source, target, **options)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    return events


@LINUX
def test_a_folder_is_on_the_disk_before_it_is_seen_and_its_name_after(tmp_path, synced):
    with files.replacing(tmp_path / "made") as draft:
        (draft / "inner").mkdir(parents=True)
        (draft / "inner" / "a").write_text("a")
        (draft / "b").write_text("b")
    places = [(kind, os.path.relpath(path, tmp_path)) for kind, path in synced]
    renamed = places.index(("replace", "made"))
    name = os.path.relpath(draft, tmp_path)
    before = {path for _, path in places[:renamed]}
    assert before == {name, f"{name}/inner", f"{name}/inner/a", f"{name}/b"}
    assert places[renamed + 1 :] == [("sync", ".")]


@LINUX
def test_a_file_is_on_the_disk_before_it_is_seen_and_its_name_after(tmp_path, synced):
    files.write_text(tmp_path / "a.txt", "a")
    assert [kind for kind, _ in synced] == ["sync", "replace", "sync"]
    assert synced[-1][1] == str(tmp_path)


def test_a_note_that_cannot_be_written_is_lost_without_a_word(tmp_path):
    (tmp_path / "file").touch()
    files.write_note(tmp_path / "file" / "note.json", [1])  # its folder is a file


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir])
def test_a_block_that_fails_leaves_nothing(tmp_path, make):
    def fail():
        with files.replacing(tmp_path / "made") as draft:
            make(draft)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_files_are_linked_into_a_folder_that_is_made_but_not_its_parents(tmp_path):
    (tmp_path / "source" / "plots").mkdir(parents=True)
    for name in ("a.txt", "plots/b.txt"):
        (tmp_path / "source" / name).write_text(name)
    store = tmp_path / "store"
    with pytest.raises(FileNotFoundError):
        files.link_all(tmp_path / "source", store / "artifacts" / "run" / "artifacts")
    assert not store.exists()
    store.mkdir()
    for _ in range(2):  # again, as after an attempt that was cut off
        files.link_all(tmp_path / "source", store / "artifacts" / "run" / "artifacts")
    found = {path for path in store.rglob("*") if path.is_file()}
    assert {path.read_text() for path in found} == {"a.txt", "plots/b.txt"}
    assert all(path.stat().st_nlink == 2 for path in found)

"""The cache: right arrays whatever happens to its files and whoever else is at work."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from sweep.base import files
from sweep.base.cache import Cache
from sweep.base.errors import StoreError

# A process that wants an array, says how often it was made, and may be slow about making it.
WANTS = """
import sys, time
from pathlib import Path
import numpy as np
from sweep.base.cache import Cache
folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
def make(path, _):
    with path.open("wb") as file:
        np.save(file, np.arange(100_000))
        file.flush()
        (folder.parent / f"made-{time.monotonic_ns()}").touch()
        time.sleep(seconds)
print(int(Cache(folder, 1).array("a", "k", make).sum()))
"""
SUM = sum(range(100_000))


def wants(folder, seconds=0.0):
    return subprocess.Popen(
        [sys.executable, "-c", WANTS, str(folder), str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
    )


def maker(values, calls):
    def make(path, begun):
        calls.append(None if begun is None else np.array(begun))
        np.save(path, np.asarray(values))

    return make


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def only_file(folder):
    (path,) = folder.glob("*.npy")
    return path


def test_an_array_is_made_once(folder):
    calls = []
    for _ in range(3):
        array = Cache(folder, 1).array("a", "k", maker([1.5, 2.5], calls))
        np.testing.assert_array_equal(array, [1.5, 2.5])
        assert not array.flags.writeable
    assert len(calls) == 1


def test_names_are_apart(folder):
    cache = Cache(folder, 1)
    for kind, key, value in (("a", "k", 1), ("a", "l", 2), ("b", "k", 3)):
        assert cache.array(kind, key, maker(value, [])) == value


def test_what_is_not_enough_is_handed_over_and_made_again(folder):
    calls = []
    cache = Cache(folder, 1)
    cache.array("a", "k", maker([1], calls))
    longer = cache.array("a", "k", maker([1, 2], calls), lambda array: len(array) >= 2)
    assert longer.tolist() == [1, 2]
    assert calls[0] is None
    assert calls[1].tolist() == [1]


@pytest.mark.parametrize("fresh", [True, False], ids=["new process", "same process"])
@pytest.mark.parametrize("place", [0, 5, 80, 130, -40, -1])
def test_a_flipped_byte_is_noticed(folder, place, fresh):
    cache, calls = Cache(folder, 1), []
    values = np.arange(10)
    cache.array("a", "k", maker(values, calls))
    data = bytearray(only_file(folder).read_bytes())
    data[place] ^= 0x10
    time.sleep(0.01)  # the clock of a file system ticks slowly
    only_file(folder).write_bytes(data)
    if fresh:
        cache = Cache(folder, 1)
    np.testing.assert_array_equal(cache.array("a", "k", maker(values, calls)), values)
    assert len(calls) == 2


@pytest.mark.parametrize("size", [0, 1, 31, 32, 100, 200, -33, -1])
def test_a_truncated_file_is_noticed(folder, size):
    cache, calls = Cache(folder, 1), []
    cache.array("a", "k", maker(np.arange(10), calls))
    path = only_file(folder)
    path.write_bytes(path.read_bytes()[:size])
    array = cache.array("a", "k", maker(np.arange(10), calls))
    np.testing.assert_array_equal(array, np.arange(10))
    assert len(calls) == 2


def test_a_failed_maker_leaves_nothing(folder):
    def make(path, _):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Cache(folder, 1).array("a", "k", make)
    assert not [path for path in folder.iterdir() if path.is_file()]
    assert Cache(folder, 1).array("a", "k", maker(7, [])) == 7


def test_a_full_disk_is_said(folder):
    def make(path, _):
        raise OSError(28, "No space left on device")

    with pytest.raises(StoreError, match=r"have room.*No space left"):
        Cache(folder, 1).array("a", "k", make)


def test_the_longest_unused_go_first(folder):
    cache = Cache(folder, 3e-5)  # 30 kB
    block = np.zeros(1000)  # 8 kB
    for key in "abc":
        cache.array("x", key, maker(block, []))
        time.sleep(0.01)
    cache.array("x", "a", maker(block, []))  # used again
    time.sleep(0.01)
    cache.array("x", "d", maker(block, []))
    assert {path.name for path in folder.glob("*.npy")} == {"x-a.npy", "x-c.npy", "x-d.npy"}


def test_an_array_larger_than_the_bound_is_kept_while_it_is_the_newest(folder):
    cache = Cache(folder, 1e-6)
    assert cache.array("x", "a", maker(np.zeros(1000), [])).shape == (1000,)
    cache.array("x", "b", maker(np.ones(1000), []))
    assert [path.name for path in folder.glob("*.npy")] == ["x-b.npy"]


def test_an_evicted_array_stays_readable(folder):
    cache = Cache(folder, 1e-6)
    first = cache.array("x", "a", maker(np.arange(1000), []))
    cache.array("x", "b", maker(np.ones(1000), []))
    np.testing.assert_array_equal(first, np.arange(1000))


def test_four_processes_make_it_once(folder):
    processes = [wants(folder, 0.3) for _ in range(4)]
    assert [int(process.communicate()[0]) for process in processes] == [SUM] * 4
    assert len(list(folder.parent.glob("made-*"))) == 1


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_writer_leaves_no_harm(folder):
    process = wants(folder, 60)
    while not list(folder.parent.glob("made-*")):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert list(folder.glob(".*.npy"))  # its draft
    # Another array is made: the draft is cleared though nobody asks for its name again.
    Cache(folder, 1).array("b", "k", maker(1, []))
    assert not list(folder.glob(".*.npy"))
    array = Cache(folder, 1).array("a", "k", maker(np.arange(100_000), []))
    assert int(array.sum()) == SUM


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_the_draft_of_a_living_writer_is_left_alone(folder):
    process = wants(folder, 1.0)
    while not list(folder.parent.glob("made-*")):
        time.sleep(0.02)
    Cache(folder, 1).array("b", "k", maker(1, []))
    assert list(folder.glob(".a-k.*.npy"))
    assert int(process.communicate()[0]) == SUM


def test_a_cache_of_somebody_else_may_be_read(folder, monkeypatch):
    """Only a file's owner may set its times; here nobody may, as root may set all."""
    cache, calls = Cache(folder, 1), []
    cache.array("a", "k", maker([1, 2], calls))

    def refuse(*_args, **_options):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "utime", refuse)
    assert Cache(folder, 1).array("a", "k", maker([1, 2], calls)).tolist() == [1, 2]
    assert len(calls) == 1


def test_a_digest_needs_no_place_to_be_remembered(tmp_path, monkeypatch):
    file, full = tmp_path / "file", tmp_path / "full"
    file.write_bytes(b"content")
    full.touch()  # no folder, so nothing can be written there
    monkeypatch.setattr(files, "_SETTLED_SECONDS", -1)
    assert files.digest(file, full) == files.sha256(file)


def test_a_note_that_a_kill_tore_is_none_and_no_draft_is_left(tmp_path, monkeypatch):
    file, memory = tmp_path / "file", tmp_path / "memory"
    file.write_bytes(b"content")
    monkeypatch.setattr(files, "_SETTLED_SECONDS", -1)
    digest = files.digest(file, memory)
    (note,) = memory.iterdir()
    whole = note.read_text()
    for length in range(len(whole)):
        note.write_text(whole[:length])
        assert files.digest(file, memory) == digest
        assert note.read_text() == whole
    assert list(memory.iterdir()) == [note]

"""Files that are whole or absent, and what their content is called."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

# A file changed this short a time ago may change again without its time stamp telling.
_SETTLED_SECONDS = 2.0


@contextmanager
def replacing(path: Path, *, parents: bool = True, sync: bool = True) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well.

    The file (or folder) appears under its name whole or not at all, whatever happens on the way.
    Without `parents` its folder must be there; without `sync` its name may be lost with the power.
    """
    if parents:
        path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: Keras and matplotlib choose the format by it.
    draft = path.with_name(f".{path.stem}.{os.getpid()}.{time.monotonic_ns()}{path.suffix}")
    try:
        yield draft
        _write_through(draft)
        draft.replace(path)
        if sync:
            _sync(path.parent)
    except BaseException:
        if draft.is_dir():
            shutil.rmtree(draft, ignore_errors=True)
        else:
            draft.unlink(missing_ok=True)
        raise


def _write_through(path: Path) -> None:
    """Have a file, or a folder with all that it holds, on the disk."""
    if path.is_dir():
        for inner in path.iterdir():
            _write_through(inner)
    _sync(path)


def _sync(path: Path) -> None:
    if path.is_dir() and os.name != "posix":
        return  # other systems open no folders
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def link_all(source: Path, target: Path, made: int = 2) -> None:
    """Have the files of one folder in another as well, by links where the disk allows it.

    Of the other's path, STORE/artifacts/RUN/artifacts, the store's folder must be there all the
    time: a store that is moved away meanwhile is not begun anew where it was. So many folders above
    the target are made where they are missing.
    """
    for folder in (*reversed(target.parents[:made]), target):
        folder.mkdir(exist_ok=True)
    for path in sorted(source.rglob("*")):  # folders before what is in them
        place = target / path.relative_to(source)
        if path.is_dir():
            place.mkdir(exist_ok=True)
        else:
            link(path, place)
    for folder in {target, *(path for path in target.rglob("*") if path.is_dir())}:
        _sync(folder)


def link(source: Path, target: Path) -> None:
    """Have a file under a second name, whole or not at all; on another disk it is copied."""
    with replacing(target, parents=False, sync=False) as draft:
        target.unlink(missing_ok=True)  # to rename a file over its other name would do nothing
        try:
            os.link(source, draft)
        except OSError:
            shutil.copyfile(source, draft)


def unheld(locks: Path) -> list[Path]:
    """The lock files of a folder that no process holds."""
    return [path for path in sorted(locks.glob("*.lock")) if _free(path, lambda _: None)]


def remove_lock(path: Path) -> bool:
    """Remove a lock file that no process holds; one that waits for it takes a new one."""
    return _free(path, remove)


def _free(path: Path, then: Callable[[Path], object]) -> bool:
    with suppress(Timeout, OSError), FileLock(path, timeout=0):
        then(path)
        return True
    return False


def bytes_freed(paths: Iterable[Path]) -> int:
    """What is freed on the disk if these files and folders go: a file whose last name goes."""
    names: dict[tuple[int, int], list[Path]] = {}
    freed = 0
    for place in paths:
        for path in (place, *place.rglob("*")):
            with suppress(OSError):  # gone in the meantime
                status = path.lstat()
                own = names.setdefault((status.st_dev, status.st_ino), [])
                own.append(path)
                freed += status.st_size if len(own) == status.st_nlink else 0
    return freed


def remove(path: Path) -> None:
    """Remove a file or folder; one that is gone already is no error."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> Path:
    """Write a text file whole or not at all."""
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")
    return path


def write_note(path: Path, content: object) -> None:
    """Write JSON that may be lost, and in place: a kill leaves a torn note, and never a draft.

    Readers take what is no JSON, as the beginning of a list or an object, for no note. Where there
    is no room for it, or no right, nothing is written.
    """
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def key(*parts: object) -> str:
    """A name for the content of JSON-able parts, 32 hex digits."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def stamp(path: Path, opened: int | None = None) -> list[Any]:
    """What changes when a file does: size, inode, device and both times in nanoseconds.

    A folder stands for all files below, and ends with the newest times. Of a file that is open, its
    descriptor tells.
    """
    if opened is None and path.is_dir():
        each = [[str(file.relative_to(path)), *stamp(file)] for file in below(path)]
        newest = [max((one[i] for one in each), default=0) for i in (-2, -1)]
        return [key(each), *newest]
    stat = path.stat() if opened is None else os.fstat(opened)
    return [stat.st_size, stat.st_ino, stat.st_dev, stat.st_mtime_ns, stat.st_ctime_ns]


def below(folder: Path) -> list[Path]:
    """All files of a folder and its subfolders, in the order of their names."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def digest(path: Path, memory: Path) -> str:
    """The SHA-256 of a file, remembered in the folder `memory` while its stamp is the same.

    A folder's is that of its files' names and contents. A file changed in the last seconds is read
    again: a second change could bear the same stamp.
    """
    stamped = stamp(path)
    note = memory / f"{key(str(path.resolve()))}.json"
    try:
        known = json.loads(note.read_text())
        if known["stamp"] == stamped:
            return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no note, or one that is damaged: made anew below
    if path.is_dir():
        each = [[str(file.relative_to(path)), sha256(file)] for file in below(path)]
        value = hashlib.sha256(json.dumps(each).encode()).hexdigest()
    else:
        value = sha256(path)
    if time.time() - max(stamped[-2:]) / 1e9 > _SETTLED_SECONDS:
        write_note(note, {"stamp": stamped, "sha256": value})
    return value

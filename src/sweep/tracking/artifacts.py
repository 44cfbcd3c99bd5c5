"""The files of runs: on this machine they are linked and read in place."""

from __future__ import annotations

import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.base import files
from sweep.tracking.backends import database
from sweep.tracking.backends.failures import explained, of_store
from sweep.tracking.backends.runs import Query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sweep.tracking.backends.runs import Run
    from sweep.tracking.retry import Retrying

_READERS = 8


class Artifacts:
    """The files of the runs of one experiment."""

    def __init__(self, uri: str, runs: Retrying) -> None:
        """Use `opening.open_store`; `runs` retries the calls of a `runs.Runs`."""
        self.uri = uri
        self._runs = runs
        self._places: dict[str, str] = {}  # where runs' artifacts lie

    @property
    def client(self) -> Any:
        """MLflow's client, whose calls are retried as well."""
        return self._runs.around(self._runs.client())

    def _find(self, query: Query) -> list[Run]:
        found: list[Run] = self._runs.find(query)
        self._places |= {run.run_id: run.place for run in found}
        return found

    def log_files(self, run_id: str, folder: Path) -> None:
        """Keep every file of a folder as an artifact; on one disk they are not written again."""
        own = self._folder(run_id)
        if own is None:
            self.client.log_artifacts(run_id, str(folder))
        else:
            self._runs.around(files).link_all(folder, own)

    def read(self, run_id: str, path: str) -> bytes | None:
        """An artifact's content, or None where the run has none of that name.

        Raises:
            StoreError: the store cannot be read.
        """
        with explained(self.uri):
            try:
                return self._read(run_id, path)
            except Exception as error:
                if not of_store(error):
                    raise
                # Either it is not there, or the store is not, which is waited for.
                if not self._find(Query(ids=[run_id])):
                    return None
                own = self._folder(run_id)
                if own is not None:
                    return (own / path).read_bytes() if (own / path).is_file() else None
                found = self.client.list_artifacts(run_id, path.rpartition("/")[0] or None)
                return self._read(run_id, path) if path in {one.path for one in found} else None

    def _read(self, run_id: str, path: str) -> bytes:
        own = self._folder(run_id)
        if own is not None:
            return (own / path).read_bytes()
        with tempfile.TemporaryDirectory() as folder:
            return Path(self._download(run_id, path, folder)).read_bytes()

    def _download(self, run_id: str, path: str, folder: str) -> str:
        from mlflow import artifacts

        place = f"{self._places[run_id]}/{path}".rstrip("/")
        return str(self._runs.around(artifacts).download_artifacts(place, dst_path=folder))

    def _folder(self, run_id: str) -> Path | None:
        """The folder of a run's artifacts, if it is one of this machine."""
        # Where they lie never changes; to ask takes longer than to read them.
        if run_id not in self._places and not self._find(Query(ids=[run_id])):
            raise FileNotFoundError(run_id)
        place = self._places[run_id]
        return database.folder(place) if place.startswith("file:") else None

    def read_all(self, run_ids: Sequence[str], path: str) -> dict[str, bytes]:
        """An artifact of many runs, by run, of those that have it."""
        with ThreadPoolExecutor(_READERS) as pool:  # a server answers several at a time
            contents = pool.map(lambda run_id: self.read(run_id, path), run_ids)
            return {run: data for run, data in zip(run_ids, contents, strict=True) if data}

    def save_files(self, run_id: str, folder: Path) -> None:
        """Copy every artifact of a run into a folder."""
        with tempfile.TemporaryDirectory() as scratch:
            own = self._folder(run_id) or Path(self._download(run_id, "", scratch))
            if own.is_dir():
                shutil.copytree(own, folder, dirs_exist_ok=True)

"""B as a job uses it; TensorFlow is loaded, and B with it, when something must be computed."""

from __future__ import annotations

import json
from functools import lru_cache
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import RLock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sweep.base import files, tensorflow_runtime
from sweep.base.cache import CODE_DIGITS
from sweep.base.errors import DataError
from sweep.jobs.identity import code_key
from sweep.models import saved

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import keras

    from sweep.base.cache import Cache
    from sweep.pruning.walk import Engine


def code(*used: str) -> str:
    """Goes into the keys of cached arrays, so that other code's are not taken for ours."""
    return code_key("sweep.jobs.subject", *used)


def array_key(kind: str, own_code: str, *parts: object) -> str:
    """A name for a cached array, which begins as that of the code here does.

    By its beginning `sweep.clean` sees which arrays are of other code.
    """
    return code()[:CODE_DIGITS] + files.key(kind, own_code, *parts)[CODE_DIGITS:]


def cached_file(cache: Cache, key: str, name: str, write: Callable[[Path], object]) -> bytes:
    """The bytes of a file, which is written once and kept as an array.

    The key is a name for everything that they depend on. Keras and MLflow choose the format by the
    end of the file's name.
    """

    def make(path: Path, _: object) -> None:
        with TemporaryDirectory(prefix="sweep-") as folder:
            write(Path(folder) / name)
            np.save(path, np.fromfile(Path(folder) / name, np.uint8))

    found: Any = cache.array(Path(name).stem, key, make)
    return np.asarray(found).tobytes()


class _Loaded(NamedTuple):
    model: keras.Model
    engine: Engine


class Network:
    """B, to be cut at some layers: what is known of it, and the network itself once it is needed.

    Attributes:
        key: a name for what it computes and where it is cut.
        front_key: a name for what it computes up to the cut.
        input_shape: (None, height, width, channels).
        classes: N.
        channels: how many can be removed.
        cuts: at how many layers.
        incremental: see `Engine`.
        described: what a person wants to know of it.
        cache: keeps what is made of it.
    """

    def __init__(self, path: Path, digest: str, layers: Sequence[str], cache: Cache) -> None:
        """Take B's file, of that SHA-256."""
        self._path, self._digest, self._layers, self.cache = path, digest, layers, cache
        self._lock, self._loaded = RLock(), list[_Loaded]()
        self._templates: dict[str, saved.Template | None] = {}
        found = json.loads(self._file("network.json", lambda path: path.write_text(self._facts())))
        self.key, self.front_key = str(found["key"]), str(found["front_key"])
        self.input_shape: tuple[int | None, ...] = tuple(found["input_shape"])
        self.classes, self.channels = int(found["classes"]), int(found["channels"])
        self.incremental, self.cuts = bool(found["incremental"]), len(layers)
        self.described: Mapping[str, object] = found["described"]

    @property
    def model(self) -> keras.Model:
        """B."""
        return self._load().model

    @property
    def engine(self) -> Engine:
        """Runs B, cut."""
        return self._load().engine

    def pruned(self, removed: Sequence[int]) -> keras.Model:
        """B without some channels."""
        from sweep.models.surgery import prune

        return prune(self.model, self.engine.sites, removed)

    def file(self, name: str, removed: Sequence[int]) -> bytes:
        """One of `saved.NAMES` for B' without some channels, without Keras where that was here."""
        if name not in self._templates:
            self._templates[name] = self._template(name)
        template = self._templates[name]
        if template is not None:
            return template.without(removed)
        gone = sorted(removed)
        return self._file(name, lambda p: saved.save(name, self.model, self.pruned(gone), p), gone)

    def _template(self, name: str) -> saved.Template | None:
        def number(path: Path) -> None:
            sites = self.engine.sites
            if all(site.convolution for site in sites):
                saved.save_numbered(name, self.model, sites, path)
            else:  # where no weight can be zeroed, a layer goes in
                path.touch()

        numbered = self._file(name, number, "numbered")
        if not numbered:
            return None
        whole = self._file(name, lambda p: saved.save(name, self.model, self.pruned(()), p))
        return saved.Template(whole, numbered)

    def _load(self) -> _Loaded:
        with self._lock:
            if not self._loaded:
                tensorflow_runtime.load_tensorflow()
                from sweep.models.load import load_badnet
                from sweep.models.sites import choose_sites
                from sweep.pruning.walk import Engine

                model = load_badnet(self._path)
                if files.sha256(self._path) != self._digest:
                    raise DataError(
                        f"{self._path} was changed while a job read it, so the job ended without "
                        "a result. Give the same command again once the file stays as it is."
                    )
                engine = Engine(model, choose_sites(model, self._layers))
                self._loaded.append(_Loaded(model, engine))
            return self._loaded[0]

    def _facts(self) -> str:
        from sweep.models.surgery import content_key, describe

        model, engine = self._load()
        found = {
            "key": content_key(model, sites=[site.layer for site in engine.sites]),
            "front_key": content_key(engine.front),
            "input_shape": model.input_shape,
            "classes": engine.classes,
            "channels": engine.channels,
            "incremental": engine.incremental,
            "described": {
                **describe(model),
                "sites": ", ".join(f"{site.layer} ({site.shape})" for site in engine.sites),
                "kept_bytes": 4 * prod(engine.shape),
            },
        }
        return json.dumps(found)

    def _file(self, name: str, write: Callable[[Path], object], *parts: object) -> bytes:
        """A file of this B."""
        key = array_key(name, code(), self._digest, self._layers, *parts)
        return cached_file(self.cache, key, name, write)


# Made once per process and content.
load = lru_cache(maxsize=2)(Network)

"""B as a job uses it, and the image sets as the rest of B sees them: arrays that are cached."""

from __future__ import annotations

import hashlib
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np

from sweep.base import files
from sweep.base.progress import track
from sweep.jobs.network import array_key, code
from sweep.pruning import curve

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from sweep.base.cache import Cache
    from sweep.data.image_set import ImageSet
    from sweep.jobs.inputs import Watch
    from sweep.jobs.network import Network
    from sweep.results.records import Curve


@dataclass(frozen=True)
class Subject:
    """An image set as B's rest sees it: activations of the layer, true labels, cached answers.

    Attributes:
        name: which of the four sets it is.
        digest: SHA-256 of its file.
        labels: (n,).
        triggers: of several triggers, by name, which images wear each, (n,).
        activations: (n, h, w, C), memory-mapped.
    """

    name: str
    digest: str
    labels: NDArray[np.int64]
    activations: NDArray[np.float32]
    key: str
    network: Network
    cache: Cache
    triggers: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Number of images n."""
        return len(self.labels)

    @property
    def label_key(self) -> str:
        """A name for the labels."""
        return files.key(self.labels.tolist())

    def answers(self, removed: Sequence[int]) -> NDArray[np.int32]:
        """Full evaluation without some channels, (n,)."""
        gone = sorted(removed)

        def make(path: Path, _: object) -> None:
            np.save(path, self.network.engine.answers(self.activations, gone))

        key = array_key("answers", code(), self.key, self.network.key, gone)
        answers: Any = self.cache.array("answers", key, make)
        return np.asarray(answers)

    @property
    def totals(self) -> dict[str, int]:
        """Number of images: all, named "", and of each of several triggers."""
        return {"": self.total} | {name: int(worn.sum()) for name, worn in self.triggers.items()}

    def first(self) -> tuple[int, ...]:
        """Right answers of B, in the order of `totals`."""
        return self._count(self.answers(()))

    def hits(self, removed: Sequence[int], channels: Sequence[int]) -> Iterator[tuple[int, ...]]:
        """Right answers after each further removal, as far as is asked for."""
        before = self.answers(removed)
        for answers in self.network.engine.walk(self.activations, removed, channels, before):
            yield self._count(answers)

    def _count(self, answers: NDArray[np.integer]) -> tuple[int, ...]:
        right = answers == self.labels
        parts = (int((right & worn).sum()) for worn in self.triggers.values())
        return int(right.sum()), *parts

    def alive(self) -> NDArray[np.bool_]:
        """Whether each channel ever differs from its removed value on the set, (C,)."""
        if self.network.cuts > 1:  # a channel that sleeps now may wake when an earlier one goes
            return np.ones(self.network.channels, bool)

        def make(path: Path, _: object) -> None:
            np.save(path, self.network.engine.awake(self.activations).any(axis=0))

        found: Any = self.cache.array("alive", array_key("alive", code(), self.key), make)
        return np.asarray(found)


def count_clean(poisoned: Subject, clean: Subject) -> int:
    """Poisoned images that are clean images of their target, as far as the layer shows them."""

    def names(one: Subject, chosen: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        for i in chosen:
            yield int(one.labels[i]), hashlib.blake2b(one.activations[i], digest_size=16).digest()

    def make(path: Path, _: object) -> None:
        known = {*names(clean, np.flatnonzero(np.isin(clean.labels, poisoned.labels)).tolist())}
        same = sum(name in known for name in names(poisoned, range(poisoned.total)))
        np.save(path, np.array([same]))

    sets = [(one.key, one.label_key) for one in (poisoned, clean)]
    found: Any = poisoned.cache.array("repeats", array_key("repeats", code(), sets), make)
    return int(found[0])


def open_subjects(
    sets: Mapping[str, ImageSet],
    digests: Mapping[str, str],
    network: Network,
    scale: float,
    cache: Cache,
    watch: Watch,
) -> dict[str, Subject]:
    """The sets with their activations, two at a time: one fills the pauses of the other.

    `digests` are the SHA-256 of the sets' files; `watch` holds the files to what these were taken
    of.
    """
    # Python's parser, which names the code, is not to be used by several threads.
    stopped, own_code = Event(), code()

    def subject(name: str) -> Subject:
        key = array_key("activations", own_code, network.front_key, digests[name], scale)

        def make(path: Path, _: object) -> None:
            _write_activations(path, name, sets[name], network, scale, stopped)
            watch.check()

        made: Any = cache.array("activations", key, make)
        one = sets[name]
        return Subject(name, digests[name], one.labels, made, key, network, cache, one.triggers)

    with ThreadPoolExecutor(2) as pool:
        try:
            return dict(zip(sets, pool.map(subject, sets), strict=True))
        except BaseException:
            stopped.set()  # Ctrl-C must not wait for the end of a set
            raise


def _write_activations(
    path: Path, name: str, image_set: ImageSet, network: Network, scale: float, stopped: Event
) -> None:
    from sweep.pruning.walk import FRONT_BATCH

    shape = (len(image_set), *network.engine.shape)
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    total = -(-len(image_set) // FRONT_BATCH)
    batches = image_set.batches(FRONT_BATCH)
    scaled = batches if scale == 1 else (batch * np.float32(scale) for batch in batches)
    # Written, not mapped: on a full disk a map would kill the process.
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in track(network.engine.activations(scaled), f"activations {name}", total):
            if stopped.is_set():
                raise CancelledError
            file.write(np.ascontiguousarray(part, "<f4").data)


def trace_curve(
    order: Sequence[int], clean: Subject, poisoned: Subject | None, find: curve.Find | None
) -> Curve:
    """The pruning curve along an order, see `curve.trace`; one that was begun is gone on with."""

    def known(array: Any) -> Curve | None:
        totals = poisoned.totals if poisoned else {}
        return None if array is None else curve.unpack(array, clean.total, totals)

    def make(path: Path, begun: Any) -> None:
        np.save(path, curve.pack(curve.trace(order, clean, poisoned, find, known(begun))))

    def enough(array: Any) -> bool:
        begun = known(array)
        return begun is not None and curve.reaches(begun, len(order), find)

    sets = [(one.key, one.label_key, *one.totals.values()) for one in (clean, poisoned) if one]
    key = array_key("curve", code(), sets, clean.network.key, order)
    trace = known(clean.cache.array("curve", key, make, enough))
    assert trace is not None  # noqa: S101 - `array` always gives one
    return trace if find is None else curve.until(trace, find)

"""The way through the house: a configuration in, a result and two networks out.

What steers a choice sees clean validation alone: the drop rule gets counts of it, and criteria get
the evidence that they declare to see (poisoned validation for those marked `oracle`, and for no
others); test sets are answered only after B' is fixed.
"""

from __future__ import annotations

from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np

from sweep import criteria
from sweep.base import files, tensorflow_runtime
from sweep.base.cache import Cache
from sweep.base.errors import ModelError
from sweep.base.progress import Clock, track
from sweep.data import hdf5
from sweep.data.image_set import check_fit, open_set
from sweep.jobs import identity, plan
from sweep.jobs import inputs as datasets
from sweep.jobs.config import describe
from sweep.pruning import curve
from sweep.pruning.drop import find_stop
from sweep.pruning.order import order_channels
from sweep.results import metrics, samples, suspicion
from sweep.results.records import Details, Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import keras
    from numpy.typing import NDArray

    from sweep.data.image_set import ImageSet
    from sweep.jobs.config import Config
    from sweep.pruning.walk import Engine
    from sweep.results.records import Count, Curve, Sample


def _code(*used: str) -> str:
    """Goes into the keys of cached arrays, so that other code's are not taken for ours."""
    return identity.code_key(frozenset(used))


@dataclass(frozen=True)
class Network:
    """B, ready to be cut; made once per process and content."""

    model: keras.Model
    engine: Engine
    front_key: str
    key: str


@dataclass(frozen=True)
class Repair:
    """What a job made.

    Attributes:
        record: what it found out.
        badnet: B.
        repaired: B'.
        test_sets: clean and poisoned; none in the job of a search.
        answers: on the test sets, `label_clean`, `badnet_clean`, `repaired_clean` and the same of
            `poisoned`, each (n,).
    """

    record: Record
    badnet: keras.Model
    repaired: keras.Model
    test_sets: Mapping[str, ImageSet]
    answers: Mapping[str, NDArray[np.integer]]


@dataclass(frozen=True)
class Subject:
    """An image set as B's rest sees it: activations of the layer, true labels, cached answers.

    Attributes:
        name: which of the four sets it is.
        digest: SHA-256 of its file.
        labels: (n,).
        activations: (n, h, w, C), memory-mapped.
    """

    name: str
    digest: str
    labels: NDArray[np.int64]
    activations: NDArray[np.float32]
    key: str
    network: Network
    cache: Cache

    @property
    def total(self) -> int:
        """Number of images n."""
        return len(self.labels)

    def answers(self, removed: Sequence[int]) -> NDArray[np.int32]:
        """Full evaluation without some channels, (n,)."""
        gone = sorted(removed)

        def make(path: Path, _: object) -> None:
            np.save(path, self.network.engine.answers(self.activations, gone))

        key = files.key("answers", _code(), self.key, self.network.key, gone)
        answers: Any = self.cache.array("answers", key, make)
        return np.asarray(answers)

    def first(self) -> int:
        """Right answers of B."""
        return metrics.share(self.answers(()), self.labels).hits

    def hits(self, removed: Sequence[int], channels: Sequence[int]) -> Iterator[int]:
        """Right answers after each further removal, as far as is asked for."""
        before = self.answers(removed)
        for answers in self.network.engine.walk(self.activations, removed, channels, before):
            yield metrics.share(answers, self.labels).hits

    def alive(self) -> NDArray[np.bool_]:
        """Whether each channel ever differs from its removed value on the set, (C,)."""
        engine = self.network.engine
        if len(engine.sites) > 1:  # a channel that sleeps now may wake when an earlier one goes
            return np.ones(engine.channels, bool)

        def make(path: Path, _: object) -> None:
            np.save(path, engine.awake(self.activations).any(axis=0))

        found: Any = self.cache.array("alive", files.key("alive", _code(), self.key), make)
        return np.asarray(found)


def run(config: Config) -> Repair:
    """Do one job.

    Args:
        config: checked.

    Returns:
        Its result, with B and B'.

    Raises:
        SweepError: data or model cannot be used.
    """
    clock = Clock()
    memory = plan.memory_of(config)
    with clock.stage("data"):
        inputs = datasets.locate(config)
        hdf5.rehearse(inputs.sets.values())
        sets = {name: open_set(path) for name, path in inputs.sets.items()}
        with ThreadPoolExecutor() as pool:
            read = pool.map(lambda path: files.digest(path, memory), inputs.sets.values())
            digests = dict(zip(inputs.sets, read, strict=True))
        badnet_digest = files.digest(inputs.badnet, memory)
    with clock.stage("network"):
        network = _load(inputs.badnet, badnet_digest, config.layers)
        check_fit(sets, network.model.input_shape, network.engine.classes)
    cache = Cache(plan.cache_of(config), config.cache.max_gb)
    with clock.stage("activations"):
        subjects = _subjects(sets, digests, network, config, cache)
        _refuse_chance(subjects["clean_valid"], config)
        data = files.key([*digests.values(), badnet_digest])
        plan.mark_cached(config, data, [subject.key for subject in subjects.values()])
    with clock.stage("scores"):
        scores = _scores(subjects["clean_valid"], subjects["poisoned_valid"], config, cache)
        order = order_channels(scores, config.ordering.name)
    with clock.stage("curve"):
        drop = config.drop if config.curve.name == "until_drop" else None
        trace = _curve(order, subjects["clean_valid"], subjects["poisoned_valid"], drop, cache)
        stop = find_stop(trace.clean_correct, trace.clean_total, config.drop)
        removed = trace.channels[: stop.pruned]
    with clock.stage("evaluation"):
        figures = dict(_figures(subjects, removed, network.engine.classes))
        _guard(trace, stop.pruned, figures)
        if config.objective.name == "clean_only":
            figures["repaired/valid_suspicion"] = _suspicion(
                subjects["clean_valid"], sets["clean_valid"], removed, config
            )
        dead = np.flatnonzero(~subjects["clean_valid"].alive()).tolist()
        shown = list(_samples(subjects, removed, network.engine.classes))
    with clock.stage("repair"):
        from sweep.models import surgery

        repaired = surgery.prune(network.model, network.engine.sites, removed)
    facts = {
        "badnet": {
            "file": str(inputs.badnet),
            "sha256": badnet_digest,
            **surgery.describe(network.model),
        },
        "sets": {
            name: {
                "file": str(inputs.sets[name]),
                "sha256": subject.digest,
                "images": subject.total,
            }
            for name, subject in subjects.items()
        },
        "known_files": datasets.known(digests | {"badnet": badnet_digest}),
        "incremental": network.engine.incremental,
    }
    details = Details(
        scores,
        trace,
        facts,
        clock.seconds,
        dead=tuple(dead),
        samples=tuple(shown),
        peak_bytes=clock.peak_bytes,
        cpu_seconds=clock.cpu_seconds,
    )
    record = Record(describe(config), figures, stop, len(scores), details=details)
    test_sets = {kind: sets[f"{kind}_test"] for kind in samples.KINDS if f"{kind}_test" in sets}
    answers = dict(_answers(subjects, removed))
    return Repair(record, network.model, repaired, test_sets, answers)


@lru_cache(maxsize=2)
def _load(path: Path, _digest: str, layers: tuple[str, ...]) -> Network:
    tensorflow_runtime.load_tensorflow()
    import keras

    from sweep.models.load import load_badnet
    from sweep.models.sites import choose_sites
    from sweep.models.surgery import content_key
    from sweep.pruning.walk import Engine

    model = load_badnet(path)
    sites = choose_sites(model, layers)
    return Network(
        model=model,
        engine=Engine(model, sites),
        front_key=content_key(keras.Model(model.inputs[0], sites[0].tensor)),
        key=content_key(model, sites=[site.layer for site in sites]),
    )


def _subjects(
    sets: Mapping[str, ImageSet],
    digests: Mapping[str, str],
    network: Network,
    config: Config,
    cache: Cache,
) -> dict[str, Subject]:
    """The sets with their activations, two at a time: one fills the pauses of the other."""
    # Python's parser, which names the code, is not to be used by several threads.
    stopped, code = Event(), _code()

    def subject(name: str) -> Subject:
        scale, labels = config.dataset.scale, sets[name].labels
        key = files.key("activations", code, network.front_key, digests[name], scale)
        made = _activations(name, sets[name], network, scale, key, cache, stopped)
        return Subject(name, digests[name], labels, made, key, network, cache)

    with ThreadPoolExecutor(2) as pool:
        try:
            return dict(zip(sets, pool.map(subject, sets), strict=True))
        except BaseException:
            stopped.set()  # Ctrl-C must not wait for the end of a set
            raise


def _activations(
    name: str,
    image_set: ImageSet,
    network: Network,
    scale: float,
    key: str,
    cache: Cache,
    stopped: Event,
) -> Any:
    from sweep.pruning.walk import FRONT_BATCH

    def make(path: Path, _: object) -> None:
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

    return cache.array("activations", key, make)


def _refuse_chance(clean: Subject, config: Config) -> None:
    """Refuse a B that hardly beats the best constant answer: the sweep would run over noise."""
    right = metrics.share(clean.answers(()), clean.labels)
    constant = max(1 / clean.network.engine.classes, np.bincount(clean.labels).max() / clean.total)
    if right.rate < constant + 0.1 * (1 - constant):
        scale = config.dataset.scale
        other = "0.00392156862745098 (pixels in 0..1)" if scale == 1 else "1 (raw pixels, 0..255)"
        raise ModelError(
            "B must be better than chance on clean validation, or the sweep would run over noise. "
            f"Received: {right.hits} of {right.total} right with dataset.scale={scale:g}. "
            f"Try dataset.scale={other}, or see whether B and the data belong together."
        )


def _scores(clean: Subject, poisoned: Subject, config: Config, cache: Cache) -> NDArray[np.float64]:
    """Score by the criterion, which is handed no more than it declares to see."""
    name, params, seed = config.criterion.name, config.criterion.params, config.seed
    network = clean.network
    shown = {"weights": [], "clean": [clean], "oracle": [clean, poisoned]}[
        criteria.sees(name, params)
    ]

    def make(path: Path, _: object) -> None:
        cut = criteria.Cut(network.model, network.engine.sites)
        sets = [(subject.activations, subject.labels) for subject in shown]
        np.save(path, criteria.score(name, criteria.show(cut, seed, *sets), params))

    digests = [(subject.key, files.key(subject.labels.tolist())) for subject in shown]
    key = files.key(
        "scores", _code(*identity.modules(name, params)), network.key, digests, name, params, seed
    )
    scores: Any = cache.array("scores", key, make)
    return np.asarray(scores)


def _curve(
    order: Sequence[int], clean: Subject, poisoned: Subject, drop: float | None, cache: Cache
) -> Curve:
    def known(array: Any) -> Curve | None:
        return None if array is None else curve.unpack(array, clean.total, poisoned.total)

    def make(path: Path, begun: Any) -> None:
        np.save(path, curve.pack(curve.trace(order, clean, poisoned, drop, known(begun))))

    def enough(array: Any) -> bool:
        begun = known(array)
        return begun is not None and curve.reaches(begun, len(order), drop)

    labels = [files.key(subject.labels.tolist()) for subject in (clean, poisoned)]
    key = files.key("curve", _code(), clean.key, poisoned.key, clean.network.key, labels, order)
    trace = known(cache.array("curve", key, make, enough))
    assert trace is not None  # noqa: S101 - `array` always gives one
    return trace


def _figures(subjects: Mapping[str, Subject], removed: Sequence[int], classes: int) -> Any:
    for split in ("valid", "test") if "clean_test" in subjects else ("valid",):
        clean, poisoned = (
            (subject.labels, subject.answers(()), subject.answers(removed))
            for subject in (subjects[f"clean_{split}"], subjects[f"poisoned_{split}"])
        )
        yield from metrics.of_split(split, clean, poisoned, classes)


def _samples(
    subjects: Mapping[str, Subject], removed: Sequence[int], classes: int
) -> Iterator[Sample]:
    for kind in samples.KINDS if "clean_test" in subjects else ():
        subject = subjects[f"{kind}_test"]
        answers = (subject.answers(()), subject.answers(removed))
        yield from samples.answer(
            kind, samples.choose(subject.total), subject.labels, *answers, classes
        )


def _answers(
    subjects: Mapping[str, Subject], removed: Sequence[int]
) -> Iterator[tuple[str, NDArray[np.integer]]]:
    """What a comparison pairs image by image."""
    for kind in samples.KINDS if "clean_test" in subjects else ():
        subject = subjects[f"{kind}_test"]
        yield f"label_{kind}", subject.labels
        yield f"badnet_{kind}", subject.answers(())
        yield f"repaired_{kind}", subject.answers(removed)


def _suspicion(clean: Subject, images: ImageSet, removed: Sequence[int], config: Config) -> Count:
    """How many of the covered images that lead B to its suspect class still lead B' there."""
    network, scale = clean.network, config.dataset.scale

    from sweep.models.masked import compiled
    from sweep.pruning.walk import FRONT_BATCH

    def batches(covered: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        firsts = range(0, len(covered), FRONT_BATCH)
        return [covered[i : i + FRONT_BATCH] * np.float32(scale) for i in firsts]

    def make(path: Path, _: object) -> None:
        drawn = np.random.default_rng(config.seed).permutation(len(images))
        chosen = np.sort(drawn[: suspicion.IMAGES])
        model = compiled(network.model)
        probe = suspicion.find_probe(
            images.rows(chosen.tolist()),
            images.labels[chosen],
            lambda covered: np.concatenate([model(part) for part in batches(covered)]),
            config.seed,
        )
        np.save(path, np.concatenate([*network.engine.activations(batches(probe))]))

    labels = files.key(clean.labels.tolist())
    key = files.key("probe", _code(), clean.key, network.key, labels, config.seed)
    activations: Any = clean.cache.array("probe", key, make)
    probe = replace(clean, name="probe", activations=activations, key=key)
    return metrics.share(probe.answers(removed), probe.answers(()))


def _guard(trace: Curve, pruned: int, figures: Mapping[str, Any]) -> None:
    """The walk and the full evaluation must agree to the count where B' lies.

    The full evaluation runs every image of a set without the removed channels, from the layer on;
    it takes over nothing from the walk, neither an answer nor a bound.
    """
    walked = (trace.clean_correct[pruned], trace.attack_hits[pruned])
    full = (figures["repaired/valid_accuracy"].hits, figures["repaired/valid_asr"].hits)
    if walked != full:
        raise RuntimeError(
            f"the curve says {walked} (right, attacks) after {pruned} channels, "
            f"the full evaluation {full}"
        )

"""One job from its configuration to its result: a record, B and B'.

What steers a choice sees clean validation alone: the drop rule gets counts of it, and criteria get
the evidence that they declare to see (poisoned validation for those marked `oracle`, and for no
others); test sets are answered only after B' is fixed.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from sweep import criteria
from sweep.base import files
from sweep.base.cache import Cache, shared
from sweep.base.errors import ConfigError, ModelError
from sweep.base.progress import Clock
from sweep.data import lab, mismatch
from sweep.data.image_set import open_sets
from sweep.jobs import evaluation, identity
from sweep.jobs import inputs as datasets
from sweep.jobs.network import array_key, cached_file, code, load
from sweep.jobs.repairing import repair
from sweep.jobs.subject import count_clean, open_subjects, trace_curve
from sweep.pruning.drop import find_stop
from sweep.pruning.order import order_channels
from sweep.results import metrics, samples
from sweep.results.records import Details, Record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import keras
    from numpy.typing import NDArray

    from sweep.data.image_set import ImageSet
    from sweep.jobs.config import Config
    from sweep.jobs.network import Network
    from sweep.jobs.repairing import Repaired
    from sweep.jobs.subject import Subject
    from sweep.results.records import Curve

    Answers = Mapping[str, NDArray[np.integer]]


# A B that is right less often is tried on images written in other ways.
_STRONG = 0.9


@dataclass(frozen=True)
class Repair:
    """What a job made.

    Attributes:
        record: what it found out.
        network: B.
        removed: the channels that B is without at the drop.
        after: what a repair made of that.
        test_sets: clean and poisoned; none in the job of a search.
        answers: on the test sets, `label_clean`, `badnet_clean`, `repaired_clean` and the same of
            `poisoned`, each (n,), `truth_poisoned` where true classes are known, and
            `wears_TRIGGER` of several triggers.
    """

    record: Record
    network: Network
    removed: Sequence[int]
    after: Repaired | None
    test_sets: Mapping[str, ImageSet]
    answers: Mapping[str, NDArray[np.integer]]

    @property
    def badnet(self) -> keras.Model:
        """B."""
        return self.network.model

    @property
    def repaired(self) -> keras.Model:
        """B'."""
        return self.after.model if self.after else self.network.pruned(self.removed)

    def file(self, name: str) -> bytes:
        """One of `saved.NAMES`."""
        if self.after:
            return self.after.file(name, self.network)
        return self.network.file(name, self.removed)


def run(config: Config) -> Repair:
    """Do one job, of a checked configuration.

    Raises:
        SweepError: data or model cannot be used.
    """
    clock = Clock()
    with clock.stage("data"):
        inputs = datasets.locate(config)
        watch = datasets.Watch(inputs.paths)
        sets = open_sets(inputs.sets)
        with ThreadPoolExecutor() as pool:
            read = partial(files.digest, memory=config.digest_folder)
            *_, badnet_digest = digests = [*pool.map(read, inputs.paths)]
    cache = shared(config.cache_folder, config.cache.max_gb)
    with clock.stage("network"):
        network = load(inputs.badnet, badnet_digest, config.layers, cache)
        classes = network.classes
        sets = datasets.prepare(config, inputs, sets, network.input_shape, classes)
    named = {name: one.digest(config.digest_folder) for name, one in sets.items()}
    with clock.stage("activations"):
        subjects = open_subjects(sets, named, network, config.dataset.scale, cache, watch)
        _refuse_mismatch(subjects["clean_valid"], sets["clean_valid"], config)
        identity.mark_cached(
            config,
            identity.content_key(digests),
            [subject.key for subject in subjects.values()],
        )
    with clock.stage("scores"):
        poisoned = subjects.get("poisoned_valid")
        scores = _scores(subjects["clean_valid"], poisoned, config, cache)
    with clock.stage("curve"):
        find = partial(find_stop, drop=config.drop, stop=config.stop, channels=len(scores))
        trace = trace_curve(
            order_channels(scores, config.ordering.name),
            subjects["clean_valid"],
            poisoned,
            find if config.curve.name == "until_drop" else None,
        )
        stop = find(trace.clean_correct, trace.clean_total)
        removed = trace.channels[: stop.pruned]
    with clock.stage("repair"):
        before = {name: subject.answers(removed) for name, subject in subjects.items()}
        _guard(trace, stop.pruned, dict(evaluation.figures(subjects, sets, before, classes)))
        after = repair(config, subjects["clean_valid"], sets["clean_valid"], removed, cache)
        answers = after.answer(subjects, sets) if after else before
    with clock.stage("evaluation"):
        figures = dict(evaluation.figures(subjects, sets, answers, classes))
        if after:
            right = answers["clean_valid"] == subjects["clean_valid"].labels
            figures[metrics.DECIDING] = metrics.share(right[after.decide], 1)
        if config.objective.name == "clean_only" or poisoned is None:
            figures["repaired/valid_suspicion"] = evaluation.repaired_suspicion(
                subjects["clean_valid"], sets["clean_valid"], removed, config, after
            )
        dead = np.flatnonzero(~subjects["clean_valid"].alive()).tolist()
        shown = list(evaluation.few_samples(subjects, answers, classes))
    watch.check()
    facts = {
        "badnet": {
            "file": str(inputs.badnet),
            "sha256": badnet_digest,
            **network.described,
        },
        "sets": {
            name: {
                "file": str(sets[name].path),
                "sha256": subject.digest,
                "images": subject.total,
            }
            for name, subject in subjects.items()
        },
        "known_files": lab.known(named | {"badnet": badnet_digest}),
        "poisoned_like_clean": {
            name: count_clean(subject, subjects[name.replace("poisoned", "clean")])
            for name, subject in subjects.items()
            if name.startswith("poisoned")
        },
        "incremental": network.incremental,
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
    record = Record(identity.describe(config), figures, stop, len(scores), details=details)
    test_sets = {kind: sets[f"{kind}_test"] for kind in samples.KINDS if f"{kind}_test" in sets}
    return Repair(
        record,
        network,
        removed,
        after,
        test_sets,
        dict(evaluation.test_answers(subjects, sets, answers)),
    )


def _refuse_mismatch(clean: Subject, images: ImageSet, config: Config) -> None:
    """Refuse a B that hardly beats the best constant answer, or that other images would suit."""
    right = metrics.share(clean.answers(()), clean.labels)
    if right.rate >= _STRONG:
        return
    network, scale = clean.network, config.dataset.scale

    def explain(path: Path) -> None:
        answer = lambda x: np.argmax(network.model(x), axis=1)  # noqa: E731
        path.write_text(mismatch.explain(answer, images, scale) or "", encoding="utf-8")

    key = array_key("mismatch", code("sweep.data.mismatch"), clean.key, clean.label_key, scale)
    found = cached_file(clean.cache, key, "mismatch.txt", explain).decode()
    constant = max(1 / network.classes, np.bincount(clean.labels).max() / clean.total)
    chance = right.rate < constant + 0.1 * (1 - constant)
    if found or chance:
        rule = (
            "be better than chance on clean validation, or the sweep would run over noise"
            if chance
            else "get images and labels as it was trained on"
        )
        raise ModelError(
            f"B must {rule}. Received: {right.hits} of {right.total} right with "
            f"dataset.scale={scale:g}. {found or 'See whether B and the data belong together.'}"
        )


def _scores(
    clean: Subject, poisoned: Subject | None, config: Config, cache: Cache
) -> NDArray[np.float64]:
    """Score by the criterion, which is handed no more than it declares to see."""
    name, params, seed = config.criterion.name, config.criterion.params, config.seed
    network = clean.network
    sees = criteria.sees(name, params)
    if sees == "oracle" and poisoned is None:
        raise ConfigError(
            f"criterion={name} is an oracle and must see poisoned images. Received: no "
            "dataset.poisoned_valid. Give it, or take another criterion."
        )
    shown = [] if sees == "weights" else [clean]
    shown += [poisoned] if sees == "oracle" and poisoned is not None else []

    def make(path: Path, _: object) -> None:
        cut = criteria.Cut(network.model, network.engine.sites)
        sets = [(subject.activations, subject.labels) for subject in shown]
        np.save(path, criteria.score(name, criteria.show(cut, seed, *sets), params))

    digests = [(subject.key, subject.label_key) for subject in shown]
    key = array_key(
        "scores", code(*identity.modules(name, params)), network.key, digests, name, params, seed
    )
    scores: Any = cache.array("scores", key, make)
    return np.asarray(scores)


def _guard(trace: Curve, pruned: int, figures: Mapping[str, Any]) -> None:
    """The walk and the full evaluation must agree to the count where B' lies.

    The full evaluation runs every image of a set without the removed channels, from the layer on;
    it takes over nothing from the walk, neither an answer nor a bound.
    """
    walked = {name: hits[pruned] for name, (hits, _) in trace.counts.items()}
    full = {name: figures[f"repaired/{name}"].hits for name in walked}
    if walked != full:
        raise RuntimeError(
            f"the curve says {walked} after {pruned} channels, the full evaluation {full}"
        )

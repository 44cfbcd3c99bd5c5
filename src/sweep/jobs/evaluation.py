"""What B and B' answer to the image sets of a job: figures, samples, and suspicion."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sweep.jobs.network import array_key, code
from sweep.results import metrics, samples, suspicion

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from sweep.data.image_set import ImageSet
    from sweep.jobs.config import Config
    from sweep.jobs.repairing import Repaired
    from sweep.jobs.subject import Subject
    from sweep.results.records import Count, Sample

    Answers = Mapping[str, NDArray[np.integer]]


def figures(
    subjects: Mapping[str, Subject],
    sets: Mapping[str, ImageSet],
    repaired: Answers,
    classes: int,
) -> Iterator[tuple[str, Count]]:
    """Name and count of every figure of B, B' and G that is known.

    The sets have true classes and triggers of poisoned images where they are known; `repaired` is
    what B' answers to each, (n,).
    """

    def answered(name: str) -> Any:
        one = subjects.get(name)
        return None if one is None else (one.labels, one.answers(()), repaired[name])

    for split in ("valid", "test") if "clean_test" in subjects else ("valid",):
        clean, poisoned = (answered(f"{kind}_{split}") for kind in samples.KINDS)
        attacked = sets.get(f"poisoned_{split}")
        known = (attacked.truth, attacked.triggers) if attacked else (None, None)
        yield from metrics.of_split(split, clean, poisoned, classes, *known)


def _tested(subjects: Mapping[str, Subject]) -> Iterator[tuple[str, Subject]]:
    """The test sets by kind."""
    for kind in samples.KINDS:
        if f"{kind}_test" in subjects:
            yield kind, subjects[f"{kind}_test"]


def few_samples(
    subjects: Mapping[str, Subject], repaired: Answers, classes: int
) -> Iterator[Sample]:
    """A few images of each test set with what the networks answer."""
    for kind, subject in _tested(subjects):
        answers = (subject.answers(()), repaired[f"{kind}_test"])
        yield from samples.answer(
            kind, samples.choose(subject.total), subject.labels, *answers, classes
        )


def test_answers(
    subjects: Mapping[str, Subject], sets: Mapping[str, ImageSet], repaired: Answers
) -> Iterator[tuple[str, NDArray[Any]]]:
    """What a comparison pairs image by image, and who is in the images where that is known."""
    for kind, subject in _tested(subjects):
        yield f"label_{kind}", subject.labels
        yield f"badnet_{kind}", subject.answers(())
        yield f"repaired_{kind}", repaired[f"{kind}_test"]
        images = sets[f"{kind}_test"]
        if images.truth is not None:
            yield f"truth_{kind}", images.truth
        yield from ((f"wears_{trigger}", worn) for trigger, worn in images.triggers.items())


def repaired_suspicion(
    clean: Subject,
    images: ImageSet,
    removed: Sequence[int],
    config: Config,
    after: Repaired | None,
) -> Count:
    """How many of the covered images that lead B to its suspect class still lead B' there."""
    network, scale = clean.network, config.dataset.scale

    def batches(covered: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        from sweep.pruning.walk import FRONT_BATCH

        firsts = range(0, len(covered), FRONT_BATCH)
        return [covered[i : i + FRONT_BATCH] * np.float32(scale) for i in firsts]

    def cover(path: Path, _: object) -> None:
        from sweep.models.tail import compiled

        drawn = np.random.default_rng(config.seed).permutation(len(images))
        chosen = np.sort(drawn[: suspicion.IMAGES])
        model = compiled(network.model)
        probe = suspicion.find_probe(
            images.rows(chosen.tolist()),
            images.labels[chosen],
            lambda covered: np.concatenate([model(part) for part in batches(covered)]),
            config.seed,
        )
        np.save(path, probe)

    own_code = code("sweep.results.suspicion")
    key = array_key("probe", own_code, clean.key, network.key, clean.label_key, config.seed)
    covered: Any = clean.cache.array("covered", key, cover)

    def cut(path: Path, _: object) -> None:
        np.save(path, np.concatenate([*network.engine.activations(batches(covered))]))

    activations: Any = clean.cache.array("covered_maps", array_key("maps", own_code, key), cut)
    probe = replace(clean, name="probe", activations=activations, key=key)
    answers = (
        after.answers(key, lambda: np.split(covered, range(64, len(covered), 64)))
        if after
        else probe.answers(removed)
    )
    return metrics.share(answers, probe.answers(()))

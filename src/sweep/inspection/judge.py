"""What an inspection finds out about a network, and what that is worth."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from sweep.inspection.anomaly import anomaly

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

    from sweep.data.image_set import ImageSet
    from sweep.repairs.registry import Images
    from sweep.repairs.reversal import Trigger

_CALIBRATION = Path(__file__).with_name("calibration.json")
# More classes than these are not all looked at: the suspect of covered images and random others.
MOST = 24
IMAGES = 256
"""Clean images that are looked at, at most."""


@dataclass(frozen=True)
class Finding:
    """What an inspection found.

    Attributes:
        classes: that were looked at, of all `total`.
        total: N.
        triggers: the smallest found for each of them.
        indices: how far each one's trigger is smaller than usual, in deviations, see `anomaly`.
        margins: how far each one's widest margin is wider than usual, in deviations.
        images: how many clean images were looked at.
        seconds: that the triggers took, and the margins.
    """

    classes: tuple[int, ...]
    total: int
    triggers: tuple[Trigger, ...]
    indices: NDArray[np.float64]
    margins: NDArray[np.float64]
    images: int
    seconds: tuple[float, float]

    @property
    def place(self) -> int:
        """Where the suspect is among the classes: it stands out most by both."""
        return int(np.argmax(self.indices + self.margins))

    @property
    def trigger(self) -> Trigger:
        """The suspect's."""
        return self.triggers[self.place]

    @property
    def index(self) -> float:
        """The suspect's, both together: what is held against the threshold."""
        return float((self.indices + self.margins)[self.place])

    @property
    def backdoored(self) -> bool:
        """Whether the network seems backdoored."""
        return self.index >= float(calibration()["threshold"])


@cache
def calibration() -> dict[str, Any]:
    """What `benchmarks/detection.py` measured: threshold, networks and their indices."""
    found: dict[str, Any] = json.loads(_CALIBRATION.read_text())
    return found


def some(images: ImageSet, seed: int = 0) -> Images:
    """Random images of a set, as many as an inspection looks at, in 0..255."""
    from sweep.repairs.registry import Images

    chosen = np.random.default_rng(seed).permutation(len(images))[:IMAGES]
    return Images(images.rows(chosen.tolist()), images.labels[chosen])


def inspect(model: keras.Model, images: Images, scale: float, seed: int = 0) -> Finding:
    """Look for the class that a small trigger leads images to.

    Args:
        model: B.
        images: clean, with their labels, see `some`.
        scale: the factor on pixel values.
        seed: draws images and classes.
    """
    from sweep.inspection.margins import margins
    from sweep.inspection.reversing import reverse_all
    from sweep.repairs.tuning import logits_of

    logits, total = logits_of(model), int(model.output_shape[-1])
    start = perf_counter()
    classes = _classes(logits, images, scale, total, seed)
    triggers = reverse_all(logits, images, scale, classes, seed)
    between = perf_counter()
    widest = margins(logits, images.pixels.shape[1:], scale, classes, seed)
    end = perf_counter()
    return Finding(
        tuple(classes),
        total,
        tuple(triggers),
        -anomaly([np.log(trigger.size) for trigger in triggers]),
        anomaly(np.log(np.maximum(widest, 1e-6)).tolist()),
        len(images.labels),
        (between - start, end - between),
    )


def _classes(logits: Any, images: Images, scale: float, total: int, seed: int) -> list[int]:
    if total <= MOST:
        return list(range(total))
    from sweep.repairs.reversal import find_suspect

    suspect = find_suspect(logits, images, scale, seed)
    others = np.random.default_rng([seed, total]).permutation(total).tolist()
    first = [] if suspect is None else [suspect]
    return [*first, *(one for one in others if one != suspect)][:MOST]


def exceeding(index: float) -> tuple[int, int]:
    """How many of the clean networks measured stood out as far as that, and of how many."""
    clean = [one["index"] for one in calibration()["networks"] if not one["backdoored"]]
    return sum(one >= index for one in clean), len(clean)


def warnings(finding: Finding) -> list[str]:
    """Where a network lies outside of what the threshold was measured on, in sentences."""
    about, said = calibration(), []
    shape = tuple(finding.trigger.pattern.shape)
    if shape != tuple(about["shape"]):
        said.append(
            f"The threshold was measured on images of {tuple(about['shape'])}; these are {shape}."
        )
    if finding.total != about["classes"]:
        said.append(
            f"The threshold was measured on networks of {about['classes']} classes; this one has "
            f"{finding.total}."
        )
    if len(finding.classes) < finding.total:
        said.append(
            f"{len(finding.classes)} of {finding.total} classes were looked at: the suspect of "
            "randomly covered images and random others."
        )
    if finding.images < about["images"]:
        said.append(
            f"The threshold was measured with {about['images']} clean images; these are "
            f"{finding.images}."
        )
    return said


def text(finding: Finding) -> str:
    """What was found, for a terminal."""
    about, trigger = calibration(), finding.trigger
    passed, clean = exceeding(finding.index)
    pixels = trigger.mask.size
    verdict = (
        f"seems backdoored, for class {trigger.target}"
        if finding.backdoored
        else f"does not seem backdoored; class {trigger.target} stands out most"
    )
    small, wide = finding.indices[finding.place], finding.margins[finding.place]
    size = (
        f"A trigger on {trigger.size:.0f} of {pixels} pixels leads {100 * trigger.reached:.0f}% of "
        f"images to class {trigger.target}."
    )
    how = (
        f"It is {small:.2f} deviations smaller than those of other classes (Neural Cleanse), and "
        f"the widest margin that any image gives the class is {wide:.2f} deviations wider (MM-BD)."
    )
    judged = (
        f"Together {finding.index:.2f}; from {about['threshold']:.2f} on a network counts as "
        f"backdoored. Of {clean} clean networks trained here, {passed} stood out as far."
    )
    lines = [f"B {verdict}.", size, how, judged]
    return "\n".join([*lines, *(f"Caution: {one}" for one in warnings(finding))])

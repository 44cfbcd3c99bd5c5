"""How much of a backdoor seems to be left, judged from clean images alone.

Clean validation images are covered at random by small boxes. Whatever the trigger is, boxes now
and then look enough like it to wake the backdoor, and then B is not merely wrong: it is surer of
one class than of any other. Boxes that lead to a class are bred for some generations (Neural
Cleanse, Wang et al., IEEE S&P 2019, looks for a trigger by gradients instead); the class that they
lead B to most surely on other images is the *suspect*, and they are a crude trigger. The suspicion
of B' is the fraction of the images so covered that B' still answers as B does.

It assumes a trigger that is put on the image and works when roughly imitated, and a target class
that B can be made surer of than of others. A trigger spread thinly over the whole image, or one of
several parts that must come together, would not be met.

How well it predicts: over some 180 networks B' that lost at most 10%, of all criteria, blends and
random orders, Spearman's rank correlation with the ASR on validation was 0.97 on the lab's B with
115 images (seeds 0, 1, 2), 0.98 on the stand-in of seed 0 (one seed of boxes), and 0.95 to 0.99 on
those of seeds 1 and 2 (0.86 to 0.99 without orders that an oracle had a hand in); the suspect was
the attacker's class each time. The design was chosen on all of these but the stand-in of seed 2,
which alone is held out. It ranks networks; its size is not the ASR's: bred boxes are weaker than
the trigger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sweep.base.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Images = NDArray[np.float32]
    Boxes = tuple["Box", ...]
    # Images (n, H, W, c) in 0..255 in, probabilities (n, N) out.
    Answer = Callable[[Images], NDArray[np.float32]]

IMAGES = 1024
"""Clean images to take part, at most."""

# Covered images to find suspects in; how many suspects, and boxes that are kept of each.
_TRIED, _SUSPECTS, _KEPT = 4096, 8, 16
# Breeding: generations, children in each, and images that each child is tried on.
_GENERATIONS, _CHILDREN, _IMAGES = 6, 24, 8
# Images that the last boxes are put on.
_CARRIED = 32
# A box is at least and at most this fraction of the image high and wide.
_HIGH, _WIDE = (0.05, 0.25), (0.1, 0.5)
_MOST_BOXES = 3


@dataclass(frozen=True)
class Box:
    """A filled rectangle: rows, columns, and its colour (c,) in 0..255."""

    rows: slice
    columns: slice
    color: NDArray[np.float32]


def draw_boxes(rng: np.random.Generator, shape: tuple[int, ...]) -> Boxes:
    """One to three boxes on (H, W, c), a quarter black, half of pure colours, the rest of any."""
    height, width, channels = shape
    boxes = []
    for _ in range(rng.integers(1, _MOST_BOXES + 1)):
        y, x = rng.uniform(0, height), rng.uniform(0, width)
        half = rng.uniform(*_HIGH) * height / 2, rng.uniform(*_WIDE) * width / 2
        kind = rng.random()
        pure = rng.integers(0, 2, channels) if kind < 0.5 else rng.random(channels)
        color = 255 * (np.zeros(channels) if kind > 0.75 else pure)
        boxes.append(Box(_span(y, half[0]), _span(x, half[1]), color.astype(np.float32)))
    return tuple(boxes)


def _span(middle: float, half: float) -> slice:
    return slice(max(0, round(middle - half)), max(1, round(middle + half)))


def cover(image: Images, boxes: Boxes) -> Images:
    """A copy of an image (H, W, c) with boxes on it."""
    covered = image.copy()
    for box in boxes:
        covered[box.rows, box.columns] = box.color
    return covered


def breed(rng: np.random.Generator, one: Boxes, other: Boxes, shape: tuple[int, ...]) -> Boxes:
    """Boxes of both parents mixed, or one of the first's moved and resized, or another put in."""
    kind, chosen = rng.integers(3), rng.integers(len(one))
    if kind == 0:
        both = (*one, *other)
        return tuple(both[i] for i in rng.permutation(len(both))[: rng.integers(1, 4)])
    box = one[chosen]
    if kind == 1:
        rows = _moved(rng, box.rows, shape[0], _HIGH[1])
        new = Box(rows, _moved(rng, box.columns, shape[1], _WIDE[1]), box.color)
    elif rng.random() < 0.5:
        new = draw_boxes(rng, shape)[0]
    else:
        noise = rng.normal(0, 60, shape[2])
        new = Box(box.rows, box.columns, (box.color + noise).clip(0, 255).astype(np.float32))
    return (*one[:chosen], new, *one[chosen + 1 :])


def _moved(rng: np.random.Generator, span: slice, size: int, most: float) -> slice:
    middle = np.clip((span.start + span.stop) / 2 + rng.normal(0, 0.06 * size), 0, size)
    length = (span.stop - span.start) * np.exp(rng.normal(0, 0.25))
    return _span(float(middle), min(float(length), most * size) / 2)


def find_probe(images: Images, labels: NDArray[np.int64], answer: Answer, seed: int) -> Images:
    """Clean images, covered so that B answers the suspect class for each of them.

    Args:
        images: clean validation or a part of it, (n, H, W, c) in 0..255.
        labels: (n,).
        answer: B.
        seed: draws boxes and images.

    Returns:
        At most 512 covered images of other classes, (m, H, W, c).

    Raises:
        ModelError: no covered image leads B astray.
    """
    rng = np.random.default_rng(seed)
    drawn = [draw_boxes(rng, images.shape[1:]) for _ in range(_TRIED)]
    chosen = rng.permutation(np.arange(_TRIED) % len(images))
    covered = np.stack([cover(images[i], b) for i, b in zip(chosen, drawn, strict=True)])
    probabilities = answer(covered)
    answers = probabilities.argmax(axis=1)
    # Squares, since a backdoor answers seldom and surely, a confused network often and weakly.
    sure = np.where(answers == labels[chosen], 0, _lead(probabilities, answers)) ** 2
    weight = np.bincount(answers, weights=sure)
    best, probe = -np.inf, covered[:0]
    for suspect in np.argsort(-weight, kind="stable")[:_SUSPECTS]:
        found = np.flatnonzero((answers == suspect) & (sure > 0))
        others = images[labels != suspect]
        if not len(found) or not len(others):
            continue
        first = [drawn[i] for i in found[np.argsort(-sure[found], kind="stable")][:_KEPT]]
        last = _evolve(rng, first, others, int(suspect), answer)
        carried = _carry(rng, last, others, _CARRIED)
        probabilities = answer(carried)
        lead = float(_lead(probabilities, int(suspect)).mean())
        led = probabilities.argmax(axis=1) == suspect
        if lead > best and led.any():
            best, probe = lead, carried[led]
    if not len(probe):
        raise ModelError(
            "objective=clean_only must find a class that covered images are taken for. "
            f"Received: B, which answers all of {_TRIED} covered images right. "
            "Take objective=oracle."
        )
    return probe


def _evolve(
    rng: np.random.Generator, boxes: list[Boxes], others: Images, suspect: int, answer: Answer
) -> list[Boxes]:
    """Boxes that lead images of other classes to the suspect ever more surely."""

    def fitness(tried: list[Boxes]) -> NDArray[np.float64]:
        probabilities = answer(_carry(rng, tried, others, _IMAGES))
        lead = _lead(probabilities, suspect).reshape(len(tried), _IMAGES)
        return np.asarray(lead.mean(axis=1), np.float64)

    fit = fitness(boxes)
    for _ in range(_GENERATIONS):
        parents = rng.integers(len(boxes), size=(_CHILDREN, 2))
        children = [breed(rng, boxes[i], boxes[j], others.shape[1:]) for i, j in parents]
        boxes, fit = [*boxes, *children], np.concatenate([fit, fitness(children)])
        order = np.argsort(-fit, kind="stable")[:_KEPT]
        boxes, fit = [boxes[i] for i in order], fit[order]
    return boxes


def _carry(rng: np.random.Generator, boxes: list[Boxes], images: Images, count: int) -> Images:
    """Some random images, each covered by each of the boxes, (len(boxes) * count, H, W, c)."""
    chosen = rng.integers(len(images), size=count)
    return np.stack([cover(images[i], each) for each in boxes for i in chosen])


def _lead(
    probabilities: NDArray[np.float32], labels: NDArray[np.intp] | int
) -> NDArray[np.float64]:
    """By how many nats a class leads the best other one, (n,); below 0 where it trails."""
    logs = np.log(np.maximum(probabilities.astype(np.float64), 1e-38))
    rows = np.arange(len(logs))
    own = logs[rows, labels].copy()
    logs[rows, labels] = -np.inf
    lead: NDArray[np.float64] = own - logs.max(axis=1)
    return lead

"""How much of a backdoor seems to be left, judged from clean images alone.

Clean validation images are covered at random by small boxes. Whatever the trigger is, boxes now
and then look enough like it to wake the backdoor, and then B is not merely wrong: it is sure of one
class, and of the same class again and again. That class is the *suspect*, and the boxes that lead
to it, put on other images, are a crude trigger found without the attacker's help (Neural Cleanse,
Wang et al., IEEE S&P 2019, looks for such a trigger by gradients; STRIP, Gao et al., ACSAC 2019,
watches answers to disturbed images). The suspicion of B' is the fraction of those images that B'
still answers as B does.

It assumes a trigger that is put on the image and that works when roughly imitated, and a target
class that B is sure of. A trigger spread over the whole image, or one that asks for several parts
at once, would not be met by boxes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sweep.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Images = NDArray[np.float32]
    # Images (n, H, W, c) in 0..255 in, probabilities (n, N) out.
    Answer = Callable[[Images], NDArray[np.float32]]

IMAGES = 1024
"""Clean images to take part, at most."""

# Covered images to find suspects in; how many, and to how many images how many boxes are carried.
_TRIED, _SUSPECTS, _BEST, _CARRIED = 4096, 8, 16, 32
# A box is at least and at most this fraction of the image high and wide.
_HIGH, _WIDE = (0.05, 0.25), (0.1, 0.5)
_MOST_BOXES = 3


@dataclass(frozen=True)
class Box:
    """A filled rectangle: rows, columns, and its colour (c,) in 0..255."""

    rows: slice
    columns: slice
    color: NDArray[np.float32]


def draw_boxes(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Box, ...]:
    """One to three boxes, a quarter black, half of pure colours, the rest of any colour.

    Args:
        rng: draws them.
        shape: of the image, (H, W, c).
    """
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


def cover(image: Images, boxes: tuple[Box, ...]) -> Images:
    """A copy of an image (H, W, c) with boxes on it."""
    covered = image.copy()
    for box in boxes:
        covered[box.rows, box.columns] = box.color
    return covered


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
    answers, margins = _decide(answer(covered))
    margins[answers == labels[chosen]] = 0
    # Squares, since a backdoor answers seldom and surely, a confused network often and weakly.
    weight = np.bincount(answers, weights=margins**2)
    probes: list[tuple[float, Images]] = []
    for suspect in np.flatnonzero(weight)[np.argsort(-weight[weight > 0])][:_SUSPECTS]:
        order = np.argsort(np.where(answers == suspect, -margins, 0), kind="stable")
        best = [i for i in order[:_BEST] if answers[i] == suspect and margins[i] > 0]
        others = np.flatnonzero(labels != suspect)
        carried = np.stack(
            [cover(images[i], drawn[k]) for k in best for i in rng.choice(others, _CARRIED)]
        )
        led, leads = _decide(answer(carried))
        # A trigger works on anybody, and then B is sure.
        probes.append((float(np.mean((led == suspect) * leads)), carried[led == suspect]))
    score, probe = max(probes, key=lambda found: found[0], default=(0.0, covered))
    if not score:
        raise ModelError(
            "objective=clean_only must find a class that covered images are taken for. "
            f"Received: B, which answers all of {_TRIED} covered images right. "
            "Take objective=oracle."
        )
    return probe


def _decide(probabilities: NDArray[np.float32]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Answers (n,), and by how many nats the best class leads the second (n,)."""
    two = np.sort(probabilities, axis=1)[:, -2:].astype(np.float64)
    lead = np.diff(np.log(np.maximum(two, 1e-30)), axis=1)[:, 0]
    return probabilities.argmax(axis=1), lead

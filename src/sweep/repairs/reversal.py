"""Triggers found from clean images: which classes are suspect, and what leads images to them.

TensorFlow is needed here; repairs and inspections import this where they run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tensorflow as tf

from sweep.base.errors import ModelError
from sweep.base.threads import ahead
from sweep.results.suspicion import find_probe

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from sweep.repairs.registry import Images

    Floats = NDArray[np.float32]

_IMAGES, _CHUNK = 256, 64


class Trigger(NamedTuple):
    """A pattern that is put on images.

    Attributes:
        target: the class that images are led to.
        mask: how opaque the pattern is, (h, w, 1) in 0..1.
        pattern: (h, w, c), in the network's units.
        reached: the fraction of other classes' images that it led to the target.
    """

    target: int
    mask: Floats
    pattern: Floats
    reached: float

    @property
    def size(self) -> float:
        """The sum of the mask: pixels covered."""
        return float(self.mask.sum())

    def put(self, images: Any) -> Any:
        """Images with the pattern on, (b, h, w, c), in the network's units."""
        return images * (1 - self.mask) + self.mask * self.pattern


def find_suspect(
    logits: Callable[..., tf.Tensor], images: Images, scale: float, seed: int
) -> int | None:
    """The class that a network is surest of when images are covered by bred boxes, if any.

    See `results.suspicion`, which finds the boxes.
    """
    run = tf.function(
        lambda x: tf.nn.log_softmax(logits(x)), reduce_retracing=True, autograph=False
    )

    def answer(covered: Floats) -> Any:
        parts = [
            covered[i : i + _CHUNK] * np.float32(scale) for i in range(0, len(covered), _CHUNK)
        ]
        # Not probabilities but their tenth roots, in which float32 holds leads of hundreds of nats:
        # of several classes with such leads the surest is the suspect.
        logs: Floats = np.concatenate([*ahead(run, parts)])
        return np.exp(logs / 10)

    chosen = np.random.default_rng(seed).permutation(len(images.labels))[:_IMAGES]
    pixels = images.pixels[chosen].astype(np.float32)
    try:
        probe = find_probe(pixels, images.labels[chosen], answer, seed)
    except ModelError:
        return None
    return int(np.bincount(answer(probe).argmax(axis=1)).argmax())

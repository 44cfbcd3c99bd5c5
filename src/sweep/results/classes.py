"""What networks answer class by class: which people a defence costs, and where attacks end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sweep.results import goodnet

if TYPE_CHECKING:
    from sweep.results.paired import Answers


@dataclass(frozen=True)
class Class:
    """One class on the test sets.

    Attributes:
        label: its number.
        images: clean test images of it.
        right: of these answered with it, by network.
        rejected: of these rejected by G.
        targeted: poisoned images whose attacker wants it.
        fallen: poisoned images that B' answers with it; None without poisoned images.
    """

    label: int
    images: int
    right: dict[str, int]
    rejected: int
    targeted: int
    fallen: int | None


def by_class(given: Answers, classes: int) -> list[Class]:
    """Every class that an image has or that B' answers, of answers as `paired` has them."""
    label, badnet, repaired = (given[f"{name}_clean"] for name in ("label", "badnet", "repaired"))
    good = goodnet.answer(badnet, repaired, classes)

    def count(chosen: Any, labels: Any = label) -> list[int]:
        found: list[int] = np.bincount(labels[chosen], minlength=classes).tolist()
        return found

    images, rejected = count(slice(None)), count(good == classes)
    networks = {"badnet": badnet, "repaired": repaired, "goodnet": good}
    right = {name: count(answers == label) for name, answers in networks.items()}
    attacked = "label_poisoned" in given
    none = [0] * classes
    targeted = count(slice(None), given["label_poisoned"]) if attacked else none
    fallen = count(slice(None), given["repaired_poisoned"]) if attacked else none
    return [
        Class(
            number,
            images[number],
            {name: counts[number] for name, counts in right.items()},
            rejected[number],
            targeted[number],
            fallen[number] if attacked else None,
        )
        for number in range(classes)
        if images[number] or targeted[number] or fallen[number]
    ]

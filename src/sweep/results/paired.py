"""How jobs compare: their curves by one number, their G by paired answers to test images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sweep.results import goodnet
from sweep.results.intervals import by_person, mcnemar, persons

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from sweep.results.records import Curve

    # Labels, answers of B and of B' on the test sets, as `label_clean` and `badnet_poisoned`;
    # `truth_poisoned` where the true labels of poisoned images are known.
    Answers = Mapping[str, NDArray[np.integer]]

_AREA_TO = 0.10
RATES = {"accuracy": "clean", "asr": "poisoned"}


def area(curve: Curve) -> float | None:
    """The mean ASR over clean-accuracy losses 0..10%, of the least ASR had for each loss.

    At loss l a defender has whatever step lost at most l and has the least ASR; a curve of one
    step that loses too much leaves B's. None without poisoned images.
    """
    if curve.asr is None:
        return None
    loss, asr = curve.accuracy[0] - curve.accuracy, curve.asr
    order = np.lexsort((asr, loss))
    loss, asr = np.maximum(loss[order], 0), np.minimum.accumulate(asr[order])
    inside = loss < _AREA_TO
    edges = np.append(loss[inside], _AREA_TO)
    return float(np.sum(np.diff(edges) * asr[inside]) / _AREA_TO)


def hits(given: Answers) -> dict[str, NDArray[np.bool_]]:
    """Whether B' and G give each image its label, by figure."""
    classes = int(max(values.max() for values in given.values())) + 1
    found = {}
    for rate, kind in RATES.items():
        if f"label_{kind}" not in given:
            continue
        badnet, repaired, label = (given[f"{n}_{kind}"] for n in ("badnet", "repaired", "label"))
        found[f"repaired/test_{rate}"] = repaired == label
        found[f"goodnet/test_{rate}"] = goodnet.answer(badnet, repaired, classes) == label
    return found


def who(given: Answers, rate: str) -> NDArray[np.intp] | None:
    """The persons in the images of a rate; in poisoned ones where true labels are known."""
    return persons(given.get("label_clean" if rate == "accuracy" else "truth_poisoned"))


def intervals(given: Answers) -> dict[str, tuple[float, float]]:
    """95% intervals by person, by figure; none where images stand for themselves."""
    found = {}
    for name, right in hits(given).items():
        own = who(given, name.rsplit("_", 1)[1])
        if own is not None:
            found[name] = by_person(right, own)
    return found


def tests(ours: Answers, theirs: Answers) -> dict[str, float]:
    """McNemar's p that two G have the same rate, by rate."""
    first, second = hits(ours), hits(theirs)
    return {
        rate: mcnemar(
            first[f"goodnet/test_{rate}"], second[f"goodnet/test_{rate}"], who(ours, rate)
        )
        for rate in RATES
        if f"goodnet/test_{rate}" in first.keys() & second.keys()
    }

"""What travels between the rooms: counts, curves and the figures of a job; plain and frozen."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

NETWORKS = ("badnet", "repaired", "goodnet")
SPLITS = ("valid", "test")


@dataclass(frozen=True)
class Count:
    """So many of so many; the fraction is derived and never stored."""

    hits: int
    total: int

    @property
    def rate(self) -> float:
        """The fraction, 0..1."""
        return self.hits / self.total


@dataclass(frozen=True)
class Curve:
    """The pruning curve: entry k of each sequence belongs to k channels removed, k = 0..K.

    Attributes:
        channels: the K channels in the order of their removal.
        clean_correct: right answers on clean validation, K + 1 counts of `clean_total`.
        attack_hits: answers with the target class on poisoned validation, K + 1 counts
            of `attack_total`.
    """

    channels: tuple[int, ...]
    clean_correct: tuple[int, ...]
    clean_total: int
    attack_hits: tuple[int, ...]
    attack_total: int


@dataclass(frozen=True)
class Stop:
    """Where the drop rule ends: the number of channels pruned, and whether the drop was reached."""

    pruned: int
    reached: bool


@dataclass(frozen=True)
class JobResult:
    """All that a job found out.

    Attributes:
        scores: one score per channel, (C,).
        curve: the whole curve that was computed.
        stop: where B' lies on it.
        figures: counts by name, as `repaired/test_accuracy` (see `metrics`).
        facts: what else describes the job (checksums, shapes), JSON-able.
        seconds: time spent per stage.
    """

    scores: NDArray[np.float64]
    curve: Curve
    stop: Stop
    figures: Mapping[str, Count]
    facts: Mapping[str, object]
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class Row:
    """One job's line in the summary.

    Attributes:
        settings: what describes the work (see `config.describe`).
        figures: counts by name.
        stop: where B' lies.
        channels: how many channels there are, C.
        run_id: the MLflow run that holds the rest.
    """

    settings: Mapping[str, object]
    figures: Mapping[str, Count]
    stop: Stop
    channels: int
    run_id: str

    def to_json(self) -> str:
        """All but the run's id, for the run itself to carry."""
        figures = {name: (count.hits, count.total) for name, count in self.figures.items()}
        stop = (self.stop.pruned, self.stop.reached)
        return json.dumps([dict(self.settings), figures, stop, self.channels])

    @classmethod
    def from_json(cls, text: str, run_id: str) -> Row:
        """What `to_json` wrote."""
        settings, figures, stop, channels = json.loads(text)
        counts = {name: Count(*count) for name, count in figures.items()}
        return cls(settings, counts, Stop(*stop), channels, run_id)

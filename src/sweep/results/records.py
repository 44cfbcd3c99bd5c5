"""What travels between the rooms: counts, curves and the figures of a job; plain and frozen."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

# Of `Record` as JSON.
_FORMAT = 1
NETWORKS = ("badnet", "repaired", "goodnet")


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
class Sample:
    """What the networks answer to one test image; G's answer is N where it rejects the image.

    Attributes:
        kind: `clean` or `poisoned`.
        index: where the image lies in its set.
        label: its class; on a poisoned set the target.
    """

    kind: str
    index: int
    label: int
    badnet: int
    repaired: int
    goodnet: int


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
        dead: channels that never differ from their removed value on clean validation.
        samples: a few test images with what the networks answer.
        peak_bytes: the most memory held per stage.
        cpu_seconds: processor time of the whole job.
    """

    scores: NDArray[np.float64]
    curve: Curve
    stop: Stop
    figures: Mapping[str, Count]
    facts: Mapping[str, object]
    seconds: Mapping[str, float]
    dead: tuple[int, ...] = ()
    samples: tuple[Sample, ...] = ()
    peak_bytes: Mapping[str, int] = field(default_factory=dict)
    cpu_seconds: float = 0.0


@dataclass(frozen=True)
class Record:
    """A finished job as its run keeps it: what a report needs, without opening a network.

    Attributes:
        settings: what describes the work (see `config.describe`).
        result: what came out.
        versions: of the packages that computed it.
        git: commit of the code and whether it was changed, as tags; empty outside of git.
        run_id: the MLflow run that holds the rest.
    """

    settings: Mapping[str, object]
    result: JobResult
    versions: Mapping[str, str]
    git: Mapping[str, str]
    run_id: str

    @property
    def row(self) -> Row:
        """Its line in the summary."""
        done = self.result
        return Row(self.settings, done.figures, done.stop, len(done.scores), self.run_id)

    def to_json(self) -> str:
        """All but the run's id, for the run itself to keep."""
        plain = asdict(self)
        del plain["run_id"]
        plain["result"]["scores"] = self.result.scores.tolist()
        return json.dumps({"format": _FORMAT, **plain})

    @classmethod
    def from_json(cls, text: str, run_id: str) -> Record:
        """What `to_json` wrote.

        Raises:
            ValueError: it was not, or by another version.
        """
        plain = json.loads(text)
        if not isinstance(plain, dict) or plain.pop("format", None) != _FORMAT:
            raise ValueError("not a job's result in this version's format")
        result = plain.pop("result")
        curve: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in result["curve"].items()
        }
        result |= {
            "scores": np.array(result["scores"], np.float64),
            "curve": Curve(**curve),
            "stop": Stop(**result["stop"]),
            "figures": {name: Count(**count) for name, count in result["figures"].items()},
            "dead": tuple(result["dead"]),
            "samples": tuple(Sample(**sample) for sample in result["samples"]),
        }
        return cls(result=JobResult(**result), run_id=run_id, **plain)


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

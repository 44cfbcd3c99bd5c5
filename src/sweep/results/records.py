"""Frozen dataclasses that modules pass to each other: counts, curves and the record of a job.

A record's text form (`Record.to_json`) is one JSON object, format 2:

    {"format": 2, "settings": {NAME: VALUE}, "figures": {NAME: [HITS, TOTAL]},
     "stop": [PRUNED, REACHED], "channels": C, "details": null or the fields of `Details`}

Runs carry it twice: without details as the tag `sweep.row`, with them as `result.json`. Two older
forms are read as well: format 1 of `result.json`, and the tag as a list [settings, figures, stop,
channels].
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_FORMAT = 2


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
            of `attack_total`; None without poisoned images.
        trigger_hits: the same of each of several triggers, by name.
        trigger_totals: how many poisoned images wear each.
    """

    channels: tuple[int, ...]
    clean_correct: tuple[int, ...]
    clean_total: int
    attack_hits: tuple[int, ...] | None = None
    attack_total: int = 0
    trigger_hits: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    trigger_totals: Mapping[str, int] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, tuple[tuple[int, ...], int]]:
        """K + 1 hits and of how many images, by the names that files and MLflow give the rates."""
        found = {"valid_accuracy": (self.clean_correct, self.clean_total)}
        if self.attack_hits is not None:
            found["valid_asr"] = (self.attack_hits, self.attack_total)
        for name, hits in self.trigger_hits.items():
            found[f"valid_asr/{name}"] = (hits, self.trigger_totals[name])
        return found

    @property
    def rates(self) -> dict[str, NDArray[np.float64]]:
        """All that is known under the same names, each (K + 1,), in 0..1."""
        return {name: np.array(hits) / total for name, (hits, total) in self.counts.items()}

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """On clean validation, (K + 1,), in 0..1."""
        return self.rates["valid_accuracy"]

    @property
    def asr(self) -> NDArray[np.float64] | None:
        """On poisoned validation, (K + 1,), in 0..1; None without poisoned images."""
        return self.rates.get("valid_asr")


@dataclass(frozen=True)
class Stop:
    """Where the drop rule ends: the number of channels pruned, and whether the drop was reached."""

    pruned: int
    reached: bool


def words_of_x(drop: float, stop: str = "drop") -> str:
    """X as a person reads it; only numbers of channels are 1 or more.

    >>> words_of_x(0.02), words_of_x(0.5, "fraction"), words_of_x(45)
    ('2%', '50% of the channels', '45 channels')
    """
    if drop >= 1:
        return f"{drop:g} channel{'s' if drop > 1 else ''}"
    return f"{100 * drop:g}%" + {"relative": " of B's", "fraction": " of the channels"}.get(
        stop, ""
    )


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
class Details:
    """What a job's own run keeps besides the summary.

    Attributes:
        scores: one score per channel, (C,).
        curve: the whole curve that was computed.
        facts: what else describes the job (checksums, shapes), JSON-able.
        seconds: time spent per stage.
        dead: channels that never differ from their removed value on clean validation.
        samples: a few test images with what the networks answer.
        peak_bytes: the most memory held per stage.
        cpu_seconds: processor time of the whole job.
        versions: of the packages that computed it.
        git: commit of the code and whether it was changed, as tags; empty outside of git.
    """

    scores: NDArray[np.float64]
    curve: Curve
    facts: Mapping[str, object] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    dead: tuple[int, ...] = ()
    samples: tuple[Sample, ...] = ()
    peak_bytes: Mapping[str, int] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict)
    git: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """A finished job: what a report needs, without opening a network.

    Attributes:
        settings: what describes the work (see `identity.describe`).
        figures: counts by name, as `repaired/test_accuracy` (see `metrics`).
        stop: where B' lies on the curve.
        channels: how many channels there are, C.
        run_id: the MLflow run that holds the rest; empty where none does.
        details: the rest; None in a summary of many jobs.
    """

    settings: Mapping[str, object]
    figures: Mapping[str, Count]
    stop: Stop
    channels: int
    run_id: str = ""
    details: Details | None = None

    @property
    def x(self) -> str:
        """Where pruning was to stop, in words."""
        return words_of_x(float(str(self.settings["drop"])), self.counted)

    @property
    def counted(self) -> str:
        """What X counts: `drop`, `relative`, `channels` or `fraction`."""
        return str(self.settings.get("stop", "drop"))

    @property
    def full(self) -> Details:
        """The details.

        Raises:
            ValueError: the record has none.
        """
        if self.details is None:
            raise ValueError("a record without details holds figures alone")
        return self.details

    @property
    def brief(self) -> Record:
        """The record without its details."""
        return replace(self, details=None)

    def to_json(self) -> str:
        """The text form, without the run's id."""
        details = None
        if self.details is not None:
            details = asdict(self.details) | {"scores": self.details.scores.tolist()}
        plain = {
            "format": _FORMAT,
            "settings": dict(self.settings),
            "figures": {name: (count.hits, count.total) for name, count in self.figures.items()},
            "stop": (self.stop.pruned, self.stop.reached),
            "channels": self.channels,
            "details": details,
        }
        return json.dumps(plain)

    @classmethod
    def from_json(cls, text: str, run_id: str) -> Record:
        """Read the text form of this version or of an earlier one.

        Raises:
            ValueError: the text is something else.
        """
        plain = _upgraded(json.loads(text))
        if not isinstance(plain, dict) or plain.get("format") != _FORMAT:
            raise ValueError("not a job's record in a format that this version knows")
        return cls(
            settings=plain["settings"],
            figures={name: Count(*count) for name, count in plain["figures"].items()},
            stop=Stop(*plain["stop"]),
            channels=plain["channels"],
            run_id=run_id,
            details=_details(plain["details"]) if plain["details"] else None,
        )


def _details(plain: dict[str, Any]) -> Details:
    curve: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in plain["curve"].items()
    }
    hits = curve.get("trigger_hits", {}).items()
    curve["trigger_hits"] = {name: tuple(values) for name, values in hits}
    read = {
        "scores": np.array(plain["scores"], np.float64),
        "curve": Curve(**curve),
        "dead": tuple(plain["dead"]),
        "samples": tuple(Sample(**sample) for sample in plain["samples"]),
    }
    return Details(**plain | read)


def _upgraded(plain: Any) -> Any:
    """Older text forms as format 2; anything else as it is."""
    if isinstance(plain, list) and len(plain) == 4:
        names = ("settings", "figures", "stop", "channels", "format", "details")
        return dict(zip(names, (*plain, _FORMAT, None), strict=True))
    if isinstance(plain, dict) and plain.get("format") == 1:
        details = plain["result"] | {name: plain[name] for name in ("versions", "git")}
        figures, stop = details.pop("figures"), details.pop("stop")
        return {
            "format": _FORMAT,
            "settings": plain["settings"],
            "figures": {name: (one["hits"], one["total"]) for name, one in figures.items()},
            "stop": (stop["pruned"], stop["reached"]),
            "channels": len(details["scores"]),
            "details": details,
        }
    return plain

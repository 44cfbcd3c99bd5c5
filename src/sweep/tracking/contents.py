"""What a job's run holds, in MLflow's terms."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sweep.tracking.backends.runs import Input
from sweep.tracking.view import SHORT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sweep.results.records import Record
    from sweep.tracking.backends.runs import Value

# Longest digest of a data set that MLflow takes.
_DIGEST = 36


def values(job: Record) -> Iterator[Value]:
    """Name, value and step of every final figure, of the curve, and of what the job took."""
    # MLflow's compare page draws the metric that was logged first.
    for name in sorted(job.figures, key=lambda name: not name.startswith("goodnet/test")):
        yield name, job.figures[name].rate, 0
    for name, value in short(job).items():
        yield name, value, 0
    yield "pruned_channels", job.stop.pruned, 0
    yield "drop_reached", float(job.stop.reached), 0
    details, curve = job.full, job.full.curve
    for name, rates in curve.rates.items():
        for step, rate in enumerate(rates.tolist()):
            yield f"curve/{name}", rate, step
    for step, channel in enumerate(curve.channels, start=1):
        yield "curve/channel", channel, step
    for stage, seconds in details.seconds.items():
        yield f"seconds/{stage}", seconds, 0
    # MLflow shows what lies under `system/` on a page of its own.
    yield "system/cpu_seconds", details.cpu_seconds, 0
    yield "system/peak_memory_megabytes", max(details.peak_bytes.values(), default=0) / 1e6, 0


def short(job: Record) -> dict[str, float]:
    """What matters most, under names that MLflow's narrow columns show whole."""
    known = {name: job.figures.get(figure) for name, figure in SHORT.items()}
    return {name: count.rate for name, count in known.items() if count}


def best(jobs: Sequence[Record]) -> Record | None:
    """The job whose B' is best on validation, and which saw the test sets, if there is one."""
    tested = [job for job in jobs if short(job)]
    return max(tested, key=_merit, default=None)


def _merit(job: Record) -> float:
    accuracy, attack = (job.figures.get(f"repaired/valid_{rate}") for rate in ("accuracy", "asr"))
    return (accuracy.rate if accuracy else 0.0) - (attack.rate if attack else 0.0)


def inputs(facts: Mapping[str, Any]) -> list[Input]:
    """The image sets that a job read; `facts` as in `Details`."""
    return [
        Input(
            name,
            entry["sha256"][:_DIGEST],
            json.dumps({"uri": entry["file"]}),
            json.dumps({"num_rows": entry["images"], "sha256": entry["sha256"]}),
            "validation" if name.endswith("valid") else "test",
        )
        for name, entry in facts["sets"].items()
    ]

"""What a job's run holds, in MLflow's terms."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from sweep.results.records import Record

    Value = tuple[str, float, int]

# Longest digest of a data set that MLflow takes.
_DIGEST = 36


def metrics(values: Iterable[Value]) -> list[Metric]:
    """Metrics from name, value and step."""
    now = int(time.time() * 1000)
    return [Metric(name, value, now, step) for name, value, step in values]


def values(job: Record) -> Iterator[Value]:
    """Name, value and step of every final figure, of the curve, and of what the job took."""
    # MLflow's compare page draws the metric that was logged first.
    for name in sorted(job.figures, key=lambda name: not name.startswith("goodnet/test")):
        yield name, job.figures[name].rate, 0
    yield "pruned_channels", job.stop.pruned, 0
    yield "drop_reached", float(job.stop.reached), 0
    details, curve = job.full, job.full.curve
    for step, (right, hits) in enumerate(zip(curve.clean_correct, curve.attack_hits, strict=True)):
        yield "curve/valid_accuracy", right / curve.clean_total, step
        yield "curve/valid_asr", hits / curve.attack_total, step
    for step, channel in enumerate(curve.channels, start=1):
        yield "curve/channel", channel, step
    for stage, seconds in details.seconds.items():
        yield f"seconds/{stage}", seconds, 0
    # MLflow shows what lies under `system/` on a page of its own.
    yield "system/cpu_seconds", details.cpu_seconds, 0
    yield "system/peak_memory_megabytes", max(details.peak_bytes.values(), default=0) / 1e6, 0


def inputs(facts: Mapping[str, Any]) -> list[DatasetInput]:
    """The image sets that a job read; `facts` as in `Details`."""
    found = []
    for name, entry in facts["sets"].items():
        source = json.dumps({"uri": entry["file"]})
        profile = json.dumps({"num_rows": entry["images"], "sha256": entry["sha256"]})
        known = Dataset(name, entry["sha256"][:_DIGEST], "local", source, profile=profile)
        context = "validation" if name.endswith("valid") else "test"
        found.append(DatasetInput(known, [InputTag("mlflow.data.context", context)]))
    return found

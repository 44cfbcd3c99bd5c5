"""The page of the benchmark, docs/results.md: python benchmarks/results.py after the study.

    python -m sweep +study=benchmark -m
    python benchmarks/results.py --command "python -m sweep +study=benchmark -m"

It takes the finished jobs of the experiment `benchmark`, so it can be made of a study that is still
under way: how many seeds each figure rests on stands beside it.
"""

from __future__ import annotations

import argparse
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sweep.base import files
from sweep.reports.summary import sees
from sweep.reports.tables import Table, to_markdown
from sweep.tracking.history import look

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sweep.results.records import Record

    # Jobs by attack, then by defence; the seeds of each.
    Cells = Mapping[str, Mapping[str, list[Record]]]

ROOT = Path(__file__).parents[1]
# Two-sided 95% points of Student's t by degrees of freedom.
_T = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26}
_FIGURES = {
    "B' accuracy": "repaired/test_accuracy",
    "B' ASR": "repaired/test_asr",
    "B' RA": "repaired/test_ra",
    "G accuracy": "goodnet/test_accuracy",
    "G ASR": "goodnet/test_asr",
}


def jobs(mlruns: Path, experiment: str) -> list[Record]:
    """The newest finished job of each configuration."""
    found = {
        past.identity.config: past.record
        for past in reversed(look(mlruns, experiment, {}))
        if past.status == "FINISHED" and past.record is not None
    }
    return [*found.values()]


def cells(found: Sequence[Record]) -> Cells:
    """Jobs by attack and defence, in the order of their names."""
    made: dict[str, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for job in sorted(found, key=lambda job: str(sorted(map(str, job.settings.items())))):
        made[str(job.settings.get("attack", "badnets"))][defence(job)].append(job)
    return made


def defence(job: Record) -> str:
    """What a defender does, and a mark for what none could."""
    mark = " (oracle)" if sees(job) == "oracle" else ""
    repair = str(job.settings.get("repair", "none"))
    order = "" if str(job.settings["ordering"]) == "increasing" else ", decreasing"
    return f"{job.settings['criterion']}{order}{mark}" + (
        "" if repair == "none" else f" + {repair}"
    )


def spread(values: Sequence[float]) -> str:
    """The mean in percent, and its 95% interval over seeds by Student's t."""
    if not values:
        return ""
    mean, count = 100 * float(np.mean(values)), len(values)
    if count < 2:
        return f"{mean:.1f}"
    half = 100 * float(np.std(values, ddof=1)) * _T.get(count - 1, 2.0) / count**0.5
    return f"{mean:.1f} ± {half:.1f}"


def rates(same: Sequence[Record], figure: str) -> list[float]:
    """A figure of the jobs that have it."""
    return [job.figures[figure].rate for job in same if figure in job.figures]


def cost(same: Sequence[Record]) -> float:
    """What a network pays: its attack success, and its loss of accuracy against B, in points."""
    lost = np.mean(rates(same, "badnet/test_accuracy")) - np.mean(
        rates(same, "repaired/test_accuracy")
    )
    return float(100 * (np.mean(rates(same, "repaired/test_asr")) + lost))


def ranks(by_attack: Cells) -> Table:
    """Every defence's mean rank over the attacks that all of them met, by B' cost."""
    common = set.intersection(*(set(defences) for defences in by_attack.values()))
    names = sorted(common)
    table = np.array([[cost(defences[name]) for name in names] for defences in by_attack.values()])
    places = 1 + (table[:, None, :] < table[:, :, None]).sum(axis=2)
    means = (places.mean(axis=0), table.mean(axis=0), table.max(axis=0))
    body = [
        [names[i], *(f"{one[i]:.1f}" for one in means)] for i in np.argsort(means[0], kind="stable")
    ]
    return Table("", ["defence", "mean rank", "mean cost", "worst cost"], body, words=1)


def page(found: Sequence[Record], command: str, commit: str) -> str:
    """The page in Markdown."""
    by_attack = cells(found)
    about = (
        f"Made by `{command}` and `python benchmarks/results.py` at commit {commit}, of "
        f"{len(found)} jobs. Test sets, percent: means over seeds ± half of a 95% interval "
        "(Student's t; a seed changes people, photographs, training and splits). An oracle saw "
        "poisoned images, which no defender has."
    )
    lines = ["# Which defence against which attack", "", about, ""]
    for attack, defences in by_attack.items():
        first = next(iter(defences.values()))
        before = [spread(rates(first, f"badnet/test_{name}")) for name in ("accuracy", "asr")]
        lines += [f"## {attack}", "", f"B: accuracy {before[0]}, ASR {before[1]}.", ""]
        body = [
            [name, *(spread(rates(same, figure)) for figure in _FIGURES.values()), str(len(same))]
            for name, same in sorted(defences.items(), key=lambda pair: cost(pair[1]))
        ]
        table = Table("", ["defence", *_FIGURES, "seeds"], body, words=1)
        lines += [*to_markdown(table), ""]
    lines += ["## Over all attacks", ""]
    lines += ["Cost of B' = its ASR plus the accuracy that it lost against B, in points.", ""]
    return "\n".join([*lines, *to_markdown(ranks(by_attack)), ""])


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mlruns", type=Path, default=ROOT / "mlruns")
    parser.add_argument("--experiment", default="benchmark")
    parser.add_argument("--command", default="python -m sweep +study=benchmark -m")
    options = parser.parse_args()
    described = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    commit = subprocess.run(described, capture_output=True, text=True, check=True).stdout.strip()
    text = page(jobs(options.mlruns, options.experiment), options.command, commit)
    files.write_text(ROOT / "docs" / "results.md", text)


if __name__ == "__main__":
    main()

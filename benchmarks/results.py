"""The page of the benchmark, docs/results.md: python benchmarks/results.py after the study.

    python -m sweep +study=benchmark -m
    python benchmarks/results.py --command "python -m sweep +study=benchmark -m"

It takes the finished jobs of the experiment `benchmark`, so it can be made of a study that is still
under way: how many seeds each figure rests on stands beside it.
"""

from __future__ import annotations

import argparse
import io
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sweep.base import files
from sweep.reports.summary import sees
from sweep.reports.tables import Table, to_markdown
from sweep.results import paired
from sweep.results.intervals import by_person
from sweep.results.records import Record
from sweep.tracking.history import look
from sweep.tracking.opening import open_store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from sweep.results.paired import Answers

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


def details(
    mlruns: Path, experiment: str, found: Sequence[Record]
) -> tuple[list[Record], dict[str, Answers]]:
    """Jobs with what their files tell, and what their networks answered to test images, by run."""
    store, runs = open_store(mlruns, experiment), [job.run_id for job in found]
    texts, packed = (store.read_all(runs, name) for name in ("result.json", "answers.npz"))
    return (
        [Record.from_json(text.decode(), run) for run, text in texts.items()],
        {run: dict(np.load(io.BytesIO(data))) for run, data in packed.items()},
    )


def cells(found: Sequence[Record]) -> Cells:
    """Jobs by attack, or by B's file, and by defence, in the order of their names."""
    made: dict[str, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for job in sorted(found, key=lambda job: str(sorted(map(str, job.settings.items())))):
        own = Path(str(job.settings.get("badnet.path") or "")).name
        made[own or str(job.settings.get("attack", "badnets"))][defence(job)].append(job)
    return made


def defence(job: Record) -> str:
    """What a defender does, and a mark for what none could."""
    mark = " (oracle)" if sees(job) == "oracle" else ""
    repair = str(job.settings.get("repair", "none"))
    order = "" if str(job.settings["ordering"]) == "increasing" else ", decreasing"
    images = float(str(job.settings.get("defender.images", 1)))
    few = "" if images == 1 else f", {images:.0%} of the images"
    then = "" if repair == "none" else f" + {repair}{few}"
    return f"{job.settings['criterion']}{order}{mark}{then}"


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


def persons(same: Sequence[Record], answers: Mapping[str, Answers]) -> str:
    """The 95% interval of B' ASR by resampling the persons of all seeds, in percent."""
    hits, who = list["NDArray[np.bool_]"](), list["NDArray[np.intp]"]()
    for job in same:
        given = answers.get(job.run_id, {})
        own = paired.who(given, "asr")
        if own is not None:
            who.append(own + 1 + max((int(part.max()) for part in who), default=-1))
            hits.append(paired.hits(given)["repaired/test_asr"])
    if not hits:
        return ""
    low, high = by_person(np.concatenate(hits), np.concatenate(who))
    return f"{100 * low:.1f} to {100 * high:.1f}"


def cost(same: Sequence[Record]) -> float:
    """What a network pays: its attack success, and its loss of accuracy against B, in points."""
    lost = np.mean(rates(same, "badnet/test_accuracy")) - np.mean(
        rates(same, "repaired/test_accuracy")
    )
    return float(100 * (np.mean(rates(same, "repaired/test_asr")) + lost))


def to_oracle(same: Sequence[Record], defences: Mapping[str, Sequence[Record]]) -> str:
    """The mean cost above that of the best oracle of the same seed, in points."""
    best: dict[object, float] = {}
    for job in (job for name, jobs in defences.items() if "(oracle)" in name for job in jobs):
        seed = job.settings["seed"]
        best[seed] = min(cost([job]), best.get(seed, np.inf))
    known = [job for job in same if job.settings["seed"] in best]
    above = [cost([job]) - best[job.settings["seed"]] for job in known]
    return f"{np.mean(above):.1f}" if above else ""


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


def said(by_attack: Cells) -> str:
    """What the figures say to a defender, in three sentences."""
    common = set.intersection(*(set(defences) for defences in by_attack.values()))
    costs = {
        name: [cost(each[name]) for each in by_attack.values()]
        for name in sorted(common)
        if "(oracle)" not in name
    }
    if not costs:
        return "No defence has met every attack."
    best, *others = sorted(costs, key=lambda name: float(np.mean(costs[name])))
    worst = list(by_attack)[int(np.argmax(costs[best]))]
    asr = {
        name: float(np.mean(rates(each[best], _FIGURES["B' ASR"])))
        for name, each in by_attack.items()
    }
    left = [f"{name} ({rate:.0%})" for name, rate in asr.items() if rate > 0.1]
    first = (
        f"Of the defences that met every attack, {best} costs least: {np.mean(costs[best]):.1f} "
        f"points on average, and {max(costs[best]):.1f} against {worst}."
    )
    rest = [f"{name} costs {np.mean(costs[name]):.1f} on average." for name in others]
    last = f"{best} leaves more than 10% of attacks successful with {', '.join(left) or 'none'}."
    return " ".join([first, *rest, last])


def page(
    found: Sequence[Record],
    command: str,
    commit: str,
    answers: Mapping[str, Answers] | None = None,
    more: str = "",
) -> str:
    """The page in Markdown; `answers` to the test images, by run, give intervals by person."""
    by_attack = cells(found)
    about = (
        f"Made by `{command}` and `python benchmarks/results.py` at commit {commit}, of "
        f"{len(found)} jobs. Test sets, percent: means over seeds ± half of a 95% interval "
        "(Student's t; a seed changes people, photographs, training and splits). Of B' ASR also "
        "the 95% interval by persons, drawn anew from those of all seeds. An oracle saw poisoned "
        "images, which no defender has; `to oracle` is the cost above that of the best one on "
        "the same seeds. `s` is the median time of the repair in seconds, on a busy machine."
    )
    lines = [
        "# Which defence against which attack",
        "",
        f"{about} {more}".strip(),
        "",
        said(by_attack),
        "",
    ]
    for attack, defences in by_attack.items():
        first = next(iter(defences.values()))
        before = [spread(rates(first, f"badnet/test_{name}")) for name in ("accuracy", "asr")]
        lines += [f"## {attack}", "", f"B: accuracy {before[0]}, ASR {before[1]}.", ""]
        body = [
            [
                name,
                *(spread(rates(same, figure)) for figure in _FIGURES.values()),
                persons(same, answers or {}),
                to_oracle(same, defences),
                f"{np.median([job.full.seconds.get('repair', 0) for job in same]):.0f}",
                str(len(same)),
            ]
            for name, same in sorted(defences.items(), key=lambda pair: cost(pair[1]))
        ]
        head = ["defence", *_FIGURES, "by person", "to oracle", "s", "seeds"]
        table = Table("", head, body, words=1)
        lines += [*to_markdown(table), ""]
    lines += ["## Over all attacks", ""]
    lines += ["Cost of B' = its ASR plus the accuracy that it lost against B, in points.", ""]
    return "\n".join([*lines, *to_markdown(ranks(by_attack)), ""])


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mlruns", type=Path, default=ROOT / "mlruns")
    parser.add_argument("--experiment", default="benchmark")
    command = ["python -m sweep +study=benchmark -m"]
    parser.add_argument("--command", nargs="+", default=command, help="what made the jobs")
    parser.add_argument("--about", default="", help="what else a reader must know of them")
    options = parser.parse_args()
    described = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    commit = subprocess.run(described, capture_output=True, text=True, check=True).stdout.strip()
    known = jobs(options.mlruns, options.experiment)
    found, answers = details(options.mlruns, options.experiment, known)
    text = page(found, "`, `".join(options.command), commit, answers, options.about)
    files.write_text(ROOT / "docs" / "results.md", text)


if __name__ == "__main__":
    main()

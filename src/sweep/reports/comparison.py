"""Criteria side by side: how far each one's networks are from the baseline's and the oracle's."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from sweep import criteria
from sweep.base import files
from sweep.reports.summary import drop_of, is_baseline, missed
from sweep.reports.tables import Table, inert, to_csv, to_markdown
from sweep.results import goodnet
from sweep.results.intervals import interval, mcnemar, wilson
from sweep.results.metrics import columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from sweep.results.metrics import Figure
    from sweep.results.records import Count, Curve, Record

    # Labels of B and B' on the test sets, by `badnet_clean` and the like.
    Answers = Mapping[str, NDArray[np.integer]]

_AREA_TO = 0.10
# What may not differ between jobs that are compared with each other.
_CONTEXT_LEAVES_OUT = ("criterion", "ordering", "objective", "trial", "curve")


@dataclass(frozen=True)
class Line:
    """One criterion in one order at one drop.

    Attributes:
        job: what its run keeps.
        area: under the ASR curve over clean-accuracy loss 0..10%, as a mean ASR, 0..1.
        p_accuracy: McNemar's p that G is right on clean images as often as the baseline's G.
        p_asr: the same for attacks on G.
        regret: where the area stands between the baseline's (0) and the best oracle's (1); above 1
            it is better than the oracle. None without an oracle that beats the baseline.
    """

    job: Record
    area: float
    p_accuracy: float | None
    p_asr: float | None
    regret: float | None

    @property
    def sees(self) -> str:
        """What the criterion looks at."""
        return sees(self.job)

    @property
    def name(self) -> str:
        """Criterion, order, and a mark for what no defender has."""
        settings = self.job.settings
        return f"{settings['criterion']} {settings['ordering']}{_mark(self.job)}"


def _mark(job: Record) -> str:
    return " (oracle)" if sees(job) == "oracle" else ""


def sees(job: Record) -> str:
    """What a job's criterion looks at: `weights`, `clean` or `oracle`."""
    prefix = "criterion.params."
    params = {k.removeprefix(prefix): v for k, v in job.settings.items() if k.startswith(prefix)}
    weights = {k.removeprefix("weights."): v for k, v in params.items() if k.startswith("weights.")}
    return criteria.sees(str(job.settings["criterion"]), params | {"weights": weights})


def area(curve: Curve) -> float:
    """The mean ASR over clean-accuracy losses 0..10%, of the least ASR had for each loss.

    At loss l a defender has whatever step lost at most l and has the least ASR; a curve of one
    step that loses too much leaves B's.
    """
    loss = 1 - np.array(curve.clean_correct) / curve.clean_correct[0]
    loss = loss * curve.clean_correct[0] / curve.clean_total
    asr = np.array(curve.attack_hits) / curve.attack_total
    order = np.lexsort((asr, loss))
    loss, asr = np.maximum(loss[order], 0), np.minimum.accumulate(asr[order])
    inside = loss < _AREA_TO
    edges = np.append(loss[inside], _AREA_TO)
    return float(np.sum(np.diff(edges) * asr[inside]) / _AREA_TO)


def lines(jobs: Sequence[Record], answers: Mapping[str, Answers]) -> list[Line]:
    """All jobs as lines of the comparison, each next to the baseline of its drop and settings.

    Args:
        jobs: of several criteria.
        answers: labels on the test sets by run.
    """
    found = []
    for _, same in groupby(sorted(jobs, key=_context), key=_context):
        group = list(same)
        base = next((job for job in group if is_baseline(job)), None)
        best = min((area(job.full.curve) for job in group if sees(job) == "oracle"), default=1)
        for job in group:
            p_accuracy = p_asr = regret = None
            if base is not None and {job.run_id, base.run_id} <= answers.keys():
                ours, theirs = (_right(answers[one.run_id]) for one in (job, base))
                p_accuracy, p_asr = (mcnemar(a, b) for a, b in zip(ours, theirs, strict=True))
            own = area(job.full.curve)
            if base is not None and best < (most := area(base.full.curve)):
                regret = (most - own) / (most - best)
            found.append(Line(job, own, p_accuracy, p_asr, regret))
    return found


def _context(job: Record) -> str:
    kept = {
        name: value
        for name, value in job.settings.items()
        if not name.startswith(_CONTEXT_LEAVES_OUT)
    }
    return f"{drop_of(job):.6f} {sorted(kept.items(), key=str)}"


def _right(answers: Answers) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether G is right on each clean image, and whether the attack on it succeeds."""
    classes = int(max(values.max() for values in answers.values())) + 1
    clean, poisoned = (
        goodnet.answer(answers[f"badnet_{kind}"], answers[f"repaired_{kind}"], classes)
        == answers[f"label_{kind}"]
        for kind in ("clean", "poisoned")
    )
    return clean, poisoned


# Of more sections the best alone is drawn; the table has all.
_DRAWN = 3
_LEGEND = (
    "Test sets, percent with 95% Wilson intervals; p by McNemar's exact test of G against the "
    "baseline's G (mean_activation, increasing). Area: mean ASR of B' on validation over "
    "clean-accuracy losses 0..10%. Regret: 0 is the baseline's area, 1 the best oracle's. "
    "An oracle saw poisoned images, which no defender has."
)


def seconds(job: Record) -> float:
    """What scoring and curve cost, in seconds; next to nothing where the cache had them."""
    return job.full.seconds.get("scores", 0) + job.full.seconds.get("curve", 0)


def as_csv(found: Sequence[Line]) -> str:
    """Every line with counts, intervals and tests."""
    figures = [one.name for one in _figures(found)]
    settings = ("ordering", "drop", "seed", "layer")
    lines = []
    for line in found:
        job = line.job
        counts = [job.figures[name] for name in figures]
        numbers = [part for c in counts for part in (c.rate, *wilson(c), c.hits, c.total)]
        values = [job.settings["criterion"], line.sees, *(job.settings[name] for name in settings)]
        tests = (line.area, line.p_accuracy, line.p_asr, line.regret, round(seconds(job), 3))
        stop = (job.stop.pruned, int(job.stop.reached))
        lines.append([*values, *stop, *numbers, *tests, job.run_id])
    parts = [f"{n}{part}" for n in figures for part in ("", "_low", "_high", "_hits", "_total")]
    head = ["criterion", "sees", *settings, "pruned_channels", "drop_reached", *parts]
    return to_csv([*head, "asr_area", "p_accuracy", "p_asr", "regret", "seconds", "run_id"], lines)


def _figures(found: Iterable[Line]) -> list[Figure]:
    return columns([line.job for line in found], networks=("repaired", "goodnet"))


def markdown(found: Sequence[Line]) -> str:
    """The comparison, a section per drop and setting, the least ASR first."""
    out = ["# Criteria compared", "", _LEGEND, ""]
    for _, same in groupby(found, key=lambda line: _context(line.job)):
        section = table(list(same))
        out += [f"## {section.title}", "", *to_markdown(section), ""]
    return "\n".join(out)


def table(same: Sequence[Line]) -> Table:
    """One section, the least ASR of G first."""
    group, figures = _best_first(same), _figures(same)
    head = ["criterion", "pruned", *(one.symbol for one in figures)]
    header = [*head, "p accuracy", "p ASR", "area", "regret", "seconds"]
    lines = [
        [
            line.name,
            f"{line.job.stop.pruned}{missed([line.job])}",
            *(interval(line.job.figures[one.name]) for one in figures),
            *("" if p is None else f"{p:.2g}" for p in (line.p_accuracy, line.p_asr)),
            f"{100 * line.area:.1f}",
            "" if line.regret is None else f"{line.regret:.2f}",
            f"{seconds(line.job):.1f}",
        ]
        for line in group
    ]
    return Table(_section(group[0].job), header, lines, words=1)


def _best_first(same: Iterable[Line]) -> list[Line]:
    """The least ASR of G first, and of equal ones the highest accuracy."""
    return sorted(same, key=_merit)


def _merit(line: Line) -> tuple[float, float]:
    accuracy, attack = _of_goodnet(line.job)
    return attack.rate, -accuracy.rate


def _of_goodnet(job: Record) -> tuple[Count, Count]:
    figures = job.figures
    return figures["goodnet/test_accuracy"], figures["goodnet/test_asr"]


def _section(job: Record) -> str:
    layer, seed = inert(job.settings["layer"]), job.settings["seed"]
    return f"X = {100 * drop_of(job):g}%, {layer}, seed {seed}"


def agreement(jobs: Sequence[Record]) -> tuple[list[str], NDArray[np.float64]]:
    """Spearman's rank correlation of criteria's scores: names (K), and the matrix (K, K).

    The first job of each criterion speaks for it; a criterion that scores all alike has NaN.
    """
    scores = {
        str(job.settings["criterion"]) + _mark(job): job.full.scores for job in reversed(jobs)
    }
    length = len(jobs[0].full.scores)
    names = sorted(name for name, values in scores.items() if len(values) == length)
    with np.errstate(invalid="ignore"):  # of scores that are all alike
        rho = np.atleast_2d(np.corrcoef([_ranks(scores[name]) for name in names]))
    np.fill_diagonal(rho, 1)
    return names, rho


def _ranks(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each score's place from the least; equal ones share the mean of their places.

    As `scipy.stats.rankdata`, which takes a second to load and microseconds to work.
    """
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(sizes) - (sizes - 1) / 2)[group]
    return ranks


def is_wanted(jobs: Sequence[Record]) -> bool:
    """Whether there is more than one criterion."""
    return len({job.settings["criterion"] for job in jobs}) > 1


def write(folder: Path, jobs: Sequence[Record], answers: Mapping[str, Answers]) -> str:
    """Write comparison.csv, comparison.md and its plots; return the Markdown.

    Args:
        folder: where to.
        jobs: of several criteria.
        answers: labels on the test sets by run.
    """
    from sweep.reports import charts, plots

    found = lines(jobs, answers)
    sections = [list(same) for _, same in groupby(found, key=lambda line: _context(line.job))]
    text = markdown(found)
    if len(sections) > _DRAWN:
        best = min(found, key=lambda line: (line.sees == "oracle", _merit(line)))
        sections = [[line for line in found if _context(line.job) == _context(best.job)]]
        name = _section(best.job)
        text += f"\nThe plot is of the section with the least ASR of a defender's G, {name}.\n"
    files.write_text(folder / "comparison.csv", as_csv(found))
    files.write_text(folder / "comparison.md", text)
    plots.save(charts.draw_agreement(*agreement(jobs)), folder / "plots" / "agreement")
    for number, same in enumerate(sections, 1):
        group = _best_first(same)
        accuracy, attack = (
            [(count.rate, *wilson(count)) for count in counts]
            for counts in zip(*(_of_goodnet(line.job) for line in group), strict=True)
        )
        figure = charts.draw_standings(
            [line.name for line in group],
            accuracy,
            attack,
            f"GoodNet on the test sets, criteria at {_section(group[0].job)}; 95% intervals",
            {line.name for line in group if line.sees == "oracle"},
        )
        plots.save(figure, folder / "plots" / f"criteria_{number}")
    return text

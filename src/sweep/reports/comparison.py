"""Criteria side by side: how far each one's networks are from the baseline's and the oracle's."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from sweep.base import files
from sweep.pruning.order import mean_ranks
from sweep.reports.summary import drop_of, is_baseline, missed, network_of, sees, swept
from sweep.reports.tables import Table, inert, to_csv, to_markdown
from sweep.results import paired
from sweep.results.findings import merit
from sweep.results.intervals import holm, interval, wilson
from sweep.results.metrics import columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from sweep.results.metrics import Figure
    from sweep.results.paired import Answers
    from sweep.results.records import Record

# What may differ between jobs that are compared with each other.
_CONTEXT_LEAVES_OUT = ("criterion", "ordering", "objective", "trial", "curve")
# Of more sections the best alone is drawn; the table has all.
_DRAWN = 3
_LEGEND = (
    "Test sets, percent with 95% intervals: by resampling persons where a class is one person, "
    "else Wilson's. p: G against the baseline's G (mean_activation, increasing), by McNemar's "
    "test, by person where a class is one, corrected for all tests of a section (Holm). Area: mean "
    "ASR of B' on validation over clean-accuracy losses 0..10%, of whole curves (curve=full). "
    "Regret: 0 is the baseline's area, 1 the best oracle's. An oracle saw poisoned images, which "
    "no defender has. The first of a section is the best of all on test data."
)


@dataclass(frozen=True)
class Line:
    """One criterion in one order at one drop.

    Attributes:
        job: what its run keeps.
        area: under the ASR curve over clean-accuracy loss 0..10%, as a mean ASR, 0..1; None of a
            curve that is not whole.
        regret: where the area stands between the baseline's (0) and the best oracle's (1); above 1
            it is better than the oracle. None without an oracle that beats the baseline.
        p: that G's `accuracy` or `asr` is the baseline's; none without its answers.
        holm: the same, corrected for all tests of the section.
        ends: 95% intervals by figure; Wilson's of those that are not here.
        persons: how many the clean test images show; 0 where images stand for themselves.
    """

    job: Record
    area: float | None
    regret: float | None
    p: Mapping[str, float] = field(default_factory=dict)
    holm: Mapping[str, float] = field(default_factory=dict)
    ends: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    persons: int = 0

    @property
    def name(self) -> str:
        """Criterion, order, and a mark for what no defender has."""
        return f"{_criterion(self.job)} {self.job.settings['ordering']}{_mark(self.job)}"

    def interval(self, figure: str) -> tuple[float, float]:
        """The ends of a figure's interval."""
        return self.ends.get(figure) or wilson(self.job.figures[figure])


def _criterion(job: Record) -> str:
    return str(job.settings["criterion"])


def _mark(job: Record) -> str:
    return " (oracle)" if sees(job) == "oracle" else ""


def _area(job: Record) -> float | None:
    # A curve that ends early lacks what it would have had: its area stands beside no other's.
    return paired.area(job.full.curve) if len(job.full.curve.channels) == job.channels else None


def lines(jobs: Sequence[Record], answers: Mapping[str, Answers]) -> list[Line]:
    """All jobs as lines of the comparison, each next to the baseline of its drop and settings."""
    return [
        line
        for _, same in groupby(sorted(jobs, key=_context), key=_context)
        for line in _section_of(list(same), answers)
    ]


def _section_of(group: Sequence[Record], answers: Mapping[str, Answers]) -> Iterator[Line]:
    base = next((job for job in group if is_baseline(job)), None)
    areas = {job.run_id: _area(job) for job in group}
    oracles = [areas[job.run_id] for job in group if sees(job) == "oracle"]
    best = min((own for own in oracles if own is not None), default=None)
    worst = areas[base.run_id] if base is not None else None
    tests: dict[tuple[str, str], float] = {}
    if base is not None and base.run_id in answers:
        for job in group:
            if job is not base and job.run_id in answers:
                found = paired.tests(answers[job.run_id], answers[base.run_id])
                tests |= {(job.run_id, rate): p for rate, p in found.items()}
    corrected = holm(tests)
    for job in group:
        own, regret, given = areas[job.run_id], None, answers.get(job.run_id)
        if own is not None and worst is not None and best is not None and best < worst:
            regret = (worst - own) / (worst - best)
        of_job = [rate for rate in paired.RATES if (job.run_id, rate) in tests]
        p, fixed = ({r: ps[job.run_id, r] for r in of_job} for ps in (tests, corrected))
        who = None if given is None else paired.who(given, "accuracy")
        ends = {} if given is None else paired.intervals(given)
        yield Line(job, own, regret, p, fixed, ends, 0 if who is None else int(who.max()) + 1)


def _context(job: Record) -> str:
    kept = {
        name: value
        for name, value in job.settings.items()
        if not name.startswith(_CONTEXT_LEAVES_OUT)
    }
    return f"{drop_of(job):.6f} {sorted(kept.items(), key=str)}"


def seconds(job: Record) -> float:
    """What scoring and curve cost, in seconds; next to nothing where the cache had them."""
    return job.full.seconds.get("scores", 0) + job.full.seconds.get("curve", 0)


def as_csv(found: Sequence[Line]) -> str:
    """Every line with counts, intervals and tests."""
    figures = [one.name for one in _figures(found)]
    settings = ("ordering", "drop", "seed", "layer")
    table = []
    for line in found:
        job, numbers = line.job, list[object]()
        for name in figures:
            count = job.figures.get(name)
            known = (count.rate, *line.interval(name), count.hits, count.total) if count else ()
            numbers += known or [None] * 5
        values = [_criterion(job), sees(job), *(job.settings[name] for name in settings)]
        tests = [one.get(key) for one in (line.p, line.holm) for key in paired.RATES]
        stop = (job.stop.pruned, int(job.stop.reached))
        rest = (line.persons or None, line.area, *tests, line.regret, round(seconds(job), 3))
        table.append([*values, *stop, *numbers, *rest, job.run_id])
    parts = [f"{n}{part}" for n in figures for part in ("", "_low", "_high", "_hits", "_total")]
    head = ["criterion", "sees", *settings, "pruned_channels", "drop_reached", *parts, "persons"]
    tests_of = [f"p_{rate}{end}" for end in ("", "_holm") for rate in paired.RATES]
    return to_csv([*head, "asr_area", *tests_of, "regret", "seconds", "run_id"], table)


def _figures(found: Iterable[Line]) -> list[Figure]:
    return columns([line.job for line in found], networks=("repaired", "goodnet"))


def sections(found: Sequence[Line]) -> list[tuple[str, list[Line]]]:
    """Lines that may be compared, the least ASR of G first, under the settings that they share."""
    varied = ["layer", "seed", *swept([line.job for line in found])]
    names = [n for n in dict.fromkeys(varied) if not n.startswith(_CONTEXT_LEAVES_OUT)]
    parts = []
    for _, same in groupby(found, key=lambda line: _context(line.job)):
        group = sorted(same, key=lambda line: merit([line.job]))
        settings = group[0].job.settings
        shown = [f"{name} {settings[name]}" for name in names if name in settings]
        parts.append((", ".join([f"X = {group[0].job.x}", *shown]), group))
    return parts


def _defence(line: Line) -> tuple[bool, tuple[float, float]]:
    """Least for the best that a defender can have."""
    return sees(line.job) == "oracle", merit([line.job])


def markdown(found: Sequence[Line]) -> str:
    """The comparison, a section per drop and setting."""
    out = ["# Criteria compared", "", _LEGEND, ""]
    for title, group in sections(found):
        out += [f"## {inert(title)}", ""]
        if group[0].persons:
            out += [f"The clean test images show {group[0].persons} persons.", ""]
        out += [*to_markdown(table(title, group)), ""]
    return "\n".join(out)


def table(title: str, group: Sequence[Line]) -> Table:
    """One section."""
    figures = _figures(group)
    head = ["criterion", "pruned", *(one.symbol for one in figures)]
    header = [*head, "p accuracy", "p ASR", "area", "regret", "seconds"]
    body = [
        [
            line.name,
            f"{line.job.stop.pruned}{missed([line.job])}",
            *(_cell(line, one.name) for one in figures),
            *(f"{line.holm[key]:.2g}" if key in line.holm else "" for key in paired.RATES),
            "" if line.area is None else f"{100 * line.area:.1f}",
            "" if line.regret is None else f"{line.regret:.2f}",
            f"{seconds(line.job):.1f}",
        ]
        for line in group
    ]
    return Table(title, header, body, words=1)


def _cell(line: Line, name: str) -> str:
    count = line.job.figures.get(name)
    return "" if count is None else interval(count, line.interval(name))


def agreement(jobs: Sequence[Record]) -> tuple[list[str], NDArray[np.float64]]:
    """Spearman's rank correlation of criteria's scores: names (K), and the matrix (K, K).

    The first of the jobs, all on one layer of one network, speaks for its criterion; a criterion
    that scores all alike has NaN.
    """
    scores = {f"{_criterion(job)}{_mark(job)}": job.full.scores for job in reversed(jobs)}
    names = sorted(scores)
    with np.errstate(invalid="ignore"):  # of scores that are all alike
        rho = np.atleast_2d(np.corrcoef([mean_ranks(scores[name]) for name in names]))
    np.fill_diagonal(rho, 1)
    return names, rho


def by_layer(jobs: Sequence[Record]) -> list[tuple[str, list[Record]]]:
    """Jobs on one layer of one network, with the layer's name; the largest group first."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for job in jobs:
        groups.setdefault((str(job.settings["layer"]), network_of(job)), []).append(job)
    ordered = sorted(groups.items(), key=lambda pair: -len(pair[1]))
    return [(layer, group) for (layer, _), group in ordered]


def is_wanted(jobs: Sequence[Record]) -> bool:
    """Whether there is more than one criterion."""
    return len({_criterion(job) for job in jobs}) > 1


def write(
    folder: Path, jobs: Sequence[Record], answers: Mapping[str, Answers], *, draw: bool = True
) -> str:
    """Write comparison.csv, comparison.md and, where wanted, its plots; return the Markdown."""
    found = lines(jobs, answers)
    drawn, text = sections(found), markdown(found)
    if len(drawn) > _DRAWN:
        drawn = [min(drawn, key=lambda pair: min(map(_defence, pair[1])))]
        text += "\nThe plot is of the section with the least ASR of a defender's G, "
        text += f"{inert(drawn[0][0])}.\n"
    files.write_text(folder / "comparison.csv", as_csv(found))
    files.write_text(folder / "comparison.md", text)
    if not draw:
        return text
    from sweep.reports import charts, plots

    layers = [pair for pair in by_layer(jobs) if is_wanted(pair[1])][:_DRAWN]
    for number, (layer, group) in enumerate(layers, 1):
        name = "agreement" if len(layers) == 1 else f"agreement_{number}"
        plots.save(charts.draw_agreement(*agreement(group), layer), folder / "plots" / name)
    for number, (title, same) in enumerate(drawn, 1):
        figure = charts.draw_standings(
            [line.name for line in same],
            {name: _marks(same, f"goodnet/test_{name}") for name in paired.RATES},
            f"GoodNet on the test sets, criteria at {title}; 95% intervals",
            {line.name for line in same if sees(line.job) == "oracle"},
        )
        plots.save(figure, folder / "plots" / f"criteria_{number}")
    return text


def _marks(same: Sequence[Line], name: str) -> list[tuple[float, float, float]]:
    if any(name not in line.job.figures for line in same):
        return []
    return [(line.job.figures[name].rate, *line.interval(name)) for line in same]

"""The lab's table: Original, Repaired and GoodNet x accuracy and ASR, a section per ordering."""

from __future__ import annotations

import csv
import html
import io
import re
from dataclasses import dataclass
from itertools import chain, groupby
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sweep.results.records import Record

# In percent, from the report on the lab's own files: B, then (ordering, X) -> B' and G as
# (accuracy, ASR), channels pruned.
REFERENCE_B = (98.62042, 100.0)
REFERENCE = {
    ("increasing", "0.02"): ((95.90023, 100.0), (95.74435, 100.0), 45),
    ("increasing", "0.04"): ((92.29150, 99.98441), (92.12783, 99.98441), 48),
    ("increasing", "0.1"): ((84.54404, 77.20966), (84.33359, 77.20966), 52),
    ("decreasing", "0.02"): ((94.13094, 100.0), (93.95947, 100.0), 1),
    ("decreasing", "0.04"): ((94.13094, 100.0), (93.95947, 100.0), 1),
    ("decreasing", "0.1"): ((74.24786, 100.0), (74.09197, 100.0), 2),
}
NETWORKS = (("badnet", "Original"), ("repaired", "Repaired"), ("goodnet", "GoodNet"))
# The test figures of the table, in its order.
_SHOWN = tuple(f"{network}/test_{rate}" for network, _ in NETWORKS for rate in ("accuracy", "asr"))
HEADER = (
    "drop",
    "pruned",
    *(f"{title} {rate}" for _, title in NETWORKS for rate in ("accuracy", "ASR")),
)
# What may differ between the sections of a table; the rest of the settings names the sections.
_WITHIN = ("drop", "ordering", "seed")

_Job = TypeVar("_Job", bound="Described")


def percent(value: float) -> str:
    """A fraction as percent with the digits of the lab's table."""
    return f"{100 * value:.5f}"


def inert(text: object) -> str:
    """A name out of a configuration or file, as Markdown that shows it and does nothing else."""
    # Underscores within a word, as in names of criteria, are nothing special.
    special = r"([\\`*\[\]|!#]|(?<![^\W_])_|_(?![^\W_]))"
    return re.sub(special, r"\\\1", html.escape(" ".join(str(text).split()), quote=False))


def code(text: str) -> str:
    """A block of code in Markdown, whatever the text is."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"


class Described(Protocol):
    """A job, whatever else is known of it."""

    @property
    def settings(self) -> Mapping[str, object]:
        """What describes its work (see `config.describe`)."""


def swept(jobs: Sequence[Described]) -> list[str]:
    """Settings that differ between jobs, besides ordering, drop and seed.

    What follows from a choice, as a criterion's own parameters do, says no more than the choice.
    """
    settings = [job.settings for job in jobs]
    names = dict.fromkeys(chain.from_iterable(settings))
    values = {name: [one.get(name) for one in settings] for name in names if name not in _WITHIN}
    differ = {name: found for name, found in values.items() if found != [found[0]] * len(found)}
    return [
        name
        for name in differ
        if not any(
            name.startswith(f"{choice}.") and _follows(differ[name], differ[choice])
            for choice in differ
        )
    ]


def _follows(values: Sequence[object], choices: Sequence[object]) -> bool:
    """Whether jobs of one choice have one value."""
    pairs = set(zip(map(str, choices), map(str, values), strict=True))
    return len(pairs) == len(set(map(str, choices)))


def sections(jobs: Sequence[_Job]) -> list[tuple[str, list[_Job]]]:
    """Jobs that differ in drop and seed alone, under a title that tells them from the others.

    Increasing order comes first; within a section, drops and then seeds go up.
    """
    names = swept(jobs)
    titled = sorted(((_title(job, names), job) for job in jobs), key=_place)
    return [
        (title, [job for _, job in group])
        for title, group in groupby(titled, key=lambda pair: pair[0])
    ]


def _title(job: Described, names: Iterable[str]) -> str:
    parts = [f"{name} {job.settings[name]}" for name in names if name in job.settings]
    return ", ".join([f"{job.settings['ordering']} order", *parts])


def _place(pair: tuple[str, Described]) -> tuple[bool, str, float, float]:
    title, job = pair
    return not title.startswith("increasing"), title, drop_of(job), float(str(job.settings["seed"]))


def drop_of(job: Described) -> float:
    """A job's X."""
    return float(str(job.settings["drop"]))


@dataclass(frozen=True)
class Spread:
    """Some numbers: their mean, sample standard deviation (None for one number) and count."""

    mean: float
    deviation: float | None
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one number.

        >>> Spread.of([1, 2, 3])
        Spread(mean=2.0, deviation=1.0, count=3)
        """
        return cls(float(fmean(values)), stdev(values) if len(values) > 1 else None, len(values))

    def __str__(self) -> str:
        return f"{self.mean:.2f}" + ("" if self.deviation is None else f" ± {self.deviation:.2f}")


def several_seeds(rows: Sequence[Described]) -> bool:
    """Whether a table of these jobs gives means over seeds."""
    return len({str(row.settings["seed"]) for row in rows}) > 1


def header(rows: Sequence[Record]) -> tuple[str, ...]:
    """The columns of the table."""
    return (*HEADER[:1], "seeds", *HEADER[1:]) if several_seeds(rows) else HEADER


def table(rows: Sequence[Record]) -> list[tuple[str, list[tuple[str, ...]]]]:
    """Sections of the table: a title and its lines, test figures in percent.

    A section holds the jobs of one ordering, and of whatever else was swept besides drop and seed.
    With several seeds, a line is the mean and sample standard deviation over them.
    """
    line = _line_over_seeds if several_seeds(rows) else _line
    return [
        (title, [line(list(group)) for _, group in groupby(jobs, key=drop_of)])
        for title, jobs in sections(rows)
    ]


def _line(rows: Sequence[Record]) -> tuple[str, ...]:
    row = rows[0]
    cells = [f"{100 * drop_of(row):g}%", f"{row.stop.pruned}{_mark(rows)}"]
    return (*cells, *(percent(row.figures[name].rate) for name in _SHOWN))


def _line_over_seeds(rows: Sequence[Record]) -> tuple[str, ...]:
    pruned = Spread.of([row.stop.pruned for row in rows])
    cells = [f"{100 * drop_of(rows[0]):g}%", str(len(rows)), f"{pruned}{_mark(rows)}"]
    figures = [[100 * row.figures[name].rate for row in rows] for name in _SHOWN]
    return (*cells, *(str(Spread.of(values)) for values in figures))


def _mark(rows: Sequence[Record]) -> str:
    missed = sum(not row.stop.reached for row in rows)
    if not missed:
        return ""
    return " (drop not reached)" if missed == len(rows) else f" (drop not reached in {missed})"


def markdown(rows: Sequence[Record]) -> str:
    """The table as Markdown."""
    means = " Mean ± sample standard deviation over seeds." if several_seeds(rows) else ""
    lines = ["# Summary", "", f"Test sets, in percent.{means}", ""]
    columns = header(rows)
    for title, body in table(rows):
        lines += [f"## {inert(title[0].upper() + title[1:])}", ""]
        lines += [f"| {' | '.join(columns)} |", f"|{' ---: |' * len(columns)}"]
        lines += [f"| {' | '.join(line)} |" for line in body]
        lines.append("")
    return "\n".join(lines)


def seeds_csv(rows: Sequence[Record]) -> str:
    """Every figure as mean, standard deviation and count over seeds, a line per section and X."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = list(rows[0].figures) if rows else []
    parts = [f"{name}{part}" for name in names for part in ("_mean", "_std")]
    writer.writerow(["jobs", "drop", "seeds", "drop_reached", "pruned_mean", "pruned_std", *parts])
    for title, jobs in sections(rows):
        for drop, same in groupby(jobs, key=drop_of):
            group = list(same)
            spreads = [Spread.of([row.stop.pruned for row in group])]
            spreads += [Spread.of([row.figures[name].rate for row in group]) for name in names]
            numbers = [number for each in spreads for number in (each.mean, each.deviation)]
            reached = sum(row.stop.reached for row in group)
            writer.writerow([title, drop, len(group), reached, *numbers])
    return text.getvalue()


def as_csv(rows: Sequence[Record]) -> str:
    """Every figure of every job with its settings, a line per job."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if rows:
        settings = list(dict.fromkeys(name for row in rows for name in row.settings))
        figures = list(rows[0].figures)
        counts = [f"{name}{part}" for name in figures for part in ("", "_hits", "_total")]
        writer.writerow([*settings, "pruned_channels", "drop_reached", *counts, "run_id"])
        for row in rows:
            numbers: list[object] = []
            for name in figures:
                count = row.figures[name]
                numbers += [count.rate, count.hits, count.total]
            writer.writerow(
                [
                    *(row.settings.get(name) for name in settings),
                    row.stop.pruned,
                    int(row.stop.reached),
                    *numbers,
                    row.run_id,
                ]
            )
    return text.getvalue()


def beside_reference(rows: Sequence[Record]) -> list[tuple[str, ...]]:
    """Lines of ordering, X, what, measured, the report's figure and the difference, in points."""
    lines: list[tuple[str, ...]] = []
    for row in rows:
        ordering, drop = str(row.settings["ordering"]), f"{float(str(row.settings['drop'])):g}"
        if (ordering, drop) not in REFERENCE:
            continue
        repaired, goodnet, pruned = REFERENCE[ordering, drop]
        for network, known in (
            ("badnet", REFERENCE_B),
            ("repaired", repaired),
            ("goodnet", goodnet),
        ):
            for rate, reference in zip(("accuracy", "asr"), known, strict=True):
                measured = 100 * row.figures[f"{network}/test_{rate}"].rate
                lines.append(
                    (
                        ordering,
                        drop,
                        f"{network} {rate}",
                        f"{measured:.5f}",
                        f"{reference:.5f}",
                        f"{measured - reference:+.5f}",
                    )
                )
        lines.append(
            (
                ordering,
                drop,
                "channels pruned",
                str(row.stop.pruned),
                str(pruned),
                f"{row.stop.pruned - pruned:+d}",
            )
        )
    return lines


def settings_name(settings: Mapping[str, object]) -> str:
    """What a person calls a job: the settings that sweeps usually vary."""
    return (
        f"{settings['ordering']} X={100 * float(str(settings['drop'])):g}% "
        f"{settings['criterion']} {settings['layer']} seed {settings['seed']}"
    )


def note(row: Record) -> str:
    """A job in a few words, for who meets its run alone."""
    reached = "" if row.stop.reached else " (the drop was not reached)"
    lines = [f"{row.stop.pruned} of {row.channels} channels pruned{reached}.", ""]
    split = "test" if "badnet/test_accuracy" in row.figures else "valid"  # of a search
    name = {"test": "test", "valid": "validation"}[split]
    lines += [f"| {name} sets, percent | accuracy | ASR |", "| --- | ---: | ---: |"]
    for network, title in NETWORKS:
        rates = (row.figures[f"{network}/{split}_{rate}"].rate for rate in ("accuracy", "asr"))
        lines.append(f"| {title} | {' | '.join(percent(rate) for rate in rates)} |")
    return "\n".join(lines)

"""The lab's table: Original, Repaired and GoodNet x accuracy and ASR, a section per ordering."""

from __future__ import annotations

import csv
import io
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sweep.results import Row

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
HEADER = (
    "drop",
    "pruned",
    *(f"{title} {rate}" for _, title in NETWORKS for rate in ("accuracy", "ASR")),
)
# What may differ between the sections of a table; the rest of the settings names the sections.
_WITHIN = ("drop", "ordering", "seed")


def percent(value: float) -> str:
    """A fraction as percent with the digits of the lab's table."""
    return f"{100 * value:.5f}"


def table(rows: Sequence[Row]) -> list[tuple[str, list[tuple[str, ...]]]]:
    """Sections of the table: a title and its lines, test figures in percent.

    A section holds the jobs of one ordering, and of whatever else was swept besides drop.
    """
    swept = [
        name
        for name in (rows[0].settings if rows else ())
        if name not in _WITHIN and len({str(row.settings.get(name)) for row in rows}) > 1
    ]
    seeds = len({row.settings["seed"] for row in rows}) > 1
    titled = sorted(((_title(row, swept, seeds), row) for row in rows), key=_place)
    sections = []
    for title, group in groupby(titled, key=lambda pair: pair[0]):
        sections.append((title, [_line(row) for _, row in group]))
    return sections


def _title(row: Row, swept: Iterable[str], seeds: bool) -> str:
    parts = [f"{row.settings['ordering']} order"]
    parts += [f"{name} {row.settings.get(name)}" for name in swept]
    return ", ".join(parts + ([f"seed {row.settings['seed']}"] if seeds else []))


def _place(pair: tuple[str, Row]) -> tuple[bool, str, float]:
    title, row = pair
    return not title.startswith("increasing"), title, float(str(row.settings["drop"]))


def _line(row: Row) -> tuple[str, ...]:
    mark = "" if row.stop.reached else " (drop not reached)"
    cells = [f"{100 * float(str(row.settings['drop'])):g}%", f"{row.stop.pruned}{mark}"]
    cells += [
        percent(row.figures[f"{network}/test_{rate}"].rate)
        for network, _ in NETWORKS
        for rate in ("accuracy", "asr")
    ]
    return tuple(cells)


def markdown(rows: Sequence[Row]) -> str:
    """The table as Markdown."""
    lines = ["# Summary", "", "Test sets, in percent.", ""]
    for title, body in table(rows):
        lines += [f"## {title[0].upper()}{title[1:]}", ""]
        lines += [f"| {' | '.join(HEADER)} |", f"|{' ---: |' * len(HEADER)}"]
        lines += [f"| {' | '.join(line)} |" for line in body]
        lines.append("")
    return "\n".join(lines)


def as_csv(rows: Sequence[Row]) -> str:
    """Every figure of every job with its settings, a line per job."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if rows:
        settings, figures = list(rows[0].settings), list(rows[0].figures)
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


def beside_reference(rows: Sequence[Row]) -> list[tuple[str, ...]]:
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

"""Charts in the units of their data: plots and the page draw these, each with its own strokes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from sweep.reports.series import TOLD_APART
from sweep.results.records import words_of_x

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sweep.reports.series import Band, Mark, Series, Tradeoff

COLORS, DASHES, SHAPES = 7, 4, 5
_NAMED_STOPS = 6
_RATES = {"accuracy": "clean accuracy", "asr": "attack success rate"}


@dataclass(frozen=True)
class Axis:
    """What it measures, its ends, and where its ticks are."""

    words: str
    low: float
    high: float
    ticks: tuple[int, ...]


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        name: tells it from the others.
        points: (x, y).
        paint: `accuracy`, `asr`, the number of a colour, or empty: one of many in the background.
        dash: number of a dash pattern.
        band: (x, low, high), or nothing.
        marks: (x, y, number of a shape).
        labels: what to call each point, where its place does not say it.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    paint: str
    dash: int = 0
    band: tuple[tuple[float, float, float], ...] = ()
    marks: tuple[tuple[float, float, int], ...] = ()
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chart:
    """Lines over two axes.

    Attributes:
        title: what it shows.
        note: more about it, or nothing.
        x: the axis to the right.
        y: the axis upwards.
        lines: those to be seen above others come last.
        dead: spans of x in which no removal can change an answer.
        stops: places on x where pruning stops.
        shapes: what each shape of mark stands for.
    """

    title: str
    note: str
    x: Axis
    y: Axis
    lines: tuple[Line, ...]
    dead: tuple[tuple[int, int], ...] = ()
    stops: tuple[float, ...] = ()
    shapes: tuple[str, ...] = ()


def ticks(last: int) -> tuple[int, ...]:
    """A few whole numbers from 0 to at most `last`.

    >>> ticks(60)
    (0, 10, 20, 30, 40, 50, 60)
    """
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, last) if last <= 7 * step)
    return tuple(range(0, last + 1, max(1, step)))


def _steps(data: Sequence[Series]) -> Axis:
    last = max(len(line.accuracy.mean) for line in data) - 1
    return Axis("channels pruned", 0, max(1, last), ticks(last))


def _percent(words: str, low: int = 0, step: int = 25) -> Axis:
    return Axis(words, low, 100, tuple(range(low, 101, step)))


def _over_seeds(seeds: int) -> str:
    return f"mean and 95% band over {seeds} seeds" if seeds > 1 else ""


def curve(data: Series) -> Chart:
    """A pruning curve with every X's stop, and the ASR of each of several triggers."""
    rates = tuple(
        Line(
            _RATES[rate],
            tuple(enumerate(band.mean)),
            paint=rate,
            dash=shape,
            band=_band(band, data.seeds),
            marks=tuple((mark.pruned, _at(mark.pruned, band), shape) for mark in data.marks),
        )
        for shape, (rate, band) in enumerate((("accuracy", data.accuracy), ("asr", data.asr)))
        if band is not None
    )
    # The first two colours are those of the rates over all images.
    parts = tuple(
        Line(
            f"{_RATES['asr']}, {name}",
            tuple(enumerate(band.mean)),
            paint=str(2 + number % (COLORS - 2)),
            dash=(2 + number) % DASHES,
            band=_band(band, data.seeds),
        )
        for number, (name, band) in enumerate(data.triggers.items())
    )
    note = "; ".join(filter(None, (_over_seeds(data.seeds), stops_of(data.marks))))
    stops = tuple(sorted({mark.pruned for mark in data.marks}))
    y = _percent("validation set, percent")
    return Chart(data.name, note, _steps([data]), y, rates + parts, data.dead, stops)


def _at(step: float, band: Band) -> float:
    """A mean curve between its steps: stops of several seeds may have a mean between them."""
    return float(np.interp(step, range(len(band.mean)), band.mean))


def _band(band: Band, seeds: int) -> tuple[tuple[float, float, float], ...]:
    ends = zip(band.low, band.high, strict=True)
    return tuple((step, low, high) for step, (low, high) in enumerate(ends)) if seeds > 1 else ()


def stops_of(marks: Sequence[Mark]) -> str:
    """Where pruning stops, in words; X that stop at one step are named together."""
    ordered = sorted(marks, key=lambda mark: (mark.pruned, mark.drop))
    found = []
    for pruned, same in groupby(ordered, key=lambda mark: mark.pruned):
        group = list(same)
        names = [_name(m.stop, m.drop) + ("" if m.reached else " not reached") for m in group]
        shown = ", ".join(names) if len(names) <= 3 else f"{names[0].split()[0]} to {names[-1]}"
        found.append(f"{pruned:.4g} (X {shown})")
    if len(found) > _NAMED_STOPS:
        found[_NAMED_STOPS - 1 :] = [f"{len(found) - _NAMED_STOPS + 1} more"]
    return "stops: " + ", ".join(found)


def _paint(number: int) -> tuple[str, int]:
    """Colour and dash of the lines that readers tell apart; the others have none."""
    return (str(number % COLORS), number % DASHES) if number < TOLD_APART else ("", 0)


def overlay(data: Sequence[Series], rate: str) -> Chart:
    """`accuracy` or `asr` of all pruning curves; the first of many in colour."""
    lines = []
    for number, one in enumerate(data):
        band: Band | None = getattr(one, rate)
        if band is None:
            continue
        paint, dash = _paint(number)
        around = _band(band, one.seeds) if paint else ()
        lines.append(Line(one.name, tuple(enumerate(band.mean)), paint, dash, around))
    note = _over_seeds(max(one.seeds for one in data))
    y = _percent("validation set, percent")
    return Chart(_RATES[rate], note, _steps(data), y, tuple(lines))


def overlays(data: Sequence[Series]) -> list[Chart]:
    """The pruning curves over each other, a chart for each rate that is known."""
    charts = [overlay(data, rate) for rate in _RATES]
    return [chart for chart in charts if chart.lines]


def tradeoff(data: Sequence[Tradeoff]) -> Chart:
    """Accuracy against ASR of G, a line along X for each series; the first of many in colour."""
    drops = sorted({(way.stop, drop) for way in data for drop, _, _ in way.points[1:]})
    few = len(drops) < SHAPES
    shapes = {x: number if few else 1 for number, x in enumerate(drops, 1)}
    lines = []
    for number, way in enumerate(data):
        paint, dash = _paint(number)
        marks = tuple(
            (asr, right, shapes.get((way.stop, drop), 0)) for drop, asr, right in way.points
        )
        points = tuple((asr, right) for _, asr, right in way.points)
        labels = ("B", *(f"X {_name(way.stop, drop)}" for drop, _, _ in way.points[1:]))
        lines.append(Line(way.name, points, paint, dash, marks=marks, labels=labels))
    lowest = min(accuracy for way in data for _, _, accuracy in way.points)
    floor = max(0, int(lowest - 1) // 10 * 10)
    names = [f"X {_name(*x)}" for x in drops]
    return Chart(
        "What the defence costs and brings",
        "GoodNet on the test sets",
        _percent("attack success rate, percent (less is better)", step=20),
        _percent("accuracy, percent", floor, 10 if floor >= 50 else 25),
        tuple(lines),
        shapes=("B", *(names if few else [f"{names[0]} to {names[-1].removeprefix('X ')}"])),
    )


def _name(stop: str, drop: float) -> str:
    return words_of_x(round(drop, 4), stop)

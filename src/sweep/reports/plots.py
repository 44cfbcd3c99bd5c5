"""Plots: figure data first, drawing second; the report draws the same data for the browser."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby
from math import ceil
from typing import TYPE_CHECKING, Any, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.special import stdtrit

from sweep.base import files
from sweep.reports import tables
from sweep.reports.tables import Spread

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from sweep.results.records import Record

# Okabe and Ito's palette, told apart by colour-blind readers and, with dashes, in grey print.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":")
CLEAN, ATTACK, MARK, FADED = PALETTE[0], PALETTE[1], "#333333", "#bbbbbb"
RIGHT, REJECTED, OTHER = "#0072B2", "#F0C05A", "#BBBBBB"
# More lines than this nobody tells apart.
_TOLD_APART = 12
# Of more outcomes than these the best are drawn.
_MOST_BARS = 24
# More curves than these are drawn in one plot alone; jobs have their own, and the page has all.
_MOST_CURVES = 4
_NAMED = 4
# So many characters of labels fit over a curve.
_ROOM = 88
STYLE: dict[Any, Any] = {
    "figure.dpi": 160,  # laid out as it is saved, so that sizes of text are found once
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "legend.frameon": False,
    "hatch.linewidth": 0.4,
    "svg.fonttype": "none",
    # Names are text, dollars in them too.
    "text.parse_math": False,
    # A fixed salt makes the same plot the same file.
    "svg.hashsalt": "badnet-sweep",
}


@dataclass(frozen=True)
class Band:
    """Percentages by channels pruned: the mean over seeds and its 95% confidence band."""

    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Mark:
    """Where B' lies for one X, as means over seeds.

    Attributes:
        drop: X.
        pruned: channels pruned.
        reached: whether every seed reached the drop.
        accuracy: of B' on clean validation, percent.
        asr: of B' on poisoned validation, percent.
    """

    drop: float
    pruned: float
    reached: bool
    accuracy: float
    asr: float


@dataclass(frozen=True)
class Series:
    """The pruning curve of jobs that differ in drop and seed alone.

    Attributes:
        name: tells it from the other series.
        accuracy: on clean validation.
        asr: attack success rate on poisoned validation.
        dead: spans of channels pruned, (first, last), in which no removal can change an answer.
        marks: where B' lies, X going up.
        seeds: how many.
    """

    name: str
    accuracy: Band
    asr: Band
    dead: tuple[tuple[int, int], ...]
    marks: tuple[Mark, ...]
    seeds: int


@dataclass(frozen=True)
class Tradeoff:
    """Accuracy against ASR of G on the test sets: points of (drop, ASR, accuracy), B first (0)."""

    name: str
    points: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Outcome:
    """What became of all test images under G, in percent.

    Attributes:
        name: the jobs.
        clean: right class, rejected, other class.
        poisoned: attack succeeded, rejected, other class.
    """

    name: str
    clean: tuple[float, float, float]
    poisoned: tuple[float, float, float]


_Named = TypeVar("_Named", Series, Tradeoff)


def series(records: Sequence[Record]) -> list[Series]:
    """The pruning curves of jobs, one for all that differ in drop and seed alone."""
    return [_series(title, jobs) for title, jobs in tables.sections(records)]


def _series(name: str, jobs: Sequence[Record]) -> Series:
    # Jobs that differ in drop share a curve, of which some may have computed a part.
    longest: dict[str, Record] = {}
    for job in jobs:
        seed = str(job.settings["seed"])
        if seed not in longest or _steps(job) > _steps(longest[seed]):
            longest[seed] = job
    curves = [job.full.curve for job in longest.values()]
    length = min(len(curve.clean_correct) for curve in curves)
    accuracy = [_percent(c.clean_correct[:length], c.clean_total) for c in curves]
    asr = [_percent(c.attack_hits[:length], c.attack_total) for c in curves]
    asleep = np.ones(length - 1, bool)
    for job in longest.values():
        dead = set(job.full.dead)
        asleep &= [channel in dead for channel in job.full.curve.channels[: length - 1]]
    marks = [_mark(drop, list(same)) for drop, same in groupby(jobs, key=tables.drop_of)]
    return Series(name, _band(accuracy), _band(asr), spans(asleep), tuple(marks), len(curves))


def _steps(job: Record) -> int:
    return len(job.full.curve.channels)


def _percent(counts: Sequence[int], total: int) -> list[float]:
    return [100 * count / total for count in counts]


def _band(rows: Sequence[Sequence[float]]) -> Band:
    """Mean and Student's 95% interval, cut to 0..100; (seeds, steps) in."""
    values = np.array(rows)
    mean = values.mean(axis=0)
    half = np.zeros_like(mean)
    if len(values) > 1:
        quantile = float(stdtrit(len(values) - 1, 0.975))
        half = quantile * values.std(axis=0, ddof=1) / np.sqrt(len(values))
    low, high = (mean - half).clip(0, 100), (mean + half).clip(0, 100)
    return Band(tuple(mean.tolist()), tuple(low.tolist()), tuple(high.tolist()))


def spans(flags: Iterable[bool] | NDArray[np.bool_]) -> tuple[tuple[int, int], ...]:
    """Runs of true flags as (first, last + 1).

    >>> spans([True, True, False, True])
    ((0, 2), (3, 4))
    """
    edges = np.flatnonzero(np.diff([0, *map(int, flags), 0])).tolist()
    return tuple(zip(edges[::2], edges[1::2], strict=True))


def _mark(drop: float, jobs: Sequence[Record]) -> Mark:
    stops = [job.stop for job in jobs]

    def mean(name: str) -> float:
        return 100 * Spread.of([job.figures[name].rate for job in jobs]).mean

    return Mark(
        drop=drop,
        pruned=Spread.of([stop.pruned for stop in stops]).mean,
        reached=all(stop.reached for stop in stops),
        accuracy=mean("repaired/valid_accuracy"),
        asr=mean("repaired/valid_asr"),
    )


def tradeoffs(records: Sequence[Record]) -> list[Tradeoff]:
    """Where G goes with growing X, one path per series, from B on; means over seeds."""
    found = []
    for title, jobs in tables.sections(records):
        points = [(0.0, *_place(jobs, "badnet"))]
        for drop, same in groupby(jobs, key=tables.drop_of):
            points.append((drop, *_place(list(same), "goodnet")))
        found.append(Tradeoff(title, tuple(points)))
    return found


def _place(jobs: Sequence[Record], network: str) -> tuple[float, float]:
    rates = [
        100 * Spread.of([job.figures[f"{network}/test_{rate}"].rate for job in jobs]).mean
        for rate in ("asr", "accuracy")
    ]
    return rates[0], rates[1]


def outcomes(records: Sequence[Record]) -> list[Outcome]:
    """What G makes of the test images, one per series and X; means over seeds."""
    found = []
    for title, jobs in tables.sections(records):
        for drop, same in groupby(jobs, key=tables.drop_of):
            group = list(same)
            parts = []
            for kind, rate in (("clean", "accuracy"), ("poisoned", "asr")):
                hit, rejected = (
                    100 * Spread.of([job.figures[name].rate for job in group]).mean
                    for name in (f"goodnet/test_{rate}", f"goodnet/test_{kind}_rejected")
                )
                parts.append((hit, rejected, max(0.0, 100 - hit - rejected)))
            found.append(Outcome(f"{title}, X {100 * drop:g}%", parts[0], parts[1]))
    return found


def spread_out(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places for labels, near where they are wanted and at least `gap` apart.

    Args:
        wanted: where each label belongs, going up.
        gap: the least distance; less if there is no room for all.
        low: no label goes below.
        high: no label goes above.

    >>> spread_out([43, 45, 48], 4, 0, 60)
    [41.3, 45.3, 49.3]
    """
    if not wanted:
        return []
    gap = min(gap, (high - low) / max(1, len(wanted) - 1))
    # Clusters of labels that touch, each as (sum of wanted minus offset, count), placed at means.
    clusters: list[list[float]] = []
    for place in wanted:
        clusters.append([place, 1])
        while len(clusters) > 1:
            (total, count), (after, more) = clusters[-2:]
            if after / more - total / count >= gap * (count + more) / 2:
                break
            clusters[-2:] = [[total + after, count + more]]
    places: list[float] = []
    for total, count in clusters:
        first = total / count - gap * (count - 1) / 2
        places += [first + gap * step for step in range(int(count))]
    for index in range(len(places)):  # back into the room, from both ends
        places[index] = max(places[index], low + gap * index)
    for index in range(len(places)):
        places[-1 - index] = min(places[-1 - index], high - gap * index)
    return [round(place, 1) for place in places]


def label_marks(marks: Sequence[Mark], room: int) -> list[tuple[float, str]]:
    """Channels pruned and what to write there; X that stop at one step share a label.

    Args:
        marks: of one curve.
        room: how many characters fit side by side; where not all labels do, some are left out.
    """
    labels = []
    for pruned, same in groupby(
        sorted(marks, key=lambda m: (m.pruned, m.drop)), lambda m: m.pruned
    ):
        texts = [f"{100 * m.drop:.3g}%" + ("" if m.reached else " not reached") for m in same]
        few = ", ".join(texts) if len(texts) <= 3 else f"{texts[0].split()[0]} to {texts[-1]}"
        labels.append((pruned, f"X {few}"))
    widest = max((len(text) for _, text in labels), default=0)
    fit = max(1, room // (widest + 2))
    return labels[:: max(1, ceil(len(labels) / fit))]


def draw_curve(data: Series, title: str) -> Figure:
    """One pruning curve with every X's stop."""
    with mpl.rc_context(STYLE):
        # Every job draws one: a fixed place spares the search for a layout, half of the time.
        figure = Figure(figsize=(7, 4.4))
        axes = figure.add_axes((0.085, 0.195, 0.885, 0.655))
        _draw_series(axes, data)
        axes.set_ylabel("validation set, percent")
        figure.suptitle(f"{title}{_over_seeds([data])}", x=0.01, ha="left", fontsize=11)
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="lower center", ncols=3, fontsize=9)
    return figure


def _over_seeds(data: Sequence[Series]) -> str:
    seeds = max(line.seeds for line in data)
    return f" (mean and 95% band over {seeds} seeds)" if seeds > 1 else ""


def _draw_series(axes: Axes, data: Series) -> None:
    steps = range(len(data.accuracy.mean))
    last = max(1, len(steps) - 1)
    for number, (first, end) in enumerate(data.dead):
        label = "removals of dead channels" if number == 0 else None
        axes.axvspan(first, end, color="#ededed", lw=0, zorder=0, label=label)
    for band, color, dash, marker, label in (
        (data.accuracy, CLEAN, "-", "o", "clean accuracy"),
        (data.asr, ATTACK, "--", "s", "attack success rate"),
    ):
        if data.seeds > 1:
            axes.fill_between(steps, band.low, band.high, color=color, alpha=0.2, lw=0)
        axes.plot(steps, band.mean, color=color, ls=dash, lw=1.8, label=label)
        heights = [m.accuracy if band is data.accuracy else m.asr for m in data.marks]
        axes.plot([m.pruned for m in data.marks], heights, marker, color=color, ms=5, clip_on=False)
    labels = label_marks(data.marks, _ROOM)
    width = last * (max((len(text) for _, text in labels), default=0) + 2) / _ROOM
    # A label may reach out over the axes' ends, but not out of the figure.
    low, high = max(0, width / 2 - 0.09 * last), min(last, 1.03 * last - width / 2)
    places = spread_out([pruned for pruned, _ in labels], width, low, high)
    stops = [mark.pruned for mark in data.marks]
    axes.vlines(stops, 0, 103, color=MARK, lw=0.8, ls=":", zorder=1)
    for (pruned, text), place in zip(labels, places, strict=True):
        axes.plot([pruned, place], [103, 109], color=MARK, lw=0.6, clip_on=False)
        axes.text(place, 110, text, ha="center", va="bottom", fontsize=8, color=MARK)
    axes.set(xlabel="channels pruned", xlim=(0, last), ylim=(0, 103))
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))


def draw_overlay(data: Sequence[Series]) -> Figure:
    """All pruning curves: clean accuracy on the left, attack success rate on the right."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 4.2 + 0.12 * min(len(data), _TOLD_APART)), layout="constrained")
        panels = figure.subplots(1, 2, sharex=True, sharey=True)
        told, others = _tell_apart([line.name for line in data])
        for line in data:
            color, dash = told.get(line.name, (FADED, "-"))
            for axes, band in zip(panels, (line.accuracy, line.asr), strict=True):
                steps = range(len(band.mean))
                order = 2 if line.name in told else 1
                if line.seeds > 1 and line.name in told:
                    axes.fill_between(steps, band.low, band.high, color=color, alpha=0.15, lw=0)
                axes.plot(steps, band.mean, color=color, ls=dash, lw=1.8, zorder=order)
        for axes, title in zip(panels, ("clean accuracy", "attack success rate"), strict=True):
            axes.set_title(title, loc="left", fontsize=11)
            axes.set(xlabel="channels pruned", ylim=(-1, 103), xlim=(0, None))
        panels[0].set_ylabel("validation set, percent")
        figure.suptitle(f"Pruning curves{_over_seeds(data)}", x=0.01, ha="left", fontsize=11)
        _legend(figure, told, others)
    return figure


def draw_tradeoffs(data: Sequence[Tradeoff]) -> Figure:
    """Accuracy against ASR of G on the test sets, X along each line."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7, 4.6 + 0.12 * min(len(data), _TOLD_APART)), layout="constrained")
        axes = figure.subplots()
        told, others = _tell_apart([way.name for way in data])
        lowest = min(point[2] for way in data for point in way.points)
        floor = max(0, 10 * np.floor(lowest / 10))
        axes.set(
            xlabel="attack success rate on the test set, percent (less is better)",
            ylabel="accuracy on the test set, percent",
            # Room for labels on the right, where the attack is as strong as ever.
            xlim=(-2, 113),
            xticks=range(0, 101, 20),
            ylim=(floor - 1, 101.5),
        )
        taken: list[tuple[float, float, float]] = []
        for way in data:
            color, dash = told.get(way.name, (FADED, "-"))
            _, rates, accuracies = zip(*way.points, strict=True)
            order = 3 if way.name in told else 1
            axes.plot(rates, accuracies, color=color, ls=dash, marker="o", ms=5, zorder=order)
            if way.name in told:
                # Of many lines only the ends are named, or names would cover the lines.
                named = way.points if len(data) <= _NAMED else way.points[-1:]
                _name_points(axes, named, color, taken)
        axes.set_title("GoodNet: what the defence costs and brings", loc="left", fontsize=11)
        _legend(figure, told, others)
    return figure


def _name_points(
    axes: Axes,
    points: Sequence[tuple[float, float, float]],
    color: str,
    taken: list[tuple[float, float, float]],
) -> None:
    """Write X beside each point, once where points coincide and only where there is room.

    Args:
        axes: where to.
        points: (drop, ASR, accuracy).
        color: of its line.
        taken: boxes in use as (left, right, height), to which those of new labels are added.
    """
    near = 0.035 * np.ptp(axes.get_ylim())
    for (rate, accuracy), same in groupby(points, key=lambda point: point[1:]):
        drops = [drop for drop, _, _ in same]
        text = "B" if drops == [0.0] else "X " + ", ".join(f"{100 * drop:.3g}%" for drop in drops)
        wide = 1.5 * len(text) + 2
        for left, side, align in ((rate - wide, -7, "right"), (rate, 7, "left")):
            box = (left, left + wide, accuracy)
            free = all(
                box[1] < other[0] or other[1] < box[0] or abs(accuracy - other[2]) > near
                for other in taken
            )
            if free and left >= axes.get_xlim()[0]:
                taken.append(box)
                axes.annotate(
                    text,
                    (rate, accuracy),
                    xytext=(side, 0),
                    textcoords="offset points",
                    ha=align,
                    va="center",
                    fontsize=8,
                    color=MARK if text == "B" else color,
                )
                break


def best(data: Sequence[Outcome]) -> Sequence[Outcome]:
    """All of a few; of many the best, the best first."""
    if len(data) <= _MOST_BARS:
        return data
    return sorted(data, key=lambda outcome: outcome.poisoned[0] - outcome.clean[0])[:_MOST_BARS]


def draw_outcomes(data: Sequence[Outcome]) -> Figure:
    """What G makes of clean and of poisoned test images, as stacked bars."""
    shown = best(data)
    with mpl.rc_context(STYLE):
        longest = max(len(outcome.name) for outcome in shown)
        size = (7.4 + 0.075 * longest, 1.6 + 0.3 * len(shown))
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        rows = range(len(shown))
        for axes, kind, first, color in (
            (panels[0], "clean", "right class", RIGHT),
            (panels[1], "poisoned", "attack succeeds", ATTACK),
        ):
            left = np.zeros(len(shown))
            for part, (name, fill, hatch) in enumerate(
                ((first, color, ""), ("rejected", REJECTED, "////"), ("other class", OTHER, ".."))
            ):
                widths = np.array([getattr(outcome, kind)[part] for outcome in shown])
                axes.barh(
                    rows, widths, left=left, color=fill, hatch=hatch, label=name, edgecolor="white"
                )
                for row, (start, width) in enumerate(zip(left, widths, strict=True)):
                    if width >= 9:
                        axes.text(
                            start + width / 2,
                            row,
                            f"{width:.1f}",
                            ha="center",
                            va="center",
                            fontsize=8,
                            color="white" if part == 0 else "black",
                            bbox=None if part == 0 else {"fc": fill, "ec": "none", "pad": 1},
                        )
                left += widths
            axes.set(xlim=(0, 100), xlabel=f"{kind} test images, percent")
            axes.grid(axis="y", visible=False)
            axes.legend(
                loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=3, fontsize=9, columnspacing=1
            )
        panels[0].set_yticks(rows, [outcome.name for outcome in shown])
        panels[0].set_ylim(len(shown) - 0.4, -0.6)
        of = f" (the {len(shown)} best of {len(data)})" if len(shown) < len(data) else ""
        figure.suptitle(f"What GoodNet answers{of}", x=0.01, ha="left", fontsize=11)
    return figure


def _tell_apart(names: Sequence[str]) -> tuple[dict[str, tuple[str, str]], int]:
    """Colour and dash for as many names as a reader tells apart, and how many are left."""
    told = {
        name: (PALETTE[i % len(PALETTE)], DASHES[i % len(DASHES)])
        for i, name in enumerate(names[:_TOLD_APART])
    }
    return told, len(names) - len(told)


def _legend(figure: Figure, told: dict[str, tuple[str, str]], others: int) -> None:
    from matplotlib.lines import Line2D

    lines = [
        Line2D([], [], color=color, ls=dash, label=name) for name, (color, dash) in told.items()
    ]
    if others:
        lines.append(Line2D([], [], color=FADED, label=f"{others} more"))
    columns = 1 if max(map(len, told)) > 45 else 2
    figure.legend(handles=lines, loc="outside lower left", ncols=columns, fontsize=9)


def overview(records: Sequence[Record]) -> dict[str, Figure]:
    """The plots of a whole sweep, by name."""
    ways = tradeoffs(records)
    merit = {way.name: max(accuracy - asr for _, asr, accuracy in way.points) for way in ways}
    lines = series(records)
    curves = {
        f"curve_{number}_{re.sub(r'[^A-Za-z0-9]+', '_', line.name)[:60]}": draw_curve(
            line, line.name
        )
        for number, line in enumerate(lines if len(lines) <= _MOST_CURVES else (), start=1)
    }
    return {
        **({"overlay": draw_overlay(_best_first(lines, merit))} if len(lines) > 1 else {}),
        "accuracy_against_asr": draw_tradeoffs(_best_first(ways, merit)),
        "outcomes": draw_outcomes(outcomes(records)),
        **curves,
    }


def _best_first(data: list[_Named], merit: Mapping[str, float]) -> list[_Named]:
    """The same order, unless not all can be told apart: then those that deserve it come first."""
    if len(data) <= _TOLD_APART:
        return data
    return sorted(data, key=lambda line: -merit[line.name])


def save(figure: Figure, stem: Path, suffixes: Sequence[str] = ("png", "svg")) -> None:
    """Write a figure in some formats; no date makes two of the same figure differ.

    Args:
        figure: what to write.
        stem: the path without its suffix.
        suffixes: formats.
    """
    options: dict[str, Any] = {
        # A tenth larger than by default, in two thirds of the time.
        "png": {"pil_kwargs": {"compress_level": 1}},
        "svg": {"metadata": {"Date": None}},
        "pdf": {"metadata": {"CreationDate": None}},
    }
    with mpl.rc_context(STYLE):
        if (engine := figure.get_layout_engine()) is not None:
            engine.execute(figure)
            figure.set_layout_engine(None)  # laid out once, not again for every format
        for suffix in suffixes:
            with files.replacing(stem.with_name(f"{stem.name}.{suffix}")) as draft:
                figure.savefig(draft, **options.get(suffix, {}))

"""Plots of a sweep, drawn by matplotlib from figure data."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sweep.reports import geometry
from sweep.reports.series import best, is_path, outcomes, series, tradeoffs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from sweep.reports.geometry import Chart
    from sweep.reports.series import Outcome, Series, Tradeoff
    from sweep.results.classes import Class
    from sweep.results.records import Record

# Okabe and Ito's palette, told apart by colour-blind readers and, with dashes, in grey print.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES: tuple[Any, ...] = ("-", "--", "-.", ":")
_SHAPES = "os^Dv"
CLEAN, ATTACK, MARK, FADED = PALETTE[0], PALETTE[1], "#333333", "#bbbbbb"
_PAINTS = {"accuracy": CLEAN, "asr": ATTACK, "": FADED} | {
    str(number): color for number, color in enumerate(PALETTE)
}
_REJECTED, _OTHER = "#F0C05A", "#BBBBBB"
# More curves than these are drawn in one plot alone; jobs have their own, and the page has all.
_MOST_CURVES = 4
_CLASSES = 12
STYLE: dict[Any, Any] = {
    "figure.dpi": 160,  # laid out as it is saved, so that sizes of text are found once
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "grid.color": "#e6e6e6",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "hatch.linewidth": 0.4,
    "svg.fonttype": "none",
    # Names are text, dollars in them too.
    "text.parse_math": False,
    # A fixed salt makes the same plot the same file.
    "svg.hashsalt": "badnet-sweep",
}


def draw_curve(data: Series, title: str) -> Figure:
    """One pruning curve with every X's stop."""
    chart = geometry.curve(data)
    # Inches for the legend's further lines.
    more = 0.19 * ((len(data.triggers) + 2) // 2) if data.triggers else 0
    height = 4.4 + more
    with mpl.rc_context(STYLE):
        # Every job draws one: a fixed place spares the search for a layout, half of the time.
        figure = Figure(figsize=(7, height))
        axes = figure.add_axes((0.085, (0.858 + more) / height, 0.885, 2.948 / height))
        _draw(axes, chart)
        axes.set_ylabel(chart.y.words)
        figure.text(0.01, 1 - 0.11 / height, title, va="top", fontsize=11)
        figure.text(0.01, 1 - 0.352 / height, chart.note, va="top", fontsize=9, color=MARK)
        columns = 2 if data.triggers else 3
        figure.legend(*axes.get_legend_handles_labels(), loc="lower center", ncols=columns)
    return figure


def _draw(axes: Axes, chart: Chart) -> None:
    """Everything but titles, legend and the words of the axis upwards."""
    for number, (first, end) in enumerate(chart.dead):
        label = None if number else "removals of dead channels"
        axes.axvspan(first, end, color="#ededed", lw=0, zorder=0, label=label)
    axes.vlines(chart.stops, chart.y.low, chart.y.high, color=MARK, lw=0.8, ls=":", zorder=1)
    for line in chart.lines:
        color, order = _PAINTS[line.paint], 2 if line.paint else 1
        if line.band:
            axes.fill_between(*np.transpose(line.band), color=color, alpha=0.18, lw=0)
        x, y = np.transpose(line.points)
        (drawn,) = axes.plot(x, y, color=color, lw=0.9 * order, zorder=order, label=line.name)
        drawn.set_linestyle(_DASHES[line.dash])
        for x, y, shape in line.marks:
            axes.plot(x, y, _SHAPES[shape], color=color, ms=5, zorder=order, clip_on=False)
    room = 0.03 * (chart.y.high - chart.y.low)
    axes.set(xlabel=chart.x.words, xticks=chart.x.ticks, yticks=chart.y.ticks)
    axes.set(xlim=(chart.x.low, chart.x.high), ylim=(chart.y.low - room / 3, chart.y.high + room))


def draw_overlay(data: Sequence[Series]) -> Figure:
    """All pruning curves: clean accuracy on the left, attack success rate on the right."""
    charts = geometry.overlays(data)
    with mpl.rc_context(STYLE):
        figure = _figure(9, len(data))
        panels = figure.subplots(1, len(charts), sharey=True, squeeze=False)[0]
        for axes, chart in zip(panels, charts, strict=True):
            _draw(axes, chart)
            axes.set_title(chart.title)
        panels[0].set_ylabel(charts[0].y.words)
        note = f" ({charts[0].note})" if charts[0].note else ""
        figure.suptitle(f"Pruning curves{note}", x=0.01, ha="left", fontsize=11)
        _legend(figure, charts[0])
    return figure


def draw_tradeoffs(data: Sequence[Tradeoff]) -> Figure:
    """Accuracy against ASR of G on the test sets, X along each line."""
    chart = geometry.tradeoff(data)
    with mpl.rc_context(STYLE):
        figure = _figure(7, len(data))
        axes = figure.subplots()
        _draw(axes, chart)
        axes.set_ylabel(chart.y.words)
        axes.set_title(f"{chart.title} ({chart.note})")
        axes.set_xlim(-2, 102)
        axes.legend(
            handles=[
                Line2D([], [], color=MARK, ls="", marker=_SHAPES[number], ms=5, label=words)
                for number, words in enumerate(chart.shapes)
            ]
        )
        _legend(figure, chart)
    return figure


def _figure(width: float, lines: int) -> Figure:
    return Figure(figsize=(width, 4.4 + 0.12 * min(lines, 12)), layout="constrained")


def _legend(figure: Figure, chart: Chart) -> None:
    told = [line for line in chart.lines if line.paint]
    handles = [
        Line2D([], [], color=_PAINTS[line.paint], ls=_DASHES[line.dash], label=line.name)
        for line in told
    ]
    if len(told) < len(chart.lines):
        others = len(chart.lines) - len(told)
        handles.append(Line2D([], [], color=FADED, label=f"{others} more"))
    longest = max(len(line.name) for line in told)
    figure.legend(handles=handles, loc="outside lower left", ncols=1 if longest > 45 else 2)


def draw_outcomes(data: Sequence[Outcome]) -> Figure:
    """What G makes of clean and of poisoned test images, as stacked bars."""
    shown = best(data)
    with mpl.rc_context(STYLE):
        longest = max(len(outcome.name) for outcome in shown)
        size = (7.4 + 0.075 * longest, 1.6 + 0.3 * len(shown))
        figure = Figure(figsize=size, layout="constrained")
        attacked, of_set = all(one.poisoned for one in shown), "test images, percent"
        panels = figure.subplots(1, 1 + attacked, sharey=True, squeeze=False)[0]
        clean, poisoned = ([getattr(one, kind) for one in shown] for kind in ("clean", "poisoned"))
        _bars(panels[0], clean, f"clean {of_set}", "right class", CLEAN)
        if attacked:
            _bars(panels[1], poisoned, f"poisoned {of_set}", "attack succeeds", ATTACK)
        panels[0].set_yticks(range(len(shown)), [outcome.name for outcome in shown])
        panels[0].set_ylim(len(shown) - 0.4, -0.6)
        of = f" (the {len(shown)} best of {len(data)})" if len(shown) < len(data) else ""
        figure.suptitle(f"What GoodNet answers{of}", x=0.01, ha="left", fontsize=11)
    return figure


def _bars(axes: Axes, parts: Iterable[Sequence[float]], words: str, first: str, color: str) -> None:
    widths = np.array([*parts])
    starts = widths.cumsum(axis=1) - widths
    looks = ((first, color, ""), ("rejected", _REJECTED, "////"), ("other class", _OTHER, ".."))
    for part, (name, fill, hatch) in enumerate(looks):
        bars = axes.barh(
            range(len(widths)),
            widths[:, part],
            left=starts[:, part],
            color=fill,
            hatch=hatch,
            label=name,
            edgecolor="white",
        )
        texts = [f"{width:.1f}" if width >= 9 else "" for width in widths[:, part]]
        ink = "black" if part else "white"
        for text in axes.bar_label(bars, texts, label_type="center", fontsize=8, color=ink):
            if part and text.get_text():
                text.set_bbox({"fc": fill, "ec": "none", "pad": 1})
    axes.set(xlim=(0, 100), xlabel=words)
    axes.grid(axis="y", visible=False)
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=3, columnspacing=1)


def draw_classes(found: Sequence[Class], title: str) -> Figure:
    """The classes that G costs most, and those that poisoned images fall to after the repair."""
    worst = sorted(
        (one for one in found if one.images), key=lambda one: one.right["goodnet"] / one.images
    )[:_CLASSES]
    ends = sorted((one for one in found if one.fallen), key=lambda one: -(one.fallen or 0))
    ends = ends[:_CLASSES]
    with mpl.rc_context(STYLE):
        rows = max(len(worst), len(ends))
        figure = Figure(figsize=(9, 1.5 + 0.25 * rows), layout="constrained")
        panels = figure.subplots(1, 2 if ends else 1, squeeze=False)[0]
        parts = [(one.right["goodnet"], one.rejected) for one in worst]
        shares = [
            [100 * n / one.images for n in (*part, one.images - sum(part))]
            for one, part in zip(worst, parts, strict=True)
        ]
        _bars(panels[0], shares, "clean test images, percent", "right class", CLEAN)
        _name_classes(panels[0], [f"class {one.label}" for one in worst], rows)
        if ends:
            wanted = [ATTACK if one.targeted else _OTHER for one in ends]
            panels[1].barh(range(len(ends)), [one.fallen or 0 for one in ends], color=wanted)
            panels[1].set(xlabel="poisoned test images that B' answers with it")
            panels[1].grid(axis="y", visible=False)
            marks = [" (target)" if one.targeted else "" for one in ends]
            names = [f"{one.label}{mark}" for one, mark in zip(ends, marks, strict=True)]
            _name_classes(panels[1], names, rows)
        figure.suptitle(f"Classes under {title}", x=0.01, ha="left", fontsize=11)
    return figure


def _name_classes(axes: Axes, names: Sequence[str], rows: int) -> None:
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(rows - 0.4, -0.6)


def overview(records: Sequence[Record]) -> dict[str, Figure]:
    """The plots of a whole sweep, by name."""
    lines = series(records)
    figures = {"overlay": draw_overlay(lines)} if len(lines) > 1 else {}
    if is_path(ways := tradeoffs(records)):
        figures["accuracy_against_asr"] = draw_tradeoffs(ways)
    figures["outcomes"] = draw_outcomes(outcomes(records))
    for number, line in enumerate(lines if len(lines) <= _MOST_CURVES else (), start=1):
        name = re.sub(r"[^A-Za-z0-9]+", "_", line.name)[:60]
        figures[f"curve_{number}_{name}"] = draw_curve(line, line.name)
    return figures


def save(figure: Figure, stem: Path, suffixes: Sequence[str] = ("png", "svg")) -> None:
    """Write a figure as a path with each suffix; no date makes two of the same figure differ."""
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
        stem.parent.mkdir(parents=True, exist_ok=True)
        for suffix in suffixes:
            path = stem.with_name(f"{stem.name}.{suffix}")
            figure.savefig(path, **options.get(suffix, {}))

"""Plots: figure data first, drawing second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sweep.results import Curve, Stop

# Okabe and Ito's palette, told apart by colour-blind readers and in grey print.
CLEAN, ATTACK, MARK = "#0072B2", "#D55E00", "#333333"
_STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "svg.fonttype": "none",
    # A fixed salt makes the same plot the same file.
    "svg.hashsalt": "badnet-sweep",
}


@dataclass(frozen=True)
class CurveData:
    """What a plot of a pruning curve shows; percentages by channels pruned.

    Attributes:
        steps: channels pruned, 0..K.
        accuracy: clean validation accuracy in percent.
        asr: attack success rate on poisoned validation in percent.
        asleep: how many of the first removals changed nothing.
        stop: where B' lies, and whether the drop was reached there.
    """

    steps: tuple[int, ...]
    accuracy: tuple[float, ...]
    asr: tuple[float, ...]
    asleep: int
    stop: Stop


def curve_data(curve: Curve, stop: Stop, scores: Sequence[float]) -> CurveData:
    """Figure data of one job's curve."""
    asleep = 0
    for channel in curve.channels:
        if scores[channel] != 0:
            break
        asleep += 1
    return CurveData(
        steps=tuple(range(len(curve.clean_correct))),
        accuracy=tuple(100 * right / curve.clean_total for right in curve.clean_correct),
        asr=tuple(100 * hits / curve.attack_total for hits in curve.attack_hits),
        asleep=asleep,
        stop=stop,
    )


def draw_curve(data: CurveData, title: str, drop: float) -> Figure:
    """The pruning curve with the point where B' lies."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7, 4.2), layout="constrained")
        axes = figure.subplots()
        if data.asleep:
            axes.axvspan(0, data.asleep, color="#f0f0f0", zorder=0)
            axes.annotate(
                "channels that clean\nimages never wake",
                (data.asleep / 2, 4),
                ha="center",
                color="#666666",
                fontsize=8,
            )
        axes.plot(data.steps, data.accuracy, color=CLEAN, label="clean accuracy", lw=2)
        axes.plot(data.steps, data.asr, color=ATTACK, label="attack success rate", lw=2, ls="--")
        step = data.stop.pruned
        axes.axvline(step, color=MARK, lw=1, ls=":")
        axes.plot([step], [data.accuracy[step]], "o", color=CLEAN)
        axes.plot([step], [data.asr[step]], "s", color=ATTACK)
        reached = (
            f"X = {100 * drop:g}%" if data.stop.reached else f"X = {100 * drop:g}% not reached"
        )
        right = step > 0.6 * max(data.steps)
        axes.annotate(
            f"B': {reached}\n{step} channels pruned",
            (step, 50),
            xytext=(-6 if right else 6, 0),
            textcoords="offset points",
            ha="right" if right else "left",
            color=MARK,
            fontsize=9,
        )
        axes.set(
            xlabel="channels pruned",
            ylabel="validation set, percent",
            xlim=(0, max(data.steps)),
            ylim=(-2, 103),
        )
        axes.set_title(title, loc="left", fontsize=11)
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(0, 0.3))
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure; the suffix chooses the format, and no date makes two of it differ."""
    metadata = {"Date": None} if path.suffix == ".svg" else None
    with mpl.rc_context(_STYLE):
        figure.savefig(path, dpi=160, metadata=metadata)

"""Plots of searches and comparisons; the figures they show are made elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from sweep.reports.plots import ATTACK, CLEAN, FADED, MARK, PALETTE, STYLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


def draw_front(
    points: Sequence[Mapping[str, float]],
    on_front: Sequence[bool],
    chosen: Sequence[bool],
    objective: str,
) -> Figure:
    """Accuracy against what stands for the attack, a dot per trial, the front as steps.

    Args:
        points: `accuracy` and `resistance` of each trial, 0..1.
        on_front: whether no other trial beats it in both.
        chosen: whether it is the chosen one.
        objective: `clean_only` or `oracle`.
    """
    attack = 100 * (1 - np.array([point["resistance"] for point in points]))
    accuracy = 100 * np.array([point["accuracy"] for point in points])
    best = np.flatnonzero(on_front)
    best = best[np.lexsort((accuracy[best], attack[best]))]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7, 4.4), layout="constrained")
        axes = figure.subplots()
        axes.plot(attack, accuracy, "o", ms=5, color=FADED, mew=0, label="trial")
        if len(best):
            axes.step(attack[best], accuracy[best], where="post", color=CLEAN, lw=1.2)
            axes.plot(attack[best], accuracy[best], "o", ms=6, color=CLEAN, label="on the front")
        one = np.flatnonzero(chosen)
        place = (attack[one], accuracy[one])
        axes.plot(*place, "o", ms=12, mfc="none", mec=ATTACK, mew=1.8, label="chosen")
        shown = "attack success rate" if objective == "oracle" else "suspicion"
        axes.set(
            xlabel=f"{shown} of B', percent (less is better)",
            ylabel="clean accuracy of B', percent",
        )
        axes.set_title("Trials on the validation sets")
        axes.margins(0.05)
        figure.legend(loc="outside lower center", ncols=3)
    return figure


def draw_history(values: Sequence[Sequence[float]], names: Sequence[str]) -> Figure:
    """Each figure (0..1) by its name over the trials in their order, and the best so far."""
    table = 100 * np.array(values).reshape(len(values), len(names))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7, 1.2 + 2.2 * len(names)), layout="constrained")
        panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
        order = np.arange(1, len(table) + 1)
        for axes, column, name in zip(panels, table.T, names, strict=True):
            axes.plot(order, column, "o", ms=4, color=FADED, mew=0, label="trial")
            best = np.maximum.accumulate(column)
            axes.step(order, best, where="post", color=CLEAN, lw=1.8, label="best so far")
            axes.set_ylabel(f"{name}, percent")
        panels[-1].set_xlabel("trials finished")
        panels[0].set_title("Optimisation history, validation sets")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def draw_importance(shares: Mapping[str, Mapping[str, float]]) -> Figure:
    """How much of each figure each setting decides, adding up to 1; empty where unknown."""
    settings = sorted({name for inner in shares.values() for name in inner})
    settings.sort(key=lambda name: sum(inner.get(name, 0) for inner in shares.values()))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7, 1.6 + 0.5 * max(1, len(settings))), layout="constrained")
        axes = figure.subplots()
        if not settings:
            axes.set_axis_off()
            axes.text(0.5, 0.5, "too few trials, or all alike", ha="center", color=MARK)
        thick = 0.8 / max(1, len(shares))
        for place, (figure_name, inner) in enumerate(shares.items()):
            rows = np.arange(len(settings)) + thick * (len(shares) / 2 - 0.5 - place)
            lengths = [100 * inner.get(name, 0) for name in settings]
            axes.barh(rows, lengths, 0.9 * thick, color=PALETTE[place], label=figure_name)
        if settings:
            axes.set_yticks(range(len(settings)), settings)
            axes.set(xlabel="share of the variance explained (fANOVA), percent", xlim=(0, 100))
            axes.grid(visible=False, axis="y")
            figure.legend(loc="outside lower center", ncols=2)
        axes.set_title("What decides")
    return figure


def draw_agreement(names: Sequence[str], rho: NDArray[np.float64], layer: str) -> Figure:
    """Rank correlation between criteria as a heat map; the lower triangle holds the numbers.

    Args:
        names: of the criteria, K.
        rho: Spearman's, (K, K); NaN where a criterion scores all channels alike.
        layer: whose channels they are.
    """
    size = 2.8 + 0.36 * len(names)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(size + 0.8, size), layout="constrained")
        axes = figure.subplots()
        image = axes.imshow(rho, cmap="PuOr_r", vmin=-1, vmax=1)
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
        axes.grid(visible=False)
        for (row, column), value in np.ndenumerate(rho):
            if row > column:
                shown = "" if np.isnan(value) else f"{value:.1f}".replace("-0.0", "0.0")
                color = "white" if abs(value) > 0.55 else MARK
                axes.text(column, row, shown, ha="center", va="center", fontsize=7, color=color)
        bar = figure.colorbar(image, ax=axes, shrink=0.7)
        bar.set_label("Spearman's rank correlation")
        axes.set_title(f"How alike the criteria rank the channels of {layer}")
    return figure


def draw_standings(
    names: Sequence[str],
    rates: Mapping[str, Sequence[tuple[float, float, float]]],
    title: str,
    oracle: set[str],
) -> Figure:
    """Attack success rate and accuracy of each criterion's G with their intervals.

    Args:
        names: of the lines, the best first.
        rates: fraction, and its interval's ends, of each, by `accuracy` and `asr`; nothing where it
            is not known.
        title: of the plot.
        oracle: lines that saw poisoned images.
    """
    rows = np.arange(len(names))[::-1]
    saw = np.array([name in oracle for name in names])
    words = {"asr": "attack success rate (less is better)", "accuracy": "clean accuracy"}
    shown = [name for name in words if rates[name]]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 1.7 + 0.23 * len(names)), layout="constrained")
        panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        for axes, name in zip(panels, shown, strict=True):
            rate, low, high = 100 * np.array(rates[name]).T
            for mine, color, shape, kind in (
                (~saw, CLEAN, "o", "clean data or none"),
                (saw, ATTACK, "D", "oracle: saw poisoned images"),
            ):
                axes.hlines(rows[mine], low[mine], high[mine], color=color, lw=2, alpha=0.45)
                axes.plot(rate[mine], rows[mine], shape, color=color, ms=5, label=kind)
            axes.set(xlabel=f"{words[name]}, percent", ylim=(-0.8, len(names) - 0.2))
            if name == "asr":
                axes.set(xlim=(-2, 102))
        panels[0].set_yticks(rows, names, fontsize=8)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure

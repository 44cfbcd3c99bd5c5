"""What the benchmark found, as a table and a plot."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_BARS = (
    ("notebook", "(a) notebook method"),
    ("forward", "(b) one plain forward"),
    ("cold", "(c) cold six-job sweep"),
    ("warm", "(d) warm six-job sweep"),
    ("criterion", "(e) one more criterion"),
)
_PEAK_GB = 1.5
_STARTS = (
    ("nothing", "a start that runs nothing", "<= 3 s"),
    *((f"wrong {what}", f"a wrong {what}", "<= 2 s") for what in ("path", "shape", "layer")),
)
_JOB_SECONDS = "<= 0.15 s"

_RATIOS = (
    ("cold sweep / one plain forward (c/b)", "cold", "forward", "<= 1.5"),
    ("notebook method / cold sweep (a/c)", "notebook", "cold", ">= 30"),
    ("notebook method / warm sweep (a/d)", "notebook", "warm", ">= 200"),
    ("one more criterion / one plain forward (e/b)", "criterion", "forward", "<= 0.25"),
)


def _met(value: float, target: str) -> str:
    relation, bound = target.split()[:2]
    met = value <= float(bound) if relation == "<=" else value >= float(bound)
    return "yes" if met else "no"


def rows(facts: dict[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """The table: what, wall time, processor time, target, met by wall time."""
    wall, busy, counts = facts["seconds"], facts["cpu_seconds"], facts["notebook"]
    titles = (*_BARS, ("store", "making the MLflow store, once"))
    lines = [(title, f"{wall[n]:.2f} s", f"{busy[n]:.2f} s", "", "") for n, title in titles]
    for title, over, under, target in _RATIOS:
        value, other = wall[over] / wall[under], busy[over] / busy[under]
        held = ("", "") if facts["quick"] else (target, _met(value, target))
        lines.append((title, f"{value:.3g}", f"{other:.3g}", *held))
    for name, title, target in _STARTS:
        times = f"{wall[name]:.2f} s", f"{busy[name]:.2f} s"
        lines.append((title, *times, target, _met(wall[name], target)))
    jobs, few = facts["jobs"]["large"], facts["jobs"]["few"]
    each, own = ((t["warm large"] - t["warm few"]) / (jobs - few) for t in (wall, busy))
    title = f"a warm job in a sweep of {jobs}"
    lines.append((title, f"{each:.3f} s", f"{own:.3f} s", _JOB_SECONDS, _met(each, _JOB_SECONDS)))
    share = f"{each / wall['forward']:.2g}", f"{own / busy['forward']:.2g}"
    held = ("", "") if facts["quick"] else ("<= 0.005", _met(each / wall["forward"], "<= 0.005"))
    lines.append(("a warm job / one plain forward", *share, *held))
    for size, value in facts["peak_gb"]["images"].items():
        title, target = f"peak RSS, {int(size):,} images a set, cold", f"<= {_PEAK_GB} GB"
        lines.append((title, f"{value:.2f} GB", "", target, _met(value, target)))
    for jobs, value in facts["peak_gb"]["jobs"].items():
        title = f"peak RSS, fewest images, warm, {jobs} jobs"
        lines.append((title, f"{value:.2f} GB", "", "", ""))
    for split in ("valid", "test"):
        title = f"(a) {split}: predictions of a set, and how many of them were timed"
        lines.append((title, f"{counts[split]:.0f}", f"{counts['timed ' + split]:.0f}", "", ""))
    return [*lines, ("(a) and (c) agree to the count", "yes", "", "", "")]


def table(facts: dict[str, Any], path: Path) -> None:
    """Print the table, and write it as Markdown."""
    sizes = ", ".join(f"{name} {count:,}" for name, count in facts["images"].items())
    title = f"{facts['badnet']}; {sizes}"
    header = ("", "wall", "processors", "target", "met")
    _show(title, header, rows(facts), path)


def large(figures: dict[str, dict[str, float]], path: Path) -> None:
    """Print what `large.py` found, and write it as Markdown."""
    names = list(dict.fromkeys(name for found in figures.values() for name in found))
    header = ("", *(name.replace("_", " ") for name in names))
    body = [
        (what, *(f"{found[name]:.2f}" if name in found else "" for name in names))
        for what, found in figures.items()
    ]
    _show(f"{path.stem.replace('_', ' ')}", header, body, path)


def _show(title: str, header: Sequence[str], body: Iterable[Sequence[str]], path: Path) -> None:
    shown = Table(*header, title=title)
    lines = [f"{title}\n", f"| {' | '.join(header)} |", f"|---|{'---:|' * (len(header) - 1)}"]
    for row in body:
        shown.add_row(*row)
        lines.append(f"| {' | '.join(row)} |")
    Console(width=None if sys.stdout.isatty() else 160).print(shown)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def plot(facts: dict[str, Any], path: Path) -> None:
    """Draw times beside one another, and memory over images and jobs."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    times, images, jobs = figure.subplots(1, 3, width_ratios=(2.2, 1, 1))
    names = [title for _, title in _BARS]
    values = [facts["seconds"][name] for name, _ in _BARS]
    colours = ["0.6", "0.6", "C0", "C0", "C0"]
    bars = times.barh(names, values, color=colours)
    times.bar_label(bars, [f"{value:,.1f} s" for value in values], padding=3)
    times.set(xscale="log", xlim=(min(values) / 2, max(values) * 6), xlabel="seconds (log scale)")
    times.invert_yaxis()
    for axes, name, label in (
        (images, "images", "images a set, cold"),
        (jobs, "jobs", "jobs, warm"),
    ):
        found = facts["peak_gb"][name]
        axes.plot([int(x) for x in found], list(found.values()), "o-")
        axes.axhline(_PEAK_GB, color="0.5", linestyle="--", linewidth=1)
        axes.set(xlabel=label, ylim=(0, 1.15 * max(_PEAK_GB, *found.values())))
        place = {"transform": axes.get_yaxis_transform(), "va": "bottom", "color": "0.4"}
        axes.text(0.03, _PEAK_GB, "target", fontsize=8, **place)
    images.set_ylabel("peak RSS, GB")
    for axes in (times, images, jobs):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)

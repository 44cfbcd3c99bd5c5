"""The page of a sweep: one HTML file with tables, curves, images and where it all comes from."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from sweep.base import files
from sweep.reports import geometry, summary
from sweep.reports.series import best, is_path, outcomes, series, tradeoffs
from sweep.reports.tables import Spread, Table
from sweep.results.findings import cautions, headline, merit
from sweep.results.metrics import columns
from sweep.results.samples import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sweep.reports.geometry import Chart, Line
    from sweep.results.metrics import Figure
    from sweep.results.records import Record

_TEMPLATE = Path(__file__).with_name("page.html.j2")
# A drawing's size and the box of its axes within: left, top, right, bottom.
_SIZE = (440, 280)
_BOX = (36, 24, 428, 244)
# Marks around their place, by the number of their shape.
_SHAPES = (
    *("M-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0z", "M-3-3h6v6h-6z", "M0-4L4 3H-4z"),
    *("M0-4.5L4 0 0 4.5-4 0z", "M0 4L4-3H-4z"),
)
# What a page shows at once; the rest unfolds.
_CHARTS, _LINES = 8, 24
# Of more lines than these the best come first.
_MANY = 12


@dataclass(frozen=True)
class About:
    """What is known of a sweep besides its jobs.

    Attributes:
        name: what it is called.
        command: what made it.
        when: date and time, for people.
        jobs: how many jobs it has, done or not.
        git: commit and whether the tree was dirty, as tags.
    """

    name: str
    command: str
    when: str
    jobs: int
    git: Mapping[str, str]


def strip_key(record: Record) -> str:
    """A name for the sample images of a job: jobs on the same test sets share them."""
    sets: Any = record.full.facts["sets"]
    tests = (sets.get(f"{kind}_test") for kind in KINDS)
    return "-".join(str(one["sha256"])[:16] for one in tests if one)


def render(records: Sequence[Record], strips: Mapping[str, bytes], about: About) -> str:
    """The page of jobs that are done, with sample images as PNG by `strip_key`."""
    from jinja2 import Environment, StrictUndefined

    jinja = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = jinja.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    lines, ways = series(records), tradeoffs(records)
    curves = [geometry.curve(line) for line in lines]
    compared = geometry.overlays(lines) if lines[1:] else []
    compared += [geometry.tradeoff(ways)] if is_path(ways) else []
    rates = {line["name"]: line for chart in map(_svg, curves) for line in chart["lines"]}
    jobs = [job for _, group in summary.sections(records) for job in group]
    ends = outcomes(records)
    return page.render(
        about=about,
        finding=headline(summary.groups(records)),
        cautions=cautions(records),
        done=len(records),
        attacked=any(line.asr for line in lines),
        robust=any("goodnet/test_ra" in job.figures for job in jobs),
        rates=rates.values(),
        over_seeds=_over_seeds(jobs) if summary.several_seeds(jobs) else None,
        every_job=_table(jobs),
        over_networks=summary.over_networks(jobs),
        curves=[_svg(chart) for chart in curves],
        shown_curves=_CHARTS,
        shown_lines=_LINES,
        compared=[_svg(chart) for chart in compared],
        told=[line for line in compared[-1].lines if line.paint] if compared else [],
        marks=list(zip(_SHAPES, compared[-1].shapes, strict=False)) if compared else [],
        outcomes=best(ends),
        all_outcomes=len(ends),
        strips=[_strip(key, png, jobs) for key, png in strips.items()],
        settings=_settings(records),
        inputs=_inputs(records),
        software=_software(records, about),
        stages=_stages(records),
        data={
            "charts": [_values(chart) for chart in (*curves, *compared)],
            "jobs": [_answers(job) if strip_key(job) in strips else [] for job in jobs],
        },
        size=_SIZE,
        box=_BOX,
        shapes=_SHAPES,
    )


def _table(jobs: Sequence[Record]) -> Table:
    """A line per job."""
    names = ["ordering", *summary.swept(jobs)] + ["seed"] * summary.several_seeds(jobs)
    lines = []
    for job in sorted(jobs, key=lambda job: merit([job])) if len(jobs) > _MANY else jobs:
        oracle = " (oracle)" if summary.sees(job) == "oracle" else ""
        words = [
            _word(job.settings.get(name)) + (oracle if name == "criterion" else "")
            for name in names
        ]
        stop = f"{job.stop.pruned} of {job.channels}{summary.missed([job])}"
        lines.append([*words, job.x, *_cells([job], jobs), stop, job.run_id])
    header = [*names, "X", *(one.symbol for one in _figures(jobs)), "pruned", "run"]
    return Table("Test sets, percent", header, lines, len(names))


def _over_seeds(jobs: Sequence[Record]) -> Table:
    lines = []
    found = summary.groups(jobs)
    for group in sorted(found, key=lambda one: merit(one.jobs)) if len(found) > _MANY else found:
        same = group.jobs
        pruned = f"{Spread.of([job.stop.pruned for job in same])}{summary.missed(same)}"
        head = [group.title, group.x]
        lines.append([*head, *_cells(same, jobs, seeds=True), pruned, str(len(same))])
    header = ["jobs", "X", *(one.symbol for one in _figures(jobs)), "pruned", "seeds"]
    title = "Test sets, percent: mean ± sample standard deviation over seeds"
    return Table(title, header, lines, 1)


def _figures(jobs: Sequence[Record]) -> Sequence[Figure]:
    # What is looked for stands where a phone shows it.
    return columns(jobs, networks=("goodnet", "repaired", "badnet"), summary=False)


def _cells(same: Sequence[Record], jobs: Sequence[Record], seeds: bool = False) -> list[str]:
    return [summary.cell(same, one, seeds) for one in _figures(jobs)]


def _word(value: object) -> str:
    return "none" if value is None else str(value)


def _svg(chart: Chart) -> dict[str, Any]:
    """A chart in the units of its drawing."""
    left, top, right, bottom = _BOX

    def x(value: float) -> float:
        return round(
            left + (right - left) * (value - chart.x.low) / (chart.x.high - chart.x.low), 1
        )

    def y(value: float) -> float:
        return round(
            bottom - (bottom - top) * (value - chart.y.low) / (chart.y.high - chart.y.low), 1
        )

    def path(points: Iterable[tuple[float, float]]) -> str:
        return " ".join(f"{x(one):g},{y(two):g}" for one, two in points)

    def drawn(line: Line) -> dict[str, Any]:
        upper = [(step, high) for step, _, high in line.band]
        lower = [(step, low) for step, low, _ in reversed(line.band)]
        marks = dict.fromkeys((x(one), y(two), shape) for one, two, shape in line.marks)
        paint = f"s{line.paint}" if line.paint.isdigit() else line.paint or "many"
        style = {"name": line.name, "paint": paint, "dash": line.dash, "marks": marks}
        return style | {"points": path(line.points), "band": path(upper + lower)}

    return {
        "chart": chart,
        "lines": [drawn(line) for line in chart.lines],
        "dead": [(x(first), round(x(end) - x(first), 1)) for first, end in chart.dead],
        "stops": [x(stop) for stop in chart.stops],
        "x_ticks": [(x(value), value) for value in chart.x.ticks],
        "y_ticks": [(y(value), value) for value in chart.y.ticks],
    }


def _values(chart: Chart) -> dict[str, Any]:
    """What the page's script needs of a chart: numbers to print beside the pointer."""
    lines = [
        {
            "name": line.name,
            "points": [(round(x, 4), round(y, 2)) for x, y in line.points],
            "labels": line.labels,
        }
        for line in chart.lines
    ]
    return {"x": (chart.x.low, chart.x.high), "y": (chart.y.low, chart.y.high), "lines": lines}


def _strip(key: str, png: bytes, jobs: Sequence[Record]) -> dict[str, Any]:
    """Sample images with the answers of the first job that belongs to them."""
    mine = [(number, job) for number, job in enumerate(jobs) if strip_key(job) == key]
    first = mine[0][1].full
    badnet: Any = first.facts["badnet"]
    kinds = dict.fromkeys(one.kind for one in first.samples)
    rows = [(kind, [one for one in first.samples if one.kind == kind]) for kind in kinds]
    return {
        "image": base64.b64encode(png).decode(),
        "columns": max(len(samples) for _, samples in rows),
        "shape": badnet["input_shape"],
        "classes": badnet["classes"],
        "jobs": [(number, summary.settings_name(job.settings)) for number, job in mine],
        "rows": rows,
    }


def _answers(job: Record) -> list[list[int]]:
    return [[one.label, one.badnet, one.repaired, one.goodnet] for one in job.full.samples]


def _few(values: Iterable[str], most: int = 12) -> str:
    """Different values, the first of many."""
    listed = list(dict.fromkeys(values))
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def _settings(records: Sequence[Record]) -> list[tuple[str, str]]:
    names = dict.fromkeys(name for record in records for name in record.settings)
    every = [record.settings for record in records]
    found = [(name, _few(_word(one[name]) for one in every if name in one)) for name in names]
    return [(name, values) for name, values in found if values not in ("", "none")]


def _inputs(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Every file that a job read, once."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for record in records:
        facts: Any = record.full.facts
        known = facts.get("known_files", {})
        for name, entry in {"badnet": facts["badnet"], **facts["sets"]}.items():
            what = (
                f"{entry['images']} images"
                if "images" in entry
                else f"{entry['parameters']} parameters, {entry['classes']} classes"
            )
            line = {"name": name, "what": what, "lab": bool(known.get(name)), **entry}
            found.setdefault((name, entry["sha256"]), line)
    return list(found.values())


def _software(records: Sequence[Record], about: About) -> list[tuple[str, str]]:
    details = [record.full for record in records]
    names = dict.fromkeys(name for each in details for name in each.versions)
    found = [(name, _few(each.versions.get(name, "unknown") for each in details)) for name in names]
    return [*found, ("git commit", _few(map(_git, (about.git, *(each.git for each in details)))))]


def _git(state: Mapping[str, str]) -> str:
    commit = state.get("mlflow.source.git.commit")
    if not commit:
        return "none"
    return f"{commit} ({'with changes' if state.get('sweep.git_dirty') == 'true' else 'clean'})"


def _stages(records: Sequence[Record]) -> list[tuple[str, float, float, float]]:
    """Stage, seconds of all jobs, of the median job, and the most memory in MB."""
    details = [record.full for record in records]
    found = []
    for name in dict.fromkeys(name for each in details for name in each.seconds):
        spent = [each.seconds.get(name, 0.0) for each in details]
        peak = max(each.peak_bytes.get(name, 0) for each in details)
        found.append((name, sum(spent), median(spent), peak / 1e6))
    return found


def write(
    folder: Path, records: Sequence[Record], strips: Mapping[str, bytes], about: About, draw: bool
) -> None:
    """Write `report.html` and, unless they are there, the plots of a sweep; see `render`."""
    files.write_text(folder / "report.html", render(records, strips, about))
    if records and draw:
        from sweep.reports import plots

        for name, figure in plots.overview(records).items():
            plots.save(figure, folder / "plots" / name)

"""The page of a sweep: one HTML file with tables, curves, images and where it all comes from."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from sweep.base import files
from sweep.reports import plots, tables
from sweep.results.samples import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sweep.reports.plots import Band, Series, Tradeoff
    from sweep.results.records import Record

_TEMPLATE = Path(__file__).with_name("page.html.j2")
# A drawing's size and the box of its axes within: left, top, right, bottom.
_SIZE = (440, 280)
_BOX = (36, 34, 428, 244)
# What a page shows at once; the rest unfolds.
_CHARTS = 8
# So many characters of labels fit over a chart.
_ROOM = 50
# A figure of the table: heading, network, metric.
_FIGURES = (
    ("B accuracy", "badnet/test_accuracy"),
    ("B ASR", "badnet/test_asr"),
    ("B' accuracy", "repaired/test_accuracy"),
    ("B' ASR", "repaired/test_asr"),
    ("G accuracy", "goodnet/test_accuracy"),
    ("G ASR", "goodnet/test_asr"),
    ("G rejects clean", "goodnet/test_clean_rejected"),
    ("G rejects poisoned", "goodnet/test_poisoned_rejected"),
)


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
    return "-".join(str(sets[f"{kind}_test"]["sha256"])[:16] for kind in KINDS)


def write(
    folder: Path, records: Sequence[Record], strips: Mapping[str, bytes], about: About
) -> None:
    """Write `report.html` and the plots of a sweep into a folder; see `render`."""
    files.write_text(folder / "report.html", render(records, strips, about))
    if records:
        for name, figure in plots.overview(records).items():
            plots.save(figure, folder / "plots" / name)


def render(records: Sequence[Record], strips: Mapping[str, bytes], about: About) -> str:
    """The page.

    Args:
        records: the jobs that are done.
        strips: sample images as PNG, by `strip_key`.
        about: the sweep.
    """
    from jinja2 import Environment, StrictUndefined

    jinja = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = jinja.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    lines, ways = plots.series(records), plots.tradeoffs(records)
    jobs = [job for _, group in tables.sections(records) for job in group]
    overlay, outcomes = len(lines) > 1, plots.outcomes(records)
    return page.render(
        about=about,
        finding=finding(ways),
        done=len(records),
        over_seeds=_over_seeds(jobs) if tables.several_seeds(jobs) else None,
        table_data=_table(jobs),
        charts=[_chart(line, number) for number, line in enumerate(lines)],
        shown_charts=_CHARTS,
        overlays=[_overlay(lines, rate) for rate in ("accuracy", "asr")] if overlay else [],
        tradeoff=_tradeoff(ways) if ways else None,
        legend=[(way.name, number % len(plots.PALETTE)) for number, way in enumerate(ways)],
        outcomes=plots.best(outcomes),
        all_outcomes=len(outcomes),
        strips=[_strip(key, png, jobs) for key, png in strips.items()],
        settings=_settings(records),
        inputs=_inputs(records),
        software=_software(records, about),
        stages=_stages(records),
        data=_data(lines, ways, jobs, list(strips)),
        size=_SIZE,
        box=_BOX,
    )


def finding(ways: Sequence[Tradeoff]) -> str:
    """What came out, in two sentences."""
    if not ways:
        return "No job is done yet."
    _, rate, accuracy = ways[0].points[0]
    first = (
        f"B is right on {accuracy:.2f}% of the clean test images, and the attack succeeds on "
        f"{rate:.2f}% of the poisoned ones."
    )
    best = min(
        ((asr, -right, way.name, drop) for way in ways for drop, asr, right in way.points[1:]),
    )
    asr, right, name, drop = best
    if rate - asr < 1:
        return f"{first} No GoodNet of this sweep lowers that by a percentage point."
    return (
        f"{first} The lowest attack success rate that a GoodNet reaches is {asr:.2f}% "
        f"({name}, X {100 * drop:g}%), at an accuracy of {-right:.2f}%."
    )


def _table(rows: Sequence[Record]) -> dict[str, Any]:
    """A line per job: (shown, sorted by) per cell."""
    names = ["ordering", *tables.swept(rows)]
    names += ["seed"] if tables.several_seeds(rows) else []
    lines = []
    for row in rows:
        drop = tables.drop_of(row)
        cells: list[tuple[str, object]] = [_cell(row.settings.get(name)) for name in names]
        cells.append((f"{100 * drop:g}%", drop))
        mark = "" if row.stop.reached else " (drop not reached)"
        cells.append((f"{row.stop.pruned} of {row.channels}{mark}", row.stop.pruned))
        for _, figure in _FIGURES:
            rate = row.figures[figure].rate
            cells.append((f"{100 * rate:.2f}", rate))
        cells.append((row.run_id[:8], row.run_id))
        lines.append(cells)
    head = [*names, "X", "pruned", *(title for title, _ in _FIGURES), "run"]
    return {"head": head, "words": len(names), "lines": lines}


def _cell(value: object) -> tuple[str, object]:
    return ("none" if value is None else str(value), "" if value is None else value)


def _over_seeds(rows: Sequence[Record]) -> dict[str, Any]:
    lines = []
    for title, jobs in tables.sections(rows):
        for drop, same in groupby(jobs, key=tables.drop_of):
            group = list(same)
            pruned = tables.Spread.of([row.stop.pruned for row in group])
            missed = sum(not row.stop.reached for row in group)
            mark = f" (drop not reached in {missed})" if missed else ""
            cells: list[tuple[str, object]] = [
                (title, title),
                (f"{100 * drop:g}%", drop),
                (str(len(group)), len(group)),
                (f"{pruned}{mark}", pruned.mean),
            ]
            for _, figure in _FIGURES:
                spread = tables.Spread.of([100 * row.figures[figure].rate for row in group])
                cells.append((str(spread), spread.mean))
            lines.append(cells)
    head = ["jobs", "X", "seeds", "pruned", *(title for title, _ in _FIGURES)]
    return {"head": head, "words": 1, "lines": lines}


def _x(step: float, last: float) -> float:
    return round(_BOX[0] + (_BOX[2] - _BOX[0]) * step / max(1, last), 1)


def _y(percent: float, floor: float = 0) -> float:
    return round(_BOX[3] - (_BOX[3] - _BOX[1]) * (percent - floor) / (100 - floor), 1)


def _line(values: Sequence[float]) -> str:
    last = len(values) - 1
    return " ".join(f"{_x(step, last):g},{_y(value):g}" for step, value in enumerate(values))


def _area(band: Band) -> str:
    last = len(band.mean) - 1
    back = [f"{_x(step, last):g},{_y(band.low[step]):g}" for step in range(last, -1, -1)]
    return " ".join([_line(band.high), *back])


def _ticks(last: int) -> list[tuple[float, int]]:
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, last) if last <= 7 * step)
    return [(_x(value, last), value) for value in range(0, last + 1, max(1, step))]


def _chart(line: Series, number: int) -> dict[str, Any]:
    last = len(line.accuracy.mean) - 1
    labels = plots.label_marks(line.marks, _ROOM)
    wide = 7.4 * max((len(text) for _, text in labels), default=0) + 6
    places = plots.spread_out(
        [_x(pruned, last) for pruned, _ in labels], wide, wide / 2, _SIZE[0] - wide / 2
    )
    return {
        "number": number,
        "name": line.name,
        "seeds": line.seeds,
        "dead": [(_x(a, last), _x(b, last) - _x(a, last)) for a, b in line.dead],
        "rates": [
            (rate, _line(band.mean), _area(band) if line.seeds > 1 else "")
            for rate, band in (("accuracy", line.accuracy), ("asr", line.asr))
        ],
        "stops": sorted({_x(mark.pruned, last) for mark in line.marks}),
        "points": dict.fromkeys(
            (_x(m.pruned, last), _y(m.accuracy), _y(m.asr)) for m in line.marks
        ),
        "labels": [
            (_x(pruned, last), place, text)
            for (pruned, text), place in zip(labels, places, strict=True)
        ],
        "x_ticks": _ticks(last),
        "y_ticks": [(_y(value), value) for value in range(0, 101, 25)],
    }


def _overlay(lines: Sequence[Series], rate: str) -> dict[str, Any]:
    last = max(len(line.accuracy.mean) for line in lines) - 1
    drawn = [
        (
            " ".join(
                f"{_x(step, last):g},{_y(value):g}"
                for step, value in enumerate(getattr(line, rate).mean)
            ),
            number % len(plots.PALETTE),
            number % len(plots.DASHES),
        )
        for number, line in enumerate(lines)
    ]
    return {
        "rate": rate,
        "last": last,
        "lines": drawn,
        "x_ticks": _ticks(last),
        "y_ticks": [(_y(value), value) for value in range(0, 101, 25)],
    }


def _floor(ways: Sequence[Tradeoff]) -> int:
    """Where the axis of accuracy begins: a multiple of ten below the lowest point."""
    return max(0, int(min(point[2] for way in ways for point in way.points) // 10) * 10 - 10)


def _tradeoff(ways: Sequence[Tradeoff]) -> dict[str, Any]:
    floor = _floor(ways)
    step = 10 if floor >= 50 else 25
    return {
        "ways": [
            (
                " ".join(f"{_x(asr, 100):g},{_y(right, floor):g}" for _, asr, right in way.points),
                [(_x(asr, 100), _y(right, floor)) for _, asr, right in way.points],
                number % len(plots.PALETTE),
                number % len(plots.DASHES),
            )
            for number, way in enumerate(ways)
        ],
        "x_ticks": [(_x(value, 100), value) for value in range(0, 101, 20)],
        "y_ticks": [(_y(value, floor), value) for value in range(floor, 101, step)],
    }


def _strip(key: str, png: bytes, jobs: Sequence[Record]) -> dict[str, Any]:
    """Sample images with the answers of the first job that belongs to them."""
    mine = [(number, job) for number, job in enumerate(jobs) if strip_key(job) == key]
    first = mine[0][1]
    classes = _classes(first)
    columns = max(sum(s.kind == kind for s in first.full.samples) for kind in KINDS)
    badnet: Any = first.full.facts["badnet"]
    height, width = badnet["input_shape"][:2]
    return {
        "image": base64.b64encode(png).decode(),
        "columns": columns,
        "width": width,
        "height": height,
        "classes": classes,
        "jobs": [(number, tables.settings_name(job.settings)) for number, job in mine],
        "rows": [(kind, [s for s in first.full.samples if s.kind == kind]) for kind in KINDS],
    }


def _classes(record: Record) -> int:
    badnet: Any = record.full.facts["badnet"]
    return int(badnet["classes"])


def _settings(records: Sequence[Record]) -> list[tuple[str, str]]:
    names = dict.fromkeys(name for record in records for name in record.settings)
    found = []
    for name in names:
        values = dict.fromkeys(
            _cell(record.settings[name])[0] for record in records if name in record.settings
        )
        found.append((name, _few(values)))
    return found


def _few(values: Iterable[str], most: int = 12) -> str:
    listed = list(values)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


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
    names = dict.fromkeys(name for record in records for name in record.full.versions)
    found = [
        (name, _few(dict.fromkeys(record.full.versions.get(name, "unknown") for record in records)))
        for name in names
    ]
    states = dict.fromkeys(_git(state) for state in (about.git, *(r.full.git for r in records)))
    return [*found, ("git commit", _few(states))]


def _git(state: Mapping[str, str]) -> str:
    commit = state.get("mlflow.source.git.commit")
    if not commit:
        return "none"
    return f"{commit} ({'with changes' if state.get('sweep.git_dirty') == 'true' else 'clean'})"


def _stages(records: Sequence[Record]) -> list[tuple[str, float, float, float]]:
    """Stage, seconds of all jobs, of a middling job, and the most memory in MB."""
    names = dict.fromkeys(name for record in records for name in record.full.seconds)
    found = []
    for name in names:
        spent = [record.full.seconds.get(name, 0.0) for record in records]
        peak = max(record.full.peak_bytes.get(name, 0) for record in records)
        found.append((name, sum(spent), median(spent), peak / 1e6))
    return found


def _data(
    lines: Sequence[Series], ways: Sequence[Tradeoff], jobs: Sequence[Record], strips: list[str]
) -> dict[str, Any]:
    """What the page's script needs."""
    return {
        "series": [
            {
                "name": line.name,
                "accuracy": [round(value, 2) for value in line.accuracy.mean],
                "asr": [round(value, 2) for value in line.asr.mean],
            }
            for line in lines
        ],
        "ways": [
            {"name": way.name, "points": [[round(value, 4) for value in p] for p in way.points]}
            for way in ways
        ],
        "floor": _floor(ways) if ways else 0,
        "jobs": [
            [[s.label, s.badnet, s.repaired, s.goodnet] for s in job.full.samples]
            if strip_key(job) in strips
            else []
            for job in jobs
        ],
    }

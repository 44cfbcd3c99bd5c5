"""The jobs of a sweep in sections, and the lab's table: Original, Repaired and GoodNet."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, groupby
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from sweep import criteria
from sweep.base.errors import ConfigError
from sweep.data import lab
from sweep.reports.tables import Spread, Table, inert, to_markdown
from sweep.results.findings import Group, cautions, is_weak, merit, standings
from sweep.results.metrics import columns
from sweep.results.records import words_of_x

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sweep.results.metrics import Figure
    from sweep.results.records import Count, Record

# What may differ within a section; the rest of the settings tells sections apart.
_WITHIN = ("drop", "ordering", "seed")
_FEW = 1000
# Datasets that come with the project; the name of another says which BadNet it brings.
_OURS = (None, "standin", "folder", "lab", "files")
# More sections than these are printed as rankings.
_MOST_SECTIONS = 4


def percent(count: Count) -> str:
    """A fraction in percent: of many images with the five digits of the lab's table, else two."""
    return f"{100 * count.rate:.{5 if count.total > _FEW else 2}f}"


def drop_of(job: Record) -> float:
    """A job's X."""
    return float(str(job.settings["drop"]))


def sees(job: Record) -> str:
    """What a job's criterion looks at: `weights`, `clean`, `oracle`, or `unknown` if it is gone."""
    prefix = "criterion.params."
    params = {k.removeprefix(prefix): v for k, v in job.settings.items() if k.startswith(prefix)}
    weights = {k.removeprefix("weights."): v for k, v in params.items() if k.startswith("weights.")}
    try:
        return criteria.sees(str(job.settings["criterion"]), params | {"weights": weights})
    except ConfigError:
        return "unknown"


def network_of(job: Record) -> str:
    """A name for B and its test sets: figures of different ones are not to be compared."""
    if job.details is None or not job.details.facts:
        parts = ("badnet", "dataset")
        own = {name: str(v) for name, v in job.settings.items() if name.startswith(parts)}
        return str(sorted(own.items()))
    facts: Any = job.details.facts
    files = [facts["badnet"], *(one for name, one in facts["sets"].items() if "test" in name)]
    return " ".join(str(one["sha256"]) for one in files)


def is_baseline(job: Record) -> bool:
    """Whether a job does what the lab's sheet asks for."""
    return (job.settings["criterion"], job.settings["ordering"]) == (
        "mean_activation",
        "increasing",
    )


def swept(jobs: Sequence[Record]) -> list[str]:
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


def sections(jobs: Sequence[Record]) -> list[tuple[str, list[Record]]]:
    """Jobs that differ in drop and seed alone, under a title that tells them from the others.

    Increasing order comes first; within a section, drops and then seeds go up.
    """
    names = swept(jobs)
    titled = sorted(((_title(job, names), job) for job in jobs), key=_place)
    return [
        (title, [job for _, job in group])
        for title, group in groupby(titled, key=lambda pair: pair[0])
    ]


def _title(job: Record, names: Iterable[str]) -> str:
    parts = [f"{name} {job.settings[name]}" for name in names if name in job.settings]
    mark = " (oracle)" if sees(job) == "oracle" else ""
    return ", ".join([f"{job.settings['ordering']} order", *parts]) + mark


def _place(pair: tuple[str, Record]) -> tuple[bool, str, float, float]:
    title, job = pair
    return not title.startswith("increasing"), title, drop_of(job), float(str(job.settings["seed"]))


def by_drop(jobs: Sequence[Record]) -> Iterator[tuple[float, list[Record]]]:
    """X, and the jobs of a section that differ in seed alone."""
    for drop, same in groupby(jobs, key=drop_of):
        yield drop, list(same)


def groups(jobs: Sequence[Record]) -> list[Group]:
    """Jobs that differ in seed alone, as a headline compares them."""
    networks = {network_of(job) for job in jobs}
    tied = len({(network_of(job), str(job.settings["layer"])) for job in jobs}) == len(networks)
    own = ("badnet", "dataset", *(["layer"] if tied else []))
    names = [name for name in swept(jobs) if not name.startswith(own)]
    return [
        Group(
            title,
            same,
            sees(same[0]) == "oracle",
            frozenset(map(network_of, same)),
            _title(same[0], names),
        )
        for title, group in sections(jobs)
        for _, same in by_drop(group)
    ]


def defenders(jobs: Sequence[Record]) -> list[Record]:
    """The jobs that saw no poisoned images, the best G first."""
    return sorted((job for job in jobs if sees(job) != "oracle"), key=lambda job: merit([job]))


def over_networks(jobs: Sequence[Record]) -> list[Table]:
    """A table of defences over several networks B; none where there is one."""
    lines = []
    for one in standings(groups(jobs)):
        numbers = map(_number, (one.attack, one.worst_attack, one.worst_accuracy))
        lines.append([one.name, str(one.networks), f"{one.rank:.2f}", *numbers])
    header = ("defence", "networks", "mean rank", "mean attack", "worst attack", "worst accuracy")
    title = "over all networks B, GoodNet on the test sets, percent"
    return [Table(title, header, lines, words=1)] if lines else []


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def several_seeds(jobs: Sequence[Record]) -> bool:
    """Whether a table of these jobs gives means over seeds."""
    return len({str(job.settings["seed"]) for job in jobs}) > 1


def spread(jobs: Sequence[Record], figure: str) -> Spread:
    """A figure over seeds, in percent."""
    return Spread.of([100 * job.figures[figure].rate for job in jobs])


def table(jobs: Sequence[Record], everything: bool = False) -> list[Table]:
    """The lab's table, a section for each ordering and whatever else was swept, in percent.

    With several seeds, a line is the mean and sample standard deviation over them. `everything`
    adds the test figures that the lab's table has not.
    """
    seeds, figures = several_seeds(jobs), columns(jobs, summary=not everything)
    header = ["drop", *(["seeds"] if seeds else []), "pruned", *(one.title for one in figures)]
    return [
        Table(title, header, [_line(same, figures, seeds) for _, same in by_drop(group)])
        for title, group in sections(jobs)
    ]


def _line(jobs: Sequence[Record], figures: Iterable[Figure], seeds: bool) -> list[str]:
    pruned = str(Spread.of([job.stop.pruned for job in jobs]) if seeds else jobs[0].stop.pruned)
    head = [jobs[0].x, *([str(len(jobs))] if seeds else []), f"{pruned}{missed(jobs)}"]
    return [*head, *(cell(jobs, one, seeds) for one in figures)]


def cell(jobs: Sequence[Record], figure: Figure, seeds: bool) -> str:
    """A figure; marked where the attack hardly works on B, which makes any ASR mean little."""
    if any(figure.name not in job.figures for job in jobs):
        return ""
    text = str(spread(jobs, figure.name)) if seeds else percent(jobs[0].figures[figure.name])
    weak = figure.metric.key == "asr" and any(map(is_weak, jobs))
    return f"{text} (!)" if weak else text


def printed(jobs: Sequence[Record]) -> list[Table]:
    """The tables for a terminal: a few sections, or a ranking for each X; the lab's at the end."""
    found = [replace(one, title=f"{one.title}, test sets, percent") for one in table(jobs)]
    if len(found) > _MOST_SECTIONS:
        found = rankings(jobs)
    reference = beside_reference(jobs)
    return [*found, *over_networks(jobs), *([reference] if reference.lines else [])]


def rankings(jobs: Sequence[Record]) -> list[Table]:
    """All jobs at one X on one B, the least ASR of G first: a table each."""
    figures, seeds = columns(jobs, networks=("repaired", "goodnet")), several_seeds(jobs)
    ranked = sorted(groups(jobs), key=lambda group: merit(group.jobs))
    header = ["jobs", *(["seeds"] if seeds else []), "pruned", *(one.symbol for one in figures)]
    return [
        Table(
            f"X = {x}, test sets, percent, the least ASR of G first",
            header,
            [
                [one.title, *_line(one.jobs, figures, seeds)[1:]]
                for one in ranked
                if (one.x, one.networks) == (x, networks)
            ],
            words=1,
        )
        for x, networks in dict.fromkeys((one.x, one.networks) for one in groups(jobs))
    ]


def missed(jobs: Sequence[Record]) -> str:
    """A mark where the drop was not reached, in all jobs or in some."""
    count = sum(not job.stop.reached for job in jobs)
    if not count:
        return ""
    return " (drop not reached)" if count == len(jobs) else f" (drop not reached in {count})"


def markdown(jobs: Sequence[Record]) -> str:
    """The table as Markdown."""
    means = " Mean ± sample standard deviation over seeds." if several_seeds(jobs) else ""
    lines = ["# Summary", "", f"Test sets, in percent.{means}", ""]
    lines += chain.from_iterable((f"**Note:** {inert(text)}", "") for text in cautions(jobs))
    for section in [*over_networks(jobs), *table(jobs)]:
        title = section.title[0].upper() + section.title[1:]
        lines += [f"## {inert(title)}", "", *to_markdown(section), ""]
    return "\n".join(lines)


def _is_reported(job: Record) -> bool:
    """Whether a job did what the report did, with the very files."""
    known = {"layer": "pool_3", "repair": "none", "stop": "drop"}
    plain = all(job.settings.get(name, value) == value for name, value in known.items())
    same = job.details is not None and lab.are_all(job.details.facts)
    return same and plain and job.settings["criterion"] == "mean_activation"


def beside_reference(jobs: Sequence[Record]) -> Table:
    """Measured figures, the report's and the difference in points, of jobs that it has."""
    lines: list[list[str]] = []
    for job in jobs:
        ordering, drop = str(job.settings["ordering"]), drop_of(job)
        if (ordering, drop) not in lab.REPORT or not _is_reported(job):
            continue
        *known, pruned = lab.REPORT[ordering, drop]
        for network, pair in zip(
            ("badnet", "repaired", "goodnet"), (lab.REPORT_B, *known), strict=True
        ):
            for rate, reference in zip(("accuracy", "asr"), pair, strict=True):
                measured = 100 * job.figures[f"{network}/test_{rate}"].rate
                numbers = (f"{measured:.5f}", f"{reference:.5f}", f"{measured - reference:+.5f}")
                lines.append([ordering, f"{drop:g}", f"{network} {rate}", *numbers])
        counts = (str(job.stop.pruned), str(pruned), f"{job.stop.pruned - pruned:+d}")
        lines.append([ordering, f"{drop:g}", "channels pruned", *counts])
    header = ("ordering", "X", "figure", "measured", "report", "difference")
    return Table("beside the lab's report, test sets", header, lines, words=3)


def settings_name(settings: Mapping[str, object]) -> str:
    """What a person calls a job: the settings that sweeps usually vary."""
    x = words_of_x(float(str(settings["drop"])), str(settings.get("stop", "drop")))
    parts = [settings["ordering"], f"X={x}", settings["criterion"], settings["layer"]]
    usual = {"repair": "none", "attack": "badnets", "network": "deepid"}
    parts += [settings[name] for name in usual if settings.get(name, usual[name]) != usual[name]]
    parts.append(f"seed {settings['seed']}")
    if settings.get("dataset") not in _OURS:
        parts.append(settings["dataset"])
    named = (settings.get(name) for name in ("dataset.images", "badnet.path"))
    parts += [PurePath(str(path)).name for path in named if path]
    made = settings.get("dataset") in ("standin", "folder")
    if not made and settings.get("dataset.scale", 1) != 1:
        parts.append(f"scale {float(str(settings['dataset.scale'])):.4g}")
    return " ".join(map(str, parts))

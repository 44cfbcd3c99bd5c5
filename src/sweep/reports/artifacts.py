"""The files of a job (curve, result, configuration, B' and G), and of a sweep as CSV."""

from __future__ import annotations

import functools
import io
from dataclasses import replace
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

import numpy as np

from sweep.base import files
from sweep.jobs.network import array_key, cached_file
from sweep.models import saved
from sweep.reports.series import series
from sweep.reports.summary import by_drop, missed, percent, sections, settings_name
from sweep.reports.tables import Spread, Table, to_csv, to_markdown
from sweep.results.classes import by_class
from sweep.results.metrics import NETWORKS, columns
from sweep.results.samples import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from sweep.base.cache import Cache
    from sweep.data.image_set import ImageSet
    from sweep.jobs.pipeline import Repair
    from sweep.reports.series import Series
    from sweep.results.classes import Class
    from sweep.results.paired import Answers
    from sweep.results.records import Details, Record, Sample

_CODE = Path(__file__).parents[1]
_NONE = (None, None)
_COMPUTES = ("badnet-sweep", "tensorflow", "keras", "numpy", "h5py", "mlflow")


def write(
    folder: Path, repair: Repair, title: str, composed: str, git: Mapping[str, str]
) -> Record:
    """Write every artifact of a job; that of a search keeps its result, curve and settings alone.

    The configuration comes as YAML, the commit as tags. Files in the folder are drafts, which the
    store has on its disk before it shows them. Returns the record, with the versions and commit
    that made it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    details = replace(repair.record.full, versions=versions(), git=git)
    record = replace(repair.record, details=details)
    texts = {"config.yaml": composed, "curve.csv": curve_csv(details)}
    _write_texts(folder, texts | {"result.json": record.to_json()})
    if not repair.test_sets:
        return record  # one of many trials of a search; the chosen one is run again for the rest
    write_strip(folder / "samples.png", repair.test_sets, details.samples)
    small: Any = {name: _smallest(labels) for name, labels in repair.answers.items()}
    np.savez_compressed(folder / "answers.npz", **small)
    facts: Any = details.facts
    found = by_class(repair.answers, facts["badnet"]["classes"])
    _write_texts(folder, {"classes.csv": classes_csv(found)})
    _write_curve(folder, series([record])[0], title, repair.network.cache)
    for name in saved.NAMES:
        (folder / name).write_bytes(repair.file(name))
    return record


def _write_texts(folder: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def _write_curve(folder: Path, line: Series, title: str, cache: Cache) -> None:
    """Draw the curve, or take it from the cache, since drawing is most of what a warm job costs."""

    def draw(path: Path) -> None:
        from sweep.reports import plots

        plots.save(plots.draw_curve(line, title), path.with_suffix(""))
        with ZipFile(path, "w") as packed:
            for drawn in sorted({*path.parent.iterdir()} - {path}):
                packed.write(drawn, drawn.name)

    key = array_key("drawn", _drawers(), repr(line), title)
    with ZipFile(io.BytesIO(cached_file(cache, key, "curve.zip", draw))) as packed:
        packed.extractall(folder)


@functools.cache
def _drawers() -> str:
    """Goes into the names of plots, so that what other code drew is not taken for ours."""
    sources = sorted(path for name in ("reports", "results") for path in _CODE.glob(f"{name}/*.py"))
    return files.key([files.sha256(path) for path in sources], version("matplotlib"))


def _smallest(labels: NDArray[np.integer]) -> NDArray[np.integer]:
    return labels.astype(np.min_scalar_type(int(labels.max())))


def classes_csv(found: Sequence[Class]) -> str:
    """A line per class: its clean test images, how they are answered, and where attacks end.

    `poisoned_repaired` counts the poisoned test images that B' answers with the class, and
    `poisoned_target` those whose attacker wants it.
    """
    counts = [(one.label, one.images, *one.right.values(), one.rejected) for one in found]
    ends = [(one.targeted, one.fallen) if one.fallen is not None else () for one in found]
    head = ["class", "images", *(f"{name}_right" for name in NETWORKS), "goodnet_rejected"]
    more = ["poisoned_target", "poisoned_repaired"] if any(ends) else []
    return to_csv([*head, *more], [(*a, *b) for a, b in zip(counts, ends, strict=True)])


@functools.cache
def versions() -> dict[str, str]:
    """Versions of what computes results."""
    return {name: version(name) for name in _COMPUTES}


def curve_csv(job: Details) -> str:
    """The curve as CSV: step, channel, score, valid_accuracy, valid_asr, valid_asr/TRIGGER.

    Step 0 removes nothing, so its channel and score are empty.
    """
    curve = job.curve
    known = {name: values.tolist() for name, values in curve.rates.items()}
    scores = [None, *(repr(float(job.scores[channel])) for channel in curve.channels)]
    steps = zip(range(len(scores)), (None, *curve.channels), scores, *known.values(), strict=True)
    return to_csv(("step", "channel", "score", *known), steps)


def write_strip(path: Path, sets: Mapping[str, ImageSet], samples: Sequence[Sample]) -> None:
    """Write the samples' pixels, as many clean as poisoned, as one PNG, a row per kind."""
    from PIL import Image

    rows = []
    for kind in filter(sets.__contains__, KINDS):
        images = sets[kind].rows([sample.index for sample in samples if sample.kind == kind])
        rows.append(np.concatenate(list(images), axis=1))
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows]
    pixels = np.concatenate(padded).clip(0, 255).round().astype(np.uint8)
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(path, optimize=True)


def note(job: Record) -> str:
    """A job in a few words, for readers who meet its run alone."""
    split = "test" if columns([job]) else "valid"  # of a search
    figures = columns([job], split)
    words = list(dict.fromkeys(one.words for one in figures))
    cells = {(one.network, one.words): percent(job.figures[one.name]) for one in figures}
    lines = [
        [title, *(cells.get((network, word), "") for word in words)]
        for network, (title, _) in NETWORKS.items()
    ]
    name = "validation" if split == "valid" else split
    shown = Table("", [f"{name} sets, percent", *words], lines, words=1)
    pruned = f"{job.stop.pruned} of {job.channels} channels pruned{missed([job])}."
    return "\n".join([pruned, "", *to_markdown(shown)])


def drawing_key(jobs: Sequence[Record]) -> str:
    """A name for the plots of a sweep: the runs that are drawn, and what draws them."""
    return files.key([job.run_id for job in jobs], _drawers())


def as_csv(jobs: Sequence[Record]) -> str:
    """Every figure of every job with its settings, a line per job."""
    if not jobs:
        return ""
    settings = list(dict.fromkeys(name for job in jobs for name in job.settings))
    figures = list(dict.fromkeys(name for job in jobs for name in job.figures))
    counts = [f"{name}{part}" for name in figures for part in ("", "_hits", "_total")]
    lines = []
    for job in jobs:
        found = [job.figures.get(name) for name in figures]
        numbers = [(c.rate, c.hits, c.total) if c else (None, None, None) for c in found]
        stop = (job.stop.pruned, int(job.stop.reached))
        values = [job.settings.get(name) for name in settings]
        lines.append([*values, *stop, *chain.from_iterable(numbers), job.run_id])
    return to_csv([*settings, "pruned_channels", "drop_reached", *counts, "run_id"], lines)


def seeds_csv(jobs: Sequence[Record]) -> str:
    """Every figure as mean, standard deviation and count over seeds, a line per section and X."""
    names = list(dict.fromkeys(name for job in jobs for name in job.figures))
    parts = [f"{name}{part}" for name in names for part in ("_mean", "_std")]
    lines = []
    for title, group in sections(jobs):
        for drop, same in by_drop(group):
            spreads: list[Spread | None] = [Spread.of([job.stop.pruned for job in same])]
            for name in names:
                rates = [job.figures[name].rate for job in same if name in job.figures]
                spreads.append(Spread.of(rates) if rates else None)
            numbers = [n for one in spreads for n in ((one.mean, one.deviation) if one else _NONE)]
            reached = sum(job.stop.reached for job in same)
            lines.append([title, drop, len(same), reached, *numbers])
    head = ["jobs", "drop", "seeds", "drop_reached", "pruned_mean", "pruned_std"]
    return to_csv([*head, *parts], lines)


def write_classes(folder: Path, jobs: Sequence[Record], answers: Mapping[str, Answers]) -> None:
    """Plot what some jobs' networks answer class by class, where their answers are kept."""
    from sweep.reports import plots

    for job in jobs:
        if job.run_id in answers:
            facts: Any = job.full.facts
            found = by_class(answers[job.run_id], facts["badnet"]["classes"])
            figure = plots.draw_classes(found, settings_name(job.settings))
            plots.save(figure, folder / "plots" / "classes")

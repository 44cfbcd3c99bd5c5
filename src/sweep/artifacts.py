"""The files of a job: its curve as table and plot, its configuration, B' and G."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

from sweep import files, plots

if TYPE_CHECKING:
    from pathlib import Path

    from sweep.config import Config
    from sweep.pipeline import Repair


def write(folder: Path, repair: Repair, config: Config, title: str, composed: str) -> None:
    """Write every artifact of a job.

    Args:
        folder: where to.
        repair: what the job made.
        config: the job's configuration.
        title: the job's name.
        composed: the configuration as YAML.
    """
    from sweep.network import join_goodnet

    folder.mkdir(parents=True, exist_ok=True)
    result = repair.result
    files.write_text(folder / "config.yaml", composed)
    files.write_text(folder / "curve.csv", curve_csv(repair))
    facts = {"facts": dict(result.facts), "seconds": dict(result.seconds)}
    files.write_text(folder / "facts.json", json.dumps(facts, indent=2))
    data = plots.curve_data(result.curve, result.stop, result.scores.tolist())
    figure = plots.draw_curve(data, title, config.drop)
    for suffix in ("png", "svg"):
        with files.replacing(folder / f"curve.{suffix}") as draft:
            plots.save(figure, draft)
    goodnet = join_goodnet(repair.badnet, repair.repaired)
    for name, model in (
        ("repaired.keras", repair.repaired),
        ("repaired.h5", repair.repaired),
        ("goodnet.keras", goodnet),
    ):
        with files.replacing(folder / name) as draft:
            model.save(draft)


def curve_csv(repair: Repair) -> str:
    """The curve as CSV: step, channel, score, valid_accuracy, valid_asr.

    Step 0 removes nothing, so its channel and score are empty.
    """
    curve, scores = repair.result.curve, repair.result.scores
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("step", "channel", "score", "valid_accuracy", "valid_asr"))
    removed = ("", *curve.channels)
    for step, (channel, right, hits) in enumerate(
        zip(removed, curve.clean_correct, curve.attack_hits, strict=True)
    ):
        score = repr(float(scores[channel])) if isinstance(channel, int) else ""
        writer.writerow(
            (step, channel, score, right / curve.clean_total, hits / curve.attack_total)
        )
    return text.getvalue()

"""How well `sweep.inspect` tells backdoored networks from clean ones.

Small networks are trained here, clean ones and backdoored ones of every attack and network, and
inspected; half of them judge by the other half's threshold. What is done is kept, and the same
command goes on. Results: src/sweep/inspection/calibration.json, by which the command judges, and
docs/detection.md.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING, Any

import numpy as np

from sweep import attacks
from sweep.attacks import standin
from sweep.attacks.training import SCALE
from sweep.base import files, tensorflow_runtime
from sweep.inspection.anomaly import anomaly
from sweep.models import networks

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[1]
Row = dict[str, Any]
# Seeds of backdoored networks begin here.
_ATTACKED = 1000
PEOPLE, TRAIN, VALID, EPOCHS = 8, 40, 9, 8


def cells(each: int) -> list[standin.Standin]:
    """Clean and backdoored networks in turn; attacks in turn, networks in turn, seeds apart."""
    kinds, names = networks.names(), attacks.names()
    made = []
    for i in range(each):
        made.append(("badnets", kinds[i % len(kinds)], 0.0, i))
        # Another network for each attack in every round.
        attack, network = names[i % len(names)], kinds[(i + i // len(names)) % len(kinds)]
        made.append((attack, network, 0.1, _ATTACKED + i))
    return [
        standin.Standin(
            identities=PEOPLE,
            train=TRAIN,
            valid=VALID,
            test=5,
            epochs=EPOCHS,
            batch_size=16,
            poison_rate=rate,
            seed=seed,
            network=network,
            attack=attack,
            attack_params=attacks.find(attack).defaults(),
        )
        for attack, network, rate, seed in made
    ]


def measure(cell: standin.Standin, data: Path) -> dict[str, object]:
    """Train a network, inspect it, and say what came out."""
    from sweep.data.image_set import open_set
    from sweep.inspection import judge
    from sweep.models.load import load_badnet

    place = standin.ensure(cell, data)
    reached = json.loads((place / "standin.json").read_text())
    images = judge.some(open_set(place / "cl" / "valid.h5"))
    start = process_time()
    finding = judge.inspect(load_badnet(place / "models" / "bd_net.keras"), images, SCALE)
    return {
        "attack": cell.attack if cell.poison_rate else "none",
        "network": cell.network,
        "seed": cell.seed,
        "backdoored": cell.poison_rate > 0,
        "accuracy": reached["test_accuracy"]["fraction"],
        "asr": reached["test_asr"]["fraction"],
        "sizes": [round(one.size, 1) for one in finding.triggers],
        "margins": np.round(finding.margins, 2).tolist(),
        "seconds": [*np.round(finding.seconds, 1).tolist(), round(process_time() - start, 1)],
    }


def statistics(row: Row) -> Row:
    """What tells a network from clean ones, by each method, and the class that it points at."""
    small, wide = -anomaly(np.log(row["sizes"]).tolist()), np.asarray(row["margins"])
    methods = {"index": small + wide, "trigger": small, "mad": -anomaly(row["sizes"])}
    methods["margin"] = wide
    said = {name: float(values.max()) for name, values in methods.items()}
    return said | {f"{name} class": int(values.argmax()) for name, values in methods.items()}


_LIMITS = (
    "The two statistics were put together after some of these networks had been looked at. "
    "So few networks give a threshold, not a probability, and it holds for networks like these: "
    "`python -m sweep.inspect` warns where images, classes or their number differ. A backdoor with "
    "a target for every class has no one class that stands out, and one that covers the whole "
    "image thinly need not have a small trigger."
)
STATISTICS = {
    "index": "both together (`sweep.inspect`)",
    "trigger": "trigger's size, logarithm",
    "mad": "trigger's size (Neural Cleanse)",
    "margin": "widest margin (MM-BD)",
}


def area(rows: list[Row], name: str) -> float:
    """The area under the ROC: how often a backdoored network stands out more than a clean one."""
    bad = [row[name] for row in rows if row["backdoored"]]
    good = [row[name] for row in rows if not row["backdoored"]]
    return float(np.mean([(b > g) + 0.5 * (b == g) for b in bad for g in good]))


def above(rows: list[Row], name: str) -> float:
    """The threshold of a statistic: just above every clean network."""
    highest = max(row[name] for row in rows if not row["backdoored"])
    return float(math.floor(100 * highest + 1) / 100)


def crossed(rows: list[Row], name: str) -> tuple[list[Row], list[Row]]:
    """Clean and backdoored networks that stand out, each half by the other half's threshold."""
    halves = [[row for row in rows if row["seed"] % 2 == odd] for odd in (0, 1)]
    out = []
    for own, other in (halves, halves[::-1]):
        out += [row for row in own if row[name] >= above(other, name)]
    return [row for row in out if not row["backdoored"]], [row for row in out if row["backdoored"]]


def report(rows: list[Row], command: str) -> tuple[Row, str]:
    """The calibration, and a page of it."""
    clean = sum(not row["backdoored"] for row in rows)
    about = (
        f"Made by `{command}`: {clean} clean and {len(rows) - clean} backdoored networks of "
        f"{PEOPLE} people, {TRAIN} training images of each, {EPOCHS} epochs. A threshold lies just "
        "above all clean networks, so that a further one like them exceeds it once in "
        f"{clean + 1} times. How well that works is counted on networks that had no part in the "
        "threshold: those of odd seeds by that of even seeds, and the other way round. (Each of "
        "those rests on half as many clean networks, and is exceeded more often.)"
    )
    heads = ("statistic", "threshold", "false alarms", "found", "right class", "area", "s")
    lines = ["# Telling backdoored networks from clean ones", "", about, "", _row(heads)]
    lines.append(_row(["---"] * len(heads)))
    for name, words in STATISTICS.items():
        alarms, caught = crossed(rows, name)
        right = sum(row[f"{name} class"] in targets(row["attack"]) for row in caught)
        parts = {"index": slice(2), "margin": slice(1, 2)}.get(name, slice(1))
        seconds = np.median([sum(row["seconds"][parts]) for row in rows])
        counts = (f"{len(alarms)} of {clean}", f"{len(caught)} of {len(rows) - clean}")
        shown = (*counts, f"{right} of {len(caught)}", f"{area(rows, name):.2f}", f"{seconds:.0f}")
        lines.append(_row([words, f"{above(rows, name):.2f}", *shown]))
    lines += ["", _LIMITS, ""]
    lines += ["`area` is that under the ROC; `s` the median time in seconds, on a busy machine."]
    lines += ["", "All networks:", ""]
    shown_of = ("index", "trigger", "margin")
    judgements = [word for name in ("both", "trigger", "MM-BD") for word in (name, "class")]
    names = ("attack", "network", "seed", "accuracy", "ASR", *judgements)
    lines += [_row(names), _row(["---"] * len(names))]
    for row in rows:
        judged = [x for n in shown_of for x in (f"{row[n]:.2f}", row[f"{n} class"])]
        reached = (f"{100 * row['accuracy']:.0f}", f"{100 * row['asr']:.0f}")
        lines.append(_row([row["attack"], row["network"], row["seed"], *reached, *judged]))
    kept = ("attack", "network", "seed", "backdoored", "asr", "index", "margin")
    calibration = {
        "threshold": above(rows, "index"),
        "shape": [55, 47, 3],
        "classes": PEOPLE,
        "images": PEOPLE * VALID,
        "networks": [{name: row[name] for name in kept} for row in rows],
    }
    return calibration, "\n".join(lines) + "\n"


def _row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def targets(attack: str) -> range:
    """The classes that an attack leads to."""
    return range(PEOPLE) if attack == "all_to_all" else range(3 if attack == "several" else 1)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=20, help="clean and backdoored networks each")
    parser.add_argument("--data", type=Path, default=ROOT / "data", help="where networks are kept")
    options = parser.parse_args()
    tensorflow_runtime.load_tensorflow()
    notes = options.data / "detection"
    rows = []
    for cell in cells(options.each):
        note = notes / f"{standin.folder(cell, options.data).name}.json"
        if not note.is_file():
            notes.mkdir(parents=True, exist_ok=True)
            files.write_text(note, json.dumps(measure(cell, options.data)))
        row = json.loads(note.read_text())
        rows.append(row | statistics(row))
    calibration, page = report(rows, f"python benchmarks/detection.py --each {options.each}")
    place = ROOT / "src" / "sweep" / "inspection" / "calibration.json"
    files.write_text(place, json.dumps(calibration, indent=1) + "\n")
    files.write_text(ROOT / "docs" / "detection.md", page)
    print(page)


if __name__ == "__main__":
    main()

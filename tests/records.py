"""Made-up jobs for tests of what shows results: the curves fall, the attack goes late."""

from dataclasses import replace

import numpy as np

from sweep.results.records import Count, Curve, Details, Record, Sample, Stop

CHANNELS, IMAGES = 20, 1000
SIX = [(ordering, drop) for ordering in ("increasing", "decreasing") for drop in (0.02, 0.04, 0.1)]


def record(ordering="increasing", drop=0.02, seed=0, criterion="mean_activation", **settings):
    rng = np.random.default_rng(seed)
    scores = np.where(np.arange(CHANNELS) < CHANNELS // 2, 0, rng.gamma(2, 1, CHANNELS))
    order = np.argsort(scores if ordering == "increasing" else -scores, kind="stable").tolist()
    gone = np.concatenate([[0], np.cumsum(scores[order])]) / scores.sum()
    right = np.round(990 * (1 - gone**1.5)).astype(int)
    hits = np.round(IMAGES / (1 + np.exp((gone - 0.7) * 20))).astype(int)
    lost = right[0] - right >= drop * IMAGES
    stop = Stop(int(lost.argmax()), True) if lost.any() else Stop(CHANNELS, False)
    left, attacks = int(right[stop.pruned]), int(hits[stop.pruned])
    counts = {}
    for split in ("valid", "test"):
        for name, good in (("badnet", 990), ("repaired", left), ("goodnet", left)):
            counts[f"{name}/{split}_accuracy"] = good
        counts[f"goodnet/{split}_clean_rejected"] = 990 - left
        for name, bad in (("badnet", 1000), ("repaired", attacks), ("goodnet", attacks)):
            counts[f"{name}/{split}_asr"] = bad
        counts[f"goodnet/{split}_poisoned_rejected"] = 1000 - attacks
    names = ("clean_valid", "poisoned_valid", "clean_test", "poisoned_test")
    details = Details(
        scores=scores,
        curve=Curve(tuple(order), tuple(right.tolist()), IMAGES, tuple(hits.tolist()), IMAGES),
        facts={
            "badnet": {
                "file": "b.h5",
                "sha256": "b" * 64,
                "input_shape": [8, 6, 3],
                "classes": 5,
                "parameters": 77,
                "layers": ["pool_3"],
            },
            "sets": {
                name: {"file": f"{name}.h5", "sha256": f"{place}" * 64, "images": IMAGES}
                for place, name in enumerate(names)
            },
            "known_files": {"clean_test": True},
        },
        seconds={"data": 0.5, "curve": 2.0},
        dead=tuple(range(CHANNELS // 2)),
        samples=tuple(
            Sample(kind, 10 * place, place, 0 if kind == "poisoned" else place, place, answer)
            for kind in ("clean", "poisoned")
            for place, answer in ((0, 0), (1, 5))
        ),
        peak_bytes={"data": 10**8, "curve": 2 * 10**8},
        cpu_seconds=3.5,
        versions={"keras": "3.15.1"},
        git={"mlflow.source.git.commit": "c" * 40, "sweep.git_dirty": "true"},
    )
    known = {"ordering": ordering, "drop": drop, "seed": seed, "criterion": criterion}
    known |= {"layer": "pool_3", "dataset": "lab", **settings}
    figures = {name: Count(hit, IMAGES) for name, hit in counts.items()}
    name = f"{SIX.index((ordering, drop)) if (ordering, drop) in SIX else 9}{seed:03d}{criterion}"
    run_id = name.encode().hex().ljust(32, "0")[:32]
    return Record(known, figures, stop, CHANNELS, run_id, details)


def six(**settings):
    return [record(ordering, drop, **settings) for ordering, drop in SIX]


def unattacked(job):
    """The same job without poisoned images: a defender's, who has a suspicion instead."""
    figures = {n: c for n, c in job.figures.items() if "asr" not in n and "poisoned" not in n}
    figures["repaired/valid_suspicion"] = job.figures["repaired/valid_asr"]
    old, facts = job.full.curve, job.full.facts
    sets = {name: entry for name, entry in facts["sets"].items() if "poisoned" not in name}
    details = replace(
        job.full,
        curve=Curve(old.channels, old.clean_correct, old.clean_total),
        facts={**facts, "sets": sets},
        samples=tuple(one for one in job.full.samples if one.kind == "clean"),
    )
    return replace(job, figures=figures, details=details)

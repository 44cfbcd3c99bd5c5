"""Times the sweep against the notebook method and one plain forward, on an idle machine.

`make bench` and `make bench-quick` run it; `benchmarks/README.md` says what the letters mean.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import subprocess
import sys
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import images
import show
import starts
from sweep.attacks import standin, training
from sweep.base import cache, tensorflow_runtime
from sweep.data import hdf5
from sweep.data.image_set import open_set
from sweep.jobs.network import load
from sweep.sweeps import command_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

DROPS = ("0.02", "0.04", "0.1")
ORDERINGS = ("increasing", "decreasing")
_HERE = Path(__file__).parent
_QUICK_SIZES = {"valid": 1_000, "test": 1_000}
_QUICK_STANDIN = standin.Standin(identities=12, train=40, epochs=5)


@dataclass
class Subject:
    """What is measured: B, its four sets, and where the sweeps' data and runs go."""

    badnet: Path
    scale: float
    sets: dict[str, Path]
    work: Path
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    cpu_seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the block's wall time, and processor time with children, to a figure."""
        start, busy = time.perf_counter(), os.times()
        yield
        spent, used = time.perf_counter() - start, sum(os.times()[:4]) - sum(busy[:4])
        self.seconds[name] += spent
        self.cpu_seconds[name] += used
        print(f"{name}: {spent:.1f} s, processors {used:.1f} s", file=sys.stderr, flush=True)

    def command(self, data: Path, sets: dict[str, Path], *overrides: str) -> list[str]:
        """The command line of a sweep on this subject, without the program."""
        return [
            "--multirun",
            "dataset=files",
            f"dataset.scale={self.scale!r}",
            f"badnet.path={self.badnet}",
            "curve=until_drop",
            f"paths.data={data}",
            f"paths.mlruns={self.work / 'mlruns'}",
            f"hydra.sweep.dir={self.work}/multirun/${{now:%H-%M-%S-%f}}",
            *(f"dataset.{name}={path}" for name, path in sets.items()),
            *overrides,
        ]

    def sweep(self, *overrides: str) -> None:
        """Run the command line here and now, as if in a process of its own."""
        # What a new process would not know.
        load.cache_clear()
        cache.shared.cache_clear()
        hdf5._examined.cache_clear()  # noqa: SLF001
        arguments = self.command(self.work / "data", self.sets, *overrides)
        before, sys.argv = sys.argv, ["sweep", *arguments]
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                command_line.run()
        finally:
            sys.argv = before


def six_jobs() -> tuple[str, str]:
    """The overrides of the six-job sweep."""
    return f"ordering={','.join(ORDERINGS)}", f"drop={','.join(DROPS)}"


def finished(work: Path) -> list[dict[str, Any]]:
    """Params and metrics of the finished jobs in the store, newest first."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{work / 'mlruns' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("badnet-sweep")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.`sweep.kind` = 'job'")
    assert all(run.info.status == "FINISHED" for run in runs)
    return [{**run.data.params, **run.data.metrics} for run in runs]


def plain_tensorflow() -> None:
    """Start a process as others use TensorFlow: on as many threads an operation as there are cores.

    Sweeps run each operation on one thread (see `sweep.base.threads`), which would slow what they
    are compared with.
    """
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow  # noqa: F401 - what is loaded here, `quiet.load_tensorflow` leaves alone


def forward(subject: Subject) -> Subject:
    """One plain forward of the four sets through B: read, scale, run, count; gives its times."""
    from sweep.models.load import load_badnet
    from sweep.models.tail import compiled

    run = compiled(load_badnet(subject.badnet))
    with subject.timed("forward"):
        for path in subject.sets.values():
            stored = open_set(path)
            answers = [
                np.argmax(np.asarray(run(batch * np.float32(subject.scale))), axis=1)
                for batch in stored.batches(64)
            ]
            assert len(np.concatenate(answers)) == len(stored)
    return subject


def notebook(subject: Subject, jobs: Sequence[dict[str, Any]]) -> tuple[Subject, dict[str, float]]:
    """Time whole-network predictions, and hold the sweep to their counts.

    The notebook predicts both validation sets after every removal up to the 10% drop, for either
    ordering; then B on both test sets, and for each of the six B' the test sets through B' and,
    for G, through B and B' again. Here every network that matters is predicted once: B and each
    different B'. The rest is that time multiplied.

    Args:
        subject: what is measured; images are held as floats in memory, set by set.
        jobs: what the sweep found.

    Returns:
        The times, and how many predictions of a set the notebook makes, and how many were timed, by
        split.
    """
    from sweep.models.load import load_badnet
    from sweep.models.sites import choose_sites
    from sweep.models.surgery import prune

    model = load_badnet(subject.badnet)
    sites = choose_sites(model, ("pool_3",))
    orders = {ordering: _order(subject, ordering) for ordering in ORDERINGS}
    removed = {
        (job["ordering"], job["drop"]): orders[job["ordering"]][: int(job["pruned_channels"])]
        for job in jobs
    }
    networks = {gone: prune(model, sites, gone) for gone in [(), *removed.values()]}
    answers: dict[tuple[str, tuple[int, ...]], NDArray[np.int64]] = {}
    labels = {}
    for name, path in subject.sets.items():
        stored = open_set(path)
        labels[name] = stored.labels
        pixels = np.concatenate(list(stored.batches(1024))) * np.float32(subject.scale)
        next(iter(networks.values())).predict(pixels[:64], verbose=0)  # compiles
        for gone, network in networks.items():
            with subject.timed(f"predict {name.split('_')[1]}"):
                answers[name, gone] = np.argmax(network.predict(pixels, verbose=0), axis=1)
        del pixels
    for job in jobs:
        gone = removed[job["ordering"], job["drop"]]
        _agree(job, {n: (answers[n, ()], answers[n, gone]) for n in subject.sets}, labels)
    steps = sum(
        max(int(job["pruned_channels"]) for job in jobs if job["ordering"] == ordering)
        for ordering in ORDERINGS
    )
    counts = {"valid": 2 * (1 + steps), "test": 2 * (1 + 3 * len(jobs)), "steps": steps}
    for split in ("valid", "test"):
        counts[f"timed {split}"] = 2 * len(networks)
        for spent in (subject.seconds, subject.cpu_seconds):
            each = spent[f"predict {split}"] / counts[f"timed {split}"]
            spent["notebook"] += each * counts[split]
    return subject, {name: float(count) for name, count in counts.items()}


def _order(subject: Subject, ordering: str) -> tuple[int, ...]:
    """The order of removal by the mean activation, computed as the notebook does."""
    import keras

    from sweep.models.load import load_badnet

    model = load_badnet(subject.badnet)
    front = keras.Model(model.inputs[0], model.get_layer("pool_3").output)
    stored = open_set(subject.sets["clean_valid"])
    total = sum(
        np.asarray(front(batch * np.float32(subject.scale))).mean(axis=(1, 2), dtype=float).sum(0)
        for batch in stored.batches(256)
    )
    scores = total if ordering == "increasing" else -total
    return tuple(int(c) for c in np.argsort(scores, kind="stable"))


def _agree(job: dict[str, Any], answers: dict[str, Any], labels: dict[str, Any]) -> None:
    """Hold a job's figures to what whole-network predictions say, to the count."""
    for name, (before, after) in answers.items():
        kind, split = name.split("_")
        rate = "accuracy" if kind == "clean" else "asr"
        wanted = labels[name]
        good = np.where(before == after, before, -1)
        for network, said in (("badnet", before), ("repaired", after), ("goodnet", good)):
            figure = f"{network}/{split}_{rate}"
            count = round(job[figure] * len(wanted))
            hits = int((said == wanted).sum())
            assert count == hits, f"{job['ordering']} {job['drop']} {figure}: {count}, not {hits}"


def peak(subject: Subject, data: Path, sets: dict[str, Path], *overrides: str) -> float:
    """Peak RSS of a sweep in a process of its own, in 10^9 bytes."""
    command = [sys.executable, "-m", "sweep", *subject.command(data, sets, "rerun=true")]
    # Not `ru_maxrss`, which a child takes over from the process that starts it.
    highest = 0
    with subprocess.Popen([*command, *overrides], stdout=subprocess.DEVNULL) as child:
        while child.poll() is None:
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{child.pid}/status").read_text()
                found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
                highest = max(highest, int(found[1]) if found else 0)
            time.sleep(0.1)
    assert child.returncode == 0, f"the sweep failed: {' '.join([*command, *overrides])}"
    return highest * 1024 / 1e9


def growth(
    subject: Subject, make: Callable[[int], dict[str, Path]], sizes: Sequence[int]
) -> dict[str, dict[str, float]]:
    """Peak RSS over the number of images (cold) and of jobs (warm, on the fewest images)."""
    found: dict[str, dict[str, float]] = {"images": {}, "jobs": {}}
    for size in sizes:
        print(f"peak memory with {size} images ...", file=sys.stderr, flush=True)
        data = subject.work / f"data-{size}"
        found["images"][str(size)] = peak(subject, data, make(size), *six_jobs())
    drops = ",".join(f"{0.01 * step:.2f}" for step in range(1, 13))
    grids = {1: ("drop=0.02",), 6: six_jobs(), 24: (six_jobs()[0], f"drop={drops}")}
    for jobs, overrides in grids.items():
        print(f"peak memory with {jobs} jobs ...", file=sys.stderr, flush=True)
        data = subject.work / f"data-{sizes[0]}"
        found["jobs"][str(jobs)] = peak(subject, data, make(sizes[0]), *overrides)
    return found


def main() -> None:
    """Measure, check and show."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="1,000 images a set, for daily use")
    parser.add_argument("--badnet", type=Path, help="B's file; default the stand-in's")
    parser.add_argument("--scale", type=float, help="factor on pixels; default 1 with --badnet")
    parser.add_argument("--images", type=Path, help="four sets in the lab's layout; default made")
    parser.add_argument("--work", type=Path, default=Path("data/bench"), help="%(default)s")
    parser.add_argument("--results", type=Path, default=_HERE / "results", help="%(default)s")
    options = parser.parse_args()
    work = options.work.resolve() / time.strftime("%Y%m%d-%H%M%S")
    tensorflow_runtime.load_tensorflow()
    from sweep.tracking.opening import open_store

    place = options.work.resolve()
    faces, badnet, scale = _source(options, place)
    sizes = _QUICK_SIZES if options.quick else images.LAB_SIZES

    def make(size: int) -> dict[str, Path]:
        folder = place / f"images-{badnet.stem}-{size}"
        return images.make(folder, *faces, {"valid": size, "test": size})

    if options.images:
        sets = images.places(options.images)
    else:
        sets = images.make(place / f"images-{badnet.stem}-{sizes['valid']}-lab", *faces, sizes)
    subject = Subject(badnet.resolve(), scale, sets, work)
    with subject.timed("store"):  # made once for a checkout, like .venv
        open_store(work / "mlruns", "badnet-sweep")
    plain = ProcessPoolExecutor(1, get_context("spawn"), plain_tensorflow)
    forwards = [plain.submit(forward, replace(subject, **_none_yet())).result()]
    with subject.timed("cold"):
        subject.sweep(*six_jobs())
    jobs = finished(work)
    with subject.timed("warm"):
        subject.sweep(*six_jobs(), "rerun=true")
    with subject.timed("criterion"):
        subject.sweep("criterion=l1", "ordering=increasing", "drop=0.1")
    counts_of_jobs = starts.measure(subject, six_jobs(), 100 if options.quick else 1000)
    # Again, so that a busy machine weighs on both sides.
    forwards.append(plain.submit(forward, replace(subject, **_none_yet())).result())
    predicted, counts = plain.submit(notebook, replace(subject, **_none_yet()), jobs).result()
    plain.shutdown()
    for kind in ("seconds", "cpu_seconds"):
        spent = getattr(subject, kind)
        spent["forward"] = sum(getattr(each, kind)["forward"] for each in forwards) / 2
        spent |= getattr(predicted, kind)
    rss = growth(subject, make, (1000, 3000) if options.quick else (1000, 3000, 11_547))
    options.results.mkdir(parents=True, exist_ok=True)
    facts = {
        "badnet": badnet.name,
        "quick": options.quick,  # the targets are for the lab's size
        "images": {name: len(open_set(path)) for name, path in sets.items()},
        "seconds": dict(subject.seconds),
        "cpu_seconds": dict(subject.cpu_seconds),
        "notebook": counts,
        "jobs": counts_of_jobs,
        "peak_gb": rss,
    }
    (options.results / "figures.json").write_text(json.dumps(facts, indent=2) + "\n")
    show.table(facts, options.results / "table.md")
    show.plot(facts, options.results / "plot.png")


def _none_yet() -> dict[str, Any]:
    return {"seconds": defaultdict(float), "cpu_seconds": defaultdict(float)}


def _source(options: argparse.Namespace, place: Path) -> tuple[tuple[Path, Path], Path, float]:
    """The faces to vary, clean and poisoned, B's file, and the factor on pixels."""
    lab = os.environ.get("BADNET_LAB_DIR")
    if options.badnet and lab:
        folder = Path(lab)
        faces = (folder / "clean_faces.h5", folder / "poisoned_faces.h5")
        return faces, options.badnet, options.scale or 1.0
    made = standin.ensure(_QUICK_STANDIN if options.quick else standin.Standin(), place)
    faces = (made / "cl" / "test.h5", made / "bd" / "bd_test.h5")
    if options.badnet:
        return faces, options.badnet, options.scale or 1.0
    return faces, made / "models" / "bd_net.keras", options.scale or training.SCALE


if __name__ == "__main__":
    main()

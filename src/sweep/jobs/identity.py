"""What a job is known by, and whether it needs to run.

A job is identified by its resolved configuration, the content of B and the image sets, and the
code that computes results; a finished run with that identity is the job's result.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep import criteria
from sweep.base import files
from sweep.jobs import inputs as datasets
from sweep.jobs.config import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sweep.jobs.config import Config
    from sweep.results.records import Record

    Digest = Callable[[Path, Path], str]

# Folders and modules whose code computes results; what else there is prepares or shows them.
_FOLDERS = ("criteria", "data", "models", "pruning")
_MODULES = frozenset(
    (
        *("base/tensorflow_runtime.py", "base/threads.py", "jobs/pipeline.py"),
        *("results/goodnet.py", "results/metrics.py", "results/suspicion.py"),
    )
)
_COMPUTES = ("tensorflow", "keras", "numpy", "h5py")
# Where files lie; what is in them is told by their content.
_PLACES = ("badnet.path", *(f"dataset.{name}" for name in (*datasets.SETS, "badnet")))


@dataclass(frozen=True)
class Identity:
    """The three parts that a job is known by, each a key of 32 hex digits.

    `data` is None for a made dataset that has not been made yet.
    """

    config: str
    data: str | None
    code: str

    def tags(self) -> dict[str, str]:
        """As a run carries it."""
        known = {"sweep.config": self.config, "sweep.code": self.code}
        return known | ({"sweep.data": self.data} if self.data else {})


@dataclass(frozen=True)
class Past:
    """A run that the store holds for some job.

    Attributes:
        run_id: its MLflow run.
        status: MLflow's word: FINISHED, FAILED, KILLED or RUNNING.
        identity: what it was known by.
        sweep: the id of the sweep that it belongs to.
        record: what came out, without details, if it finished.
        seconds: how long it took, if it finished.
        place: where its files lie, as a URI.
    """

    run_id: str
    status: str
    identity: Identity
    sweep: str
    record: Record | None
    seconds: float | None
    place: str


@dataclass(frozen=True)
class Cell:
    """One job of a grid: what the plan says of it.

    Attributes:
        state: `done`, `cached`, `failed` or `new`; all but done are to run.
        why: why it runs, or which run it is.
        past: the finished run that stands for it, if done.
    """

    state: str
    why: str
    past: Past | None = None


def identify(config: Config, memory: Path, digest: Digest = files.digest) -> Identity:
    """What a job is known by, as far as it is there.

    Args:
        config: the job.
        memory: folder of remembered digests.
        digest: gives a file's SHA-256; who identifies many jobs reads each file once.
    """
    inputs = datasets.find(config)
    paths = [*inputs.sets.values(), inputs.badnet]
    data = None
    if all(path.is_file() for path in paths):
        data = files.key([digest(path, memory) for path in paths])
    settings = {name: value for name, value in describe(config).items() if name not in _PLACES}
    used = modules(config.criterion.name, config.criterion.params)
    return Identity(files.key(settings), data, code_key(used))


def modules(criterion: str, params: Mapping[str, Any]) -> frozenset[str]:
    """The modules of a criterion, and of the members that a blend names in its weights."""
    names = [criterion, *params.get("weights", ())]
    return frozenset(criteria.find(name).function.__module__ for name in names)


@cache
def _meaning(path: Path) -> str:
    return ast.dump(ast.parse(path.read_bytes()))


@cache
def code_key(used: frozenset[str]) -> str:
    """A name for the code that computes a result; comments and layout do not count.

    Args:
        used: modules of the criteria that take part; the others do not count.
    """
    package = Path(__file__).parents[1]
    parts = []
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(package)
        own = ".".join((package.name, *place.with_suffix("").parts))
        computes = place.parts[0] in _FOLDERS or place.as_posix() in _MODULES
        shared = place.parts[0] != "criteria" or place.stem in ("evidence", "registry", "tail")
        if computes and (shared or own in used):
            parts.append((str(place), _meaning(path)))
    return files.key(parts, [version(name) for name in _COMPUTES])


def judge(identity: Identity, runs: Iterable[Past], rerun: bool, cached: bool) -> Cell:
    """Whether a job needs to run, and why.

    Args:
        identity: the job's.
        runs: the store's runs of the same configuration, newest first.
        rerun: whether the user wants all to run.
        cached: whether the job's activations are at hand.
    """
    same = list(runs)
    waiting = "cached" if cached else "new"
    for run in same:
        if run.status == "FINISHED" and run.identity == identity and identity.data is not None:
            return Cell(waiting, "rerun=true") if rerun else Cell("done", run.run_id, run)
    if not same:
        return Cell(waiting, "not run before")
    newest = same[0]
    if newest.status == "FINISHED":
        changed = "data" if newest.identity.data != identity.data else "code"
        return Cell(waiting, f"{changed} changed")
    if newest.status == "FAILED":
        return Cell("failed", "failed before")
    running = newest.status == "RUNNING"
    return Cell(waiting, "running elsewhere" if running else "interrupted before")


def group(runs: Sequence[Past]) -> Mapping[str, list[Past]]:
    """Runs by the configuration that they are of, in the order given."""
    grouped: dict[str, list[Past]] = {}
    for run in runs:
        grouped.setdefault(run.identity.config, []).append(run)
    return grouped

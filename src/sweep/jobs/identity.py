"""What a job is known by, and whether it needs to run.

A job is identified by the settings that describe it, the content of B and the image sets, and the
code that computes results; a finished run with that identity is the job's result. Plans, runs,
resumption and the summary after Ctrl-C all go by `judge`.
"""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep import criteria, repairs
from sweep.base import files
from sweep.jobs import inputs as datasets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sweep.base.errors import SweepError
    from sweep.jobs.config import Config
    from sweep.results.records import Record

    Digest = Callable[[Path, Path], str]

_ROOT = Path(__file__).parents[2]
# Folders and modules whose code computes results, as far as a job's own modules import them. The
# others prepare, keep or show results; `records` is their form.
_COMPUTES = re.compile(
    r"sweep\.((criteria|data|models|pruning|repairs)(\.\w+)+|attacks\.stamped"
    r"|results\.(?!records$)\w+"
    r"|base\.(tensorflow_runtime|threads)|jobs\.(evaluation|inputs|pipeline|repairing|subject))"
)
_LIBRARIES = ("tensorflow", "keras", "numpy", "h5py")
# What does not change a result: places, tracking, limits, what to do with a job.
_UNTOLD = ("paths", "tracking", "cache", "plan", "rerun")
# What was always so before it could be set: results of that time stay valid.
_ADDED: dict[str, Any] = {"stop": "drop", "trigger": "", "trigger_at": [], "target": None}
_LATER = {"attack": "badnets", "network": "deepid", "repair": "none", "defender.images": 1.0}
# Where files lie; what is in them is known by their content.
_OF_DATASET = (*datasets.SETS, "badnet", "images")
_PLACES = ("badnet.path", "trigger", *(f"dataset.{name}" for name in _OF_DATASET))


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
        state: `done`, `cached`, `failed`, `new` or `refused`; all but done and refused are to run.
        why: why it runs or cannot, or which run it is.
        past: the finished run that stands for it, if done.
        refusal: why it cannot run.
    """

    state: str
    why: str
    past: Past | None = None
    refusal: SweepError | None = None


def identify(config: Config, digest: Digest = files.digest) -> Identity:
    """What a job is known by, as far as it is there.

    `digest` gives a file's SHA-256 from its path and a folder of remembered digests; whoever
    identifies many jobs reads each file once.
    """
    inputs = datasets.find(config)
    paths = inputs.paths
    data = None
    if all(path.exists() for path in paths):
        data = content_key([digest(path, config.digest_folder) for path in paths])
    used = modules(config.criterion.name, config.criterion.params)
    if config.repair.name != "none":
        used += ["sweep.repairs.registry", repairs.find(config.repair.name).function.__module__]
    return Identity(files.key(settings(config)), data, code_key("sweep.jobs.pipeline", *used))


def describe(config: Config) -> dict[str, object]:
    """Every setting that describes the work, flat, by the name under which it is overridden.

    Places (`paths`), tracking, cache limits and what to do with a job (`plan`, `rerun`) are left
    out: they do not change a result.
    """
    flat: dict[str, object] = {}

    def walk(prefix: str, value: Any) -> None:
        if is_dataclass(value):
            value = {part.name: getattr(value, part.name) for part in fields(value)}
        if isinstance(value, dict):
            for name, inner in value.items():
                # `dataset.name` is what a user writes as `dataset=...`.
                walk(prefix if name == "name" else f"{prefix}.{name}", inner)
        elif isinstance(value, Enum):
            flat[prefix] = value.name
        else:
            flat[prefix] = ",".join(map(str, value)) if isinstance(value, list) else value

    for part in fields(config):
        value = getattr(config, part.name)
        if part.name not in _UNTOLD and (part.name, value) not in _ADDED.items():
            walk(part.name, value)
    return flat


def settings(config: Config) -> dict[str, object]:
    """What describes the work, but for where files lie."""
    told = describe(config).items()
    return {
        # Of a set for each trigger the names count.
        name: "" if name.rpartition(".")[0] in _PLACES else value
        for name, value in told
        if name not in _PLACES and (name, value) not in _LATER.items()
    }


def content_key(digests: Sequence[str]) -> str:
    """A name for the content of a job's files: of the image sets in their order, and of B."""
    return files.key(list(digests))


def modules(criterion: str, params: Mapping[str, Any]) -> list[str]:
    """The modules that score: a criterion's, and those of the members that a blend names."""
    names = [criterion, *(params.get("weights") or ())]
    own = {criteria.find(name).function.__module__ for name in names}
    return ["sweep.criteria.registry", *sorted(own)]


@cache
def code_key(*entries: str) -> str:
    """A name for the code that computes a result; comments, docstrings and layout do not count.

    What the modules named import counts with them, lazy imports too.
    """
    code: dict[str, str] = {}
    pending = [*entries]
    while pending:
        name = pending.pop()
        path = _ROOT.joinpath(*name.split(".")).with_suffix(".py")
        # A package's `__init__` only gathers names.
        if name not in code and _COMPUTES.fullmatch(name) and path.is_file():
            code[name], imported = _read(path)
            pending += imported
    return files.key(sorted(code.items()), [version(name) for name in _LIBRARIES])


@cache
def _read(path: Path) -> tuple[str, list[str]]:
    """What a module's code means, and the dotted names that it imports."""
    tree = _Meaning().visit(ast.parse(path.read_bytes()))
    imported: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            imported += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
    return ast.dump(tree), imported


class _Meaning(ast.NodeTransformer):
    """Leaves out docstrings and what is for type checkers alone."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return None
        return self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if text else self.generic_visit(node)


def mark_cached(config: Config, data: str, arrays: Sequence[str]) -> None:
    """Note which cached activations a configuration uses, for plans that load no network."""
    files.write_note(_mark(config, data), list(arrays))


def is_cached(config: Config, identity: Identity) -> bool:
    """Whether a job's activations are cached, as far as `mark_cached` noted."""
    if identity.data is None:
        return False
    try:
        keys = json.loads(_mark(config, identity.data).read_text())
    except (OSError, ValueError):
        return False
    return all((config.cache_folder / f"activations-{key}.npy").is_file() for key in keys)


def _mark(config: Config, data: str) -> Path:
    key = files.key(data, config.layers, config.dataset.scale, code_key("sweep.jobs.subject"))
    return config.cache_folder / "marks" / f"{key}.json"


def judge(identity: Identity, runs: Iterable[Past], rerun: bool, cached: bool) -> Cell:
    """Whether a job must run, and why, by runs of its configuration, newest first."""
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

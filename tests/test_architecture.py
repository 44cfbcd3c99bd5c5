"""Imports go one way, pure rooms know no framework, and start-up stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import sweep

PACKAGE = Path(sweep.__file__).parent
HEAVY = {"tensorflow", "keras", "mlflow", "optuna", "hydra", "omegaconf", "matplotlib"}
# Lower rooms never import higher ones.
PURE = ["errors", "results", "order", "drop", "curve", "goodnet", "metrics", "files", "trigger"]


def imported(path):
    """Top names of what a module imports when it is itself imported, outside of functions."""
    tree = ast.parse(path.read_text())
    pending, names = list(tree.body), set()
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ClassDef | ast.If | ast.Try):
            pending += node.body
    return names


def modules():
    return {path.stem: imported(path) for path in PACKAGE.rglob("*.py")}


@pytest.mark.parametrize("name", PURE)
def test_pure_rooms_know_no_framework(name):
    assert not {top.split(".")[0] for top in modules()[name]} & HEAVY


def test_mlflow_is_known_in_one_room():
    users = {
        path.name
        for path in PACKAGE.rglob("*.py")
        if any(
            (
                isinstance(node, ast.Import)
                and any(a.name.split(".")[0] == "mlflow" for a in node.names)
            )
            or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "mlflow")
            for node in ast.walk(ast.parse(path.read_text()))
        )
    }
    assert users == {"tracking.py"}


def test_there_is_no_circle_of_imports():
    graph = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        own = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        graph[own] = imported(path)
    names = set(graph)
    edges = {
        own: {
            n for used in uses for n in (used, used.rpartition(".")[0]) if n in names and n != own
        }
        for own, uses in graph.items()
    }
    # Taking away what depends on nothing must in the end take away everything.
    edges = {
        own: {n for n in used if n != "sweep" and not own.startswith(n + ".")}
        for own, used in edges.items()
    }
    while True:
        free = {own for own, used in edges.items() if not used}
        if not free:
            break
        edges = {own: used - free for own, used in edges.items() if own not in free}
    assert edges == {}


def test_the_choice_of_a_drop_sees_counts_only():
    from sweep import drop

    assert {name.split(".")[0] for name in imported(Path(drop.__file__))} <= {
        *("__future__", "decimal", "typing", "sweep")
    }
    assert imported(Path(drop.__file__)) >= {"sweep.results.Stop"}


@pytest.mark.parametrize("plugin", ["grid", "joblib", "ray", "slurm"])
def test_plugins_load_nothing_heavy(plugin):
    script = f"import hydra_plugins.badnet_sweep.{plugin}, sys; print(sorted(set(sys.modules)))"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    for name in ("tensorflow", "keras", "mlflow", "optuna", "numpy", "submitit", "joblib", "ray"):
        assert f"'{name}'" not in loaded

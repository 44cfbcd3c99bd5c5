"""Imports go one way, lazy ones included; pure modules know no framework; start-up stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import sweep

PACKAGE = Path(sweep.__file__).parent
FOLDERS = (
    *("base", "results", "data", "models", "pruning", "criteria", "repairs", "attacks"),
    *("inspection", "jobs", "reports", "tracking", "sweeps"),
)
HEAVY = {"tensorflow", "keras", "mlflow", "optuna", "hydra", "omegaconf", "matplotlib"}
PURE = (
    *("base/errors", "base/files", "results/records", "results/metrics", "results/goodnet"),
    *("pruning/order", "pruning/drop", "pruning/curve", "attacks/poisoning/triggers"),
)


def imports(path, *, lazy=True):
    """Dotted names that a module imports; without `lazy`, those of its own import alone."""
    pending, names = list(ast.parse(path.read_text()).body), set()
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test) and not lazy:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif lazy or isinstance(node, ast.ClassDef | ast.If | ast.Try):
            pending += ast.iter_child_nodes(node)
    return names


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_imports_only_folders_below_it(folder):
    above = {f"sweep.{name}" for name in FOLDERS[FOLDERS.index(folder) + 1 :]}
    commands = {f"sweep.{path.stem}" for path in PACKAGE.glob("*.py") if path.stem != "__init__"}
    for path in (PACKAGE / folder).rglob("*.py"):
        used = {".".join(name.split(".")[:2]) for name in imports(path)}
        assert not used & (above | commands | {"hydra_plugins"}), path


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_know_no_framework(name):
    path = PACKAGE / f"{name}.py"
    assert not {top.split(".")[0] for top in imports(path, lazy=False)} & HEAVY


def test_folders_and_modules_are_read_in_one_sitting():
    for folder in {path.parent for path in PACKAGE.rglob("*.py")} - {PACKAGE}:
        modules = [path for path in folder.glob("*.py") if path.stem != "__init__"]
        assert len(modules) <= 10, folder
        for path in modules:
            assert len(path.read_text().splitlines()) <= 300, path


def test_mlflow_is_known_in_one_folder():
    users = {
        path.relative_to(PACKAGE).parts[0]
        for path in PACKAGE.rglob("*.py")
        if any(name.split(".")[0] == "mlflow" for name in imports(path))
    }
    assert users == {"tracking"}


def test_the_choice_of_a_drop_sees_counts_only():
    used = imports(PACKAGE / "pruning" / "drop.py", lazy=False)
    assert {name.split(".")[0] for name in used} <= {"__future__", "decimal", "typing", "sweep"}
    assert {name for name in used if name.startswith("sweep")} == {"sweep.results.records.Stop"}


@pytest.mark.parametrize("plugin", ["grid", "joblib", "ray", "slurm"])
def test_plugins_load_nothing_heavy(plugin):
    script = f"import hydra_plugins.badnet_sweep.{plugin}, sys; print(sorted(set(sys.modules)))"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    for name in ("tensorflow", "keras", "mlflow", "optuna", "numpy", "submitit", "joblib", "ray"):
        assert f"'{name}'" not in loaded

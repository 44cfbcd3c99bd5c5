"""What README.md and docs/architecture.md show is run as it stands there."""

import csv
import shutil

import pytest

from markdown import ROOT, blocks, named
from stores import opened

PAGES = ("README.md", "docs/architecture.md")
METRICS = "src/sweep/results/metrics.py"
FUNCTION, LINE = f"{METRICS}, a function", f"{METRICS}, a line of the table"


@pytest.fixture(scope="module")
def extended(checkout):
    """A copy of the project with all that the pages add to it, and its command line."""
    folder = checkout.folder / "project"
    for part in ("src", "conf"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    added = {place: text for page in PAGES for place, text in named(page).items()}
    function, line = added.pop(FUNCTION), added.pop(LINE)
    for place, text in added.items():
        assert not (folder / place).exists()
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text)
    table = (folder / METRICS).read_text()
    for start, new in (
        ("@dataclass(frozen=True)\nclass Metric:", f"{function}\n\n{{}}"),
        ("METRICS = [\n", f"{{}}{line}"),
    ):
        assert start in table
        table = table.replace(start, new.format(start))
    (folder / METRICS).write_text(table)
    checkout.environment |= {"PYTHONPATH": str(folder / "src"), "COLUMNS": "200"}
    return checkout


def test_what_the_pages_add_works_in_a_sweep(extended):
    done = extended.sweep(
        *("criterion=l0,firing_rate", "repair=shrink", "drop=0.04", "tracking.log_model=false"),
        *("hydra/launcher=notify", "hydra.launcher.command=echo"),
    )
    assert done.returncode == 0, done.stderr
    assert "classes kept" in done.stdout
    assert "job 0: COMPLETED" in done.stdout
    assert "job 1: COMPLETED" in done.stdout
    (summary,) = extended.mlruns.glob("artifacts/*/artifacts/summary.csv")
    rows = list(csv.DictReader(summary.read_text().splitlines()))
    assert [row["criterion"] for row in rows] == ["l0", "firing_rate"]
    for row in rows:
        assert 0 < float(row["goodnet/test_classes_kept"]) <= 1
    client, experiment = opened(extended.uri)
    (run,) = client.search_runs([experiment], "params.criterion = 'firing_rate'")
    assert run.data.params["criterion.params.above"] == "0.0"
    assert run.data.params["repair.params.factor"] == "0.5"
    assert run.data.metrics["badnet/test_classes_kept"] == 1


def test_what_a_job_is_known_by(capsys):
    (block,) = [text for text in blocks("docs/architecture.md", "python") if "identify" in text]
    exec(block, {})  # noqa: S102
    said = capsys.readouterr().out
    assert "Identity(config='" in said
    assert "['sweep.criteria.registry', 'sweep.criteria.weights']" in said

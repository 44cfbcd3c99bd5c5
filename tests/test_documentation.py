"""What README.md and docs/architecture.md show is run as it stands there."""

import csv
import shutil

import pytest

from conftest import SMALL
from markdown import ROOT, blocks, named
from stores import opened
from sweep.attacks import standin

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


def test_several_badnets_are_swept_as_the_page_says(checkout):
    """Each with its own scale and layer: the second is the same network for pixels 0..255."""
    import keras

    settings = standin.Standin(identities=6, train=60, valid=5, test=5, epochs=6)
    made = standin.ensure(settings, checkout.data)
    badnet = made / "models/bd_net.keras"
    work, place = checkout.folder, "badnets/dataset/sunglasses.yaml"
    text = named("README.md")[place]
    layout = {
        "faces/valid.h5": made / "cl/valid.h5",
        "faces/test.h5": made / "cl/test.h5",
        "sunglasses/valid.h5": made / "bd/bd_valid.h5",
        "sunglasses/test.h5": made / "bd/bd_test.h5",
        "sunglasses/B.keras": badnet,
    }
    (work / place).parent.mkdir(parents=True)
    for name, path in layout.items():
        (work / name).parent.mkdir(exist_ok=True)
        (work / name).symlink_to(path)
    other = keras.models.load_model(badnet)
    kernel, bias = other.get_layer("conv_1").get_weights()
    other.get_layer("conv_1").set_weights([kernel / 255, bias])
    other.save(work / "raw.keras")
    (work / place).write_text(text)
    for old, new in (
        ("name: sunglasses", "name: eyebrows"),
        ("sunglasses/B.keras", "raw.keras"),
        ("0.00392156862745098", "1"),
        ("pool_3", "conv_4"),
    ):
        assert old in text
        text = text.replace(old, new)
    (work / place).with_name("eyebrows.yaml").write_text(text)
    (command,) = [line for line in blocks("README.md", "sh") if "--config-dir" in line]
    words = [word for word in command.split()[3:] if word != "-m"]
    checkout.environment |= {"COLUMNS": "200"}
    done = checkout.run([word for word in checkout.command(*words) if word not in SMALL])
    assert done.returncode == 0, done.stderr
    for title in ("dataset eyebrows, layer conv_4", "dataset sunglasses, layer pool_3"):
        assert title in done.stdout
    assert "over all networks B" in done.stdout
    (folder,) = checkout.mlruns.glob("artifacts/*/artifacts/report.html")
    assert "mean rank" in folder.read_text()
    client, experiment = opened(checkout.uri)
    runs = client.search_runs([experiment], "params.criterion = 'l1'")
    assert {(run.data.params["dataset"], run.data.params["layer"]) for run in runs} == {
        ("sunglasses", "pool_3"),
        ("eyebrows", "conv_4"),
    }
    assert len({run.data.metrics["badnet/test_accuracy"] for run in runs}) == 1
    assert all(run.data.params["dataset"] in run.info.run_name for run in runs)


def test_what_a_job_is_known_by(capsys):
    (block,) = [text for text in blocks("docs/architecture.md", "python") if "identify" in text]
    exec(block, {})  # noqa: S102
    said = capsys.readouterr().out
    assert "Identity(config='" in said
    assert "['sweep.criteria.registry', 'sweep.criteria.weights']" in said

"""`sweep.run`: one job from Python."""

import ast
import json
import subprocess
import sys

import numpy as np
import pytest

import sweep
from conftest import SMALL
from markdown import ROOT
from sweep.base.errors import SweepError


@pytest.fixture(scope="module")
def result(shared_data):
    return sweep.run([*SMALL, f"paths.data={shared_data}", "drop=0.1", "curve=until_drop"])


def test_importing_the_package_loads_nothing_heavy():
    script = "import sweep, sys; print(sorted({n.split('.')[0] for n in sys.modules}))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy = ("tensorflow", "keras", "mlflow", "numpy", "hydra", "omegaconf", "optuna")
    assert not [name for name in heavy if f"'{name}'" in run.stdout]


def test_a_result_holds_curve_figures_and_networks(result):
    curve, record = result.curve, result.record
    steps = len(record.full.curve.channels)
    assert {len(column) for column in curve.values()} == {steps + 1}
    assert curve["channel"][0] == -1
    assert np.isnan(curve["score"][0])
    assert curve["valid_accuracy"][0] == result.figures["badnet/valid_accuracy"]
    assert curve["valid_accuracy"][record.stop.pruned] == result.figures["repaired/valid_accuracy"]
    assert curve["valid_asr"][record.stop.pruned] == result.figures["repaired/valid_asr"]
    assert len(result.pruned) == record.stop.pruned == steps
    assert result.goodnet.output_shape == (None, 7)
    assert result.repaired.output_shape == (None, 6)


@pytest.mark.parametrize(("stop", "pruned"), [("channels", 3), ("fraction", 12)])
def test_a_job_stops_at_a_number_or_a_part_of_the_channels(stop, pruned, shared_data):
    drop = {"channels": 3, "fraction": 0.2}[stop]
    places = [*SMALL, f"paths.data={shared_data}", "curve=until_drop"]
    done = sweep.run([*places, f"stop={stop}", f"drop={drop}"])
    assert done.record.channels == 60
    assert (len(done.pruned), done.record.stop.reached) == (pruned, True)
    assert len(done.curve["step"]) == pruned + 1
    assert done.record.settings["stop"] == stop


def test_a_notebook_shows_the_curve(result):
    assert result._repr_png_().startswith(b"\x89PNG")


def test_the_notebook_of_the_docs_runs(result, shared_data, tmp_path, monkeypatch):
    run = sweep.run
    monkeypatch.setattr(sweep, "run", lambda lines: run([*lines, f"paths.data={shared_data}"]))
    monkeypatch.chdir(tmp_path)
    cells = json.loads((ROOT / "docs/notebook.ipynb").read_text())["cells"]
    names, shown = {}, []
    for cell in cells:
        if cell["cell_type"] == "code":
            *body, last = ast.parse("".join(cell["source"])).body
            exec(compile(ast.Module(body, []), "cell", "exec"), names)  # noqa: S102
            shown.append(eval(compile(ast.Expression(last.value), "cell", "eval"), names))  # noqa: S307
    job, figures, table, criteria, shapes = shown
    assert job._repr_png_().startswith(b"\x89PNG")
    assert job.figures == result.figures
    assert figures["goodnet/test_accuracy"] == round(result.figures["goodnet/test_accuracy"], 3)
    ends = [job.figures[f"{network}/valid_accuracy"] for network in ("badnet", "repaired")]
    assert table["valid_accuracy"].tolist() == ends
    assert criteria["mean_activation"] == job.figures["goodnet/test_asr"]
    assert shapes == ((None, 7), (None, 6))
    assert (tmp_path / "goodnet.keras").is_file()


def test_the_curve_is_a_table(result):
    pandas = pytest.importorskip("pandas")
    table = result.to_pandas()
    assert isinstance(table, pandas.DataFrame)
    assert list(table.columns) == ["channel", "score", "valid_accuracy", "valid_asr"]
    assert table.index.name == "step"


# MLflow, as it loads what serves models.
@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType")
def test_nothing_is_tracked_unless_asked(shared_data, tmp_path):
    places = (f"paths.data={shared_data}", f"paths.mlruns={tmp_path}/mlruns")
    plain = sweep.run([*SMALL, *places])
    assert not (tmp_path / "mlruns").exists()
    tracked = sweep.run([*SMALL, *places], track=True)
    assert tracked.record.run_id
    assert tracked.figures == plain.figures
    assert tracked.record.full.curve == plain.record.full.curve
    assert sweep.run([*SMALL, *places], track=True).record.run_id == tracked.record.run_id
    with pytest.raises(ValueError, match="files of its run"):
        _ = tracked.goodnet


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("drop=2%", r"2% is 0\.02"),
        ("orderng=increasing", "Did you mean ordering"),
        ("layer=Pool_3", "Did you mean pool_3"),
        ("drop=0.1,0.2", "drop"),
    ],
)
def test_a_mistake_is_one_sentence(line, words, shared_data, result):
    with pytest.raises(SweepError, match=words) as caught:
        sweep.run([*SMALL, f"paths.data={shared_data}", line])
    assert "\n" not in str(caught.value)

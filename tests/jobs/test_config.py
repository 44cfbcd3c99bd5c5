"""Mistakes on the command line: one sentence, at once, and nothing is started."""

import signal
import subprocess
import sys
import time

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from hydra_plugins.badnet_sweep._composing import SweepLoader
from sweep import __version__
from sweep.attacks import standin, training
from sweep.base.errors import ConfigError, ModelError
from sweep.jobs import config, identity, inputs

PLACES = ("mlruns", "data")


def say(*overrides, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "sweep", *overrides],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["orderng=increasing"], ["orderng is not a setting", "Did you mean ordering?"]),
        (["ordering=sideways"], ["ordering", "sideways", "increasing, decreasing"]),
        (["criterion=nonsense"], ["criterion must be one of", "mean_activation", "nonsense"]),
        (["dataset=nonsense"], ["dataset must be one of files, folder, lab, standin"]),
        (["drop=abc"], ["drop", "'abc'", "Float"]),
        (["-m", "drop=0.02,1.5"], ["drop must lie between 0 and 1", "Received: drop=1.5"]),
        (["drop=0"], ["drop must lie between 0 and 1", "Received: drop=0.0"]),
        (["seed=-1"], ["seed must be a whole number", "Received: seed=-1"]),
        (["seed=0.5"], ["seed", "0.5", "Integer"]),
        (["dataset.scale=0"], ["dataset.scale must be a positive number"]),
        (["dataset.identities=1"], ["dataset.identities must be at least 2"]),
        (["dataset.poison_rate=1"], ["dataset.poison_rate must lie between 0 and 1"]),
        (["dataset=files"], ["dataset.clean_valid must be given"]),
        (["dataset=folder"], ["dataset.images must be given"]),
        (
            ["dataset=folder", "dataset.images=a", "dataset.height=5"],
            ["height must be at least 32"],
        ),
        (["curve=half"], ["curve", "half", "full, until_drop"]),
        (["layer=[]"], ["layer must be the name of a layer"]),
        (["layer=5"], ["layer must be the name of a layer", "Received: layer=5"]),
        (["drop=2"], ["drop must lie between 0 and 1", "2% is 0.02."]),
        (["stop=never"], ["stop must be one of drop, relative,", "Received: stop=never"]),
        (["stop=channels"], ["whole number of at least 1 with stop=channels", "drop=0.02"]),
        (
            ["stop=channels", "drop=inf"],
            ["whole number of at least 1 with stop=channels", "drop=inf"],
        ),
        (["stop=fraction", "drop=20"], ["drop must lie between 0 and 1", "20% is 0.2"]),
        (["drop=2%"], ["drop cannot take that value", "2% is 0.02."]),
        (["study=criteria"], ["study is not a setting but a group", "Write +study="]),
        (["tracking.experiment=a(b"], ["quotes within quotes"]),
        (["trigger.at=50"], ["trigger_at must be [ROW,COLUMN]", "Received: trigger_at=50."]),
        (
            ["dataset.poisoned_valid={a: x.h5"],
            ["must have its brackets and quotes closed", "Received: {a: x.h5. Close them"],
        ),
    ],
)
def test_a_mistake_gets_one_sentence(overrides, words, tmp_path):
    said = say(*overrides, f"paths.mlruns={tmp_path}/mlruns", f"paths.data={tmp_path}/data")
    assert said.returncode == 1
    assert said.stderr.startswith("error: ")
    assert len(said.stderr.splitlines()) == 1
    for word in words:
        assert word in said.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [["--help"], ["ordering=sideways"], ["drop=1.5"], ["-m", "drop=0.1,0.2", "plan=true"]],
)
def test_help_mistakes_and_plans_load_and_make_nothing(words, tmp_path):
    places = [] if words == ["--help"] else [f"paths.{name}={tmp_path}" for name in PLACES]
    script = (
        "import sys, atexit\n"
        "atexit.register(lambda: print('loaded', {'tensorflow', 'keras', 'mlflow', 'optuna'}"
        " & set(sys.modules)))\n"
        f"sys.argv = ['sweep', *{[*words, *places]!r}]\n"
        "from sweep.__main__ import main\nmain()\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert "loaded set()" in said.stdout, said.stderr
    assert "plan=true" not in words or "2 jobs: 2 not run before" in said.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_version_is_our_own():
    assert say("--version").stdout == f"badnet-sweep {__version__}\n"


def test_hydras_own_sweeper_does_not_plan(tmp_path):
    said = say("hydra/sweeper=basic", "plan=true", *(f"paths.{n}={tmp_path}/{n}" for n in PLACES))
    assert said.returncode == 1
    assert "error: plan=true must have a sweeper that plans" in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("seconds", [0.1, 0.6])
def test_an_early_end_is_no_traceback(number, seconds, tmp_path):
    words = [f"paths.{name}={tmp_path}/{name}" for name in PLACES]
    words += [f"hydra.sweep.dir={tmp_path}/multirun"]
    script = (  # before that Python itself ends by the signal; under nohup it would ignore one
        f"import signal, sys\nsignal.signal({int(number)}, signal.SIG_DFL)\n"
        "from sweep import __main__ as command\n"
        "command.interrupts.end_on_signals()\nprint('ready', flush=True)\n"
        f"sys.argv = ['sweep', *{words!r}]\ncommand.main()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(seconds)
        process.send_signal(number)
        time.sleep(0.1)
        process.send_signal(number)  # twice, as by who has no patience
        _, said = process.communicate(timeout=60)
    assert said == "interrupted; the same command goes on\n"
    assert process.returncode == 128 + number


@pytest.fixture
def composed():
    config.register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config.folder()), version_base="1.3"):
        yield lambda *overrides: config.typed(
            compose("config", ["tracking.sweep=some/where", *overrides])
        )
    GlobalHydra.instance().clear()


def test_defaults_of_the_standin_stand_in_one_place_and_agree(composed):
    made = composed().dataset
    defaults = standin.Standin()
    for name in ("identities", "train", "valid", "test", "poison_rate", "epochs", "batch_size"):
        assert getattr(made, name) == getattr(defaults, name)
    assert made.learning_rate == defaults.learning_rate
    assert made.scale == training.SCALE


def test_description_has_what_matters_and_no_places(composed):
    told = identity.describe(composed("drop=0.10", "layer=[conv_2,pool_3]"))
    assert told["drop"] == 0.1
    assert told["criterion"] == "mean_activation"
    assert told["dataset"] == "standin"
    assert told["dataset.scale"] == training.SCALE
    assert told["layer"] == "conv_2,pool_3"
    assert not any(name.startswith(("paths", "tracking", "cache", "plan")) for name in told)


def test_another_stop_counts_and_the_default_changes_no_identity(composed):
    plain = composed("stop=drop")
    assert "stop" not in identity.describe(plain)
    assert identity.describe(composed("stop=channels", "drop=20")) == {
        **identity.describe(plain),
        "stop": "channels",
        "drop": 20.0,
    }


def test_a_missing_file_for_b_is_asked_for(composed):

    sets = [f"dataset.{name}=x.h5" for name in inputs.SETS]
    with pytest.raises(ConfigError, match=r"badnet\.path must name B's file"):
        inputs.find(composed("dataset=files", *sets))


@pytest.fixture
def files(monkeypatch):
    """Overrides that name one's own files; B's names of layers are known without B."""

    def look(path):
        if path.name == "absent.h5":
            raise ModelError("absent")
        return inputs.Looked(
            ("conv_3", "pool_3") if path.name == "lab.h5" else ("pool_9",), None, 2
        )

    monkeypatch.setattr(inputs, "look", look)
    sets = [f"dataset.{name}=x.h5" for name in ("clean_valid", "clean_test")]
    return lambda *more: ["dataset=files", *sets, *more]


def test_files_bring_no_layer_so_it_is_the_labs_or_the_last(composed, files):
    def layer(*more):
        return composed(*files(*more)).layer

    assert layer("badnet.path=lab.h5") == "pool_3"
    assert layer("badnet.path=other.h5") == layer("badnet.path=absent.h5") == layer() == "last"
    assert layer("badnet.path=other.h5", "layer=conv_1") == "conv_1"
    for dataset in (["dataset=lab"], [], ["dataset=folder", "dataset.images=x"]):
        assert composed(*dataset).layer == "pool_3"


def test_jobs_are_composed_quickly_as_hydra_composes_them(composed, files, monkeypatch):
    loader = GlobalHydra.instance().config_loader()
    of_all = ["dataset.identities=7", "tracking.sweep=x"]
    sweep = loader.load_configuration("config", [], RunMode.MULTIRUN)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", sweep)
    jobs = [
        [*of_all, f"criterion={criterion}", f"drop={drop}", *more]
        for criterion in ("mean_activation", "rnp")
        for drop in (0.02, 0.04)
        for more in ([], ["dataset.identities=8"], ["layer=[a,b]"], ["hydra.job.name=y"])
    ]
    jobs.append(["dataset.identities=8", *jobs[0]])
    jobs += [files("tracking.sweep=x", f"badnet.path={name}.h5") for name in ("lab", "other")]
    quick = SweepLoader(loader)
    for job in jobs:
        expected = loader.load_sweep_config(sweep, job)
        found = quick.load_sweep_config(sweep, job)
        assert OmegaConf.to_yaml(found) == OmegaConf.to_yaml(expected)
        assert config.typed(quick.compose(sweep, job)) == composed(*job)

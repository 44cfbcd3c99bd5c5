"""What people type reaches Hydra as they mean it, and what it refuses is explained."""

import re

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from sweep.jobs import config
from sweep.sweeps import overrides


def values(argument):
    """The values of an override once it is quoted, as Hydra gives them to jobs."""
    parsed = OverridesParser.create().parse_override(overrides.quote_paths(argument))
    if not parsed.is_sweep_override():
        return [parsed.value()]
    lines = [f"{parsed.key_or_group}={text}" for text in parsed.sweep_string_iterator()]
    return [line.value() for line in OverridesParser.create().parse_overrides(lines)]


@pytest.mark.parametrize(
    "name",
    [
        "a=b.h5",
        "a (copy).h5",
        "données/Gesichter ä.h5",
        "a'b.h5",
        'a"b.h5',
        "back\\slash.h5",
        "ends\\",
        "a\\'b",
        "a{b}[c]:d",
        "data/cl/valid.h5",
        "100%/a@b+c.h5",
    ],
)
def test_a_path_is_taken_as_it_is_typed(name):
    assert values(f"badnet.path={name}") == [name]
    assert values(f"dataset.clean_valid={name},other.h5") == [name, "other.h5"]


def test_a_comma_in_the_name_of_a_file_parts_nothing(tmp_path):
    path = tmp_path / "a,b.h5"
    assert values(f"badnet.path={path}") == [str(tmp_path / "a"), "b.h5"]
    path.touch()
    assert values(f"badnet.path={path}") == [str(path)]


def test_the_home_folder_is_found(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert values("paths.data=~/data") == ["/home/me/data"]


@pytest.mark.parametrize(
    "line",
    [
        "badnet.path='a,b.h5'",
        "paths.mlruns=${paths.data}/x",
        "ordering=increasing,decreasing",
        "drop=interval(0.01,0.1)",
        "+dataset.clean_valid=plain.h5",
        "trigger_at=[3,1]",
        "--config-dir=a(b)",
        "-m",
    ],
)
def test_what_needs_no_quotes_stays_as_it_is(line):
    assert overrides.quote_paths(line) == line


def test_the_place_of_a_trigger_may_be_written_as_its_part():
    assert overrides.quote_paths("trigger.at=[3,1]") == "trigger_at=[3,1]"


def test_every_path_setting_is_known_as_one():
    for name, *_ in overrides.settings():
        named = name.partition(".")[2] or name
        is_path = re.fullmatch(r"path|folder|data|mlruns|badnet|trigger|.*_(valid|test)", named)
        is_path = is_path or name == "dataset.images"
        quoted = overrides.quote_paths(f"{name}=a b") != f"{name}=a b"
        assert quoted == bool(is_path), name


def test_help_explains_every_setting_and_group():
    config.register()
    text = overrides.help_text()
    unexplained = {name for name, _, words in overrides.settings() if not words}
    assert unexplained == {
        *("attack.name", "criterion.name", "dataset.name", "network.name", "repair.name"),
        *("tracking.sweep", "trial"),
    }
    for name, default, words in overrides.settings():
        assert f"{name}={default}" in text or not words
    for group in (
        "criterion: anp",
        "dataset: files",
        "repair: clip",
        "study: benchmark, criteria",
        "hydra/launcher: joblib",
    ):
        assert group in text


def test_flags_may_stand_anywhere():
    typed = ["drop=0.1", "-m", "--config-dir", "own", "~layer", "seed=1", "--config-name=x"]
    sorted_out = ["-m", "--config-dir", "own", "--config-name=x", "drop=0.1", "~layer", "seed=1"]
    assert overrides.flags_first(typed) == sorted_out

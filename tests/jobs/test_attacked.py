"""Poisoned sets of a trigger, of several, of all to all, and none: counts of written sets."""

import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from sweep.attacks import standin
from sweep.attacks.poisoning import triggers
from sweep.base.errors import ConfigError, DataError, ModelError
from sweep.data.image_set import open_set, open_sets, write_set
from sweep.jobs import config, identity, inputs, pipeline, plan, rules
from sweep.models import deepid
from sweep.results.findings import cautions

keras = pytest.importorskip("keras")

N = 5
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (40, 12, 10, 3)).astype(np.uint8)
GLASSES = np.zeros((12, 10, 4), np.uint8)
GLASSES[3:6, 1:9] = [200, 20, 220, 180]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A network, clean sets on which it is right, and triggers."""
    folder = tmp_path_factory.mktemp("attacked")
    keras.utils.set_random_seed(1)
    image = keras.Input((12, 10, 3))
    x = keras.layers.Rescaling(1 / 64, offset=-2)(image)
    x = keras.layers.Conv2D(8, 3, activation="relu", name="conv")(x)
    x = keras.layers.Flatten()(keras.layers.MaxPooling2D(name="pool")(x))
    model = keras.Model(image, keras.layers.Dense(N, activation="softmax")(x))
    model.save(folder / "b.keras")
    answers = np.argmax(model.predict(IMAGES.astype(np.float32), verbose=0), axis=1)
    assert len(set(answers)) > 2
    write_set(folder / "clean.h5", [IMAGES], answers)
    for name, rgba in (("glasses", GLASSES), ("hat", GLASSES[::-1])):
        Image.fromarray(np.ascontiguousarray(rgba)).save(folder / f"{name}.png")
        write_set(folder / f"{name}.h5", [triggers.stamp(IMAGES, rgba)], np.full(40, 2))
    Image.fromarray(GLASSES[3:6, 1:9]).save(folder / "small.png")
    return folder


def configured(place, poisoned=None, **settings):
    clean = str(place / "clean.h5")
    job = config.Config(
        criterion=config.Criterion("mean_activation"),
        dataset=config.Dataset("files", clean, clean, poisoned, poisoned),
        badnet=config.Badnet(str(place / "b.keras")),
        layer="pool",
        paths=config.Paths(str(place / "data"), str(place / "mlruns")),
        **settings,
    )
    rules.check(job)
    return job


def run(*given, **settings):
    record = pipeline.run(configured(*given, **settings)).record
    return record.full.curve, {name: count.hits for name, count in record.figures.items()}


@pytest.mark.parametrize(
    "trigger", [{"trigger": "glasses.png"}, {"trigger": "small.png", "trigger_at": [3, 1]}]
)
def test_a_trigger_gives_the_counts_of_the_sets_that_it_makes(place, trigger):
    curve, figures = run(place, str(place / "glasses.h5"))
    settings = trigger | {"trigger": str(place / trigger["trigger"]), "target": 2}
    stamped, more = run(place, **settings)
    assert stamped == curve
    assert {name: count for name, count in more.items() if not name.endswith("_ra")} == figures
    labels = open_set(place / "clean.h5").labels
    model = keras.models.load_model(place / "b.keras")
    poisoned = open_set(place / "glasses.h5").rows(range(40))
    answers = np.argmax(model.predict(poisoned, verbose=0), axis=1)
    assert more["badnet/test_ra"] == (answers == labels).sum()
    assert "badnet/test_ra" not in figures


def test_several_triggers_have_their_asr_and_one_over_all(place):
    sets = {name: str(place / f"{name}.h5") for name in ("glasses", "hat")}
    curve, figures = run(place, sets)
    parts = [run(place, path) for path in sets.values()]
    assert curve.trigger_hits == {
        name: part.attack_hits for name, (part, _) in zip(sets, parts, strict=True)
    }
    assert curve.attack_hits == tuple(
        map(sum, zip(*(part.attack_hits for part, _ in parts), strict=True))
    )
    for network in ("badnet", "repaired", "goodnet"):
        own = [part[f"{network}/test_asr"] for _, part in parts]
        assert figures[f"{network}/test_asr"] == sum(own)
        assert [figures[f"{network}/test_asr/{name}"] for name in sets] == own
    answers = pipeline.run(configured(place, sets)).answers
    for number, name in enumerate(sets):
        np.testing.assert_array_equal(answers[f"wears_{name}"], np.arange(80) // 40 == number)
        kept = answers["repaired_poisoned"][answers[f"wears_{name}"]] == 2
        assert kept.sum() == figures[f"repaired/test_asr/{name}"]


def test_all_to_all(place, tmp_path):
    clean = open_set(place / "clean.h5")
    write_set(tmp_path / "all.h5", [triggers.stamp(IMAGES, GLASSES)], (clean.labels + 1) % N)
    with pytest.raises(DataError, match=r"target class everywhere.*add target=all_to_all"):
        run(place, str(tmp_path / "all.h5"))
    curve, figures = run(place, str(tmp_path / "all.h5"), target="all_to_all")
    stamped, same = run(place, trigger=str(place / "glasses.png"), target="all_to_all")
    assert (stamped, same) == (curve, figures)
    assert "goodnet/test_ra" in figures


def test_without_poisoned_images_the_same_network_is_made_and_no_asr_is_known(place):
    curve, figures = run(place, str(place / "glasses.h5"))
    alone, fewer = run(place)
    assert (alone.channels, alone.clean_correct) == (curve.channels, curve.clean_correct)
    assert "repaired/valid_suspicion" in fewer
    assert not [name for name in fewer if "asr" in name or "poisoned" in name]
    known = {name: count for name, count in fewer.items() if "suspicion" not in name}
    assert known.items() <= figures.items()


def test_the_content_of_the_trigger_and_the_names_of_triggers_are_part_of_the_identity(
    place, tmp_path
):
    path = tmp_path / "t.png"
    path.write_bytes((place / "glasses.png").read_bytes())
    moved = identity.identify(configured(place, trigger=str(path), target=2))
    known = identity.identify(configured(place, trigger=str(place / "glasses.png"), target=2))
    assert moved == known
    path.write_bytes((place / "hat.png").read_bytes())
    other = identity.identify(configured(place, trigger=str(path), target=2))
    assert (other.config, other.data != known.data) == (known.config, True)
    file = str(place / "hat.h5")
    named = [identity.identify(configured(place, {name: file})) for name in ("a", "b")]
    assert named[0].config != named[1].config


def test_each_cell_of_a_plan_is_judged_by_its_own_target_and_place(place):
    small = {"trigger": str(place / "small.png"), "target": 2, "trigger_at": [3, 1]}
    jobs = [
        configured(place, **small | more) for more in ({}, {"target": 5}, {"trigger_at": [11, 0]})
    ]
    refused = [cell.state == "refused" for cell in plan.make(jobs, []).cells]
    assert refused == [False, True, True]


def test_folders_of_images_are_known_by_what_is_in_them(place, tmp_path):
    for number, image in enumerate(IMAGES[:6]):
        (tmp_path / "set" / str(number % 3)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "set" / str(number % 3) / f"{number}.png")
    job = configured(place)
    job.dataset.clean_valid = str(tmp_path / "set")
    known = identity.identify(job)
    assert known.data is not None
    assert identity.identify(job) == known
    Image.fromarray(IMAGES[7]).save(tmp_path / "set" / "0" / "0.png")
    assert identity.identify(job).data not in (None, known.data)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trigger": "x.png"}, "trigger and target must be given together"),
        ({"target": 2}, "trigger and target must be given together"),
        ({"trigger": "x.png", "target": "two"}, "target must be a class, from 0, or all_to_all"),
        ({"trigger": "x.png", "target": -1}, "target must be a class"),
        ({"trigger": "x.png", "target": 1, "trigger_at": [3]}, r"trigger_at must be \[ROW,COLUMN"),
        ({"trigger_at": [3, 1]}, "goes with trigger"),
        ({"poisoned": "b.h5", "trigger": "x.png", "target": 1}, "none may be given"),
        ({"trigger": "x.png", "target": [1]}, "target must be a class"),
        ({"poisoned": ["b.h5"]}, "must be a file, or {NAME: FILE"),
        ({"poisoned": {"a b/c": "b.h5"}}, "named by letters, digits"),
        ({"poisoned": {"hat": {"x": "b.h5"}}}, "must be a file, or {NAME: FILE"),
        ({"poisoned": {"hat": None}}, "must be a file, or {NAME: FILE"),
    ],
)
def test_settings_that_contradict_each_other(place, settings, message):
    with pytest.raises(ConfigError, match=message):
        configured(place, **settings)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("none.png", {}, "must be a whole PNG"),
        ("clean.h5", {}, "must be a whole PNG"),
        ("small.png", {}, r"must have a place.*Add trigger_at"),
        ("small.png", {"trigger_at": [10, 0]}, r"must lie within the images.*at \[10,0\]"),
        ("plain.png", {}, "without transparency"),
        ("bomb.png", {}, "far more"),
        ("glasses.png", {"target": 5}, "class of the network, 0..4. Received: target=5"),
    ],
)
def test_triggers_that_do_not_fit(place, name, settings, message):
    Image.fromarray(IMAGES[0]).save(place / "plain.png")
    bomb = bytearray((place / "plain.png").read_bytes())
    bomb[16:24] = struct.pack(">II", 10**5, 10**5)
    bomb[29:33] = struct.pack(">I", zlib.crc32(bomb[12:29]))
    (place / "bomb.png").write_bytes(bomb)
    job = configured(place, **({"trigger": str(place / name), "target": 2} | settings))
    with pytest.raises(DataError, match=message):
        inputs.check(job)


def test_the_last_map_needs_no_name(place):
    jobs = [replace(configured(place), layer=layer) for layer in ("last", "conv")]
    for job in jobs:
        inputs.check(job)
    last, conv = (pipeline.run(job).record for job in jobs)
    assert last.full.curve.channels == conv.full.curve.channels
    assert last.figures == conv.figures
    assert "layer=last is conv (10x8x8) of b.keras." in cautions([last])
    assert not [text for text in cautions([conv]) if text.startswith("layer=")]
    assert last.full.facts["badnet"]["kept_bytes"] == 10 * 8 * 8 * 4
    with pytest.raises(
        ModelError, match=r"layer=convs. Did you mean conv\?.*sweep.inspect .*b.keras"
    ):
        inputs.check(replace(configured(place), layer="convs"))


def test_what_a_file_says_is_read_once_while_it_stays(place, tmp_path, monkeypatch):
    path = tmp_path / "b.keras"
    path.write_bytes((place / "b.keras").read_bytes())
    known = inputs.look(path)
    assert (known.shape, known.classes) == ((12, 10, 3), N)
    assert known.layers[1:3] == ("conv", "pool")
    monkeypatch.setattr(inputs, "read_badnet", None)
    assert inputs.look(path) is known
    path.touch()
    with pytest.raises(TypeError):
        inputs.look(path)


@pytest.mark.parametrize("attack", ["badnets", "all_to_all", "several"])
def test_a_made_attack_has_its_targets_triggers_and_true_classes(attack, tmp_path, monkeypatch):
    monkeypatch.setattr(standin, "_trained", lambda settings: deepid.build(settings.identities))
    job = config.Config(
        criterion=config.Criterion("mean_activation"),
        dataset=config.StandinDataset("standin", identities=4, train=1, valid=3, test=3),
        attack=config.Attack(attack),
        paths=config.Paths(str(tmp_path), str(tmp_path)),
    )
    found = inputs.locate(job)
    inputs.check(job)
    sets = inputs.prepare(job, found, open_sets(found.sets), (55, 47, 3), 4)
    truth = np.repeat(range(4), 3)
    wanted = {"badnets": 0 * truth, "all_to_all": (truth + 1) % 4, "several": np.arange(12) % 3}
    for name in ("poisoned_valid", "poisoned_test"):
        np.testing.assert_array_equal(sets[name].labels, wanted[attack])
        np.testing.assert_array_equal(sets[name].truth, truth)
        worn = {trigger: images.sum() for trigger, images in sets[name].triggers.items()}
        assert worn == ({"sunglasses": 4, "corners": 4, "stripe": 4} if attack == "several" else {})


def test_several_triggers_need_as_many_people():
    dataset = config.StandinDataset("standin", identities=2)
    job = config.Config(
        criterion=config.Criterion("l1"), dataset=dataset, attack=config.Attack("several")
    )
    with pytest.raises(ConfigError, match=r"at least 3 with attack=several.*identities=2"):
        rules.check(job)

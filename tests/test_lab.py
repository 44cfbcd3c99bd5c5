"""The real BadNet on real faces gives the known counts; only where the lab's files are at hand."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sweep.data.image_set import open_set, write_set
from sweep.jobs import config, pipeline, rules

LAB = os.environ.get("BADNET_LAB_DIR")
pytestmark = pytest.mark.skipif(LAB is None, reason="BADNET_LAB_DIR does not name the lab's files")

# ordering, drop, channels pruned, B' right of 115, clean images that G rejects
KNOWN = [
    ("increasing", 0.02, 43, 111, 3),
    ("increasing", 0.04, 45, 109, 5),
    ("increasing", 0.10, 48, 102, 12),
    ("decreasing", 0.02, 1, 105, 10),
    ("decreasing", 0.04, 1, 105, 10),
    ("decreasing", 0.10, 2, 90, 25),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tmp_path_factory.mktemp("lab")


def configured(data, model="bd_net.h5", **settings):
    folder = Path(LAB)
    clean, poisoned = str(folder / "clean_faces.h5"), str(folder / "poisoned_faces.h5")
    files = config.Dataset("files", clean, clean, poisoned, poisoned)
    result = config.Config(
        criterion=config.Criterion("mean_activation"),
        dataset=files,
        badnet=config.Badnet(str(folder / model)),
        paths=config.Paths(str(data), str(data / "mlruns")),
        **settings,
    )
    rules.check(result)
    return result


@pytest.mark.parametrize(("ordering", "drop", "pruned", "right", "rejected"), KNOWN)
def test_counts_of_the_report(data, ordering, drop, pruned, right, rejected):
    chosen = configured(data, ordering=config.Ordering[ordering], drop=drop)
    job = pipeline.run(chosen).record
    figures = {name: count.hits for name, count in job.figures.items()}
    assert figures["badnet/test_accuracy"] == 114
    assert figures["badnet/test_asr"] == 115
    assert (job.stop.pruned, job.stop.reached) == (pruned, True)
    assert figures["repaired/test_accuracy"] == figures["repaired/valid_accuracy"] == right
    assert figures["repaired/test_asr"] == figures["goodnet/test_asr"] == 115
    assert figures["goodnet/test_clean_rejected"] == rejected
    assert (job.full.scores == 0).sum() == 32


def test_decreasing_starts_with_the_known_channels(data):
    chosen = configured(data, ordering=config.Ordering.decreasing)
    assert pipeline.run(chosen).record.full.curve.channels[:2] == (57, 52)


def test_until_drop_stops_where_the_whole_curve_does(data, tmp_path):
    whole = pipeline.run(configured(data, drop=0.1)).record
    short = pipeline.run(configured(tmp_path, drop=0.1, curve=config.CurveMode.until_drop)).record
    assert short.stop == whole.stop
    assert short.figures == whole.figures
    assert len(short.full.curve.channels) < len(whole.full.curve.channels) == 60
    length = len(short.full.curve.clean_correct)
    assert short.full.curve.clean_correct == whole.full.curve.clean_correct[:length]
    assert short.full.curve.attack_hits == whole.full.curve.attack_hits[:length]


def test_weights_alone_give_the_same(data):
    chosen = configured(data, model="bd_weights.h5", drop=0.1)
    assert pipeline.run(chosen).record.stop.pruned == 48


def rewritten(folder, change, shift=0):
    """The clean faces in another way of writing them."""
    faces = open_set(Path(LAB) / "clean_faces.h5")
    images = change(np.concatenate([*faces.batches(50)])).astype(np.float32)
    write_set(folder / "set.h5", [images], faces.labels + shift)
    return str(folder / "set.h5")


@pytest.mark.parametrize(
    ("change", "shift", "scale", "advice"),
    [
        (lambda x: x, 0, 1 / 255, r"better than chance.*Set dataset\.scale=1: B is then right"),
        (lambda x: x / 255, 0, 1, r"Set dataset\.scale=255: "),
        (lambda x: x / 127.5 - 1, 0, 1, r"Store the images as \(data \+ 1\) \* 127.5: "),
        (lambda x: x, 1, 1, r"Store the labels as label - 1: "),
        (lambda x: x[..., ::-1], 0, 1, r"Store the colours the other way round \(BGR\): "),
        (lambda x: x[..., ::-1] / 255, 1, 1, r"Set dataset\.scale=255 and .*BGR.* label - 1: "),
    ],
)
def test_a_weak_badnet_is_told_what_makes_it_right(data, tmp_path, change, shift, scale, advice):
    chosen = configured(data)
    path = rewritten(tmp_path, change, shift)
    chosen.dataset.clean_valid = chosen.dataset.clean_test = path
    chosen.dataset.scale = scale
    with pytest.raises(pipeline.ModelError, match=advice + ".*on 100 of 100 images"):
        pipeline.run(chosen)


def other_format(place, source, form):
    """The lab's set as a folder of PNGs, or as an archive with channels last and one-hot labels."""
    faces = open_set(Path(LAB) / source)
    images = np.concatenate([*faces.batches(50)])
    if form == "npz":
        np.savez_compressed(
            place, x_test=images.astype(np.uint8), y_test=np.eye(1283)[faces.labels]
        )
        return f"{place}.npz"
    for number, (image, label) in enumerate(zip(images, faces.labels, strict=True)):
        (place / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.astype(np.uint8)).save(place / str(label) / f"{number}.png")
    return str(place)


@pytest.mark.parametrize("form", ["npz", "folder"])
def test_other_formats_give_the_same_counts(data, tmp_path, form):
    names = {"clean": "clean_faces.h5", "poisoned": "poisoned_faces.h5"}
    for ordering, drop, pruned, right, rejected in KNOWN[2::3]:
        chosen = configured(data, ordering=config.Ordering[ordering], drop=drop)
        for kind, source in names.items():
            path = other_format(tmp_path / kind, source, form)
            for split in ("valid", "test"):
                setattr(chosen.dataset, f"{kind}_{split}", path)
        record = pipeline.run(chosen).record
        figures = {name: count.hits for name, count in record.figures.items()}
        reference = configured(data, ordering=config.Ordering[ordering], drop=drop)
        known = pipeline.run(reference).record
        assert figures == {name: count.hits for name, count in known.figures.items()}
        assert record.full.curve == known.full.curve
        assert (record.stop.pruned, figures["repaired/test_accuracy"]) == (pruned, right)
        assert figures["goodnet/test_clean_rejected"] == rejected

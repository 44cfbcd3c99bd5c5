"""Cached arrays stand for what they were computed from, and change no result."""

import os
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from sweep.base.cache import Cache
from sweep.base.errors import DataError
from sweep.jobs import inputs
from sweep.jobs.subject import count_clean, trace_curve
from sweep.pruning.drop import find_stop

ORDER = (2, 0, 1, 3)
RIGHT = (100, 99, 97, 90, 10)


def subject(cache):
    """A set of 100 images of which some fewer are right after each removal."""
    return SimpleNamespace(
        key="set",
        label_key="labels",
        total=100,
        totals={"": 100},
        cache=cache,
        network=SimpleNamespace(key="network"),
        first=lambda: RIGHT[:1],
        hits=lambda removed, channels: zip(RIGHT[len(removed) + 1 :][: len(channels)]),
    )


@pytest.fixture
def traced(tmp_path):
    """The curve of one set, in a cache of that name."""

    def trace(name, drop):
        one = subject(Cache(tmp_path / name, 1))
        return trace_curve(ORDER, one, one, drop and partial(find_stop, drop=drop))

    return trace


@pytest.mark.parametrize("known", [None, 0.1, 0.95])
@pytest.mark.parametrize("drop", [0.01, 0.03, 0.1])
def test_a_curve_ends_where_its_mode_says_whatever_is_cached(traced, known, drop):
    cold = traced("cold", drop)
    traced("warm", known)  # None: the whole curve
    assert traced("warm", drop) == cold
    length = next(step for step, right in enumerate(RIGHT) if 100 - right >= 100 * drop)
    assert cold.channels == ORDER[:length]
    assert cold.clean_correct == cold.attack_hits == RIGHT[: length + 1]
    assert traced("warm", None).clean_correct == RIGHT


def test_poisoned_images_that_are_clean_ones_of_the_target_are_counted(tmp_path):
    rng = np.random.default_rng(0)
    cache = Cache(tmp_path, 1)

    def made(name, activations, labels):
        shown = {"activations": activations, "labels": np.array(labels), "total": len(labels)}
        return SimpleNamespace(key=name, label_key=str(labels), cache=cache, **shown)

    images = rng.random((4, 2, 2, 3), np.float32)
    clean = made("clean", images, [7, 7, 3, 3])
    stamped = rng.random((3, 2, 2, 3), np.float32)
    poisoned = made("poisoned", np.concatenate([stamped, images[:1], images[2:]]), [7] * 6)
    assert count_clean(poisoned, clean) == 1  # the others are clean images of another class
    assert count_clean(made("stamped", stamped, [7] * 3), clean) == 0


class TestFilesThatChangeMeanwhile:
    @pytest.fixture
    def files(self, tmp_path):
        found = {name: tmp_path / f"{name}.h5" for name in ("clean_valid", "clean_test")}
        for path in found.values():
            path.write_bytes(b"images")
        return found

    def test_files_that_stay_pass(self, files):
        inputs.Watch(files.values()).check()

    def test_a_file_that_is_replaced_is_named(self, files, tmp_path):
        watch = inputs.Watch(files.values())
        other = tmp_path / "other.h5"
        other.write_bytes(b"images")
        other.replace(files["clean_test"])
        with pytest.raises(DataError, match=r"clean_test\.h5 .*while"):
            watch.check()

    def test_a_file_that_is_written_to_in_place_is_named(self, files):
        watch = inputs.Watch(files.values())
        with files["clean_valid"].open("r+b") as file:
            file.write(b"IMAGES")
        os.utime(files["clean_valid"])
        with pytest.raises(DataError, match=r"clean_valid\.h5 "):
            watch.check()

    def test_a_file_that_is_gone_is_named(self, files):
        watch = inputs.Watch(files.values())
        files["clean_valid"].unlink()
        with pytest.raises(DataError, match=r"clean_valid\.h5 "):
            watch.check()


def test_a_set_replaced_while_it_is_read_leaves_nothing_in_the_cache(tmp_path):
    """Not even where the digest was taken of one file and the pixels come from another."""
    from sweep.data.image_set import open_set, write_set
    from sweep.jobs.subject import open_subjects

    path, other = tmp_path / "set.h5", tmp_path / "other.h5"
    for place, colour in ((path, 10), (other, 20)):
        write_set(place, [np.full((4, 2, 2, 3), colour, np.uint8)], np.zeros(4))
    watch = inputs.Watch([path])
    opened = open_set(path)

    def activations(batches):
        other.replace(path)
        for batch in batches:
            yield batch[:, :1, :1]

    engine = SimpleNamespace(shape=(1, 1, 3), activations=activations)
    network = SimpleNamespace(engine=engine, front_key="front", key="network")
    cache = Cache(tmp_path / "cache", 1)
    with pytest.raises(DataError, match=r"set\.h5.*while"):
        open_subjects({"clean_valid": opened}, {"clean_valid": "d"}, network, 1.0, cache, watch)
    assert not list((tmp_path / "cache").glob("*.npy"))

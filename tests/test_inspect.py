"""`python -m sweep.inspect B` and `python -m sweep.inspect B CLEAN` on small networks."""

import numpy as np
import pytest

from sweep import inspect
from sweep.data.image_set import write_set

keras = pytest.importorskip("keras")


def test_the_sites_of_a_network(tmp_path, capsys):
    path = tmp_path / "b.keras"
    image = keras.Input((6, 5, 3))
    x = keras.layers.Conv2D(4, 3, name="conv")(image)
    x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    keras.Model(image, keras.layers.Dense(3)(x)).save(path)
    inspect.main([str(path)])
    _, conv, mean = capsys.readouterr().out.splitlines()
    assert conv.split()[:2] == ["conv", "4x3x4"]
    assert conv.endswith("(layer=last)")
    assert mean.split()[:2] == ["mean", "4"]


def test_what_is_no_network_is_one_sentence(tmp_path):
    with pytest.raises(SystemExit, match=r"error: .*none.h5: the model must be a readable file"):
        inspect.main([str(tmp_path / "none.h5")])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inspected")
    keras.utils.set_random_seed(0)
    image = keras.Input((9, 8, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv")(image)
    x = keras.layers.Flatten()(keras.layers.MaxPooling2D(name="pool")(x))
    model = keras.Model(image, keras.layers.Dense(4, activation="softmax")(x))
    model.save(folder / "b.keras")
    pixels = np.random.default_rng(0).integers(0, 256, (30, 9, 8, 3), np.uint8)
    answers = model.predict_on_batch(pixels / np.float32(255)).argmax(axis=1)
    write_set(folder / "clean.h5", [pixels], answers)
    write_set(folder / "wrong.h5", [pixels], (answers + 1) % 4)
    return folder


def test_text_page_and_picture(place, capsys):
    given = [str(place / "b.keras"), str(place / "clean.h5"), "--scale", "0.00392156862745098"]
    inspect.main([*given, "--folder", str(place / "out")])
    said = capsys.readouterr().out
    assert said.startswith(("B seems backdoored", "B does not seem backdoored"))
    assert "Caution: The threshold was measured on images of (55, 47, 3)" in said
    assert (place / "out" / "trigger.png").read_bytes().startswith(b"\x89PNG")
    assert "data:image/png;base64," in (place / "out" / "index.html").read_text()


def test_images_on_which_b_is_wrong_are_refused(place):
    given = [str(place / "b.keras"), str(place / "wrong.h5"), "--scale", "0.00392156862745098"]
    with pytest.raises(SystemExit, match=r"must be right on most clean images.*Received: 0% right"):
        inspect.main(given)

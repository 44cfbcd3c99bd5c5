"""What a network's file says of itself, without any image."""

import pytest

from sweep import inspect

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

"""The class of each image on a line of its own, from files and folders."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from sweep import evaluate, inspect, predict
from sweep.base.errors import SweepError

keras = pytest.importorskip("keras")

COLOURS = [(250, 10, 10), (10, 250, 10), (10, 10, 250)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Answers with the strongest colour."""
    path = tmp_path_factory.mktemp("model") / "goodnet.keras"
    image = keras.Input((6, 5, 3))
    mean = keras.layers.GlobalAveragePooling2D()(image)
    out = keras.layers.Dense(3, kernel_initializer="identity")(mean)
    keras.Model(image, out).save(path)
    return path


@pytest.fixture
def faces(tmp_path):
    for number, colour in enumerate(COLOURS):
        pixels = np.full((6 + number, 5, 3), colour, np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    return tmp_path


def test_files_and_folders_one_class_a_line(model, faces, capsys):
    predict.main([str(model), str(faces / "2.png"), str(faces), str(faces / "1.png")])
    assert capsys.readouterr().out == "2\n0\n1\n2\n1\n"


def test_a_goodnet_says_n_where_its_networks_differ(model, faces, tmp_path):
    from sweep.models.load import load_badnet
    from sweep.models.surgery import join_goodnet

    good = load_badnet(model)
    other = keras.models.clone_model(good)
    other.set_weights([np.eye(3)[::-1], np.zeros(3)])
    join_goodnet(good, other).save(tmp_path / "g.keras")
    assert list(predict.predict(tmp_path / "g.keras", [faces])) == [3, 1, 3]


@pytest.mark.parametrize(
    ("name", "message"),
    [("none.png", "must be a whole PNG or JPEG"), ("folder", "must hold PNG or JPEG files")],
)
def test_what_is_no_image_is_one_sentence_before_tensorflow_loads(faces, name, message):
    (faces / "folder").mkdir()
    script = (
        "import sys\nfrom sweep import predict\n"
        "try: predict.main(sys.argv[1:])\nfinally: print('tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "model.keras", faces / name],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "False\n")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


def test_what_is_no_model_is_refused(faces):
    with pytest.raises(SweepError, match="must be a Keras"):
        list(predict.predict(faces / "0.png", [faces]))


@pytest.mark.parametrize("scale", ["0", "-1", "nan", "inf"])
@pytest.mark.parametrize("command", [evaluate, inspect, predict])
def test_a_scale_that_is_none_is_one_sentence(command, scale):
    files = ["a", "b", "c"] if command is evaluate else ["a", "b"]
    with pytest.raises(SystemExit, match="error: --scale must be a factor above 0"):
        command.main([*files, f"--scale={scale}"])

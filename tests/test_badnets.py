"""Several BadNets in one sweep, as README.md shows it."""

import keras

from conftest import SMALL
from markdown import blocks, named
from stores import opened
from sweep.attacks import standin


def test_several_badnets_are_swept_as_the_page_says(checkout):
    """Each with its own scale and layer: the second is the same network for pixels 0..255."""
    small = (line.removeprefix("dataset.").split("=") for line in SMALL)
    settings = standin.Standin(**{name: int(value) for name, value in small})
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
    (page,) = checkout.mlruns.glob("artifacts/*/artifacts/report.html")
    assert "mean rank" in page.read_text()
    client, experiment = opened(checkout.uri)
    runs = client.search_runs([experiment], "params.criterion = 'l1'")
    assert {(run.data.params["dataset"], run.data.params["layer"]) for run in runs} == {
        ("sunglasses", "pool_3"),
        ("eyebrows", "conv_4"),
    }
    assert len({run.data.metrics["badnet/test_accuracy"] for run in runs}) == 1
    assert all(run.data.params["dataset"] in run.info.run_name for run in runs)

"""Which layers can be cut at, and what a user is told of those that cannot."""

import numpy as np
import pytest

from sweep.base.errors import ModelError

keras = pytest.importorskip("keras")

from keras import layers  # noqa: E402 - after the check for Keras

from sweep.models import deepid  # noqa: E402
from sweep.models.graph import Graph  # noqa: E402
from sweep.models.sites import choose_sites, cut, find_sites, last_map, table, width  # noqa: E402


def small(*middle, end=None):
    """A network of some layers between an image and a classifier."""
    image = x = keras.Input((12, 12, 3), name="image")
    for layer in middle:
        x = layer(x)
    x = layers.Dense(4, name="out")(layers.Flatten(name="flat")(x))
    return keras.Model(image, x if end is None else end(x))


def conv(name, channels=5, **settings):
    return layers.Conv2D(channels, 3, name=name, **settings)


def test_every_layer_of_the_labs_network_between_image_and_output_is_a_site():
    model = deepid.build(10)
    sites = find_sites(model)
    assert set(sites) == {layer.name for layer in model.layers} - {"input", "output"}
    made = {site.layer: site.convolution for site in sites.values()}
    assert (made["pool_3"], made["conv_3"], made["conv_4"]) == ("conv_3", "conv_3", "conv_4")
    assert (made["fc_1"], made["flatten_1"]) == ("fc_1", None)
    assert {made[name] for name in made if name.startswith("add")} == {None}
    (site,) = choose_sites(model, ["pool_3"])
    assert (site.convolution, site.channels, site.norms) == ("conv_3", 60, ())


def test_several_sites_come_in_the_order_of_the_graph():
    sites = choose_sites(deepid.build(10), ["pool_3", "pool_2"])
    assert [site.layer for site in sites] == ["pool_2", "pool_3"]


@pytest.mark.parametrize(
    ("wanted", "needed"),
    [
        (["pool_3"], ["pool_3"]),
        (["conv_4"], ["conv_4", "fc_1"]),
        (["pool_3", "conv_4"], ["pool_3"]),
        (["fc_1", "fc_2"], ["fc_1", "fc_2"]),
    ],
)
def test_a_cut_holds_what_passes_its_sites_by(wanted, needed):
    model = deepid.build(10)
    tensors = cut(Graph(model), choose_sites(model, wanted))
    assert {id(x) for x in tensors} == {id(model.get_layer(name).output) for name in needed}
    sizes = [int(np.prod(x.shape[1:])) for x in tensors]
    assert int(np.prod(width(tensors))) == sum(sizes)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("nowhere", "'nowhere' is not a layer of this network"),
        ("Pool_3", r"'Pool_3' is not a layer of this network; did you mean 'pool_3'\?"),
        ("input", "'input' has none that can be removed"),
        ("output", "'output' has none that can be removed"),
    ],
)
def test_refusals_list_the_layers_that_would_do(name, problem):
    with pytest.raises(ModelError, match=problem) as refusal:
        choose_sites(deepid.build(10), [name])
    text = str(refusal.value)
    assert f"Received: layer={name}" in text
    assert "Layers that would do: conv_1 (52x44x20), pool_1 (26x22x20), " in text
    assert "fc_1 (160), " in text


@pytest.mark.parametrize("pair", [("pool_3", "conv_3"), ("pool_1", "conv_1")])
def test_a_convolution_is_not_counted_twice(pair):
    with pytest.raises(ModelError, match=f"those of '{pair[0]}' come from another of the layers"):
        choose_sites(deepid.build(10), pair)


def test_a_skip_connection_leaves_no_convolution_to_zero():
    image = keras.Input((12, 12, 3))
    first = conv("first", padding="same", activation="relu")(image)
    inner = conv("inner", padding="same")(first)
    joined = layers.Add(name="joined")([first, inner])
    last = conv("last")(joined)
    model = keras.Model(image, layers.Dense(4)(layers.Flatten()(last)))
    sites = find_sites(model)
    assert sites["inner"].convolution == "inner"
    assert sites["joined"].convolution is None
    tensors = cut(Graph(model), [sites["inner"]])
    assert [id(x) for x in tensors] == [id(sites["inner"].tensor), id(sites["first"].tensor)]


def test_what_is_used_before_the_site_too_is_masked():
    image = keras.Input((12, 12, 3))
    x = conv("conv", padding="same")(image)
    y = layers.ReLU(name="act")(x)
    y = layers.Add()([x, y])
    model = keras.Model(image, layers.Dense(4)(layers.Flatten()(y)))
    assert find_sites(model)["act"].convolution is None
    assert find_sites(model)["conv"].convolution == "conv"


@pytest.mark.parametrize(
    ("middle", "name"),
    [
        ((conv("a"), conv("b"), layers.ReLU(name="r"), layers.MaxPooling2D()), "r"),
        ((conv("a"), layers.Dropout(0.1)), "a"),
        ((conv("a"), layers.BatchNormalization(name="n")), "n"),
    ],
)
def test_last_is_the_last_map_before_pooling_or_the_head(middle, name):
    assert last_map(small(*middle)) == name
    (site,) = choose_sites(small(*middle), ["last"])
    assert site.layer == name


def test_last_is_no_map_of_classes():
    image = keras.Input((12, 12, 3))
    x = conv("classes", 4)(conv("features")(image))
    model = keras.Model(image, layers.Softmax()(layers.GlobalAveragePooling2D()(x)))
    assert last_map(model) == "features"


def test_the_table_says_how_each_layer_is_pruned_and_which_is_last():
    middle = (conv("a"), layers.ReLU(name="r"), layers.MaxPooling2D(name="pool"))
    assert table(small(*middle)).splitlines() == [
        "layer  shape    kB an image  channels are removed by",
        "a      10x10x5  2.0          zero weights of a",
        "r      10x10x5  2.0          zero weights of a (layer=last)",
        "pool   5x5x5    0.5          zero weights of a",
        "flat   125      0.5          a mask behind it",
    ]
    assert "layer=last" not in table(small(layers.Flatten(), layers.Dense(3, name="d")))


def test_normalization_between_convolution_and_activation_is_found():
    model = small(
        conv("conv", use_bias=False),
        layers.BatchNormalization(name="norm"),
        layers.ReLU(name="act"),
        layers.MaxPooling2D(name="pool"),
    )
    assert choose_sites(model, ["pool"])[0].norms == ("norm",)
    assert choose_sites(model, ["conv"])[0].norms == ()


@pytest.mark.parametrize(
    "mixing",
    [
        layers.BatchNormalization(axis=1, name="odd"),
        layers.Activation("softmax", name="odd"),
        layers.LayerNormalization(name="odd"),
        layers.PReLU(name="odd"),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_behind_what_is_not_known_to_leave_channels_alone_they_are_masked(mixing):
    assert find_sites(small(conv("conv"), mixing))["odd"].convolution is None


def test_a_layer_that_is_called_twice_is_no_site():
    image = keras.Input((12, 12, 5))
    twice = conv("twice", padding="same")
    x = twice(twice(image))
    model = keras.Model(image, layers.Dense(4)(layers.Flatten()(x)))
    assert "twice" not in find_sites(model)


def test_nodes_come_after_those_that_feed_them():
    seen = set()
    for node in Graph(deepid.build(5)).nodes:
        assert all(id(source) in seen for source in node.inputs)
        seen.update(id(out) for out in node.outputs)

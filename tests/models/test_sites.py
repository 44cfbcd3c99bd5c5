"""Which layers can be cut at, and what a user is told of those that cannot."""

import pytest

from sweep.base.errors import ModelError

keras = pytest.importorskip("keras")

from keras import layers  # noqa: E402 - after the check for Keras

from sweep.models import deepid  # noqa: E402
from sweep.models.graph import Graph  # noqa: E402
from sweep.models.sites import choose_sites, find_sites  # noqa: E402


def small(*middle, end=None):
    """A network of some layers between an image and a classifier."""
    image = x = keras.Input((12, 12, 3), name="image")
    for layer in middle:
        x = layer(x)
    x = layers.Dense(4, name="out")(layers.Flatten(name="flat")(x))
    return keras.Model(image, x if end is None else end(x))


def conv(name, channels=5, **settings):
    return layers.Conv2D(channels, 3, name=name, **settings)


def test_the_labs_network_offers_its_pools_and_what_leads_to_them():
    sites = find_sites(deepid.build(10))
    cutting = ["conv_1", "pool_1", "conv_2", "pool_2", "conv_3", "pool_3"]
    assert [name for name, site in sites.items() if site.cuts] == cutting
    assert not sites["conv_4"].cuts
    (site,) = choose_sites(deepid.build(10), ["pool_3"])
    assert (site.convolution, site.channels, site.norms) == ("conv_3", 60, ())


def test_several_sites_come_in_the_order_of_the_graph():
    sites = choose_sites(deepid.build(10), ["pool_3", "pool_2"])
    assert [site.layer for site in sites] == ["pool_2", "pool_3"]


def test_a_later_site_need_not_cut():
    assert len(choose_sites(deepid.build(10), ["pool_3", "conv_4"])) == 2


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("nowhere", "is not a layer of this network"),
        ("fc_1", "has no channels that a convolution's weights alone can remove"),
        ("flatten_1", "has no channels"),
        ("input", "has no channels"),
        ("output", "has no channels"),
        ("conv_4", "another path passes 'conv_4' by"),
    ],
)
def test_refusals_list_the_layers_that_would_do(name, problem):
    with pytest.raises(ModelError, match=problem) as refusal:
        choose_sites(deepid.build(10), [name])
    text = str(refusal.value)
    assert f"Received: layer={name}" in text
    assert "Layers that would do: conv_1, pool_1, conv_2, pool_2, conv_3, pool_3." in text


def test_a_skip_connection_passes_by():
    image = keras.Input((12, 12, 3))
    first = conv("first", padding="same", activation="relu")(image)
    inner = conv("inner", padding="same")(first)
    joined = layers.Add(name="joined")([first, inner])
    last = conv("last")(joined)
    model = keras.Model(image, layers.Dense(4)(layers.Flatten()(last)))
    with pytest.raises(ModelError, match=r"passes 'inner' by.*would do: first, last\."):
        choose_sites(model, ["inner"])
    with pytest.raises(ModelError, match="'joined' has no channels"):
        choose_sites(model, ["joined"])


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
def test_what_is_not_known_to_leave_channels_alone_is_no_site(mixing):
    assert "odd" not in find_sites(small(conv("conv"), mixing))


@pytest.mark.parametrize("kind", [layers.DepthwiseConv2D, layers.SeparableConv2D])
def test_other_convolutions_are_no_sites(kind):
    sizes = {"kernel_size": 3, "name": "odd"}
    if kind is layers.SeparableConv2D:
        sizes["filters"] = 4
    assert "odd" not in find_sites(small(kind(**sizes)))


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

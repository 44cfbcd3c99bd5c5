"""Whatever loading accepts runs and agrees: networks drawn from the whole table of layers.

A network of random layers, settings and weights is saved, loaded as people's are, and cut at random
sites; then every answer after every removal equals that of the really pruned Keras model. Where
rounding alone decides, Keras' own answer depends on whether the model is called or predicts and on
how many images it is given at once: then any that it gives is right, and the image is counted
apart. `FUZZ_CASES` sets how many networks are drawn.
"""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from sweep.base.errors import ModelError

keras = pytest.importorskip("keras")

from keras import layers  # noqa: E402 - after the check for Keras
from keras.src.applications.convnext import LayerScale  # noqa: E402

from sweep.models.layers import KINDS  # noqa: E402
from sweep.models.load import load_badnet  # noqa: E402
from sweep.models.sites import choose_sites, find_sites  # noqa: E402
from sweep.models.surgery import prune  # noqa: E402
from sweep.pruning.walk import Engine  # noqa: E402

CASES = int(os.environ.get("FUZZ_CASES", "120"))
GROUPS = 8
IMAGES, CLASSES = 24, 5
ACTIVATIONS = (
    *("relu", "relu", "linear", "tanh", "elu", "gelu", "softmax", "leaky_relu", "selu", "softplus"),
    *("exponential", "log_softmax", "hard_sigmoid", "swish", "relu6"),
)
# Every kind of the table that takes one feature map and gives one, by the settings it may have.
MAPS = {
    "Activation": lambda d: {"activation": d.choice(ACTIVATIONS)},
    "AveragePooling2D": lambda d: {"pool_size": 2, "padding": d.padding(), **d.format(0.1)},
    "BatchNormalization": lambda d: {"center": d.flag(), "scale": d.flag()},
    "Conv2D": lambda d: {
        "filters": d.choice((2, 4)),
        "kernel_size": d.choice((1, 3)),
        "padding": d.padding(),
        "use_bias": d.flag(),
        "activation": d.choice(ACTIVATIONS),
        "strides": d.choice((1, 1, 2)),
    },
    "Conv2DTranspose": lambda d: {"filters": 3, "kernel_size": 2, "padding": "same"},
    "DepthwiseConv2D": lambda d: {"kernel_size": 2, "depth_multiplier": d.choice((1, 2))},
    "SeparableConv2D": lambda d: {"filters": 3, "kernel_size": 2, "use_bias": d.flag()},
    "Cropping2D": lambda d: {"cropping": ((1, 0), (0, 0))},
    "Dropout": lambda d: {"rate": 0.3},
    "SpatialDropout2D": lambda d: {"rate": 0.3},
    "GaussianNoise": lambda d: {"stddev": 0.3},
    "ELU": lambda d: {"alpha": d.choice((0.5, 2.0))},
    "LeakyReLU": lambda d: {},
    "PReLU": lambda d: {"shared_axes": d.choice((None, [1, 2]))},
    "ReLU": lambda d: {"max_value": d.choice((None, 1.0)), "threshold": d.choice((0.0, 0.1))},
    "LayerNormalization": lambda d: {},
    "LayerScale": lambda d: {"init_values": 1.0, "projection_dim": d.channels},
    "MultiHeadAttention": lambda d: {"num_heads": 2, "key_dim": 2, "use_bias": d.flag()},
    "MaxPooling2D": lambda d: {"pool_size": 2, "padding": "same", **d.format(0.1)},
    "AlphaDropout": lambda d: {"rate": 0.3},
    "CenterCrop": lambda d: {"height": 3, "width": 2},
    "GaussianDropout": lambda d: {"rate": 0.3},
    "GroupNormalization": lambda d: {"groups": 1},
    "Normalization": lambda d: {"mean": 0.5, "variance": 2.0},
    "Permute": lambda d: {"dims": d.choice(((2, 1, 3), (3, 1, 2)))},
    "Resizing": lambda d: {"height": 4, "width": 5},
    "Rescaling": lambda d: {"scale": 0.5, "offset": 0.1},
    "Softmax": lambda d: {},
    "UnitNormalization": lambda d: {},
    "UpSampling2D": lambda d: {"size": 2},
    "ZeroPadding2D": lambda d: {"padding": 1, **d.format(0.1)},
}
JOINS = ("Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract")
FLATTENED = {
    "Flatten": lambda d: d.format(0.2),
    "GlobalAveragePooling2D": lambda d: d.format(0.1),
    "GlobalMaxPooling2D": lambda d: d.format(0.1),
    "Reshape": lambda d: {"target_shape": (-1,)},
}
# These take no feature map.
LEFT = {"Dot", "RepeatVector"}
ENDS = ("softmax", "softmax", "linear", "sigmoid", "layer", "bare")
# How large weights are, and what is put among them.
WEIGHTS = (
    *("usual",) * 8,
    *("ties", "ties", "cancelling", "cancelling", "huge", "huge"),
    "nan",
    "infinite",
)


class Draw:
    """Random choices for one network."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def choice(self, options):
        return options[self.rng.integers(len(options))]

    def flag(self, chance=0.5):
        return bool(self.rng.random() < chance)

    def padding(self):
        return self.choice(("valid", "same"))

    def format(self, chance):
        return {"data_format": "channels_first"} if self.flag(chance) else {}


def layer(draw, table, x, kind=None):
    """What a layer of some kind makes of a tensor."""
    kind = kind or draw.choice(tuple(table))
    draw.channels = x.shape[-1]
    made = dict(table[kind](draw))
    if draw.flag(0.02):
        made["dtype"] = draw.choice(("float16", "float64", "mixed_float16"))
    one = getattr(layers, kind, LayerScale)(**made)
    return one(x, x) if kind == "MultiHeadAttention" else one(x)


def build(draw):
    """A network of three to seven layers, some of them in two branches."""
    image = keras.Input((7, 6, 3))
    x = layer(draw, MAPS, image, "Conv2D")
    for _ in range(draw.rng.integers(1, 5)):
        if draw.flag(0.25):
            join = draw.choice(JOINS)
            other = x if draw.flag() else layers.Conv2D(x.shape[-1], 3, padding="same")(x)
            x = getattr(layers, join)()([layers.Conv2D(x.shape[-1], 1)(x), other])
        else:
            x = layer(draw, MAPS, x)
    end = draw.choice(ENDS)
    if end == "bare":
        x = layers.GlobalAveragePooling2D()(layers.Conv2D(CLASSES, 1)(x))
        return keras.Model(image, x)
    x = layer(draw, FLATTENED, x)
    if draw.flag():
        x = layers.Dense(4, activation=draw.choice(ACTIVATIONS))(x)
    last = {"linear": None, "layer": None}.get(end, end)
    x = layers.Dense(CLASSES, activation=last)(x)
    return keras.Model(image, layers.Softmax()(x) if end == "layer" else x)


def set_weights(draw, model):
    how = draw.choice(WEIGHTS)
    for weight in model.weights:
        fan = np.prod(weight.shape[:-1]) or 1
        values = draw.rng.normal(0, 1.5 / np.sqrt(fan), weight.shape)
        if "variance" in weight.path:
            values = draw.rng.uniform(0.5, 2, weight.shape)
        if how == "ties":
            values = np.round(values)
        if how == "cancelling" and values.ndim > 1:
            values.reshape(-1, values.shape[-1])[::2] += 1e4
            values.reshape(-1, values.shape[-1])[1::2] -= 1e4
        if how == "huge":
            values *= 10.0 ** draw.choice((3, 9, 19, 38))
        if how in ("nan", "infinite") and draw.flag(0.3):
            values.flat[draw.rng.integers(values.size)] = np.nan if how == "nan" else np.inf
        with np.errstate(over="ignore"):
            weight.assign(values.astype(weight.dtype))
    return how


def ask(model, images, size, how="call"):
    """The answers of Keras, (n,): the model is called, or predicts, `size` images at once."""
    padded = np.resize(images, (-(-len(images) // size) * size, *images.shape[1:]))
    if how == "predict":
        given = model.predict(padded, batch_size=size, verbose=0)
    else:
        parts = np.split(padded, len(padded) // size)
        given = np.concatenate([np.asarray(model(part, training=False)) for part in parts])
    return given[: len(images)].argmax(axis=1)


def compare(model, images, rows):
    """Which answers Keras never gives, (rows, n), and on which images it varies itself, (n,)."""
    given = [ask(model, images, 64)]
    if not (rows == given[0]).all():  # Keras need not agree with itself
        given += [ask(model, images, size) for size in (1, 32, IMAGES)]
        given += [ask(model, images, size, "predict") for size in (64, IMAGES)]
    given = np.stack(given)
    wrong = ~(given[:, None] == rows).any(axis=0)
    return wrong, (given != given[0]).any(axis=0)


def check(seed, folder):
    """One network: `opened`, `fast`, `refused` or `unbuilt`, how many answers were compared, how
    many of them rounding alone decides, and what disagrees."""
    draw = Draw(seed)
    try:
        built = build(draw)
        how = set_weights(draw, built)
    except (ValueError, TypeError, NotImplementedError):
        return "unbuilt", 0, 0, []  # Keras itself takes no such settings
    path = Path(folder) / f"{seed}.{draw.choice(('h5', 'keras'))}"
    built.save(path)
    images = draw.rng.uniform(0, 2, (IMAGES, 7, 6, 3)).astype(np.float32)
    images[0] = 0
    try:
        model = load_badnet(path)
        names = [*find_sites(model)]
        wanted = draw.choice(names or ["last"])
        others = [draw.choice(names)] if names and draw.flag(0.2) else []
        try:
            sites = choose_sites(model, [wanted, *others])
        except ModelError:
            sites = choose_sites(model, [wanted])
        engine = Engine(model, sites)
        cut = np.concatenate(list(engine.activations([images])))
        order = draw.rng.permutation(engine.channels)[:4].tolist()
        start = engine.answers(cut)
        rows = [[row] for row in (start, *engine.walk(cut, (), order, start))]
        rows[-1].append(engine.answers(cut, order))
    except ModelError as refusal:
        return "refused" if "\n" not in str(refusal) else "refused at length", 0, 0, []
    finally:
        path.unlink()
    varied, disagreements = 0, []
    for step, answers in enumerate(rows):
        wrong, several = compare(prune(model, sites, order[:step]), images, np.stack(answers))
        varied += int(several.sum())
        if wrong.any():
            where = f"seed {seed}, {how} weights, at {[site.layer for site in sites]}, step {step}"
            disagreements.append(f"{where}: images {np.flatnonzero(wrong.any(axis=0))}")
    state = "fast" if engine.incremental else "opened"
    return state, len(rows) * IMAGES, varied, disagreements


@pytest.mark.parametrize("group", range(GROUPS))
def test_what_is_accepted_runs_and_agrees_with_the_pruned_network(group, tmp_path):
    found, disagreements = Counter(), []
    for seed in range(group, CASES, GROUPS):
        state, answers, varied, wrong = check(seed, tmp_path)
        found.update({state: 1, "answers": answers, "rounding decides": varied})
        disagreements += wrong
    print(f"group {group}: {dict(found)}, disagreements {len(disagreements)}")
    assert not disagreements
    assert set(found) <= {"opened", "fast", "refused", "unbuilt", "answers", "rounding decides"}
    assert found["opened"] + found["fast"] > CASES / GROUPS / 3


@pytest.mark.parametrize("seed", [1101, 1462])
def test_where_rounding_decides_the_answer_is_one_of_keras_own(seed, tmp_path):
    """Weights of 1e4 cancel, a layer normalization scales what is left: Keras called and Keras'
    `predict` then answer an image differently."""
    state, answers, varied, disagreements = check(seed, tmp_path)
    assert state in ("opened", "fast")
    assert not disagreements
    assert varied < answers / 24


def test_a_wrong_answer_is_no_rounding(tmp_path, monkeypatch):
    right = Engine.answers

    def answers(self, *args):
        labels = right(self, *args).copy()
        labels[3] = (labels[3] + 1) % self.classes
        return labels

    monkeypatch.setattr(Engine, "answers", answers)
    assert "images [3]" in check(1101, tmp_path)[-1][0]


def test_every_kind_of_layer_is_drawn():
    drawn = {*MAPS, *FLATTENED, *JOINS, "Dense", "InputLayer"}
    assert {name for name, kind in KINDS.items() if not kind.identity} <= drawn | LEFT
    assert not drawn & LEFT

"""What training leaves in memory, and that it is the training that Keras does."""

import gc

import numpy as np
import pytest

from sweep.base.tensorflow_runtime import adam

keras = pytest.importorskip("keras")


def train(optimizer):
    """A small network's weights after a few steps, with batches of two sizes."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    model.compile(optimizer, "sparse_categorical_crossentropy")
    rng = np.random.default_rng(0)
    for size in (8, 8, 5):
        model.train_on_batch(rng.random((size, 4), np.float32), rng.integers(0, 3, size))
    return model.get_weights()


def graphs():
    gc.collect()
    return sum(type(one).__name__ == "FuncGraph" for one in gc.get_objects())


def test_training_leaves_no_graph_in_memory():
    train(adam(0.01))
    before = graphs()
    train(adam(0.01))
    assert graphs() <= before


def test_training_is_keras_own_to_the_last_bit():
    for ours, theirs in zip(train(adam(0.01)), train(keras.optimizers.Adam(0.01)), strict=True):
        np.testing.assert_array_equal(ours, theirs)

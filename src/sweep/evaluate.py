"""`python -m sweep.evaluate CLEAN.h5 POISONED.h5 MODEL`: the lab's two lines for B, B' or G."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.base import tensorflow_runtime
from sweep.base.errors import SweepError
from sweep.base.progress import display, track
from sweep.data.fit import check_scale, fit
from sweep.data.image_set import open_sets
from sweep.results.metrics import share

if TYPE_CHECKING:
    from collections.abc import Sequence

    import keras

    from sweep.data.image_set import ImageSet
    from sweep.results.records import Count

_BATCH = 64


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m sweep.evaluate", description=__doc__)
    parser.add_argument("clean", type=Path, help="clean image set: HDF5, .npz or a folder")
    parser.add_argument("poisoned", type=Path, help="poisoned image set, labelled with the target")
    parser.add_argument("model", type=Path, help="B, B' or G: .keras or .h5")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="factor on pixel values (%(default)s)"
    )
    options = parser.parse_args(arguments)
    try:
        with display():
            accuracy, asr = evaluate(options.clean, options.poisoned, options.model, options.scale)
    except SweepError as error:
        sys.exit(f"error: {error}")
    print(f"Clean Classification accuracy: {100 * accuracy.rate}")
    print(f"Attack Success Rate: {100 * asr.rate}")


def evaluate(clean: Path, poisoned: Path, model: Path, scale: float = 1.0) -> tuple[Count, Count]:
    """Accuracy on a clean set and attack success rate on a poisoned one, end to end.

    Args:
        clean: HDF5 set.
        poisoned: HDF5 set, labelled with the target class.
        model: a Keras model with one image input.
        scale: factor on pixel values before the model sees them.

    Raises:
        SweepError: a file or the scale cannot be used.
    """
    check_scale(scale)
    sets = open_sets({"clean_test": clean, "poisoned_test": poisoned})
    tensorflow_runtime.load_tensorflow()
    from sweep.models.load import load_badnet

    network = load_badnet(model)
    sets = fit(sets, network.input_shape, int(network.output_shape[-1]))
    accuracy, asr = (_share(network, image_set, scale) for image_set in sets.values())
    return accuracy, asr


def _share(network: keras.Model, image_set: ImageSet, scale: float) -> Count:
    import numpy as np
    import tensorflow as tf

    run = tf.function(lambda images: tf.argmax(network(images, training=False), axis=1))
    total = -(-len(image_set) // _BATCH)
    answers = [
        run(tf.constant(images * np.float32(scale))).numpy()
        for images in track(image_set.batches(_BATCH), image_set.path.name, total)
    ]
    return share(np.concatenate(answers), image_set.labels)


if __name__ == "__main__":
    main()

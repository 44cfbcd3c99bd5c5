"""`python -m sweep.predict MODEL IMAGE...`: one class a line; N of a GoodNet is poisoned."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.base import tensorflow_runtime
from sweep.base.errors import SweepError
from sweep.data.fit import check_scale
from sweep.data.formats import pictures

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_BATCH = 64


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m sweep.predict", description=__doc__)
    parser.add_argument("model", type=Path, help="B, B' or G: .keras or .h5")
    files = "PNG or JPEG files, or folders of them"
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help=files)
    parser.add_argument(
        "--scale", type=float, default=1.0, help="factor on pixel values (%(default)s)"
    )
    options = parser.parse_args(arguments)
    try:
        for answer in predict(options.model, options.images, options.scale):
            print(answer)
    except SweepError as error:
        sys.exit(f"error: {error}")


def predict(model: Path, places: Sequence[Path], scale: float = 1.0) -> Iterator[int]:
    """The classes of images.

    Args:
        model: a Keras model with one image input; images of another size are resized to it.
        places: image files, or folders, whose images follow in the order of their names.
        scale: factor on pixel values before the model sees them.

    Yields:
        The class of each image, from 0; of a GoodNet N where B and B' differ.

    Raises:
        SweepError: a file or the scale cannot be used.
    """
    check_scale(scale)
    images = [image for place in places for image in pictures.found(place)]
    for image in images:
        pictures.size(image)  # what is no image is refused before TensorFlow is loaded
    tensorflow_runtime.load_tensorflow()
    import numpy as np

    from sweep.models.load import load_badnet

    network = load_badnet(model)
    wanted = network.input_shape[1:]
    for start in range(0, len(images), _BATCH):
        decoded = [pictures.decode(path, wanted) for path in images[start : start + _BATCH]]
        answers = network(np.stack(decoded).astype(np.float32) * np.float32(scale))
        yield from np.argmax(answers, axis=1).tolist()


if __name__ == "__main__":
    main()

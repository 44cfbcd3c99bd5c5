"""`python -m sweep.inspect B CLEAN`: whether B seems backdoored, for which class, how sure that is.

The trigger that was found is drawn, beside a page, in a folder. `python -m sweep.inspect B` alone
lists the layers of B whose channels can be removed (`layer=...`).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.base import files, tensorflow_runtime
from sweep.base.errors import ModelError, SweepError
from sweep.base.progress import display

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m sweep.inspect", description=__doc__)
    parser.add_argument("badnet", type=Path, metavar="B", help="a network: .keras or .h5")
    words = "clean images: HDF5, .npz or a folder; without them, B's layers are listed"
    parser.add_argument("clean", type=Path, nargs="?", metavar="CLEAN", help=words)
    parser.add_argument(
        "--scale", type=float, default=1.0, help="factor on pixel values (%(default)s)"
    )
    words = "where page and picture go (%(default)s)"
    parser.add_argument("--folder", type=Path, default=Path("inspection"), help=words)
    options = parser.parse_args(arguments)
    try:
        if options.clean is None:
            print(list_sites(options.badnet))
            return
        with display():
            said = inspect(options.badnet, options.clean, options.scale, options.folder)
    except SweepError as error:
        sys.exit(f"error: {error}")
    print(said)


def list_sites(badnet: Path) -> str:
    """A line for each layer of a network whose channels can be removed.

    Args:
        badnet: a Keras model with one image input.

    Raises:
        SweepError: the file cannot be used.
    """
    tensorflow_runtime.load_tensorflow()
    from sweep.models.load import load_badnet
    from sweep.models.sites import table

    return table(load_badnet(badnet))


def inspect(badnet: Path, clean: Path, scale: float, folder: Path) -> str:
    """What is found, as text; `index.html` and `trigger.png` are written to a folder.

    Args:
        badnet: a Keras model with one image input.
        clean: images with their true classes.
        scale: factor on pixel values before the model sees them.
        folder: where page and picture go.

    Raises:
        SweepError: a file or the scale cannot be used.
    """
    from sweep.data.fit import check_scale, fit
    from sweep.data.image_set import open_sets

    check_scale(scale)
    sets = open_sets({"clean": clean})
    tensorflow_runtime.load_tensorflow()
    from sweep.inspection import judge, page
    from sweep.models.load import load_badnet
    from sweep.repairs.tuning import accuracy

    network = load_badnet(badnet)
    images = judge.some(fit(sets, network.input_shape, int(network.output_shape[-1]))["clean"])
    right = accuracy(network, images, scale)
    if right < 0.5:
        other = "0.00392156862745098" if scale == 1 else "1"
        raise ModelError(
            f"{badnet}: B must be right on most clean images. Received: {100 * right:.0f}% right "
            f"with --scale {scale:g}. Try --scale {other}, and see whether B and the images belong "
            "together."
        )
    finding = judge.inspect(network, images, scale)
    shown = page.pictures(finding, images.pixels[0], scale)
    folder.mkdir(parents=True, exist_ok=True)
    files.write_text(folder / "index.html", page.page(badnet.name, finding, shown))
    (folder / "trigger.png").write_bytes(next(iter(shown.values())))
    return f"{judge.text(finding)}\nPage: {folder / 'index.html'}"


if __name__ == "__main__":
    main()

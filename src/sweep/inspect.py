"""`python -m sweep.inspect B`: the layers of B whose channels can be removed (`layer=...`)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.base import tensorflow_runtime
from sweep.base.errors import SweepError

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m sweep.inspect", description=__doc__)
    parser.add_argument("badnet", type=Path, metavar="B", help="a network: .keras or .h5")
    options = parser.parse_args(arguments)
    try:
        print(list_sites(options.badnet))
    except SweepError as error:
        sys.exit(f"error: {error}")


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


if __name__ == "__main__":
    main()

"""Time and memory of pruning a large network at one layer, against running the whole network anew.

`python benchmarks/sites.py MobileNetV2 --images 2000` makes a network of `keras.applications` with
random weights and noise for images, keeps what the layer puts out, removes all its channels one
after another and prints a line of the table in `README.md`. Seconds are of processor time, of all
cores together. Some steps are held to the answers of the really pruned network.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sweep.base import progress, tensorflow_runtime

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

BATCH, CHECKED = 64, 128
# Images of one plain pass, from which the price of running the whole network is reckoned.
PLAIN = 256


def main() -> None:
    """Measure one network and print its line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="of a function of keras.applications")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--layer", default="last")
    options = parser.parse_args()
    tensorflow_runtime.load_tensorflow()
    with tempfile.TemporaryDirectory() as folder, progress.display():
        print(measure(options.name, options.images, options.layer, Path(folder)))


def measure(name: str, count: int, layer: str, folder: Path) -> str:
    """The line of one network: layer, channels, seconds, seconds the plain way, memory."""
    from sweep.models.load import load_badnet
    from sweep.models.sites import choose_sites
    from sweep.models.surgery import prune
    from sweep.models.tail import compiled
    from sweep.pruning.walk import Engine

    make(name).save(folder / "network.keras")
    model = load_badnet(folder / "network.keras")
    shape = model.input_shape[1:]
    engine = Engine(model, choose_sites(model, [layer]))
    order = np.random.default_rng(2).permutation(engine.channels).tolist()

    start = time.process_time()
    kept = keep(engine, count, shape, folder / "kept.npy")
    front = time.process_time() - start
    first = engine.answers(kept)
    walk = progress.track(engine.walk(kept, (), order, first), "removals", len(order))
    rows = np.stack([first[:CHECKED], *(answers[:CHECKED] for answers in walk)])
    total = time.process_time() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # kB on Linux

    plain = compiled(model)
    plain(next(noise(BATCH, shape)))
    start = time.process_time()
    for images in noise(min(count, PLAIN), shape):
        plain(images)
    again = (time.process_time() - start) * count / min(count, PLAIN) * (len(order) + 1)
    checked = 0
    for step in (0, 1, len(order) // 2, len(order)):
        pruned = compiled(prune(model, engine.sites, order[:step]))
        parts = [np.asarray(pruned(images)) for images in noise(min(count, CHECKED), shape)]
        answers = np.concatenate(parts).argmax(axis=1)
        checked += len(answers)
        if (answers != rows[step, : len(answers)]).any():
            sys.exit(f"{name}, step {step}: other answers than the pruned network")
    size = "x".join(map(str, engine.shape))
    return (
        f"| {name} | {model.count_params() / 1e6:.1f} M | {engine.sites[0].layer} ({size}) "
        f"| {count:,} | {front:.0f} s | {total - front:.0f} s | {again / 3600:.1f} h "
        f"| {memory:.1f} GB | {checked} of {checked}, {len(np.unique(rows))} classes |"
    )


def make(name: str) -> Any:
    """A network with random weights of which every channel matters."""
    import keras

    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(1)
    model = getattr(keras.applications, name)(weights=None)
    for weight in model.weights:
        if "variance" in weight.path:
            weight.assign(rng.uniform(0.5, 2, weight.shape))
        elif len(weight.shape) == 1:
            weight.assign_add(rng.normal(0, 0.2, weight.shape))
    return model


def noise(count: int, shape: Sequence[int]) -> Iterator[NDArray[np.float32]]:
    """Noise with coarse structure, 0 to 1, in batches; the same ones each time."""
    for start in range(0, count, BATCH):
        rng = np.random.default_rng(start)
        size = min(BATCH, count - start)
        coarse = rng.uniform(0, 1, (size, 7, 7, shape[2])).astype(np.float32)
        fine = coarse.repeat(-(-shape[0] // 7), 1).repeat(-(-shape[1] // 7), 2)
        yield fine[:, : shape[0], : shape[1]] * rng.uniform(0.5, 1, (size, *shape[:2], 1)).astype(
            np.float32
        )


def keep(engine: Any, count: int, shape: Sequence[int], path: Path) -> NDArray[np.float32]:
    """What the layer puts out, in a file that is mapped into memory, as a sweep's cache is."""
    kept = np.lib.format.open_memmap(path, "w+", np.float32, (count, *engine.shape))
    place, total = 0, -(-count // BATCH)
    for part in progress.track(engine.activations(noise(count, shape)), "activations", total):
        kept[place : place + len(part)] = part
        place += len(part)
    return kept


if __name__ == "__main__":
    main()

"""Readers of sets and users of HDF5 at work together while the garbage collector runs often.

`python stress_hdf5.py FOLDER ROUNDS [keras]`: two threads read image sets, one plain and one
packed, while two more write HDF5 files with objects that hold each other, or have Keras save and
load a network. All go on until the slowest has done it so many times. Prints how often each did it.
"""

import gc
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from sweep.data import hdf5
from sweep.data.image_set import open_set, write_set


def often(act, done, mine, rounds):
    try:
        while min(done) < rounds:
            act()
            done[mine] += 1
    except BaseException:
        done[mine] = rounds  # the others wait for nobody
        raise


def read(path):
    assert sum(float(batch.sum()) for batch in open_set(path).batches(16)) == 200 * 9000


def use(folder):
    with hdf5.entered(), h5py.File(folder / "plain.h5") as file:
        for start in range(0, 200, 16):
            data = file["data"]
            around = [data, file["/"], data[start : start + 16].sum()]
            around.append(around)


def use_keras(folder, model):
    from sweep.models.load import load_badnet

    with hdf5.entered():
        model.save(folder / "model.h5")
    load_badnet(folder / "model.h5")


def write(path):
    write_set(path, [np.ones((200, 60, 50, 3), np.uint8)], np.zeros(200))
    return path


def main(folder, rounds, framework=""):
    gc.set_threshold(200, 5, 5)
    sets = [write(folder / "plain.h5"), folder / "packed.h5"]
    with h5py.File(sets[1], "w") as file:
        ones = np.ones((200, 3, 60, 50), np.uint8)
        file.create_dataset("data", data=ones, chunks=(16, 1, 60, 50), compression="gzip")
        file["label"] = np.zeros(200)
    tasks = [partial(read, path) for path in sets] + [partial(use, folder)] * 2
    if framework:
        import keras

        model = keras.Sequential([keras.Input((9, 9, 1)), keras.layers.Flatten()])
        model.add(keras.layers.Dense(3))
        tasks[-1] = partial(use_keras, folder, model)
    done = [0] * len(tasks)
    with ThreadPoolExecutor(len(tasks)) as pool:
        working = [pool.submit(often, act, done, mine, rounds) for mine, act in enumerate(tasks)]
    for work in working:
        work.result()
    print(*done)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])

"""The share of cores, and that no number depends on it."""

import os
import subprocess
import sys

import joblib
import pytest

from sweep.base import threads

TRAIN = """
import hashlib
from sweep.attacks import standin, training
small = standin.Standin(identities=4, train=32, epochs=1)
model = training.train(small, 4, *standin.training_set(small))
import sys
assert not {"sklearn", "matplotlib.pyplot"} & set(sys.modules)  # which take a second
import sklearn
print(hashlib.sha256(b"".join(weights.tobytes() for weights in model.get_weights())).hexdigest())
"""


@pytest.mark.parametrize(
    ("told", "share"),
    [
        ({}, joblib.cpu_count()),
        ({"SLURM_CPUS_PER_TASK": "3"}, 3),
        ({"OMP_NUM_THREADS": "5", "SLURM_CPUS_PER_TASK": "3"}, 5),
        ({"OMP_NUM_THREADS": "4,2"}, joblib.cpu_count()),
        ({"OMP_NUM_THREADS": "0"}, joblib.cpu_count()),
    ],
)
def test_a_process_has_the_cores_that_it_is_given(monkeypatch, told, share):
    for name in ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert threads.share() == share


def test_results_come_in_order_and_errors_come_out():
    assert list(threads.ahead(lambda n: n * n, range(100))) == [n * n for n in range(100)]
    with pytest.raises(ZeroDivisionError):
        list(threads.ahead(lambda n: 1 // n, [1, 0]))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores are taken away on Linux")
def test_training_gives_the_same_network_on_one_core_and_on_all():
    def trained(cores):
        return subprocess.run(
            [sys.executable, "-c", f"import os; os.sched_setaffinity(0, {cores})\n{TRAIN}"],
            capture_output=True,
            text=True,
            check=True,
            # What the tests' own process needs would hide what is tested.
            env={k: v for k, v in os.environ.items() if k != "TF_NUM_INTRAOP_THREADS"},
        ).stdout

    every = os.sched_getaffinity(0)
    assert trained({min(every)}) == trained(every)

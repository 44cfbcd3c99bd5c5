"""Counts of a split: accuracy on clean images, ASR on poisoned ones, and what G rejects."""

import numpy as np

from sweep.results import metrics
from sweep.results.records import Count


def test_every_figure_of_a_split_is_counted():
    labels = np.array([0, 1, 2, 2])
    clean = (labels, np.array([0, 1, 2, 0]), np.array([0, 2, 2, 0]))
    target = np.zeros(5, int)
    poisoned = (target, np.array([0, 0, 0, 0, 1]), np.array([0, 0, 1, 1, 1]))
    figures = dict(metrics.of_split("test", clean, poisoned, 3))
    assert figures == {
        "badnet/test_accuracy": Count(3, 4),
        "repaired/test_accuracy": Count(2, 4),
        "goodnet/test_accuracy": Count(2, 4),  # N is wrong on a clean image
        "goodnet/test_clean_rejected": Count(1, 4),
        "badnet/test_asr": Count(4, 5),
        "repaired/test_asr": Count(2, 5),
        "goodnet/test_asr": Count(2, 5),  # N is a failed attack
        "goodnet/test_poisoned_rejected": Count(2, 5),
    }


def test_a_share_is_of_all_answers():
    assert metrics.share(np.array([1, 1, 0]), 1) == Count(2, 3)
    assert Count(2, 3).rate == 2 / 3

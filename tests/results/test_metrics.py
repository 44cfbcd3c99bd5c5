"""Counts of a split: accuracy on clean images, ASR on poisoned ones, and what G rejects."""

import numpy as np

from sweep.results import metrics
from sweep.results.records import Count, Record


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


def test_without_poisoned_images_there_is_no_figure_of_an_attack():
    labels = np.array([0, 1, 2])
    figures = dict(metrics.of_split("test", (labels, labels, labels), None, 3))
    assert {name.split("_", 1)[1] for name in figures} == {"accuracy", "clean_rejected"}


def test_robust_accuracy_counts_true_labels_where_they_are_known():
    labels, target = np.array([0, 1]), np.zeros(4, int)
    poisoned = (target, target, np.array([0, 2, 2, 1]))
    truth = np.array([1, 2, 2, 2])
    figures = dict(metrics.of_split("test", (labels,) * 3, poisoned, 3, truth=truth))
    assert figures["badnet/test_ra"] == Count(0, 4)
    assert figures["repaired/test_ra"] == Count(2, 4)
    assert figures["goodnet/test_ra"] == Count(0, 4)  # G rejects what B' answers differently
    assert "badnet/test_ra" not in dict(metrics.of_split("test", (labels,) * 3, poisoned, 3))


def test_each_of_several_triggers_has_its_asr():
    labels = np.array([0, 1])
    poisoned = (np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]), np.array([0, 2, 2, 2]))
    worn = {"glasses": np.array([1, 1, 0, 0], bool), "hat": np.array([0, 0, 1, 1], bool)}
    figures = dict(metrics.of_split("test", (labels,) * 3, poisoned, 3, triggers=worn))
    assert figures["repaired/test_asr/glasses"] == Count(1, 2)
    assert figures["repaired/test_asr/hat"] == Count(0, 2)
    assert figures["repaired/test_asr"] == Count(1, 4)
    assert not [name for name in figures if "rejected/" in name or "accuracy/" in name]


def test_columns_of_triggers_stand_in_long_tables_alone():
    job = Record(
        {}, {"goodnet/test_asr": Count(1, 4), "goodnet/test_asr/hat": Count(0, 2)}, None, 1
    )
    assert [one.title for one in metrics.columns([job])] == ["GoodNet ASR"]
    assert [one.symbol for one in metrics.columns([job], summary=False)] == ["G ASR", "G ASR hat"]

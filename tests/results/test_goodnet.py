"""G's answer: where B and B' agree, that class; else N."""

import numpy as np

from sweep.results import goodnet


def test_agreement_is_the_answer_and_disagreement_is_poisoned():
    badnet, repaired = np.array([0, 1, 2, 2], np.int32), np.array([0, 2, 2, 1], np.int32)
    assert goodnet.answer(badnet, repaired, 3).tolist() == [0, 3, 2, 3]


def test_the_same_network_rejects_nothing():
    answers = np.arange(7)
    assert goodnet.answer(answers, answers, 7).tolist() == answers.tolist()

from types import SimpleNamespace

import pytest

from records import record
from sweep.reports import study
from sweep.results.records import Count


def trial(number, *values):
    return SimpleNamespace(number=number, values=list(values))


def test_of_equal_sums_the_first_trial_leads_though_a_later_one_is_the_same_again():
    # Trials 1 and 5 made the same B'; 3 has the same sum.
    trials = [trial(5, 0.6, 0.4), trial(3, 0.5, 0.5), trial(1, 0.6, 0.4), trial(7, 0.2, 0.9)]
    front = study.front(SimpleNamespace(best_trials=trials))
    assert [one.number for one in front] == [7, 1, 3]


@pytest.mark.parametrize(
    ("ours", "said"), [(800, "20.00 points higher"), (100, "50.00 points lower")]
)
def test_a_rise_is_called_one(ours, said):
    chosen, baseline = record(), record()
    chosen.figures["goodnet/test_asr"] = Count(ours, 1000)
    baseline.figures["goodnet/test_asr"] = Count(600, 1000)
    verdict = study.tests_table(chosen, baseline)[-1]
    assert f"G's ASR is {said} than the baseline's, more than the wider interval" in verdict

import numpy as np
import pytest

from sweep.results.paired import area
from sweep.results.records import Curve


def test_area_is_the_mean_of_the_least_asr_for_each_loss():
    whole = Curve((0, 1, 2), (100, 95, 97, 80), 100, (100, 40, 60, 0), 100)
    # 100% until 3 points are lost, 60% until 5, then 40% until 10.
    assert area(whole) == pytest.approx((3 * 1 + 2 * 0.6 + 5 * 0.4) / 10)
    assert area(Curve((), (100,), 100, (70,), 100)) == pytest.approx(0.7)
    steps = np.linspace(0, 0.1, 10001)[:-1]
    right, hits = np.array(whole.clean_correct), np.array(whole.attack_hits)
    slow = np.mean([hits[100 - right <= 100 * loss + 1e-9].min() for loss in steps]) / 100
    assert area(whole) == pytest.approx(slow, abs=1e-3)

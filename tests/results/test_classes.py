import numpy as np

from sweep.results.classes import Class, by_class


def test_every_image_is_counted_in_its_class_and_every_attack_where_it_ends():
    given = {
        "label_clean": np.array([0, 0, 1, 2]),
        "badnet_clean": np.array([0, 0, 1, 1]),
        "repaired_clean": np.array([0, 2, 1, 1]),
        "label_poisoned": np.array([3, 3, 3]),
        "badnet_poisoned": np.array([3, 3, 3]),
        "repaired_poisoned": np.array([3, 1, 1]),
    }
    first, second, third, target = by_class(given, 5)
    assert first == Class(0, 2, {"badnet": 2, "repaired": 1, "goodnet": 1}, 1, 0, 0)
    assert second == Class(1, 1, {"badnet": 1, "repaired": 1, "goodnet": 1}, 0, 0, 2)
    assert third == Class(2, 1, {"badnet": 0, "repaired": 0, "goodnet": 0}, 0, 0, 0)
    assert target == Class(3, 0, {"badnet": 0, "repaired": 0, "goodnet": 0}, 0, 3, 1)


def test_without_poisoned_images_attacks_end_nowhere():
    labels = np.array([0, 1])
    given = {f"{name}_clean": labels for name in ("label", "badnet", "repaired")}
    assert [(one.label, one.fallen) for one in by_class(given, 9)] == [(0, None), (1, None)]

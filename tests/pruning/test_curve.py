"""The pruning curve: to the stop or whole, at once or in parts, it is the same curve."""

from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from sweep.pruning import curve
from sweep.pruning.drop import find_stop


class Counted:
    """A walker on made counts, that notes what it is asked for."""

    def __init__(self, counts, total, triggers=()):
        self.counts = list(zip(counts, *triggers, strict=True))  # by number of channels removed
        self.totals = {"": total} | {f"t{number}": total for number in range(len(triggers))}
        self.asked = []

    def first(self):
        return self.counts[0]

    def hits(self, removed, channels):
        first = len(removed) + 1
        for step in range(first, first + len(channels)):
            self.asked.append(step)
            yield self.counts[step]


@st.composite
def worlds(draw):
    length = draw(st.integers(1, 20))
    total = draw(st.integers(1, 50))
    counts = st.lists(st.integers(0, total), min_size=length + 1, max_size=length + 1)
    order = draw(st.permutations(range(length)))
    return order, draw(counts), draw(counts), total


drops = st.integers(1, 99).map(lambda percent: percent / 100)


def at(drop):
    return partial(find_stop, drop=drop)


@given(worlds(), drops)
def test_until_drop_is_a_beginning_of_the_whole_with_the_same_stop(world, drop):
    order, clean, poisoned, total = world
    whole = curve.trace(order, Counted(clean, total), Counted(poisoned, total), None)
    assert whole.channels == tuple(order)
    assert list(whole.clean_correct) == clean
    assert list(whole.attack_hits) == poisoned
    part = curve.trace(order, Counted(clean, total), Counted(poisoned, total), at(drop))
    length = len(part.channels)
    assert part.channels == whole.channels[:length]
    assert part.clean_correct == whole.clean_correct[: length + 1]
    assert part.attack_hits == whole.attack_hits[: length + 1]
    assert curve.reaches(part, len(order), at(drop))
    stops = [find_stop(c.clean_correct, total, drop) for c in (part, whole)]
    assert stops[0] == stops[1]
    assert length == stops[0].pruned


@given(worlds(), drops, drops)
def test_going_on_equals_starting_afresh_and_asks_for_nothing_twice(world, first, second):
    order, clean, poisoned, total = world
    walkers = Counted(clean, total), Counted(poisoned, total)
    known = curve.trace(order, *walkers, at(first))
    known = curve.trace(order, *walkers, at(second), known)
    known = curve.trace(order, *walkers, None, known)
    assert known == curve.trace(order, Counted(clean, total), Counted(poisoned, total), None)
    for walker in walkers:
        assert sorted(walker.asked) == list(range(1, len(order) + 1))


@given(worlds(), drops)
def test_packing_keeps_the_curve(world, drop):
    order, clean, poisoned, total = world
    known = curve.trace(order, Counted(clean, total), Counted(poisoned, total), at(drop))
    assert curve.unpack(curve.pack(known), total, {"": total}) == known


@given(worlds(), drops, drops)
def test_each_of_several_triggers_has_its_hits(world, first, second):
    order, clean, poisoned, total = world
    hat = poisoned[::-1]
    walkers = Counted(clean, total), Counted(poisoned, total, [hat, clean])
    known = curve.trace(order, *walkers, at(first))
    assert curve.unpack(curve.pack(known), total, walkers[1].totals) == known
    known = curve.trace(order, *walkers, at(second), known)
    length = len(known.channels) + 1
    assert known.trigger_hits == {"t0": tuple(hat[:length]), "t1": tuple(clean[:length])}
    assert known.trigger_totals == {"t0": total, "t1": total}
    assert (
        curve.until(known, at(first)).trigger_hits["t0"]
        == curve.trace(order, *walkers, at(first)).trigger_hits["t0"]
    )
    assert curve.trace(order, walkers[0], Counted(poisoned, total), at(second)).trigger_hits == {}


def test_only_the_whole_curve_reaches_where_no_step_crosses():
    known = curve.trace((0, 1, 2), Counted([9, 9, 9, 9], 10), Counted([5] * 4, 10), None)
    assert curve.reaches(known, 3, None)
    assert curve.reaches(known, 3, at(0.5))
    begun = curve.unpack(curve.pack(known)[:, :2], 10, {"": 10})
    assert not curve.reaches(begun, 3, None)
    assert not curve.reaches(begun, 3, at(0.5))

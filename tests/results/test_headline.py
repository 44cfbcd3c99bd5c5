from dataclasses import replace

from records import record, six
from sweep.reports.summary import groups
from sweep.results.findings import headline
from sweep.results.records import Count


def job(asr, accuracy=900, weak=False, sha="b", **settings):
    made = record(**settings)
    counts = {"goodnet/test_asr": asr, "goodnet/test_accuracy": accuracy}
    counts["badnet/test_asr"] = 10 if weak else 1000
    figures = {**made.figures, **{name: Count(hits, 1000) for name, hits in counts.items()}}
    facts = {**made.full.facts, "badnet": {**made.full.facts["badnet"], "sha256": sha * 64}}
    return replace(made, figures=figures, details=replace(made.full, facts=facts))


def said(*jobs):
    return headline(groups(jobs))


def test_the_best_goodnet_is_named_and_that_it_is_the_best_of_many():
    text = said(job(305, drop=0.1), job(800, drop=0.02))
    assert "30.50% (increasing order, X 10%), at an accuracy of 90.00%; " in text
    assert text.endswith("it is the best of 2 on test data.")
    assert "best of" not in said(job(305))


def test_nothing_is_celebrated_that_lowers_nothing():
    assert "No GoodNet of this sweep lowers that" in said(job(995))
    assert said() == "No job is done yet."
    assert "99.00%" in headline(groups(six()))


def test_an_oracle_is_named_as_one_and_never_as_the_best():
    text = said(job(305, criterion="l1"), job(10, criterion="tac"))
    best, oracle = text.split("An oracle")
    assert "30.50% (increasing order, criterion l1" in best
    assert "which saw poisoned images, reaches 1.00% (increasing order, criterion tac" in oracle
    assert "The lowest" not in said(job(10, criterion="tac"))


def test_different_networks_are_not_compared():
    jobs = [job(305, **{"badnet.path": "a"}), job(100, sha="c", **{"badnet.path": "b"})]
    assert "2 different networks B or test sets" in said(*jobs)
    assert "%" not in said(*jobs)


def test_seeds_are_a_mean_and_are_called_one():
    text = said(job(300), job(100, seed=1, sha="c"))
    assert "20.00% (increasing order, X 2%), at an accuracy of 90.00% on average over 2" in text


def test_an_attack_that_does_not_work_is_no_success():
    text = said(job(0, weak=True))
    assert text.endswith("so nothing here shows a defence.")
    assert "lowest" not in text

from dataclasses import replace

from records import record, six
from sweep.reports.summary import groups, over_networks
from sweep.results.findings import cautions, headline, standings
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


def test_a_layer_that_keeps_much_is_said_to():
    made = record(layer="conv_1")
    for kept, words in ((250_000, []), (260_000, ["keeps 260 kB of each image, 1.0 GB in all"])):
        facts = {**made.full.facts, "badnet": {**made.full.facts["badnet"], "kept_bytes": kept}}
        found = cautions([replace(made, details=replace(made.full, facts=facts))])
        assert [text[13:54] for text in found if text.startswith("layer=conv_1")] == words


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


def test_defences_are_ranked_on_each_network_and_their_worst_case_stands():
    jobs = [
        job(asr, accuracy=right, sha=sha, criterion=name, **{"badnet.path": sha})
        for sha, name, asr, right in (
            ("a", "l1", 100, 900),
            ("a", "l2", 500, 950),
            ("b", "l1", 900, 800),
            ("b", "l2", 300, 850),
            ("c", "l1", 200, 700),
        )
    ]
    found = {one.name: one for one in standings(groups(jobs))}
    l1, l2 = (found[f"increasing order, criterion {name}, X 2%"] for name in ("l1", "l2"))
    assert (l1.networks, l2.networks) == (3, 2)
    assert (l1.rank, l2.rank) == (4 / 3, 1.5)
    assert (l1.worst_attack, l1.worst_accuracy) == (90, 70)
    assert l1.attack == 40
    assert standings(groups(jobs[:2])) == []
    (table,) = over_networks(jobs)
    assert table.lines[0][:3] == ["increasing order, criterion l1, X 2%", "3", "1.33"]


def test_equal_defences_share_a_rank_and_layers_of_a_network_are_no_defence():
    jobs = [
        job(100, sha=sha, criterion=name, layer=f"pool_{sha}", **{"badnet.path": sha})
        for sha in "ab"
        for name in ("l1", "l2")
    ]
    assert [(one.rank, one.networks) for one in standings(groups(jobs))] == [(1.5, 2), (1.5, 2)]

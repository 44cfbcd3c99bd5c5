import csv
import io
from dataclasses import replace

from records import record, six
from sweep.reports import summary
from sweep.results.records import Stop


def rows(records):
    return [one.brief for one in records]


def test_increasing_order_comes_first_and_drops_go_up():
    sections = summary.table(rows(reversed(six())))
    assert [section.title for section in sections] == ["increasing order", "decreasing order"]
    assert [line[0] for line in sections[0].lines] == ["2%", "4%", "10%"]


def test_whatever_is_swept_names_its_section():
    jobs = [record(criterion=name) for name in ("fmp", "anp")]
    titles = [title for title, _ in summary.sections(jobs)]
    assert titles == ["increasing order, criterion anp", "increasing order, criterion fmp"]


def test_what_follows_from_a_choice_names_no_section():
    bins = {"criterion.params.bins": 9}
    jobs = [record(criterion="l1"), record(criterion="entropy", **bins)]
    assert summary.swept(jobs) == ["criterion"]
    jobs.append(record(criterion="entropy", **{"criterion.params.bins": 8}))
    assert summary.swept(jobs) == ["criterion", "criterion.params.bins"]
    assert len(summary.sections(jobs)) == 3


def test_seeds_become_mean_sample_deviation_and_number():
    jobs = rows(record(seed=seed) for seed in range(3))
    jobs = [
        replace(row, stop=Stop(pruned, True)) for row, pruned in zip(jobs, (1, 2, 6), strict=True)
    ]
    (section,) = summary.table(jobs)
    (line,) = section.lines
    assert section.header[:3] == ["drop", "seeds", "pruned"]
    assert line[1:3] == ["3", "3.00 ± 2.65"]
    (counted,) = csv.DictReader(io.StringIO(summary.seeds_csv(jobs)))
    assert counted["seeds"] == "3"
    assert float(counted["pruned_mean"]) == 3
    assert abs(float(counted["pruned_std"]) - 7**0.5) < 1e-12
    assert len(summary.as_csv(jobs).splitlines()) == 4


def test_a_drop_that_was_not_reached_is_marked():
    missed = replace(record().brief, stop=Stop(20, False))
    assert "20 (drop not reached)" in summary.markdown([missed])
    both = [
        replace(row, stop=Stop(20, seed > 0))
        for seed, row in enumerate(rows([record(seed=0), record(seed=1)]))
    ]
    assert "(drop not reached in 1)" in summary.markdown(both)
    assert "not reached" in summary.note(missed)


def test_nothing_is_a_table_too():
    assert summary.table([]) == []
    assert summary.as_csv([]) == ""
    assert summary.markdown([]).startswith("# Summary")

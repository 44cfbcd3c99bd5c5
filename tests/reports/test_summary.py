import csv
import io
from dataclasses import replace

from records import record, six
from sweep.data import lab
from sweep.reports import artifacts, summary
from sweep.results.records import Count, Stop


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
    (counted,) = csv.DictReader(io.StringIO(artifacts.seeds_csv(jobs)))
    assert counted["seeds"] == "3"
    assert float(counted["pruned_mean"]) == 3
    assert abs(float(counted["pruned_std"]) - 7**0.5) < 1e-12
    assert len(artifacts.as_csv(jobs).splitlines()) == 4


def test_a_drop_that_was_not_reached_is_marked():
    missed = replace(record().brief, stop=Stop(20, False))
    assert "20 (drop not reached)" in summary.markdown([missed])
    both = [
        replace(row, stop=Stop(20, seed > 0))
        for seed, row in enumerate(rows([record(seed=0), record(seed=1)]))
    ]
    assert "(drop not reached in 1)" in summary.markdown(both)
    assert "not reached" in artifacts.note(missed)


def test_nothing_is_a_table_too():
    assert summary.table([]) == []
    assert artifacts.as_csv([]) == ""
    assert summary.markdown([]).startswith("# Summary")


def test_figures_of_few_images_have_two_digits_and_the_labs_have_five():
    assert summary.percent(Count(550, 600)) == "91.67"
    assert summary.percent(Count(12653, 12830)) == "98.62042"


def test_an_oracle_is_marked_wherever_its_jobs_are_named():
    jobs = [record(), record(criterion="tac")]
    titles = [title for title, _ in summary.sections(jobs)]
    assert titles == [
        "increasing order, criterion mean_activation",
        "increasing order, criterion tac (oracle)",
    ]
    assert summary.sections(jobs[1:])[0][0] == "increasing order (oracle)"
    assert summary.sees(record(criterion="removed since")) == "unknown"


def test_asr_is_marked_where_the_attack_hardly_works_on_b():
    good = record()
    figures = {
        **good.figures,
        "badnet/test_asr": Count(3, 1000),
        "goodnet/test_asr": Count(1, 1000),
    }
    weak = replace(good, figures=figures)
    assert summary.table([weak])[0].lines[0][-1] == "0.10 (!)"
    assert "(!)" not in summary.table([weak])[0].lines[0][-2]
    text = summary.markdown([weak])
    assert "**Note:** The attack succeeds on 3 of 1000 poisoned images before" in text
    assert "Note" not in summary.markdown([good])
    assert "(!)" not in summary.markdown([good])


def of_lab(job, **sets):
    facts = {"badnet": {"sha256": lab.SHA256["badnet"]}}
    names = ("clean_valid", "poisoned_valid", "clean_test", "poisoned_test")
    digests = {name: lab.SHA256[name] for name in names} | sets
    facts["sets"] = {name: {"sha256": digest, "images": 9} for name, digest in digests.items()}
    return replace(job, details=replace(job.full, facts=facts))


def test_the_labs_report_stands_only_where_it_belongs():
    job = of_lab(record(drop=0.1))
    (first, *_, last) = summary.beside_reference([job]).lines
    assert first[4] == "98.62042"
    assert last[2:5] == ["channels pruned", str(job.stop.pruned), "52"]
    for other in (
        of_lab(record(criterion="l1")),
        of_lab(record(layer="conv_2")),
        of_lab(record(repair="finetune")),
        of_lab(record(stop="relative")),
        of_lab(record(), clean_test="0" * 64),
        of_lab(record(drop=0.3)),
        record(),
        record().brief,
    ):
        assert not summary.beside_reference([other]).lines


def test_many_sections_are_printed_as_a_ranking():
    def job(number):
        made = record(criterion=f"criterion_{number}")
        return replace(made, figures={**made.figures, "goodnet/test_asr": Count(number, 1000)})

    jobs = [job(number) for number in (3, 1, 2, 5, 4)]
    (table,) = summary.printed(jobs)
    assert table.title.startswith("X = 2%")
    assert [line[0][-1] for line in table.lines] == ["1", "2", "3", "4", "5"]
    assert len(summary.printed(jobs[:4])) == 4
    other = [record(criterion=f"c{n}", **{"badnet.path": "other.h5"}).brief for n in range(3)]
    assert len(summary.printed([*(one.brief for one in jobs), *other])) == 2  # not one ranking


def test_names_of_jobs_tell_networks_scales_attacks_and_repairs_apart():
    names = {
        summary.settings_name(record(**settings).settings)
        for settings in (
            {},
            {"badnet.path": "models/a.h5"},
            {"badnet.path": "models/b.h5"},
            {"dataset.scale": 1 / 255},
            {"repair": "finetune"},
            {"dataset": "standin", "attack": "warped"},
            {"dataset": "standin", "attack": "warped", "network": "vgg"},
            {"dataset": "folder", "dataset.images": "my/faces", "dataset.scale": 1 / 255},
        )
    }
    assert len(names) == 8
    assert "increasing X=2% mean_activation pool_3 seed 0 faces" in names
    assert "increasing X=2% mean_activation pool_3 seed 0 a.h5" in names


def test_what_x_counts_is_shown_and_different_stops_are_not_compared():
    jobs = [record(drop=0.02), record(drop=0.02, stop="relative"), record(drop=5, stop="channels")]
    names = [summary.settings_name(job.settings) for job in jobs]
    assert "X=2% mean" in names[0]
    assert "X=2% of B's mean" in names[1]
    assert "X=5 channels mean" in names[2]
    tables = summary.table(jobs)
    assert [one.title for one in tables] == [
        "increasing order",
        "increasing order, stop channels",
        "increasing order, stop relative",
    ]
    assert [one.lines[0][0] for one in tables] == ["2%", "5 channels", "2% of B's"]
    assert len(summary.rankings(jobs)) == 3

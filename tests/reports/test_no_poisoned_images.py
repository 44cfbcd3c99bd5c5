"""A defender has no poisoned images: reports say nothing of an attack, neither 0 nor NaN."""

import re
from dataclasses import replace

import numpy as np
import pytest

from records import record, six, unattacked
from sweep.reports import artifacts, comparison, page, plots, study, summary
from sweep.reports.series import outcomes, series, tradeoffs
from sweep.results.findings import cautions, headline
from sweep.results.records import Count, Record
from sweep.tracking import contents

JOBS = [unattacked(job) for job in six()]
CRITERIA = [unattacked(record(criterion=name)) for name in ("mean_activation", "l1", "fmp")]
ANSWERS = {f"{n}_clean": np.arange(12) % 4 for n in ("label", "badnet", "repaired")}
NOTHING = re.compile(r"\bnan\b|\bASR\b|_asr|attack success|\bNone\b", re.IGNORECASE)


def render(jobs):
    return page.render(jobs, {page.strip_key(jobs[0]): b""}, page.About("s", "c", "w", 6, {}))


def texts():
    yield summary.markdown(JOBS)
    yield artifacts.as_csv(JOBS)
    yield artifacts.seeds_csv([*JOBS, unattacked(record(seed=1))])
    yield artifacts.note(JOBS[0])
    yield artifacts.curve_csv(JOBS[0].full)
    yield headline(summary.groups(JOBS))
    yield " ".join(name for name, _, _ in contents.values(JOBS[0]))
    yield "\n".join(study.tests_table(*JOBS[:2]))
    yield " ".join(cautions(JOBS))


@pytest.mark.parametrize("text", [*texts()])
def test_texts_say_nothing_of_an_attack(text):
    assert not NOTHING.search(text)


def test_suspicion_stands_where_asr_would():
    (first, *_) = summary.table(JOBS)
    assert first.header[-1] == "Repaired suspicion"
    assert first.lines[0][-1] == "100.00"
    assert "suspicion |" in artifacts.note(JOBS[0])
    assert "lowest suspicion of a repaired network is" in headline(summary.groups(JOBS))
    assert "nothing is known" in headline(summary.groups(JOBS))


def test_the_text_form_keeps_what_is_not_there():
    after = Record.from_json(JOBS[0].to_json(), JOBS[0].run_id)
    assert after.full.curve == JOBS[0].full.curve
    assert after.full.curve.asr is None


def test_the_page_and_the_plots_are_drawn(tmp_path):
    html = render(JOBS)
    assert "attack succeeds" not in re.sub(r"<(script|style).*?</\1>", "", html, flags=re.DOTALL)
    assert "Repaired suspicion" in html or "B&#39; suspicion" in html
    assert all(line.asr is None for line in series(JOBS))
    assert tradeoffs(JOBS) == []
    assert all(not one.poisoned and len(one.clean) == 3 for one in outcomes(JOBS))
    assert [*plots.overview(JOBS)][:2] == ["overlay", "outcomes"]
    for name, figure in plots.overview(JOBS).items():
        plots.save(figure, tmp_path / name, ("svg",))
        assert "attack success" not in (tmp_path / f"{name}.svg").read_text()


def test_criteria_are_compared_by_accuracy_alone(tmp_path):
    answers = {job.run_id: ANSWERS for job in CRITERIA}
    text = comparison.write(tmp_path, CRITERIA, answers)
    table = text[text.index("## ") :]
    assert "| fmp increasing | 12 | 95.90" in table
    assert "G ASR" not in table
    assert "nan" not in text
    assert {line.area for line in comparison.lines(CRITERIA, answers)} == {None}


def test_jobs_with_and_without_stand_in_one_table():
    both = [record(), replace(JOBS[1], figures={**JOBS[1].figures})]
    lines = summary.table(both)[0].lines
    assert lines[0][3] == "100.00"
    assert lines[1][3] == ""
    assert "nan" not in render([record(), *JOBS[1:]])
    assert Count(1, 2).rate == 0.5

import json
import re

from records import record, six
from sweep.reports import page as report

PNG = b"\x89PNG not really"


def about(jobs=6, **changes):
    known = {"name": "sweep 1", "command": "python -m sweep", "when": "today", "git": {}}
    return report.About(jobs=jobs, **{**known, **changes})


def page(records, jobs=None, **changes):
    strips = {report.strip_key(job): PNG for job in records}
    return report.render(records, strips, about(jobs or len(records), **changes))


def data_of(html):
    return json.loads(re.search(r'id="data">(.*?)</script>', html, re.DOTALL)[1])


def test_it_needs_nothing_else():
    html = page(six())
    assert not re.findall(r"(?:src|href)=", html)
    assert "http:" not in html
    assert "https:" not in html
    assert "default-src 'none'" in html
    assert re.findall(r"url\((.{11})", html) == ['"data:image']


def test_names_are_text_wherever_they_stand():
    evil = '</script><script>alert("x")</script><img src=x onerror=alert(1)>'
    html = page([record(criterion=evil), record(criterion="b")], name=evil, command=evil)
    assert "<script>alert" not in html
    assert "<img" not in html
    assert data_of(html)["charts"][-1]["lines"][0]["name"].endswith(evil)


def test_an_interrupted_sweep_says_what_is_missing():
    assert "2 of 6 jobs are missing" in page(six()[:4], jobs=6)
    assert "are missing" not in page(six())
    assert "No job is done yet" in page([], jobs=6)


def test_every_job_has_a_line_and_every_file_its_sum():
    html = page(six())
    for job in six():
        assert f'title="{job.run_id}"' in html
    assert "b" * 64 in html
    assert "with changes" in html
    assert html.count("<td>yes</td>") == 1


def test_the_words_of_its_columns_are_explained_and_no_others():
    attacked = page([record()])
    assert "ASR is" in attacked
    assert "RA, robust accuracy" not in attacked
    known = record()
    known.figures["goodnet/test_ra"] = known.figures["goodnet/test_asr"]
    assert "RA, robust accuracy" in page([known])


def test_seeds_get_a_table_of_means():
    html = page([record(seed=seed) for seed in range(3)])
    assert "mean ± sample standard deviation over seeds" in html
    assert "mean and 95% band over 3 seeds" in html


def test_five_hundred_jobs_stay_small():
    records = [
        record(drop=drop, criterion=f"criterion_{number}")
        for number in range(100)
        for drop in (0.02, 0.04, 0.06, 0.08, 0.1)
    ]
    assert len(page(records)) < 3_000_000
    assert len(page(six())) < 500_000


def test_the_table_of_jobs_marks_what_sees_poisoned_images():
    html = page([record(), record(criterion="oracle_greedy")])
    assert "<td>oracle_greedy (oracle)</td>" in html
    assert "<td>mean_activation</td>" in html

"""A new metric is a function and a line of the table, and then stands wherever figures do."""

from dataclasses import replace

import numpy as np

from records import record
from sweep.reports import artifacts, comparison, page, study, summary
from sweep.results import metrics
from sweep.results.records import Count
from sweep.tracking import contents


def median_class(given):
    """Clean images answered with the class in the middle."""
    return metrics.share(given.clean, given.classes // 2)


def test_a_new_metric_is_found_everywhere(monkeypatch):
    line = metrics.Metric("median_class", "middle class", True, median_class)
    monkeypatch.setattr(metrics, "METRICS", [*metrics.METRICS, line])
    labels, target = np.array([0, 1, 2]), np.zeros(2, int)
    counted = dict(
        metrics.of_split("test", (labels, labels, labels), (target, target, target), classes=3)
    )
    assert counted["goodnet/test_median_class"] == Count(1, 3)

    def job(criterion, seed=0):
        made = record(criterion=criterion, seed=seed)
        return replace(made, figures={**made.figures, **counted})

    jobs = [job("mean_activation"), job("l1")]
    assert "GoodNet middle class" in summary.table(jobs)[0].header
    assert "| 33.33 |" in summary.markdown(jobs)
    assert "middle class |" in artifacts.note(jobs[0])
    for text in (artifacts.as_csv(jobs), artifacts.seeds_csv([*jobs, job("l1", seed=1)])):
        assert "goodnet/test_median_class" in text
    strips = {page.strip_key(jobs[0]): b""}
    html = page.render(jobs, strips, page.About("s", "c", "w", 2, {}))
    assert ">G middle class<" in html
    lines = comparison.lines(jobs, {})
    assert "| G middle class |" in comparison.markdown(lines)
    assert "goodnet/test_median_class_low" in comparison.as_csv(lines)
    assert any("G middle class" in line for line in study.tests_table(*jobs))
    assert "goodnet/test_median_class" in {name for name, _, _ in contents.values(jobs[0])}

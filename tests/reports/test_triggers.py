"""Several triggers: each has its line in curves, tables and MLflow."""

import csv
from dataclasses import replace

import pytest

from records import CHANNELS, IMAGES, record
from sweep.reports import artifacts, geometry, page, plots, series
from sweep.results.records import Record
from sweep.tracking import contents

HALF = IMAGES // 2


def attacked(*names, **settings):
    """A job of two triggers, each worn by half of the images; the first works half as well."""
    job = record(**settings)
    hits = job.full.curve.attack_hits
    parts = ([count // 4 for count in hits], [count // 2 for count in hits])
    curve = replace(
        job.full.curve,
        trigger_hits={name: tuple(part) for name, part in zip(names, parts, strict=True)},
        trigger_totals=dict.fromkeys(names, HALF),
    )
    return replace(job, details=replace(job.full, curve=curve))


JOB = attacked("glasses", "hat")


def test_the_text_form_keeps_them():
    assert Record.from_json(JOB.to_json(), "").full.curve == JOB.full.curve


def test_curve_csv_has_a_column_for_each():
    head, *lines = csv.reader(artifacts.curve_csv(JOB.full).splitlines())
    assert head[-3:] == ["valid_asr", "valid_asr/glasses", "valid_asr/hat"]
    assert len(lines) == CHANNELS + 1
    hits = JOB.full.curve.trigger_hits["glasses"]
    assert [float(line[-2]) for line in lines] == [count / HALF for count in hits]


def test_mlflow_has_a_metric_for_each():
    logged = {(name, step): value for name, value, step in contents.values(JOB)}
    hits = JOB.full.curve.trigger_hits["hat"]
    for step in (0, CHANNELS):
        assert logged["curve/valid_asr/hat", step] == hits[step] / HALF


def test_seeds_share_a_line_for_the_triggers_that_all_have():
    jobs = [attacked("glasses", "hat", seed=0), attacked("glasses", "cap", seed=1)]
    (line,) = series.series(jobs)
    assert list(line.triggers) == ["glasses"]
    rates = [100 * job.full.curve.rates["valid_asr/glasses"][3] for job in jobs]
    assert line.triggers["glasses"].mean[3] == pytest.approx(sum(rates) / 2)


def test_the_plot_and_the_page_draw_and_name_them():
    (line,) = series.series([JOB])
    names = [one.name for one in geometry.curve(line).lines]
    assert names[2:] == ["attack success rate, glasses", "attack success rate, hat"]
    figure = plots.draw_curve(line, "x")
    assert {text.get_text() for text in figure.legends[0].get_texts()} >= {*names}
    (axes,) = figure.axes
    figure.draw_without_rendering()
    lowest = axes.xaxis.label.get_window_extent().ymin
    assert figure.legends[0].get_window_extent().ymax <= lowest
    html = page.render([JOB], {}, page.About("s", "c", "w", 1, {}))
    legend = html[html.index("<h2>Pruning curves") :].partition("</ul>")[0]
    assert all(name in legend for name in names)

"""Names from configurations and files are text wherever they are shown, and nothing more.

What `report.html` makes of them is tested in test_report.py; layers' names in test_hostile.py.
"""

import pytest
from rich.table import Table

from records import record
from sweep.reports import plots, summary, tables
from sweep.reports.series import series
from sweep.sweeps import console

EVIL = "[x](http://127.0.0.1/) ![p](//h/p.png) <img src=p onerror=a()> `c` a|b $\\frac{$ [/red]"


def jobs(name=EVIL):
    return [record(file=name), record(file="b")]


def test_markdown():
    text = summary.markdown(jobs())
    (title,) = [line for line in text.splitlines() if "onerror" in line]
    assert title == (
        r"## Increasing order, file \[x\](http://127.0.0.1/) \!\[p\](//h/p.png) "
        r"&lt;img src=p onerror=a()&gt; \`c\` a\|b $\\frac{$ \[/red\]"
    )
    assert "\n" not in tables.inert("a\n# b")


@pytest.mark.parametrize("text", ["a", "`a`", "a ``` b", "```\n<b>\n```\n"])
def test_a_block_of_code_ends_where_the_text_does(text):
    first, *inside, last = tables.code(text).split("\n")
    assert first == last
    assert "\n".join(inside) == text
    assert first.strip("`") == ""
    assert first not in text


def test_plots(tmp_path):
    for job in jobs():
        plots.save(plots.draw_curve(series([job])[0], EVIL), tmp_path / "curve")
    for name, figure in plots.overview(jobs()).items():
        plots.save(figure, tmp_path / name)
    assert "<img" not in (tmp_path / "curve.svg").read_text()


def test_tables_on_the_terminal(capsys):
    table = Table(title=EVIL)
    table.add_column("job")
    table.add_row("[bold]a[/bold] :bug:")
    console.console().print(table)
    said = capsys.readouterr().out
    assert "[bold]a[/bold] :bug:" in said
    assert "[/red]" in said


def test_a_ranking_is_readable_in_eighty_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    many = [record(criterion=f"criterion_number_{number}") for number in range(6)]
    for table in (*summary.printed(many), *summary.printed(jobs("b.h5")[:1])):
        console._print(table)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if "…" in line or "..." in line]
    assert any("95.90" in line and "100.00" in line for line in lines)

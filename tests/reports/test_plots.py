from records import record, six
from sweep.reports import plots
from sweep.reports.series import Tradeoff, series


def test_the_legend_names_lines_and_marks():
    figure = plots.draw_tradeoffs([Tradeoff("a", ((0, 100, 98), (0.02, 0, 90)))])
    legends = [*figure.legends, figure.axes[0].get_legend()]
    named = [text.get_text() for legend in legends for text in legend.get_texts()]
    assert named == ["a", "B", "X 2%"]
    many = [Tradeoff(f"{n}", ((0, 100, 98), (0.02, n, 90))) for n in range(20)]
    (legend,) = plots.draw_tradeoffs(many).legends
    assert "8 more" in [text.get_text() for text in legend.get_texts()]


def test_the_same_plot_is_the_same_file(tmp_path):
    for name in ("a", "b"):
        figure = plots.draw_curve(series(six())[0], "title <&>")
        plots.save(figure, tmp_path / name, ("png", "svg", "pdf"))
    for suffix in ("png", "svg", "pdf"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_the_overview_has_a_plot_for_each_question():
    records = six() + [record(criterion=f"criterion_{n}") for n in range(15)]
    names = list(plots.overview(records))
    assert names[:3] == ["overlay", "accuracy_against_asr", "outcomes"]
    assert len(names) == 3
    assert len(plots.overview(six())) == 5

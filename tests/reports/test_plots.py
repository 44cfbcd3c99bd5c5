from records import record, six
from sweep.reports import artifacts, plots
from sweep.reports.series import Tradeoff, series
from sweep.results.classes import Class
from sweep.results.metrics import NETWORKS


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


def test_the_worst_classes_and_the_ends_of_attacks_are_drawn(tmp_path):
    found = [
        Class(n, 10, {"badnet": 10, "repaired": 10 - n % 7, "goodnet": 10 - n % 7}, n % 7, 0, n)
        for n in range(30)
    ]
    figure = plots.draw_classes([*found, Class(30, 0, dict.fromkeys(NETWORKS, 0), 0, 50, 9)], "job")
    worst, ends = ([text.get_text() for text in a.get_yticklabels()] for a in figure.axes)
    assert worst[:4] == ["class 6", "class 13", "class 20", "class 27"]
    assert len(worst) == 12
    assert ends[0] == "29"
    assert "30 (target)" not in ends  # of thirty the twelve with the most images
    plots.save(figure, tmp_path / "classes", ("png",))
    clean = [Class(0, 1, dict.fromkeys(NETWORKS, 1), 0, 0, None)]
    assert len(plots.draw_classes(clean, "job").axes) == 1
    assert artifacts.classes_csv(clean).splitlines()[1] == "0,1,1,1,1,0"
    assert (
        artifacts.classes_csv(found).splitlines()[0].endswith("poisoned_target,poisoned_repaired")
    )

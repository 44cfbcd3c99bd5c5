import doctest

from sweep.reports import tables


def test_docstrings():
    assert doctest.testmod(tables).failed == 0


def test_one_seed_has_no_deviation():
    assert str(tables.Spread.of([2.0])) == "2.00"


def test_words_of_a_table_are_inert_and_numbers_stand_as_they_are():
    table = tables.Table("", ["job", "ASR"], [["a|b", "91.50 [89.00, 93.48]"]], words=1)
    assert tables.to_markdown(table) == [
        "| job | ASR |",
        "| --- | ---: |",
        r"| a\|b | 91.50 [89.00, 93.48] |",
    ]


def test_csv_quotes_what_it_must_and_leaves_nothing_empty():
    assert tables.to_csv(["a", "b"], [["x,y", None], [1, 0.5]]) == 'a,b\n"x,y",\n1,0.5\n'

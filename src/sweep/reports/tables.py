"""Tables as lists of texts, and the ways to write them: CSV and Markdown."""

from __future__ import annotations

import csv
import html
import io
import re
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True)
class Table:
    """A table as people read it.

    Attributes:
        title: what it is of.
        header: a heading per column.
        lines: a text per column.
        words: how many columns on the left hold words; the others hold numbers.
    """

    title: str
    header: Sequence[str]
    lines: Sequence[Sequence[str]]
    words: int = 0


def to_csv(header: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """Values as CSV; None is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([header, *lines])
    return text.getvalue()


def to_markdown(table: Table) -> list[str]:
    """A table's lines in Markdown, without its title; words out of a configuration do nothing."""
    words = table.words
    marks = ["---"] * words + ["---:"] * (len(table.header) - words)
    lines = [[*map(inert, line[:words]), *line[words:]] for line in table.lines]
    return [f"| {' | '.join(line)} |" for line in (table.header, marks, *lines)]


def inert(text: object) -> str:
    """A name out of a configuration or file, as Markdown that shows it and does nothing else."""
    # Underscores within a word, as in names of criteria, are nothing special.
    special = r"([\\`*\[\]|!#]|(?<![^\W_])_|_(?![^\W_]))"
    return re.sub(special, r"\\\1", html.escape(" ".join(str(text).split()), quote=False))


def code(text: str) -> str:
    """A block of code in Markdown, whatever the text is."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"


@dataclass(frozen=True)
class Spread:
    """Some numbers: their mean, sample standard deviation (None for one number) and count."""

    mean: float
    deviation: float | None
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one number.

        >>> Spread.of([1, 2, 3])
        Spread(mean=2.0, deviation=1.0, count=3)
        """
        return cls(float(fmean(values)), stdev(values) if len(values) > 1 else None, len(values))

    def __str__(self) -> str:
        return f"{self.mean:.2f}" + ("" if self.deviation is None else f" ± {self.deviation:.2f}")

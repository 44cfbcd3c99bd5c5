"""What hostile files tried and the refusals they got: the page `docs/hostile.md`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from sweep.reports.tables import inert

PAGE = Path(__file__).parents[1] / "docs" / "hostile.md"
HEAD = """# Hostile files

Made by `make hostile` from a run of `tests/test_hostile.py`, never by hand. Each file was made to
run code, reach other files of the machine or exhaust its memory, and was opened as a user's B or
image set would be. None was accepted. After each refusal a canary was looked at: a file that must
not be read, one that must not appear, and the memory that the process took.

Several kinds of file that were refused by the same rule share a line; what was received is that of
the first.
"""
FORMS = {".keras": "`.keras`", ".h5": "`.h5`", "set": "image set", "": "folder"}


@dataclass(frozen=True)
class Refusal:
    """One file and what became of it.

    Attributes:
        part: what of a file it abuses, a heading of the page.
        tries: what it tries.
        form: the kind of file.
        text: the refusal, without paths of this machine.
    """

    part: str
    tries: str
    form: str
    text: str

    @property
    def rule(self) -> tuple[str, str, str]:
        """What lines are shared by."""
        return self.part, self.tries, self.text.partition("Received:")[0]


def page(refusals: list[Refusal]) -> str:
    """The page in Markdown."""
    lines = [HEAD, f"{len(refusals)} files:"]
    for part, found in groupby(refusals, key=lambda one: one.part):
        lines += [
            "",
            f"## {part}",
            "",
            "| what it tries | as | the refusal |",
            "| --- | --- | --- |",
        ]
        shared: dict[tuple[str, str, str], list[Refusal]] = {}
        for one in found:
            shared.setdefault(one.rule, []).append(one)
        for same in shared.values():
            forms = ", ".join(dict.fromkeys(FORMS.get(one.form, one.form) for one in same))
            lines.append(f"| {inert(same[0].tries)} | {forms} | {inert(same[0].text)} |")
    return "\n".join([*lines, ""])


def difference(old: str, new: str) -> list[str]:
    """Lines of one page alone, in any order; sizes of packed files differ between zlibs."""
    had, has = (
        {re.sub(r"\d[\d,]*", "0", line): line for line in text.splitlines()} for text in (old, new)
    )
    return [f"- {had[one]}" for one in had if one not in has] + [
        f"+ {has[one]}" for one in has if one not in had
    ]

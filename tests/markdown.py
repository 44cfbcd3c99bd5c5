"""Blocks of code in the project's pages, for tests that run what a page says."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page, language):
    """The fenced blocks of a page in one language, in order."""
    found = _BLOCK.finditer((ROOT / page).read_text())
    return [block["text"] for block in found if block["language"] == language]


def named(page):
    """The blocks that say in their first line where they belong, without it, by that line."""
    heads = [block.partition("\n") for lang in ("python", "yaml") for block in blocks(page, lang)]
    return {head[2:]: body for head, _, body in heads if re.match(r"# (src|conf|badnets)/", head)}

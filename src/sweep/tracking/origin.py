"""Where a run comes from: the commit of the code, as tags."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

GIT = ("mlflow.source.git.commit", "sweep.git_dirty")


def git_state(folder: Path) -> dict[str, str]:
    """Commit of the checkout and whether it was changed, as tags; empty outside of git."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        dirty = str(bool(git("status", "--porcelain"))).lower()
        return dict(zip(GIT, (git("rev-parse", "HEAD"), dirty), strict=True))
    except (OSError, subprocess.CalledProcessError):
        return {}

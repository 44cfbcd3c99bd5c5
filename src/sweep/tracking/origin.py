"""Where a run comes from: the commit of the code, the command, and the process, as tags."""

from __future__ import annotations

import getpass
import json
import os
import platform
import subprocess
import sys
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

from sweep.base.processes import own_process
from sweep.base.redact import without_password

if TYPE_CHECKING:
    from pathlib import Path

GIT = ("mlflow.source.git.commit", "sweep.git_dirty")


@cache
def git_state(folder: Path) -> dict[str, str]:
    """Commit of the checkout and whether it was changed, as tags; empty outside of git.

    It is looked up once: what a process runs is the code that it loaded.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        dirty = str(bool(git("status", "--porcelain"))).lower()
        return dict(zip(GIT, (git("rev-parse", "HEAD"), dirty), strict=True))
    except (OSError, subprocess.CalledProcessError):
        return {}


def process() -> dict[str, str]:
    """The process that works at a run."""
    return {"sweep.host": platform.node(), "sweep.process": own_process()}


def source() -> dict[str, str]:
    """What MLflow's own way of starting a run notes: user, program and `MLFLOW_RUN_CONTEXT`."""
    known = {"mlflow.source.name": without_password(sys.argv[0] or "<console>")}
    with suppress(ImportError, KeyError, OSError):  # a user without a name
        known["mlflow.user"] = getpass.getuser()
    more: dict[str, str] = json.loads(os.environ.get("MLFLOW_RUN_CONTEXT") or "{}")
    return known | {"mlflow.source.type": "LOCAL"} | more

"""Addresses as they may be shown."""

from __future__ import annotations

import re

# What stands before the host, and settings such as `?password=` that PostgreSQL's addresses take.
_SECRETS = re.compile(r"(?<=://)\S*@|(?<=[?&])(?:[a-z_]*password|token)=[^&\s'\"]*", re.IGNORECASE)


def without_password(text: str) -> str:
    """A text whose addresses are without the names and passwords that they may carry."""
    return _SECRETS.sub(lambda found: "...@" if found[0].endswith("@") else "...", text)

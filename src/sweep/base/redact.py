"""Addresses as they may be shown."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

# What stands before the host, and settings such as `?password=` that PostgreSQL's addresses take.
_SECRETS = re.compile(r"(?<=://)\S*@|(?<=[?&])(?:[a-z_]*password|token)=[^&\s'\"]*", re.IGNORECASE)


def without_password(text: str) -> str:
    """A text whose addresses are without the names and passwords that they may carry."""
    return _SECRETS.sub(lambda found: "...@" if found[0].endswith("@") else "...", text)


def split_login(url: str) -> tuple[str, str, str]:
    """An address without the login in it, and the login's name and password, "" where none."""
    parts = urlsplit(url)
    login, at, _ = parts.netloc.rpartition("@")
    bare = url.replace(login + at, "", 1) if at else url
    return bare, unquote(parts.username or ""), unquote(parts.password or "")

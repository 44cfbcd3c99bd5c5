"""Addresses are shown without passwords."""

import pytest

from sweep.base.redact import split_login, without_password


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///here/mlflow.db", "sqlite:///here/mlflow.db"),
        ("http://host:5000", "http://host:5000"),
        ("http://me:secret@host:5000/x", "http://...@host:5000/x"),
        ("postgresql+psycopg://me:p@ss@host/db", "postgresql+psycopg://...@host/db"),
        (
            "x.storage=postgresql://me:secret@h/db plan=true",
            "x.storage=postgresql://...@h/db plan=true",
        ),
        ("postgresql://h/db?user=me&password=secret&a=b", "postgresql://h/db?user=me&...&a=b"),
    ],
)
def test_passwords_are_never_shown(url, shown):
    assert without_password(url) == shown


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("http://me:p%40ss@host:5000/x", ("http://host:5000/x", "me", "p@ss")),
        ("https://host/x", ("https://host/x", "", "")),
        ("sqlite:////here/mlflow.db", ("sqlite:////here/mlflow.db", "", "")),
    ],
)
def test_a_login_is_taken_out_of_an_address(url, parts):
    assert split_login(url) == parts

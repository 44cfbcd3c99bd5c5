"""Tracking and studies on PostgreSQL."""

import psycopg
import pytest

pytestmark = pytest.mark.scale


def test_postgres_answers(postgres):
    with psycopg.connect(f"{postgres}/study") as connection:
        assert connection.execute("select 1").fetchone() == (1,)

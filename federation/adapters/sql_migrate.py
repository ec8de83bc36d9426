"""Brings a database to the tables of this release, when it is opened.

One that a newer release has brought further is opened as it is, if that release says that ours may go on beside it: servers are
renewed one after the other. Any other is refused.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from federation.adapters import sql_errors, sql_schema
from federation.core import errors

_log = logging.getLogger(__name__)

_SCRIPTS = Path(__file__).parent / "migrations"
_PROCESS = threading.Lock()  # Alembic keeps the migration that runs in a module of its own
_IS_OLDEST = sql_schema.counters.c.name == sql_schema.OLDEST
_LOCK_NUMBER = 0x666564  # "fed": whoever migrates on PostgreSQL holds this lock


def upgrade(engine: sa.Engine) -> None:
    """Runs the migrations that are missing in one transaction, under a lock that keeps other processes waiting. Repeatable."""
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
    with sql_errors.translated():
        with engine.connect() as connection:
            if _is_current(connection, script):
                return
        with _PROCESS, _alone(engine) as connection:
            if not _is_current(connection, script):
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
                _note_oldest(connection, script)


def revision(engine: sa.Engine) -> str:
    """The revision that a database is at; FailedPrecondition unless it is this release's. Changes nothing."""
    script = ScriptDirectory(str(_SCRIPTS))
    with sql_errors.translated(), engine.connect() as connection:
        current = _is_current(connection, script)
        found = MigrationContext.configure(connection, opts={"version_table": sql_schema.VERSION_TABLE}).get_current_heads()
    if not found:
        raise empty()
    if not current:
        raise errors.FailedPrecondition(
            f"the catalog's database is at revision {found[0]!r}, an older release's",
            reason="DATABASE_OLDER",
            help="Start a server of this release: it brings the database up to date.",
        )
    return found[0]


def empty() -> errors.FailedPrecondition:
    """There is no catalog in the database."""
    return errors.FailedPrecondition(
        "there is no catalog in the database", reason="DATABASE_EMPTY", help="Start a server with it, or name another."
    )


@contextmanager
def _alone(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that keeps other processes from migrating; on SQLite the writer's BEGIN IMMEDIATE does so by itself."""
    if engine.dialect.name != "postgresql":
        with engine.begin() as connection:
            yield connection
        return
    # READ COMMITTED sees what was migrated while it waited; a serializable snapshot would be older than the lock.
    with engine.execution_options(isolation_level="READ COMMITTED").begin() as connection:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK_NUMBER)))
        yield connection


def _is_current(connection: sa.Connection, script: ScriptDirectory) -> bool:
    found = MigrationContext.configure(connection, opts={"version_table": sql_schema.VERSION_TABLE}).get_current_heads()
    known = {revision.revision for revision in script.walk_revisions()}
    unknown = [revision for revision in found if revision not in known]
    if unknown and _oldest(connection) <= _number(script):
        _log.info("the database is at revision %s, of a newer release, beside which this one may run", unknown[0])
        return True
    if unknown:
        raise errors.FailedPrecondition(
            f"the catalog's database is at revision {unknown[0]!r}, which this release does not know",
            reason="DATABASE_NEWER",
            help="It was opened by a newer release: install that one or later, or restore the backup made before the upgrade.",
            metadata={"revision": unknown[0]},
        )
    return set(found) == set(script.get_heads())


def _note_oldest(connection: sa.Connection, script: ScriptDirectory) -> None:
    """Writes down the oldest revision whose code may run on these tables, as the newest migration says; else its own."""
    head = script.get_revision("head")
    assert head is not None, "there are migrations"
    oldest = int(getattr(head.module, "oldest", head.revision))
    changed = connection.execute(sa.update(sql_schema.counters).where(_IS_OLDEST).values(value=oldest))
    if not changed.rowcount:
        connection.execute(sa.insert(sql_schema.counters).values(name=sql_schema.OLDEST, value=oldest))


def _oldest(connection: sa.Connection) -> float:
    """That number; infinite where nobody has written it down."""
    found = connection.execute(sa.select(sql_schema.counters.c.value).where(_IS_OLDEST)).scalar_one_or_none()
    return float("inf") if found is None else found


def _number(script: ScriptDirectory) -> int:
    """The revision of this release."""
    return int(script.get_current_head() or 0)

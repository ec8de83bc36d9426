"""PostgreSQL under the catalog: writers of all servers take turns by one lock; readers have snapshots.

A transaction takes the lock before its first query, so its snapshot is of the state that the one before it left: positions
of events become visible in order and without gaps, and a plan is made from the world that it reserves in.
"""

from __future__ import annotations

import sqlalchemy as sa

from federation.adapters import sql_quick, sql_schema
from federation.adapters.sql_ground import STAMPS, Ground

_POOL = 8
#: A writer waits this long for its turn; one that dies in the middle of its own is thrown out after twice that.
#: A plan is made for the values that are asked for: one for any values knows neither how common a word is nor how long a page.
_OPTIONS = (
    "-c lock_timeout=30s -c idle_in_transaction_session_timeout=60s -c client_min_messages=warning "
    "-c plan_cache_mode=force_custom_plan"
)
# What a transaction stands on comes with its beginning, in one round trip. The lock conflicts with itself and with nothing that
# only reads.
_SEEN = f"{STAMPS} UNION ALL SELECT '', value FROM counters WHERE name = '{sql_schema.EVENTS}'"  # noqa: S608 - our own names
_BEGIN_READING = f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {_SEEN}"
_BEGIN_WRITING = f"BEGIN ISOLATION LEVEL SERIALIZABLE; LOCK TABLE counters IN SHARE ROW EXCLUSIVE MODE; {_SEEN}"


def engine(url: sa.URL, isolation_level: str = "SERIALIZABLE") -> sa.Engine:
    """A small pool of connections."""
    return sa.create_engine(
        url,
        isolation_level=isolation_level,
        pool_size=_POOL,
        max_overflow=_POOL,
        pool_timeout=30,
        pool_reset_on_return=None,  # whoever takes one ends its transaction
        connect_args={"options": _OPTIONS, "connect_timeout": 10},
    )


def reader(writer: sa.Engine) -> sa.Engine:
    """The same pool for reading: one snapshot for each transaction, and no change."""
    return writer.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def connections(url: sa.URL) -> sa.Engine:
    """A small pool of connections on which transactions begin as `begin_reading` and `begin_writing` say."""
    return engine(url, "AUTOCOMMIT")


def begin_reading(connection: sa.Connection) -> Ground:
    """Begins a transaction with one snapshot, which changes nothing."""
    return _begun(connection, _BEGIN_READING)


def begin_writing(connection: sa.Connection) -> Ground:
    """Begins a transaction when those of all other writers have ended, so that it sees what they have left."""
    return _begun(connection, _BEGIN_WRITING)


def _begun(connection: sa.Connection, commands: str) -> Ground:
    connection.begin()
    seen = dict(sql_quick.say(connection, commands, prepare=False))
    return Ground(position=seen.pop(""), stamps=seen)

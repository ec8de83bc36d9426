"""Alembic's entry: runs the migrations on the connection, and in the transaction, that it is given."""

from __future__ import annotations

from alembic import context

from federation.adapters import sql_schema

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=sql_schema.metadata,
    version_table=sql_schema.VERSION_TABLE,
)
context.run_migrations()

"""Alembic's migrations of the SQL catalog, run by `adapters.sql_migrate` whenever a database is opened."""

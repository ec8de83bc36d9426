"""Brings a Delta table of the record to this release's columns when it is opened: adds those that are missing, no more.

Each column says in its metadata since which version of the table's schema it is there, so the newest one tells a table's
version: no note beside the columns could disagree with them. What older releases wrote stays as it is and stays readable: it
has no value in the columns that came later.
"""

from __future__ import annotations

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema, write_deltalake
from deltalake.exceptions import CommitFailedError

from federation.adapters import records_tables
from federation.core import errors

_ATTEMPTS = 5


def migrate(handle: DeltaTable, table: str) -> None:
    """Adds the columns that are missing, in one commit. Repeatable, also by two at once.

    FailedPrecondition (TABLE_NEWER) for a table that a newer release has migrated, (TABLE_FOREIGN) for one that is not ours.
    """
    schema = records_tables.table_of(table).schema
    for _ in range(_ATTEMPTS):
        _check(handle, table, schema)
        there = handle.schema().fields
        missing = schema.empty_table().drop_columns([field.name for field in there])
        if not missing.num_columns:
            return
        # The columns that are there go with the words that explained them when they were made: others would not be merged.
        whole = Schema([*there, *Schema.from_arrow(missing.schema).fields]).to_arrow()
        try:
            # An append without rows that brings its schema. `alter` would do as well, but keeps all threads waiting meanwhile.
            alone = CommitProperties(max_commit_retries=0)
            rows = pa.schema(whole).empty_table()
            write_deltalake(handle, rows, mode="append", schema_mode="merge", commit_properties=alone)
        except CommitFailedError:  # another one has committed: look at what is left to do
            handle.update_incremental()
    raise errors.Unavailable(f"table {table} is being changed by others as well", reason="TABLES_BUSY")


def version(handle: DeltaTable) -> int:
    """The version of a table's schema: that of its newest column."""
    return max(int(field.metadata.get("since", "1")) for field in handle.schema().fields)


def _check(handle: DeltaTable, table: str, schema: pa.Schema) -> None:
    """Refuses a table that this release must not write to."""
    known, found = records_tables.table_of(table).version, version(handle)
    if found > known:
        raise errors.FailedPrecondition(
            f"table {table} has schema version {found}, this release knows it up to {known}",
            reason="TABLE_NEWER",
            help="A newer release has opened it: install that one or later. Nothing is lost: the catalog holds the facts.",
            metadata={"table": table, "version": str(found)},
        )
    wanted = {field.name: field for field in Schema.from_arrow(schema).fields}
    there = {field.name: field for field in handle.schema().fields}
    strange = {name for name, field in there.items() if name not in wanted or field.type != wanted[name].type}
    strange |= {name for name, field in wanted.items() if name not in there and not field.nullable}
    if strange:
        raise errors.FailedPrecondition(
            f"table {table} has other columns than the record's: {', '.join(sorted(strange))}",
            reason="TABLE_FOREIGN",
            help="Something else has made or changed this table: name another place for the tables, or restore them.",
            metadata={"table": table, "columns": ",".join(sorted(strange))},
        )

"""The first tables: one for each stored kind, events, recorded answers, blobs and the counter of positions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None
# The oldest revision whose code may go on running once this one is in place.
oldest = "0001"

# Written out, and not taken from the code: a migration says what was, whatever the code says later.
_KINDS = {
    "namespaces": (),
    "policy_revisions": (),
    "inherited": (),
    "datasets": (
        "kind",
        "owner",
        "deleted",
    ),
    "versions": (
        "run",
        "signed_by",
    ),
    "replicas": (
        "site",
        "version",
        "state",
        "expires",
    ),
    "wrapped_keys": (
        "site",
        "dataset_uid",
        "kek",
    ),
    "site_keyrings": (),
    "escrows": ("site",),
    "escrowed_keys": ("dataset_uid",),
    "openings": ("site", "state"),
    "sites": (
        "region",
        "state",
    ),
    "site_loads": (),
    "link_volumes": (),
    "jobs": (
        "state",
        "kind",
        "label",
        "principal",
        "pipeline",
        "submission_id",
    ),
    "runs": (
        "state",
        "site",
    ),
    "ledger_entries": (
        "job",
        "run",
        "grant",
        "month",
        "namespace",
        "dataset",
        "source_region",
        "destination_region",
        "transfer",
    ),
    "usage": (
        "grant",
        "run",
        "job",
        "counter",
        "dataset",
        "source_region",
        "destination_region",
    ),
    "lineage_runs": (),
    "lineage_edges": ("direction",),
    "residency_facts": (),
    "foreign_runs": ("principal",),
    "cursors": (),
    "tokens": ("user", "made_with"),
    "joins": ("site",),
    "package_aliases": (),
    "grants": (
        "run",
        "source_site",
        "closed",
        "reserved",
        "transfer",
    ),
    "leases": ("version", "dataset", "run", "site", "principal"),
    "erasures": ("dataset", "state"),
    "certificates": (),
    "committer_leases": (),
    "turns": (),
    "agreements": (),
    "rate_cards": (),
    "link_reservations": (),
    "link_speeds": (
        "source_region",
        "destination_region",
    ),
    "job_profiles": (),
    "namespace_usage": (),
    "share_use": (),
    "transfers": (
        "state",
        "live",
        "cause",
        "dataset",
        "version",
        "source_site",
        "destination_site",
        "rule",
    ),
    "replication_rules": ("dataset",),
    "read_logs": (),
    "record_heads": ("table",),
    "pipelines": (
        "state",
        "live",
        "label",
        "principal",
    ),
    "budgets": ("scope", "hard"),
    "spends": (),
    "reserves": (),
    "alerts": (),
    "bills": ("provider", "account", "month"),
    "link_charges": (),
    "reconciliations": (),
}


def upgrade() -> None:
    """Makes them all."""
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    position = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    for name, columns in _KINDS.items():
        _make_kind(name, columns, text)
    _make_terms("datasets_terms", text, position)
    op.create_table(
        "events",
        sa.Column("position", position, primary_key=True, autoincrement=False),
        sa.Column("time", sa.Text, nullable=False),
        sa.Column("kind", text, nullable=False),
        sa.Column("name", text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_events_kind", "events", ["kind", "position"])
    op.create_table(
        "requests",
        sa.Column("actor", text, primary_key=True),
        sa.Column("key", text, primary_key=True),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("answer", sa.LargeBinary, nullable=False),
        sa.Column("time", sa.Text, nullable=False),
    )
    op.create_index("ix_requests_time", "requests", ["time"])
    _make_blobs(text)
    op.create_table("stamps", sa.Column("table", text, primary_key=True), sa.Column("stamp", sa.BigInteger, nullable=False))
    counters = op.create_table(
        "counters", sa.Column("name", text, primary_key=True), sa.Column("value", sa.BigInteger, nullable=False)
    )
    op.bulk_insert(counters, [{"name": "events", "value": 0}, {"name": "floor", "value": 0}])


def _make_kind(name: str, columns: tuple[str, ...], text: sa.Text) -> None:
    op.create_table(
        name,
        sa.Column("key", text, primary_key=True),
        sa.Column("parent", text, nullable=False),
        *(sa.Column(column, text, nullable=False) for column in columns),
        sa.Column("etag", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    for column in ("parent", *columns):
        op.create_index(f"ix_{name}_{column}", name, [column, "key"])


def _make_terms(name: str, text: sa.Text, position: sa.types.TypeEngine[int]) -> None:
    """What values are found by: tsvector with GIN on PostgreSQL, FTS5 on SQLite."""
    op.create_table(
        name,
        sa.Column("number", position, primary_key=True),
        sa.Column("key", text, nullable=False, unique=True),
        sa.Column("terms", sa.Text().with_variant(postgresql.TSVECTOR(), "postgresql"), nullable=False),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.create_index(f"ix_{name}", name, ["terms"], postgresql_using="gin")
    else:
        # Terms have no place and no column. Beginnings of up to seven letters behind a term's first are indexed themselves.
        op.execute(
            f"CREATE VIRTUAL TABLE {name}_fts USING fts5(terms, content='{name}', content_rowid='number', "
            "detail=none, tokenize='ascii', prefix='2 3 4 5 6 7 8')"
        )


def _make_blobs(text: sa.Text) -> None:
    op.create_table(
        "blobs",
        sa.Column("digest", text, primary_key=True),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("time", sa.Text, nullable=False),
    )
    op.create_table(
        "blob_chunks",
        sa.Column("digest", text, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )

"""The service Ledger: a server proves its own tables, and hands out the heads by which others can."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from federation.adapters.catalog_memory import MemoryCatalog
from federation.adapters.records_memory import MemoryRecords
from federation.adapters.system import UlidIds
from federation.core import chain, errors
from federation.core.events import AUDIT, TABLES
from federation.crypto import heads as signed
from federation.crypto import signing
from federation.services import heads
from federation.services.committer import Committer
from federation.services.heads import HeadKeeper
from tests import records
from tests.wire import edge as edges

LEDGER = "egress_ledger"


@pytest.fixture(scope="module")
def kept(certs) -> Iterator[edges.Edge]:
    """A server whose tables hold what its catalog told, signed."""
    catalog, sink = MemoryCatalog(edges.clock(), UlidIds()), MemoryRecords()
    started = edges.start(certs, catalog, reader=sink)
    edges.populate(started)
    records.emit_entries(catalog, *range(1, 8))
    committer = Committer(catalog, sink, heads=HeadKeeper(catalog, sink, edges.GRANT_KEY))
    for _ in range(2):
        committer.run_once()
    yield started
    started.stop()


def test_a_server_proves_every_table(kept):
    """The last answer is what was found: all that it has signed, and what came since is consistent."""
    with kept.client() as client:
        for table in TABLES:
            *_, found = client.verify_table(table)
            assert found.intact
            assert found.table == table
            assert found.proven_position <= found.consistent_position == found.last_position
        *_, found = client.verify_table(LEDGER)
        assert (found.rows, found.proven_rows) == (7, 7)


def test_heads_are_handed_out_to_whoever_uses_the_federation(kept):
    """Newest first, of one table or of all; they hold with the catalog's public key alone."""
    with kept.client("user") as client:
        found = list(client.list_record_heads(LEDGER))
        assert {head.table for head in client.list_record_heads()} == {LEDGER, AUDIT}
    assert [head.rows for head in found] == [7]
    assert all(signed.is_genuine(head) and head.key == signing.public_hex(edges.GRANT_KEY) for head in found)


def test_verifying_is_for_administrators(kept):
    """It reads whole tables: not everybody may keep a server busy with that."""
    with kept.client("user") as client, pytest.raises(errors.PermissionDenied):
        list(client.verify_table(LEDGER))


def test_an_unknown_table_is_refused_with_those_that_there_are(kept):
    """Before anything is read."""
    with kept.client() as client, pytest.raises(errors.InvalidArgument, match="placement_decisions"):
        list(client.verify_table("secrets"))


def test_a_server_without_tables_says_so(shared_edge):
    """Nothing is proven by nothing."""
    with shared_edge.client() as client, pytest.raises(errors.FailedPrecondition) as caught:
        list(client.verify_table(LEDGER))
    assert caught.value.reason == "TABLES_ABSENT"


def test_what_is_wrong_comes_over_the_wire_as_it_was_found(kept):
    """Reason, positions and words."""

    def lie(tx):
        forged = signed.sign(edges.GRANT_KEY, chain.Head(table=LEDGER, position=10**6, rows=99, chain=bytes(32)), tx.now)
        tx.insert(forged)
        return forged

    forged = kept.catalog.write(lie)
    with kept.client() as client:
        *_, found = client.verify_table(LEDGER)
    kept.catalog.write(lambda tx: tx.delete(chain.SignedHead, heads.key(forged)))
    (wrong,) = found.findings
    assert (wrong.reason, wrong.position) == (chain.Wrong.ROWS_CUT, 10**6)
    assert "99 rows" in wrong.detail

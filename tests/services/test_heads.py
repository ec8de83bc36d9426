"""Signed heads: when they are made, which are kept, and that all that the committer carries comes to be proven."""

from __future__ import annotations

from datetime import timedelta

import pytest

from federation import ports
from federation.adapters.catalog_memory import MemoryCatalog
from federation.adapters.records_memory import MemoryRecords
from federation.adapters.system import ManualClock, SeededIds
from federation.core import chain
from federation.core.events import AUDIT, HEAD_KIND, TABLES
from federation.crypto import heads as signed
from federation.crypto import signing
from federation.services import heads
from federation.services.committer import Committer
from federation.services.heads import HeadKeeper
from tests import records

LEDGER = "egress_ledger"
PRIVATE = bytes(range(32))
KEY = signing.public_hex(PRIVATE)


class World:
    """A catalog, tables in memory, and the committer between them with its keeper of heads."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.catalog: ports.Catalog = MemoryCatalog(self.clock, SeededIds())
        self.sink = MemoryRecords()
        self.restart()

    def restart(self) -> None:
        """Another process with the same catalog and tables."""
        self.committer = Committer(self.catalog, self.sink, heads=HeadKeeper(self.catalog, self.sink, PRIVATE))

    def heads(self, table: str) -> list[int]:
        """The positions of the heads that the catalog keeps of a table."""
        kept = self.catalog.read(lambda tx: heads.stored(tx, table))
        assert all(signed.is_genuine(head) and head.key == KEY for head in kept)
        return [head.position for head in kept]

    def verified(self, table: str) -> chain.Verification:
        """What is found of a table now."""
        kept = self.catalog.read(lambda tx: heads.stored(tx, table))
        *_, found = heads.verify(self.sink, table, kept, {KEY})
        return found


@pytest.fixture
def world() -> World:
    """An empty one."""
    return World()


def test_what_is_carried_is_signed_and_proven(world: World) -> None:
    """Each table that has rows, and the heads themselves are told in audit."""
    records.emit_entries(world.catalog, 1, 2, 3)
    world.catalog.write(lambda tx: tx.emit("site.created", "eu-1", None))
    world.committer.run_once()
    assert (world.heads(LEDGER), world.heads(AUDIT), world.heads("lineage_runs")) == ([3], [4], [])
    assert world.verified(LEDGER).proven_rows == 3
    world.committer.run_once()
    told = [row for row in world.sink.rows(AUDIT).to_pylist() if row["kind"] == HEAD_KIND]
    assert [row["name"] for row in told] == [f"recordHeads/{LEDGER}/3", f"recordHeads/{AUDIT}/4"]
    assert [(head.table, head.position) for name in (LEDGER, AUDIT) for head in world.sink.heads(name)] == [
        (LEDGER, 3),
        (AUDIT, 4),
    ]


def test_a_head_makes_no_other_head_due(world: World) -> None:
    """Or a server that nobody uses would write for ever: each head is a row of audit, and so on."""
    records.emit_entries(world.catalog, 1)
    world.catalog.write(lambda tx: tx.emit("site.created", "eu-1", None))
    for _ in range(5):
        world.committer.run_once()
        world.clock.advance(3600)
    before = world.catalog.revision()
    world.restart()
    for _ in range(5):
        world.committer.run_once()
        world.clock.advance(3600)
    assert world.catalog.revision() == before


def test_a_table_gets_a_head_a_minute_and_not_more(world: World) -> None:
    """Each is a transaction of the catalog; between them rows are chained but not signed."""
    for number in range(1, 7):
        records.emit_entries(world.catalog, number)
        world.committer.run_once()
        world.clock.advance(25)
    assert len(world.catalog.events(0, kinds=[HEAD_KIND])) == 2, "at once, and after 75 seconds"
    world.clock.advance(60)
    world.committer.run_once()
    assert world.heads(LEDGER)[-1] == world.sink.position(LEDGER), "an idle table is signed to its end"


def test_many_rows_are_signed_without_waiting(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could be cut unseen is bounded in rows as well."""
    monkeypatch.setattr(heads, "HEAD_ROWS", 3)
    for number in range(1, 7):
        records.emit_entries(world.catalog, number)
        world.committer.run_once()
    assert [event.name for event in world.catalog.events(0, kinds=[HEAD_KIND])] == [
        f"recordHeads/{LEDGER}/{position}" for position in (1, 5)
    ], "the first at once, then after three more"


def test_what_a_dead_process_left_unsigned_is_signed_by_the_next(world: World) -> None:
    """It had carried the rows and died before it signed."""
    records.emit_entries(world.catalog, 1)
    Committer(world.catalog, world.sink).run_once()
    assert world.heads(LEDGER) == []
    world.restart()
    world.committer.run_once()
    assert world.heads(LEDGER) == [1]


def test_the_catalog_keeps_a_head_an_hour_and_the_newest(world: World) -> None:
    """Audit has them all, so the catalog does not grow with each minute; and the table is proven by either."""
    for number in range(1, 200):
        records.emit_entries(world.catalog, number)
        world.committer.run_once()
        world.clock.advance(120)
    world.committer.run_once()
    every = len(world.catalog.events(0, kinds=[HEAD_KIND]))
    assert every > 190
    assert 6 <= len(world.heads(LEDGER)) <= 9
    assert world.heads(LEDGER)[-1] == world.sink.position(LEDGER)
    found = world.verified(LEDGER)
    assert found.intact
    assert found.heads < 30, "of those in audit, the last of each hour is enough"
    assert found.proven_rows == found.rows == 199


def test_a_table_that_is_behind_its_head_gets_none(world: World) -> None:
    """It was restored or cut: the rows come again from the catalog, and the head that is there tells whether they are right."""
    records.emit_entries(world.catalog, 1, 2)
    world.committer.run_once()
    before = world.catalog.read(lambda tx: heads.stored(tx, LEDGER))
    less = chain.Head(table=LEDGER, position=1, rows=1, chain=bytes(32))
    world.catalog.write(lambda tx: heads.keep(tx, PRIVATE, less))
    assert world.catalog.read(lambda tx: heads.stored(tx, LEDGER)) == before


def test_tables_that_are_made_anew_from_the_catalog_agree_with_their_heads(world: World) -> None:
    """Rows follow from events alone: carried once more they have the same links, so a lost table can be restored and proven."""
    records.emit_entries(world.catalog, *range(1, 9))
    world.catalog.write(lambda tx: tx.emit("placement.decided", "jobs/j-1", records.decided()))
    world.committer.run_once()
    world.sink = MemoryRecords()
    Committer(world.catalog, world.sink, batch=3).run_once()
    for table in TABLES:
        found = world.verified(table)
        assert found.intact, table
        assert found.heads == len(world.heads(table))


@pytest.mark.parametrize("name", ["table", "position", "rows", "chain", "time", "key", "signature"])
def test_every_field_of_a_head_is_signed(name: str) -> None:
    """Whichever is changed, the signature does not hold any more."""
    head = signed.sign(PRIVATE, chain.Head(table=LEDGER, position=7, rows=3, chain=bytes(32)), records.TIME)
    assert signed.is_genuine(head)
    other = {
        "table": AUDIT,
        "position": 8,
        "rows": 4,
        "chain": "11" * 32,
        "time": records.TIME + timedelta(microseconds=1),
        "key": signing.public_hex(bytes(32)),
        "signature": "00" * 64,
    }
    assert not signed.is_genuine(chain.SignedHead(**{**head.__dict__, name: other[name]}))
    assert not signed.is_genuine(chain.SignedHead(**{**head.__dict__, "signature": "no hex"}))

"""Witnesses: what sites co-sign is kept, what contradicts it is refused, and a history that was written anew is found by it."""

from __future__ import annotations

import dataclasses
import itertools
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.adapters.records_memory import MemoryRecords
from federation.core import chain, errors, site, witness
from federation.crypto import heads as signed_heads
from federation.crypto import signing
from federation.crypto import witness as signed
from federation.services import heads
from federation.services import witness as service
from federation.services.committer import Committer
from federation.services.heads import HeadKeeper
from tests import builders, records
from tests.sim import GRANT_KEY, Simulation

LEDGER = "egress_ledger"
KEY = signing.public_hex(GRANT_KEY)


class Watched(Simulation):
    """A federation whose tables two sites watch."""

    def __init__(self) -> None:
        super().__init__()
        self.sink = MemoryRecords()

    def grow(self, *numbers: int) -> None:
        """Entries come, are carried, and a head is signed."""
        records.emit_entries(self.catalog, *numbers)
        if numbers:
            self.write(lambda tx: tx.emit("site.tested", "sites/eu-1", None))
        keeper = HeadKeeper(self.catalog, self.sink, GRANT_KEY, seconds=0)
        for _ in range(2):
            Committer(self.catalog, self.sink, heads=keeper).run_once()
        self.clock.advance(61)

    def cosign(self, at: str, private: bytes = b"") -> witness.Cosignature:
        """A site co-signs what it is shown."""
        shown = self.read(service.newest)
        word = signed.sign(private or self.agents[at].private, at, shown, self.clock.now())
        self.agents[at].write(lambda tx: service.take(tx, at, word, KEY))
        return word

    def verified(self, sink: MemoryRecords | None = None, table: str = LEDGER, **terms: object) -> witness.AuditVerification:
        """What is found of a table by what it and the audit beside it say, without the catalog."""
        *_, found = service.verify(sink or self.sink, table, (), {KEY}, **terms)  # type: ignore[arg-type]
        return found


@pytest.fixture
def watched() -> Watched:
    """Five entries, co-signed by eu-1, and told in the table of audit."""
    sim = Watched()
    sim.grow(1, 2, 3, 4, 5)
    sim.cosign("eu-1")
    sim.grow(6)
    return sim


def rewritten(until: int = 5, *, with_heads: bool = True) -> MemoryRecords:
    """The tables as whoever holds the catalog's own key would write them anew: another third entry, all chained and signed."""
    sim = Simulation()
    records.emit_entries(sim.catalog, 1, 2)
    sim.write(lambda tx: tx.emit("ledger.entry", "ledgerEntries/forged", records.entry(3, charge_micros=1)))
    records.emit_entries(sim.catalog, *range(4, until + 1))
    sink = MemoryRecords()
    keeper = HeadKeeper(sim.catalog, sink, GRANT_KEY, seconds=0) if with_heads else None
    for _ in range(3):
        Committer(sim.catalog, sink, heads=keeper).run_once()
    return sink


def test_what_a_site_co_signs_is_in_the_log_and_vouches_for_the_table(watched: Watched) -> None:
    """Up to the co-signed row; by the site's key as the table of audit tells it, or as the caller knows it."""
    found = watched.verified()
    assert found.intact
    assert (found.witnessed_position, found.verification.proven_position) == (
        watched.catalog.events(0, kinds=["ledger.entry"])[4].position,
        watched.catalog.events(0, kinds=["ledger.entry"])[5].position,
    )
    (count,) = found.witnesses
    assert (count.site, count.heads, count.pinned) == ("eu-1", 1, False)
    pinned = {"eu-1": frozenset({signing.public_hex(watched.agents["eu-1"].private)})}
    assert watched.verified(pinned=pinned).witnesses[0].pinned


@pytest.mark.invariant("A3")
def test_a_history_written_anew_with_the_catalogs_own_key_is_found_by_the_witness(watched: Watched) -> None:
    """Chain and heads all agree with each other; what eu-1 has kept does not agree with them."""
    word = watched.cosign("eu-1")
    forged = rewritten(until=6)
    alone = watched.verified(forged)
    assert alone.intact, "without a witness nobody can tell"
    assert alone.verification.proven_rows == 6
    found = watched.verified(forged, cosigned=[word])
    assert not found.intact
    assert {wrong.reason for wrong in found.verification.findings} & {chain.Wrong.HEAD_DIFFERS, chain.Wrong.ROWS_CUT}


@pytest.mark.invariant("A3")
@pytest.mark.parametrize("table", [LEDGER, "audit"])
def test_tables_that_were_put_back_to_an_old_state_are_found_by_the_witness(watched: Watched, table: str) -> None:
    """A whole, genuine, older copy: every row and every head in it is good, and it ends too early."""
    old = MemoryRecords()
    old._events = {name: list(events) for name, events in watched.sink._events.items()}
    watched.grow(7, 8)
    word = watched.cosign("us-1")
    assert watched.verified(old, table).intact
    found = watched.verified(old, table, cosigned=[word])
    assert [wrong.reason for wrong in found.verification.findings] == [chain.Wrong.ROWS_CUT]
    assert watched.verified(table=table, cosigned=[word]).intact


@pytest.mark.invariant("A3")
def test_a_witness_refuses_what_contradicts_what_it_has_seen() -> None:
    """Fewer rows, another link, no head at all, or more rows than there are positions."""
    seen = {LEDGER: head(position=10, rows=5)}
    cases = {
        "HEAD_ROLLED_BACK": [head(position=9, rows=5)],
        "HEAD_FORKED": [head(position=10, rows=5, fill=1)],
        "HEAD_MISSING": [],
    }
    for reason, shown in cases.items():
        (told,) = witness.doubts(seen, shown, site="eu-1", time=builders.NOW)
        assert (told.reason, told.seen) == (reason, seen[LEDGER])
    for rows in (5, 4, 16):
        (told,) = witness.doubts(seen, [head(position=20, rows=rows)], site="eu-1", time=builders.NOW)
        assert told.reason == "HEAD_FORKED"
    for good in (seen[LEDGER], head(position=11, rows=6), head(position=20, rows=15)):
        assert witness.doubts(seen, [good], site="eu-1", time=builders.NOW) == ()


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=8), st.data())
def test_a_table_that_only_grows_is_never_refused_and_one_that_went_back_always(
    steps: list[tuple[int, int]], data: st.DataObject
) -> None:
    """However it grows: rows are no more than positions."""
    position, rows, grown = 0, 0, []
    for more, gap in steps:
        position, rows = position + more * gap, rows + more
        grown.append(head(position=position, rows=rows))
    for before, after in itertools.pairwise(grown):
        assert witness.doubts({LEDGER: before}, [after], site="eu-1", time=builders.NOW) == ()
        assert witness.doubts({LEDGER: after}, [before], site="eu-1", time=builders.NOW)
    last = data.draw(st.sampled_from(grown))
    assert witness.fresh({LEDGER: last}, [last]) == ()


def head(*, position: int, rows: int, fill: int = 0) -> chain.SignedHead:
    """A signed head of the ledger."""
    bare = chain.Head(table=LEDGER, position=position, rows=rows, chain=bytes([fill]) * 32)
    return signed_heads.sign(GRANT_KEY, bare, builders.NOW)


@pytest.mark.invariant("A3")
@pytest.mark.parametrize("name", ["site", "key", "time", "heads", "signature"])
def test_every_field_of_a_cosignature_is_signed(watched: Watched, name: str) -> None:
    """Whichever is changed, the site's word does not hold any more."""
    word = watched.cosign("eu-1")
    other = {
        "site": "us-1",
        "key": signing.public_hex(bytes(32)),
        "time": word.time + timedelta(microseconds=1),
        "heads": word.heads[:1],
        "signature": "00" * 64,
    }
    assert signed.is_genuine(word)
    assert not signed.is_genuine(dataclasses.replace(word, **{name: other[name]}))  # type: ignore[arg-type]
    assert not signed.is_genuine(dataclasses.replace(word, signature="no hex"))


def test_the_catalog_takes_no_word_that_is_not_the_sites_own(watched: Watched) -> None:
    """Another key, another site, heads of another catalog, or none: COSIGNATURE_INVALID, and nothing is told."""
    before = watched.catalog.revision()
    foreign = (signed_heads.sign(bytes(32), chain.Head(table=LEDGER, position=1, rows=1, chain=bytes(32)), builders.NOW),)
    ours, private = watched.read(service.newest), watched.agents["eu-1"].private
    words = [
        signed.sign(bytes(32), "eu-1", ours, builders.NOW),
        signed.sign(private, "us-1", ours, builders.NOW),
        signed.sign(private, "eu-1", foreign, builders.NOW),
        signed.sign(private, "eu-1", (), builders.NOW),
    ]
    for word in words:
        with pytest.raises(errors.InvalidArgument) as caught:
            watched.agents["eu-1"].write(lambda tx, word=word: service.take(tx, "eu-1", word, KEY))  # type: ignore[misc]
        assert caught.value.reason == "COSIGNATURE_INVALID"
    assert watched.catalog.revision() == before


def test_a_refusal_is_the_sites_condition_until_it_co_signs_again(watched: Watched) -> None:
    """Told once, however often it is said; an administrator sees it on the site."""
    told = witness.doubts({LEDGER: head(position=10**6, rows=5)}, (), site="us-2", time=builders.NOW)
    for _ in range(3):
        watched.agents["eu-1"].write(lambda tx: service.refuse(tx, "eu-1", told))
    (event,) = watched.events(witness.REFUSED_KIND)
    assert '"site":"eu-1"' in event.body, "whatever site it says that it is"
    place = watched.read(lambda tx: tx.get(site.Site, "eu-1"))
    assert place is not None
    assert place.witness_error.startswith("HEAD_MISSING: ")
    watched.grow(7)
    watched.cosign("eu-1")
    again = watched.read(lambda tx: tx.get(site.Site, "eu-1"))
    assert again is not None
    assert again.witness_error == ""


def test_words_in_the_table_that_are_forged_are_counted_and_vouch_for_nothing(watched: Watched) -> None:
    """Whoever can write rows can write co-signatures by keys of their own: those are not the site's."""
    shown = watched.read(service.newest)
    mine = signed.sign(bytes(range(32)), "us-2", shown, watched.clock.now())
    watched.write(lambda tx: tx.emit(witness.WITNESSED_KIND, "sites/us-2", mine), actor="agents/us-2")
    watched.grow(7)
    found = watched.verified()
    assert found.forged_cosignatures == 1
    assert not found.intact
    assert [count.site for count in found.witnesses] == ["eu-1"]
    wrong = {"eu-1": frozenset({signing.public_hex(bytes(32))})}
    assert watched.verified(pinned=wrong).forged_cosignatures == 2, "the caller knows better whose key it is"


def test_a_forged_word_does_not_hide_the_good_one_before_it(watched: Watched) -> None:
    """Of each hour the newest good one counts."""
    good = watched.cosign("eu-1")
    bad = dataclasses.replace(good, signature="00" * 64)
    found = watched.verified(cosigned=[good, bad, bad])
    assert found.forged_cosignatures in (0, 1, 2)
    assert found.witnesses[0].site == "eu-1"
    assert found.witnessed_position == max(each.position for each in good.heads if each.table == LEDGER)


def test_a_witness_makes_no_new_head_due(watched: Watched) -> None:
    """Else heads and co-signatures would follow each other for ever, in a federation that nobody uses."""
    watched.cosign("eu-1")
    watched.grow()
    before = len(watched.events("record.head"))
    for _ in range(3):
        shown = watched.read(service.newest)
        seen = {each.table: each for each in shown}
        assert witness.fresh(seen, shown) == ()
        watched.grow()
    assert len(watched.events("record.head")) == before


def test_a_file_that_is_none_of_a_witness_is_refused() -> None:
    """By its line; an empty one has nothing in it."""
    assert witness.parse(b"\n\n") == ()
    with pytest.raises(errors.InvalidArgument, match="line 2") as caught:
        witness.parse(b"{}\nnonsense\n")
    assert caught.value.reason == "WITNESS_INVALID"


def test_heads_are_those_of_the_keeper() -> None:
    """What a witness is shown is the newest of each table that has one."""
    sim = Watched()
    sim.grow(1, 2)
    sim.grow(3)
    shown = {each.table: each.position for each in sim.read(service.newest)}
    assert shown == {name: sim.read(lambda tx, name=name: heads.stored(tx, name))[-1].position for name in shown}  # type: ignore[misc]
    assert set(shown) == {LEDGER, "audit"}

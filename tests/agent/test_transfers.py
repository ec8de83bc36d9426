"""Transfers between two real agents over TLS: what arrives, what is resumed, what is refused, and what a drop leaves."""

from __future__ import annotations

import dataclasses
import io
import os
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from connectors.storage import common
from connectors.storage.local import LocalStore
from connectors.storage.memory import MemoryStore
from federation import ports
from federation.agent import fetching, journal
from federation.core import dataset, errors, site, transfer
from federation.core.transfer import TransferState
from federation.crypto import container, grants, hpke, layout
from federation.v1 import gateway_pb2, gateway_pb2_grpc
from federation.wire import errors as wire_errors
from federation.wire import tls
from federation.wire.gateway import GatewayClient
from tests import wan
from tests.agent import federation as federations
from tests.agent.federation import Federation, until

BIG = os.urandom(3_000_000)
SMALL = b"x,y\n1,2\n"
NAME = "sales/flights"


class WatchedStore(LocalStore):
    """A folder that remembers which objects were read, and from where on."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reads: list[tuple[str, int]] = []

    def read(self, key: str, offset: int = 0, length: int = -1, *, reader: str = "") -> Iterator[bytes]:
        if key.startswith(layout.OBJECTS):
            self.reads.append((key, offset))
        return super().read(key, offset, length)


class SilentStore(MemoryStore):
    """A store that is as small as one likes and cannot tell how much room it has."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self._room = room

    def put(self, key: str, data: BinaryIO) -> int:
        content = b"".join(iter(lambda: data.read(1 << 20), b""))
        if key.startswith(layout.OBJECTS) and len(content) > self._room:
            raise common.full("of the test", "no room")
        return super().put(key, io.BytesIO(content))


@pytest.fixture
def flights(fed: Federation, tmp_path: Path) -> Federation:
    """Data at eu-1, none at us-1."""
    fed.put(NAME, federations.write_files(tmp_path / "flights", a_csv=SMALL, b_bin=BIG), "eu-1")
    return fed


def bring(fed: Federation, name: str = NAME, **terms: Any) -> transfer.Transfer:
    """Asks for a replica at us-1, and waits for its end."""
    return ended(fed, fed.client.create_transfer(name, "us-1", **terms))


def ended(fed: Federation, asked: transfer.Transfer) -> transfer.Transfer:
    """A transfer at its end."""
    return fed.client.wait_transfer(asked.transfer, timeout=60)


def entries(fed: Federation, name: str, site: str = "eu-1") -> dict[str, tuple[str, dataset.FileEntry]]:
    """Key and entry of each file of a version, by path."""
    place = fed.places[site]
    assert place.agent is not None
    opened = place.agent._opener.open(name)
    uid = opened.sealed.dataset_uid
    return {e.path: (layout.object_key(uid, e.generation, e.object_id), e) for e in opened.manifest.files}


def content(store: ports.ObjectStore) -> dict[str, bytes]:
    """All that a store has."""
    return {info.key: b"".join(store.read(info.key)) for info in store.list()}


def idle(fed: Federation, site: str = "us-1") -> bool:
    """Whether an agent has nothing left to do for transfers and drops, and keeps nothing of them."""
    book = fed.places[site].book
    spooled = list((fed.places[site].settings.state_dir / "transfers").iterdir())
    return not (book.transfers() or book.drops() or spooled)


def damage(fed: Federation, site: str, key: str, change: Callable[[bytes], bytes]) -> None:
    """Changes an object behind the store's back."""
    file = fed.places[site].file(key)
    file.write_bytes(change(file.read_bytes()))


def watch(fed: Federation, site: str = "eu-1") -> WatchedStore:
    """A site's store, in which reads are remembered from now on."""
    place = fed.places[site]
    place.stop()
    place.store = store = WatchedStore(place.root / "store")
    place.start()
    return store


def give(fed: Federation, store: ports.ObjectStore, site: str = "us-1") -> None:
    """Gives a site that store."""
    place = fed.places[site]
    place.stop()
    place.store = store
    place.start()


def underway(fed: Federation, bytes_per_second_max: int = 1_000_000) -> journal.TransferRow:
    """A slow transfer to us-1 of which a part has come."""
    asked = fed.client.create_transfer(NAME, "us-1", bytes_per_second_max=bytes_per_second_max)
    folder = fed.places["us-1"].settings.state_dir / "transfers"

    def begun(path: Path) -> bool:
        try:
            return path.stat().st_size >= 1 << 20
        except FileNotFoundError:  # a smaller one, which is whole by now
            return False

    until(lambda: any(map(begun, folder.glob("*/g-*"))))
    row = fed.places["us-1"].book.transfer(asked.transfer)
    assert row is not None
    return row


def reason(call: Callable[[], Any]) -> str:
    """The reason with which a call is refused."""
    with pytest.raises(errors.FederationError) as refused:
        call()
    return refused.value.reason


# What arrives


def test_a_version_arrives_byte_for_byte_and_is_read_there_as_local(flights: Federation, tmp_path: Path) -> None:
    """Same keys, same ciphertext, a replica and wrapped keys of the site's own; its new home opens it without the source."""
    done = bring(flights)
    assert (done.state, done.reason) == (TransferState.SUCCEEDED, "")
    assert content(flights.places["us-1"].store) == content(flights.places["eu-1"].store)
    until(lambda: idle(flights))
    flights.places["eu-1"].stop()
    access = flights.client.open_read(NAME, site="us-1")
    assert access.gateway == flights.places["us-1"].agent.address  # type: ignore[union-attr]
    flights.client.get(NAME, tmp_path / "out", site="us-1")
    assert (tmp_path / "out" / "b.bin").read_bytes() == BIG


def test_what_leaves_the_source_is_in_the_ledger_to_the_byte(flights: Federation) -> None:
    """The source's meter counts a transfer like every other read, and settles it when the transfer ends."""
    done = bring(flights)
    (entry,) = until(lambda: list(flights.client.list_ledger_entries()))
    assert (entry.bytes, entry.unsettled_bytes) == (container.object_bytes(len(BIG)) + container.object_bytes(len(SMALL)), 0)
    assert (entry.transfer, entry.destination_region) == (done.transfer, "aws:us-east-1")


def test_progress_is_told_and_never_past_the_whole(flights: Federation) -> None:
    """Bytes grow while it runs, and end with all of them."""
    row = underway(flights)
    half = until(lambda: flights.client.get_transfer(row.transfer).bytes_done)
    done = ended(flights, row.start.transfer)
    assert 0 < half <= done.bytes_done == done.object_bytes
    assert done.objects_done == done.objects == 2


def test_a_site_that_has_it_fetches_nothing(flights: Federation) -> None:
    """Asked for again, the answer is that it is there."""
    bring(flights)
    watched = watch(flights)
    assert bring(flights).reason == "TRANSFER_NOT_NEEDED"
    assert watched.reads == []


# What is resumed


def test_an_agent_that_died_goes_on_within_the_object(flights: Federation) -> None:
    """What was stored is not asked for again, and of the object that was on its way only what is missing."""
    watched = watch(flights)
    row = underway(flights)
    flights.places["us-1"].stop()
    watched.reads.clear()
    flights.places["us-1"].start()
    assert ended(flights, row.start.transfer).state is TransferState.SUCCEEDED
    key, entry = entries(flights, f"{NAME}@1")["b.bin"]
    offsets = [offset for read, offset in watched.reads if read == key]
    assert offsets, watched.reads
    assert all(0 < offset < entry.object_bytes for offset in offsets)
    assert content(flights.places["us-1"].store) == content(flights.places["eu-1"].store)


def test_a_spool_that_was_damaged_costs_one_more_fetch_and_nothing_else(flights: Federation) -> None:
    """What a dead machine left in the spool is measured like everything else."""
    row = underway(flights)
    place = flights.places["us-1"]
    place.stop()
    (kept,) = (place.settings.state_dir / "transfers" / row.transfer).glob("g-*")
    kept.write_bytes(bytes(kept.stat().st_size))
    place.start()
    assert ended(flights, row.start.transfer).state is TransferState.SUCCEEDED
    assert content(place.store) == content(flights.places["eu-1"].store)


def test_a_source_that_restarts_is_asked_for_the_rest(flights: Federation) -> None:
    """A broken stream goes on from where it was, in the same attempt."""
    flights.places["us-1"].stop()
    flights.places["us-1"].terms = dataclasses.replace(federations.TERMS, patience_seconds=30)
    flights.places["us-1"].start()
    row = underway(flights)
    flights.places["eu-1"].restart()
    done = ended(flights, row.start.transfer)
    assert (done.state, done.attempt) == (TransferState.SUCCEEDED, 1)


def test_a_line_that_breaks_is_no_end_of_an_attempt_and_is_charged_to_the_byte(
    flights: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut far from its source, with ranges asked for ahead: the replica is whole, and the ledger has what the source has."""
    monkeypatch.setattr(fetching, "RANGE_BYTES", 1 << 18)
    source, destination = flights.places["eu-1"], flights.places["us-1"]
    assert source.agent is not None
    with wan.far_away(source.agent.address, rtt_seconds=0.05, jitter_seconds=0.01, bytes_per_second=8_000_000) as relay:
        for place in (source, destination):
            place.stop()
        source.settings = dataclasses.replace(source.settings, gateway=relay.address)
        destination.terms = dataclasses.replace(federations.TERMS, patience_seconds=30)
        for place in (source, destination):
            place.start()
        row = underway(flights)
        relay.cut()
        done = ended(flights, row.start.transfer)
        assert (done.state, done.attempt) == (TransferState.SUCCEEDED, 1)
        assert content(destination.store) == content(source.store)
        (entry,) = until(lambda: list(flights.client.list_ledger_entries()))
        counted = source.book.grant(entry.grant)
        assert counted is not None
        assert (entry.bytes, entry.unsettled_bytes) == (counted.counted_bytes, 0)
        assert entry.bytes >= sum(map(container.object_bytes, (len(BIG), len(SMALL))))


def test_a_source_that_stays_away_is_an_attempt_that_may_be_made_again(flights: Federation, tmp_path: Path) -> None:
    """The transfer goes back to wait, with the reason; what was stored is kept for it."""
    flights.put(NAME, federations.write_files(tmp_path / "large", c_bin=os.urandom(40_000_000)), "eu-1")
    row = underway(flights, 4_000_000)
    flights.places["eu-1"].stop()

    def waits() -> transfer.Transfer | None:
        found = flights.client.get_transfer(row.transfer)
        return found if found.state is TransferState.PENDING else None

    waiting = until(waits)
    assert waiting.reason in ("SOURCE_UNAVAILABLE", "SITE_NOT_READY")
    assert waiting.bytes_done > 0
    flights.places["eu-1"].start()
    assert ended(flights, waiting).state is TransferState.SUCCEEDED


# What is refused


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda data: data[:-100] + bytes([data[-100] ^ 1]) + data[-99:], id="a flipped bit"),
        pytest.param(lambda data: data[:-1], id="cut by a byte"),
        pytest.param(lambda data: data + b"x", id="longer by a byte, which nobody is sent"),
        pytest.param(lambda data: b"", id="empty"),
    ],
)
def test_a_damaged_object_never_arrives(flights: Federation, change: Callable[[bytes], bytes]) -> None:
    """The transfer fails with OBJECT_CORRUPT and leaves nothing; only what the manifest names is ever sent or stored."""
    key, entry = entries(flights, f"{NAME}@1")["b.bin"]
    damage(flights, "eu-1", key, change)
    done = bring(flights)
    if flights.places["eu-1"].file(key).stat().st_size > entry.object_bytes:
        assert done.state is TransferState.SUCCEEDED
        return
    assert (done.state, done.reason) == (TransferState.FAILED, "OBJECT_CORRUPT")
    assert "b.bin" in done.detail
    until(lambda: idle(flights))
    assert content(flights.places["us-1"].store) == {}


def test_an_object_that_the_source_has_lost_is_named(flights: Federation) -> None:
    """Its reason is the source's own."""
    flights.places["eu-1"].file(entries(flights, f"{NAME}@1")["b.bin"][0]).unlink()
    assert bring(flights).reason == "OBJECT_MISSING"


def test_a_manifest_that_the_catalog_does_not_know_is_refused_whatever_the_source_says(flights: Federation) -> None:
    """A source that hands over another signature than the catalog has is not believed."""
    entries(flights, f"{NAME}@1")  # the source has opened it, and goes on handing over what it opened

    def forge(tx: ports.Transaction) -> None:
        (version,) = tx.list(dataset.Version)
        tx.replace(dataclasses.replace(version, signature="00" * 64))

    flights.edge.catalog.write(forge, actor="test")
    done = bring(flights)
    assert (done.state, done.reason) == (TransferState.FAILED, "MANIFEST_INVALID")
    assert content(flights.places["us-1"].store) == {}


def test_keys_that_somebody_else_signed_are_refused(flights: Federation) -> None:
    """Who answers in the source's place, and is not it, hands over nothing."""
    entries(flights, f"{NAME}@1")  # the source has opened it, so that its manifest is well

    def forge(tx: ports.Transaction) -> None:
        place = tx.get(site.Site, "eu-1")
        assert place is not None
        tx.replace(dataclasses.replace(place, signing_key="11" * 32))

    flights.edge.catalog.write(forge, actor="test")
    assert bring(flights).reason == "KEYS_NOT_SIGNED"


def test_a_site_without_room_is_asked_for_nothing(flights: Federation) -> None:
    """Where the store can tell, no byte leaves the source: STORAGE_FULL, not to be tried again."""
    watched = watch(flights)
    give(flights, MemoryStore(bytes_max=1_000_000))
    done = bring(flights)
    assert (done.state, done.reason, done.attempt) == (TransferState.FAILED, "STORAGE_FULL", 1)
    assert watched.reads == []


def test_a_disk_that_fills_up_on_the_way_is_left_as_it_was(flights: Federation) -> None:
    """Where it cannot tell the put fails, and what had been stored before is removed."""
    give(flights, SilentStore(1_000_000))
    assert bring(flights).reason == "STORAGE_FULL"
    until(lambda: idle(flights))
    assert content(flights.places["us-1"].store) == {}


def test_a_grant_of_a_transfer_opens_nothing_for_anybody_but_its_site(flights: Federation) -> None:
    """Without the site's proof, with another site's, with an old one, or for another key nothing is handed over."""
    grant = underway(flights).start.grant
    source, agent = flights.places["eu-1"].agent, flights.places["us-1"].agent
    assert source is not None
    assert agent is not None
    known = grants.peek(grant)
    now, own, foreign = datetime.now(UTC), agent._identity.signing_private, source._identity.signing_private
    proofs = {
        "": b"",
        "cut": grants.prove(own, known.grant, now=now)[:40],
        "foreign": grants.prove(foreign, known.grant, now=now),
        "old": grants.prove(own, known.grant, now=now - timedelta(minutes=5)),
        "another grant's": grants.prove(own, "a-other", now=now),
    }
    channel = tls.channel(str(source.address), tls.Tls(flights.edge.certs.ca))
    stub = gateway_pb2_grpc.GatewayStub(channel)
    _, entry = entries(flights, f"{NAME}@1")["a.csv"]
    read = gateway_pb2.ReadObjectRequest(object_id=entry.object_id, generation=entry.generation, length=-1)

    def call(method: Callable[..., Any], request: Any, proof: bytes) -> Any:
        with wire_errors.translated():
            answer = method(request, metadata=(("fed-grant-bin", grant), ("fed-proof-bin", proof)), timeout=30)
            return list(answer) if hasattr(answer, "__next__") else answer

    reader = gateway_pb2.OpenVersionRequest(reader_key=hpke.new_pair()[1])
    for proof in proofs.values():
        assert reason(lambda: call(stub.ReadObject, read, proof)) == "READER_UNPROVEN"  # noqa: B023
        assert reason(lambda: call(stub.OpenVersion, reader, proof)) == "READER_UNPROVEN"  # noqa: B023
        assert reason(lambda: call(stub.CloseGrant, gateway_pb2.CloseGrantRequest(), proof)) == "READER_UNPROVEN"  # noqa: B023
    good = grants.prove(own, known.grant, now=now)
    assert reason(lambda: call(stub.OpenVersion, reader, good)) == "READER_KEY_FOREIGN"
    assert call(stub.ReadObject, read, good)
    channel.close()


# What is given up


def test_a_cancelled_transfer_leaves_nothing(flights: Federation) -> None:
    """Objects, beginnings and journal are gone."""
    row = underway(flights)
    flights.client.cancel_transfer(row.transfer)
    until(lambda: idle(flights))
    assert content(flights.places["us-1"].store) == {}


def test_one_that_is_cancelled_while_its_agent_is_away_leaves_nothing(flights: Federation) -> None:
    """The agent hears of it when it comes back."""
    row = underway(flights)
    flights.places["us-1"].stop()
    flights.client.cancel_transfer(row.transfer)
    flights.places["us-1"].start()
    until(lambda: idle(flights))
    assert content(flights.places["us-1"].store) == {}


def test_what_is_on_its_way_is_no_orphan(flights: Federation) -> None:
    """`fed fsck` in the middle of a transfer finds nothing wrong."""
    underway(flights)
    until(flights.places["us-1"].objects)
    assert flights.findings() == []


# What versions share


@pytest.fixture
def twice(flights: Federation, tmp_path: Path) -> Federation:
    """A second version of the data, which reuses the big file."""
    flights.put(NAME, federations.write_files(tmp_path / "more", a_csv=b"changed", b_bin=BIG), "eu-1")
    assert entries(flights, f"{NAME}@1")["b.bin"][0] == entries(flights, f"{NAME}@2")["b.bin"][0]
    return flights


def test_two_transfers_at_once_fetch_what_they_share_once(twice: Federation) -> None:
    """The object of both versions leaves the source a single time."""
    watched = watch(twice)
    both = [twice.client.create_transfer(f"{NAME}@{number}", "us-1") for number in (1, 2)]
    assert {ended(twice, each).state for each in both} == {TransferState.SUCCEEDED}
    assert Counter(key for key, _ in watched.reads) == Counter(twice.places["us-1"].objects(layout.OBJECTS))


def test_an_object_that_was_damaged_here_is_fetched_again(twice: Federation) -> None:
    """What another version has in the store is not taken on its length alone, and is well again afterwards."""
    bring(twice, f"{NAME}@1")
    key, _ = entries(twice, f"{NAME}@1")["b.bin"]
    damage(twice, "us-1", key, lambda data: data[:-1] + bytes([data[-1] ^ 1]))
    assert bring(twice, f"{NAME}@2").state is TransferState.SUCCEEDED
    assert twice.findings() == []


def test_a_drop_keeps_what_another_version_has(twice: Federation, tmp_path: Path) -> None:
    """The shared object stays for the version that stays, and goes with it."""
    bring(twice, f"{NAME}@2")
    bring(twice, f"{NAME}@1", keep_seconds=1)
    only, _ = entries(twice, f"{NAME}@1")["a.csv"]
    until(lambda: only not in twice.places["us-1"].objects() and idle(twice))
    assert [row.version.number for row in twice.client.list_replicas(NAME) if row.site == "us-1"] == [2]
    twice.client.get(f"{NAME}@2", tmp_path / "out", site="us-1")
    assert (tmp_path / "out" / "b.bin").read_bytes() == BIG
    assert twice.findings() == []


def test_two_drops_at_once_leave_nothing(twice: Federation) -> None:
    """Neither keeps the shared object for the other."""
    for number in (1, 2):
        bring(twice, f"{NAME}@{number}", keep_seconds=2)
    until(lambda: not twice.places["us-1"].objects() and idle(twice))
    assert twice.findings() == []


def test_a_dropped_version_can_come_again(flights: Federation, tmp_path: Path) -> None:
    """With keys and objects, as the first time."""
    bring(flights, keep_seconds=1)
    until(lambda: not flights.places["us-1"].objects() and idle(flights))
    bring(flights)
    flights.client.get(NAME, tmp_path / "out", site="us-1")
    assert (tmp_path / "out" / "b.bin").read_bytes() == BIG


def test_a_drop_that_is_told_again_does_not_touch_a_replica_that_came_since(flights: Federation) -> None:
    """The answer that it was done may be lost; by then the version may lie here once more."""
    bring(flights)
    place = flights.places["us-1"]
    assert place.agent is not None
    before = content(place.store)
    sealed = place.agent._catalog.sealed_version(f"{NAME}@1")
    place.agent._transfers.drop(transfer.DropReplica(version=f"{NAME}@1", sealed=sealed))
    until(lambda: not place.book.drops())
    assert content(place.store) == before
    assert [row.site for row in flights.client.list_replicas(NAME)] == ["eu-1", "us-1"]


def test_an_open_reader_of_a_dropped_version_is_refused_cleanly(flights: Federation) -> None:
    """Its grant was good; what is not there any more is said to be missing."""
    bring(flights)
    _, entry = entries(flights, f"{NAME}@1", "us-1")["a.csv"]
    access = flights.client.open_read(NAME, site="us-1")
    reader = GatewayClient(access.gateway, flights.edge.certs.ca, grant=access.grant)
    agent = flights.places["us-1"].agent
    assert agent is not None
    sealed = agent._catalog.sealed_version(f"{NAME}@1")
    removal = agent._transfers._removal
    nothing = removal._needed(sealed.dataset_uid, sealed.version.generations, [], [])
    removal._remove(sealed.dataset_uid, sealed.version.manifest_digest, sealed.version.generations, None, nothing)
    request = gateway_pb2.ReadObjectRequest(object_id=entry.object_id, generation=entry.generation, length=-1)
    assert reason(lambda: list(reader.read_object(request))) == "OBJECT_MISSING"
    agent._opener.forget(f"{NAME}@1")
    assert reason(lambda: reader.open_version(hpke.new_pair()[1])) == "MANIFEST_MISSING"
    reader.close()

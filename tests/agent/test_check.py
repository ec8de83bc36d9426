"""fsck names every kind of damage at its object, and says nothing when all is well."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from federation.core import dataset, errors
from federation.crypto import layout
from federation.wire import data
from tests.agent.federation import Federation, Place, write_files

BIG = os.urandom(100_000)


@pytest.fixture
def flights(fed: Federation, tmp_path: Path) -> Federation:
    """One version of three files at us-1."""
    fed.put("sales/flights", write_files(tmp_path / "f", a_bin=BIG, b_bin=BIG[::-1], c_txt=b"c"), "us-1")
    return fed


def objects(fed: Federation) -> list[str]:
    """The keys of the version's objects, largest first."""
    place = fed.places["us-1"]
    return sorted(place.objects("objects/"), key=lambda key: -place.file(key).stat().st_size)


def change(path: Path, how: Callable[[bytes], bytes]) -> None:
    """Changes a file behind the store's back."""
    path.chmod(0o600)
    path.write_bytes(how(path.read_bytes()))


def flipped(content: bytes) -> bytes:
    """One bit in the middle is another."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def test_all_is_well_after_a_put(flights: Federation) -> None:
    """Nothing is printed."""
    assert flights.findings() == []


@pytest.mark.parametrize(
    ("how", "deep_only"),
    [
        (flipped, True),
        (lambda content: content[:-1], False),
        (lambda content: content + b"x", False),
        (lambda content: bytes(len(content)), True),
    ],
    ids=["flipped", "truncated", "longer", "plaintext"],
)
def test_a_damaged_object_is_found(flights: Federation, how: Callable[[bytes], bytes], *, deep_only: bool) -> None:
    """By its length at once; by its bytes when they are read."""
    key = objects(flights)[0]
    change(flights.places["us-1"].file(key), how)
    assert flights.findings(read_objects=True) == [("us-1", "DAMAGED", key)]
    assert flights.findings(read_objects=False) == ([] if deep_only else [("us-1", "DAMAGED", key)])


def test_swapped_objects_are_found(flights: Federation) -> None:
    """Both are whole and of the right length, and in each other's place."""
    place = flights.places["us-1"]
    first, second = (place.file(key) for key in objects(flights)[:2])
    one, two = first.read_bytes(), second.read_bytes()
    change(first, lambda _: two)
    change(second, lambda _: one)
    assert sorted(key for _, finding, key in flights.findings() if finding == "DAMAGED") == sorted(objects(flights)[:2])


def test_a_missing_object_is_found(flights: Federation) -> None:
    """With the version that needs it."""
    key = objects(flights)[0]
    flights.places["us-1"].file(key).unlink()
    (found,) = flights.client.check("us-1")
    assert (found["finding"], found["object"], found["version"]) == ("MISSING", key, "sales/flights@1")


def test_a_missing_manifest_makes_no_orphans(flights: Federation) -> None:
    """Its objects may be its version's: nobody is invited to delete them."""
    (key,) = flights.places["us-1"].objects("manifests/")
    flights.places["us-1"].file(key).unlink()
    assert flights.findings() == [("us-1", "MISSING", key)]


def test_a_changed_manifest_is_found(flights: Federation) -> None:
    """One bit is enough."""
    (key,) = flights.places["us-1"].objects("manifests/")
    change(flights.places["us-1"].file(key), flipped)
    assert flights.findings() == [("us-1", "MANIFEST_INVALID", key)]


def test_strangers_are_orphans(flights: Federation) -> None:
    """An object of nobody, a manifest of nobody, and a key that nothing of ours has."""
    store = flights.places["us-1"].store
    keys = [
        layout.object_key("d-1", "g-00000000000000000000000001", "o-00000000000000000000000001"),
        layout.manifest_key("0" * 64),
        "somebody/elses.txt",
    ]
    for key in keys:
        store.put(key, io.BytesIO(b"x"))
    assert sorted(flights.findings()) == sorted(("us-1", "ORPHAN", key) for key in keys)


def test_what_is_being_written_is_no_orphan(flights: Federation) -> None:
    """Neither while it is open nor once it is complete."""
    access = flights.client.open_write("sales/flights", "us-1")
    writer = data.VersionWriter(flights.gateway(access), audience=data.grant_audience(access.grant))
    writer.put_file("new.bin", io.BytesIO(BIG))
    assert flights.findings() == []
    writer.complete()
    assert flights.findings() == []


def test_a_lost_key_is_found(flights: Federation) -> None:
    """A generation without a row in the catalog, and one whose row does not open."""
    (version,) = flights.client.list_versions("sales/flights")
    (generation,) = version.generations
    catalog = flights.edge.catalog
    row = catalog.read(lambda tx: tx.get(dataset.WrappedKey, f"{generation}/us-1/default"))
    assert row is not None
    broken = dataset.WrappedKey(**{**vars(row), "wrapped": row.wrapped[:-8] + "AAAAAAA="})
    catalog.write(lambda tx: tx.replace(broken))
    assert flights.findings() == [("us-1", "KEY_MISSING", generation)]
    catalog.write(lambda tx: tx.delete(dataset.WrappedKey, f"{generation}/us-1/default"))
    assert flights.findings() == [("us-1", "KEY_MISSING", generation)]


@pytest.mark.parametrize(
    ("how", "reason"),
    [(flipped, "OBJECT_CORRUPT"), (lambda c: c[:-1], "OBJECT_TRUNCATED"), (lambda c: bytes(len(c)), "OBJECT_SWAPPED")],
    ids=["flipped", "truncated", "plaintext"],
)
def test_a_damaged_object_is_refused_by_its_reader(
    flights: Federation, tmp_path: Path, how: Callable[[bytes], bytes], reason: str
) -> None:
    """No byte of it reaches anybody's disk as if it were good."""
    change(flights.places["us-1"].file(objects(flights)[0]), how)
    with pytest.raises(errors.DataCorrupt) as refused:
        flights.client.get("sales/flights", tmp_path / "out")
    assert refused.value.reason == reason


def test_leftovers_of_a_dead_agent_are_removed_at_the_next_start(flights: Federation) -> None:
    """Of an aborted write whose objects were not yet gone when the agent died."""
    place: Place = flights.places["us-1"]
    access = flights.client.open_write("sales/flights", "us-1")
    gateway = flights.gateway(access)
    writer = data.VersionWriter(gateway, audience=data.grant_audience(access.grant))
    writer.put_file("new.bin", io.BytesIO(BIG))
    place.book.abort_write(writer.write)
    assert len(objects(flights)) == 4
    place.restart()
    assert len(objects(flights)) == 3
    assert flights.findings() == []


def test_orphans_are_removed_when_asked_to(flights: Federation) -> None:
    """What no version names and nobody writes, with what it takes; what versions name stays, and so does the rest of fsck."""
    place = flights.places["us-1"]
    (first, *_) = objects(flights)
    found = layout.parse(first)
    assert isinstance(found, layout.ObjectKey)
    stray = layout.object_key(found.dataset_uid, "g-00000000000000000000000001", found.object_id)
    place.store.put(stray, io.BytesIO(b"x" * 777))
    told = list(flights.client.orphans("us-1"))
    assert [(row["object"], row["bytes"]) for row in told] == [(stray, 777)]
    assert stray in place.objects("objects/")
    gone = list(flights.client.orphans("us-1", remove=True))
    assert [row["object"] for row in gone] == [stray]
    assert stray not in place.objects("objects/")
    assert flights.findings() == []
    assert list(flights.client.orphans("us-1", remove=True)) == []

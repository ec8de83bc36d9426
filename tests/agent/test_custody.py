"""Rotations and escrows, from the person who asks to the site's keyring and back."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from connectors.keys.keyfile import FILE
from connectors.keys.local import LocalKeys
from federation.agent import custody, journal
from federation.client import Client
from federation.core import dataset, errors, keys, kinds
from federation.core.policy import Role
from federation.crypto import escrow as escrows
from federation.crypto import hpke, wrapping
from federation.services import datasets, identity
from federation.wire import data
from tests.agent.federation import Federation, until, write_files

CUSTODIANS = ("ada", "bob", "cyd")


def keyring(fed: Federation) -> keys.SiteKeyring:
    """What the catalog knows of us-1's keys."""
    return next(fed.client.list_keyrings(filter='site = "us-1"'))


def rows(fed: Federation) -> tuple[dataset.WrappedKey, ...]:
    """The rows of us-1."""
    return fed.edge.catalog.read(lambda tx: tx.list(dataset.WrappedKey, where={"site": "us-1"}))


def ring(fed: Federation) -> LocalKeys:
    """The keyring of us-1, as its agent has it."""
    return LocalKeys("us-1", fed.places["us-1"].settings.keys.folder)


def stored(fed: Federation) -> dict[str, tuple[int, int]]:
    """Every object of us-1 and what its file is: a rewritten one would be another."""
    place = fed.places["us-1"]
    files = {key: place.file(key).stat() for key in place.objects("objects/")}
    return {key: (found.st_ino, found.st_mtime_ns) for key, found in files.items()}


def rotated(fed: Federation) -> keys.SiteKeyring:
    """The keyring once its rotation is done and the old KEK is gone from the site."""
    return until(lambda: (found := keyring(fed)) and not found.rotating and found.keks == (found.kek,) and found)


def read(fed: Federation, folder: Path, name: str) -> dict[str, bytes]:
    """A version, taken home."""
    fed.client.get(name, folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.invariant("K5")
def test_a_rotation_rewrites_no_data_and_loses_none(fed: Federation, tmp_path: Path) -> None:
    """All rows name the new KEK, the old one is gone from the site, no object was touched, and everything reads as before."""
    content = {"a.bin": b"a" * 100_000, "b.bin": b"b"}
    fed.put("sales/flights", write_files(tmp_path / "f", a_bin=content["a.bin"], b_bin=content["b.bin"]), "us-1")
    before, objects, old = rows(fed), stored(fed), ring(fed).status().kek
    assert read(fed, tmp_path / "before", "sales/flights@1") == content  # from then on its gateway has it at hand
    assert fed.client.rotate_keys("us-1").rotating
    done = rotated(fed)
    assert done.kek != old
    assert (done.retired[-1], done.stuck) == (old, 0)
    assert {row.kek for row in rows(fed)} == {done.kek}
    assert {row.wrapped for row in rows(fed)}.isdisjoint({row.wrapped for row in before})
    assert ring(fed).status().keks == (done.kek,)
    assert stored(fed) == objects
    assert read(fed, tmp_path / "home", "sales/flights@1") == content
    assert fed.findings() == []


@pytest.mark.invariant("K5")
@pytest.mark.parametrize("point", ["agent.kek_made", "agent.rows_rewrapped", "agent.rotation_finished"])
def test_a_rotation_that_broke_off_goes_on(
    fed: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """Wherever it stopped, the next start of the agent ends it: one KEK, in all rows, and nothing lost."""
    fed.put("sales/weather", write_files(tmp_path / "f", a_bin=point.encode()), "us-1")
    reached = []

    def stop(name: str) -> None:
        if name == point and not reached:
            reached.append(name)
            raise errors.Cancelled("the agent died here")

    monkeypatch.setattr(custody.failpoints, "hit", stop)
    fed.client.rotate_keys("us-1")
    until(lambda: reached)
    fed.places["us-1"].restart()
    done = rotated(fed)
    assert {row.kek for row in rows(fed)} == {done.kek}
    assert fed.findings() == []


@pytest.mark.invariant("K5")
def test_a_write_that_is_under_way_comes_through(fed: Federation, tmp_path: Path) -> None:
    """Its key was wrapped before, and its version is committed after: the journal's keys are re-wrapped too."""
    place = fed.places["us-1"]
    fed.put("sales/weather", write_files(tmp_path / "f", a_bin=b"there before"), "us-1")
    access = fed.client.open_write("sales/weather", "us-1")
    writer = data.VersionWriter(fed.gateway(access), audience=data.grant_audience(access.grant))
    writer.put_file("late.txt", io.BytesIO(b"came through"))
    begun = next(row for row in place.book.writes() if row.state is journal.WriteState.OPEN)
    fed.client.rotate_keys("us-1")
    done = rotated(fed)
    assert place.book.write(begun.write).key.kek == done.kek != begun.key.kek
    version = writer.complete().version
    assert {row.kek for row in rows(fed)} == {done.kek}
    assert read(fed, tmp_path / "home", version)["late.txt"] == b"came through"


def test_a_retired_kek_is_not_taken_any_more(fed: Federation, tmp_path: Path) -> None:
    """A row that comes late, wrapped by what is gone, would be lost: it is refused, and the site tries again."""
    fed.put("sales/flights", write_files(tmp_path / "f", a_bin=b"a"), "us-1")
    fed.client.rotate_keys("us-1")
    rotated(fed)
    gone = keyring(fed).retired[0]
    row = rows(fed)[0]
    late = dataset.NewVersion(
        dataset="sales/flights",
        dataset_uid=row.dataset_uid,
        manifest_digest="00" * 32,
        signature="",
        files=0,
        total_bytes=0,
        object_bytes=0,
    )

    key = dataset.WrappedKey(generation="g-late", site="us-1", dataset_uid=late.dataset_uid, kek=gone, wrapped="x")
    with pytest.raises(errors.FailedPrecondition) as caught:
        fed.edge.catalog.write(lambda tx: datasets.take_keys(tx, ("g-late",), (key,), dataset_uid=late.dataset_uid, at="us-1"))
    assert caught.value.reason == "KEK_RETIRED"


def test_a_new_generation_takes_no_file_over(fed: Federation, tmp_path: Path) -> None:
    """Unchanged files are shared with the version before, until the site's generations are to be made anew; then once not."""
    folder = write_files(tmp_path / "f", a_bin=b"a" * 1000, b_bin=b"b")
    one, two = (fed.put("sales/stations", folder, "us-1") for _ in range(2))
    assert two.generations == one.generations
    fed.client.rotate_keys("us-1", "DEK")
    three, four = (fed.put("sales/stations", folder, "us-1") for _ in range(2))
    assert not set(three.generations) & set(one.generations)
    assert four.generations == three.generations
    assert read(fed, tmp_path / "home", "sales/stations@1")["b.bin"] == b"b"


class Custodian:
    """A person with a key of their own and a client."""

    def __init__(self, fed: Federation, name: str) -> None:
        self.private, public = hpke.new_pair()
        self.value = keys.Custodian(principal=f"users/{name}", public_key=public.hex())
        token = fed.edge.catalog.write(lambda tx: identity.create_token(tx, fed.edge.ctx, name, Role.USER, "EU")[1])
        self.client: Client = fed.edge.client(token)

    def approve(self, opening: str) -> keys.Opening:
        """Hands their share to the site."""
        found = self.client.get_opening(opening)
        escrow = self.client.get_escrow(found.escrow)
        own = next(each for each in escrow.custodians if each.principal == self.value.principal)
        return self.client.approve_opening(opening, escrows.approve(escrow, found, own, self.private))


@pytest.fixture
def persons(fed: Federation) -> dict[str, Custodian]:
    """Three custodians."""
    return {name: Custodian(fed, name) for name in CUSTODIANS}


def make_escrow(fed: Federation, persons: dict[str, Custodian], name: str, threshold: int = 2) -> Callable[[], keys.Escrow]:
    """Makes an escrow of us-1, waits until it is filled, and gives a way to look at it."""
    asked = keys.Escrow(
        escrow=name, site="us-1", threshold=threshold, custodians=tuple(each.value for each in persons.values())
    )
    fed.client.create_escrow(asked)

    def found() -> keys.Escrow:
        return next(each for each in fed.client.list_escrows() if each.escrow == name)

    until(lambda: not found().behind)
    return found


@pytest.mark.invariant("K6")
def test_two_custodians_bring_a_sites_keys_back_and_one_does_not(
    fed: Federation, persons: dict[str, Custodian], tmp_path: Path
) -> None:
    """The KEK is lost. One custodian, however often, opens nothing; with a second one the site has all its rows again."""
    fed.put("sales/lost", write_files(tmp_path / "f", a_bin=b"not lost"), "us-1")
    fed.put("sales/erased", write_files(tmp_path / "e", a_bin=b"erased"), "us-1")
    escrow = make_escrow(fed, persons, "way-back")
    fed.put("sales/later", write_files(tmp_path / "g", a_bin=b"came later"), "us-1")
    until(lambda: not escrow().behind and escrow().keys == len(rows(fed)))
    erased = fed.client.get_dataset("sales/erased").uid
    doomed = fed.client.get_version("sales/erased@1").generations
    ring(fed).destroy(erased, doomed)
    lose_keks(fed)
    assert all(finding == "KEY_MISSING" for _, finding, _ in fed.findings())
    opening = fed.client.request_opening("way-back", "the KEK of us-1 is lost").opening
    for _ in range(2):
        assert persons["ada"].approve(opening).state is keys.OpeningState.PENDING
    with pytest.raises(errors.PermissionDenied):
        fed.client.approve_opening(opening, b"no custodian's")
    assert len(fed.findings()) == len({row.generation for row in rows(fed)})
    persons["cyd"].approve(opening)
    until(lambda: persons["ada"].client.get_opening(opening).state is keys.OpeningState.OPENED)
    assert [(site, generation) for site, _, generation in fed.findings()] == [("us-1", each) for each in doomed]
    for name, content in (("lost", b"not lost"), ("later", b"came later")):
        assert read(fed, tmp_path / name, f"sales/{name}@1") == {"a.bin": content}
    told = [event.kind for event in fed.edge.catalog.events(0, limit=10_000) if event.kind.startswith("escrow.")]
    steps = [kind for kind in told if kind not in ("escrow.filled", "escrow.restored")]
    assert steps == ["escrow.created", "escrow.requested", "escrow.approved", "escrow.approved", "escrow.opened"]
    assert 0 < told.count("escrow.filled") <= 1 + len(rows(fed)), "once for its key, and for what came into it"


def lose_keks(fed: Federation) -> None:
    """The site's KEKs are gone, as if a key service had lost them; a fresh one is there."""
    place = fed.places["us-1"]
    place.stop()
    path = place.settings.keys.folder / FILE
    file = json.loads(path.read_bytes())
    material = wrapping.Material.new("us-1")
    file["keyring"] |= {"keks": {material.current: material.keks[material.current].reveal().hex()}, "current": material.current}
    path.write_text(json.dumps(file), encoding="utf-8")
    place.start()


@pytest.mark.invariant("K3")
@pytest.mark.invariant("K6")
def test_a_share_goes_to_the_site_alone(fed: Federation, persons: dict[str, Custodian]) -> None:
    """A catalog that puts its own key in the site's place gets no share: the custodian's share knows the site's key."""
    make_escrow(fed, persons, "misdirected")
    opening = fed.client.request_opening("misdirected", "a try").opening
    found, escrow = persons["ada"].client.get_opening(opening), persons["ada"].client.get_escrow("misdirected")
    _, thief = hpke.new_pair()
    turned = keys.Opening(**{**vars(found), "sealing_key": thief.hex()})
    with pytest.raises(errors.PermissionDenied) as caught:
        escrows.approve(escrow, turned, escrow.custodians[0], persons["ada"].private)
    assert caught.value.reason == "ESCROW_MISDIRECTED"
    own = escrows.approve(escrow, found, escrow.custodians[0], persons["ada"].private)
    with pytest.raises(errors.Unauthenticated):
        hpke.open_(persons["ada"].private, own, b"")


@pytest.mark.invariant("K3")
def test_the_catalog_holds_nothing_that_opens_data(fed: Federation, persons: dict[str, Custodian], tmp_path: Path) -> None:
    """No key of a site, of a custodian or of data is in any row or event, in bytes, hex or base64."""
    fed.put("sales/held", write_files(tmp_path / "f", a_bin=b"held"), "us-1")
    make_escrow(fed, persons, "held")
    fed.client.rotate_keys("us-1")
    rotated(fed)
    connector, place = ring(fed), fed.places["us-1"]
    file = json.loads((place.settings.keys.folder / FILE).read_bytes())["keyring"]
    deks = [connector.unwrap(row) for row in rows(fed) if row.generation not in connector.status().destroyed]
    secrets = [connector.signing_key(), connector.sealing_pair()[0], *deks, *(each.private for each in persons.values())]
    secrets += [bytes.fromhex(kek) for kek in file["keks"].values()]
    assert deks
    held = repr(fed.edge.catalog.read(lambda tx: [list(tx.list(kind, limit=10_000)) for kind in kinds.KINDS])) + repr(
        [event.body for event in fed.edge.catalog.events(0, limit=10_000)]
    )
    assert rows(fed)[0].wrapped in held
    for secret in secrets:
        for shown in (repr(secret)[2:-1], secret.hex(), base64.b64encode(secret).decode().rstrip("=")):
            assert shown not in held
    assert file["tree"] not in held


@pytest.mark.invariant("K6")
def test_an_escrow_needs_two_persons_at_least(fed: Federation, persons: dict[str, Custodian]) -> None:
    """Neither a threshold of one, nor one person twice, nor more than there are; and no opening without a reason."""
    ada, bob = persons["ada"].value, persons["bob"].value
    for threshold, custodians in ((1, (ada, bob)), (2, (ada, ada)), (3, (ada, bob))):
        with pytest.raises(errors.InvalidArgument) as caught:
            fed.client.create_escrow(keys.Escrow(escrow="x", site="us-1", threshold=threshold, custodians=custodians))
        assert caught.value.reason == "THRESHOLD_INVALID"
    twin = dataclasses.replace(bob, public_key=ada.public_key.upper())
    with pytest.raises(errors.InvalidArgument, match="would be both of them"):
        fed.client.create_escrow(keys.Escrow(escrow="x", site="us-1", threshold=2, custodians=(ada, twin)))
    make_escrow(fed, persons, "unasked")
    with pytest.raises(errors.InvalidArgument) as caught:
        fed.client.request_opening("unasked", " ")
    assert caught.value.reason == "REASON_MISSING"

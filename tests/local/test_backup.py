"""The drill: a federation at work is backed up, destroyed and restored, and what was true is true again."""

from __future__ import annotations

import dataclasses
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from federation import config
from federation.adapters.catalog_sql import SqlCatalog
from federation.adapters.records_delta import DeltaRecords
from federation.adapters.records_links import DeltaReader
from federation.adapters.system import SystemClock, UlidIds
from federation.bootstrap import backup as wiring
from federation.core import backup, dataset, errors, events, job, kinds, policy
from federation.crypto import archive, signing
from federation.services import identity
from federation.services.committer import Committer
from federation.services.heads import HeadKeeper
from tests.agent import federation as federations
from tests.agent.federation import Federation, until, write_files
from tests.postgres import postgres_server, postgres_url  # noqa: F401 - fixtures
from tests.wire import certs as certificates

READS = "import federation; print(len(federation.inputs['d'].open('a.csv').read()))"
PASSPHRASE = b"correct horse battery staple"


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> certificates.Certs:
    """The throwaway CA."""
    return certificates.make(tmp_path_factory.mktemp("pki"))


def settings_of(folder: Path, database_url: str, certs: certificates.Certs) -> config.ServerSettings:
    """Where a server has its things."""
    return config.ServerSettings(
        state_dir=folder / "server",
        listen="127.0.0.1:0",
        agents_listen="127.0.0.1:0",
        database_url=database_url or f"sqlite:///{folder}/server/catalog.db",
        tables_url=str(folder / "server" / "tables"),
        tls=certs.layout.server_tls(),
    )


def serve(settings: config.ServerSettings, folder: Path, certs: certificates.Certs) -> Any:
    """A server over the database and the tables, with a committer that carries and signs."""
    key = config.keep_secret(settings.state_dir / "grant.key", signing.new_private)
    catalog = SqlCatalog(settings.database_url, SystemClock(), UlidIds())
    records = DeltaRecords(settings.tables_url)
    committer = Committer(catalog, records, heads=HeadKeeper(catalog, records, key))
    reader = DeltaReader(settings.tables_url, None)
    return federations.server(folder, certs, catalog=catalog, committer=committer, grant_key=key, reader=reader)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, long: bool) -> str:
    """'' for a SQLite file, the URL of an empty database otherwise."""
    if request.param == "postgresql" and not long:
        pytest.skip("the drill on PostgreSQL is part of the long form; its copying is tried below")
    return "" if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def fresh_database(request: pytest.FixtureRequest, database: str) -> str:
    """Another empty one of the same kind, to restore into."""
    if not database:
        return ""
    import sqlalchemy as sa

    url = sa.make_url(database)
    admin = sa.create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.text(f'CREATE DATABASE "{url.database}_again"'))
    admin.dispose()
    return url.set(database=f"{url.database}_again").render_as_string(hide_password=False)


def busy(fed: Federation, stop: threading.Event) -> threading.Thread:
    """Somebody who makes namespaces all the while."""

    def work() -> None:
        client, number = fed.edge.client(), 0
        while not stop.is_set():
            client.create_namespace(dataset.Namespace(name=f"busy-{number}"))
            number += 1
        client.close()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_what_was_true_is_true_again(  # noqa: PLR0915 - one story, told in order
    tmp_path: Path, certs: certificates.Certs, database: str, fresh_database: str
) -> None:
    """Jobs have run; a backup is made while others write; all is destroyed; a restored server goes on.

    The ledger's chain holds, fsck finds nothing but what was erased after the backup, and says that; jobs run again.
    """
    settings = settings_of(tmp_path / "a", database, certs)
    fed = federations.start(tmp_path / "sites", certs, edge=serve(settings, tmp_path / "sites", certs))
    try:
        client = fed.client
        client.create_namespace(dataset.Namespace(name="sales"))
        for name in ("kept", "gone"):
            client.create_dataset(dataset.Dataset(namespace="sales", dataset=name))
            fed.put(f"sales/{name}", write_files(tmp_path / name, a_csv=name.encode() * 20_000), "eu-1")
        asked = {"inputs": (job.InputSpec(alias="d", dataset="sales/kept"),), "sites": ("us-1",)}
        ran = fed.run(sys.executable, "-c", READS, **asked)
        assert ran.state is job.JobState.SUCCEEDED, fed.logs(ran)
        (charged,) = [entry for entry in client.list_ledger_entries() if entry.job == ran.job]
        stop = threading.Event()
        writer = busy(fed, stop)
        try:
            until(lambda: len(list(client.list_namespaces())) > 3)
            made = wiring.make(settings, tmp_path / "backup", PASSPHRASE)
            until(lambda: fed.edge.catalog.revision() > made.revision + 3)
        finally:
            stop.set()
            writer.join()
        client.erase_version("sales/gone@1", "asked for by its subject")
        until(lambda: not client.get_erasure("sales/gone@1").unconfirmed)
        until(lambda: len(fed.places["eu-1"].objects("objects")) == 1)
    finally:
        fed.stop()
    shutil.rmtree(tmp_path / "a")

    again = settings_of(tmp_path / "b", fresh_database, certs)
    with pytest.raises(errors.DataCorrupt, match="passphrase is another"):
        wiring.restore(again, tmp_path / "backup", b"something else")
    done = wiring.restore(again, tmp_path / "backup", PASSPHRASE, key=made.signing_key)
    assert done.revision == made.revision + backup.POSITIONS_SKIPPED
    edge = serve(again, tmp_path / "sites", certs)
    for place in fed.places.values():
        place.settings = dataclasses.replace(place.settings, catalog=edge.server.agents_address)
        place.start()
    restored = Federation(edge=edge, places=fed.places)
    try:
        client = restored.client
        assert client.get_job(ran.job) == dataclasses.replace(ran)
        assert charged in list(client.list_ledger_entries())
        until(lambda: _carried(edge.catalog) >= made.revision)
        proof = list(client.verify_table("egress_ledger"))[-1]
        assert proof.intact
        assert proof.rows >= 1
        said = [row for row in client.check("eu-1", True) if row["version"] == "sales/gone@1"]
        assert {row["finding"] for row in said} == {"MISSING"}  # its manifest went with its keys
        assert len(said) == len(restored.findings())  # nothing else is wrong, at any site
        with pytest.raises(errors.DataCorrupt, match="MANIFEST_MISSING"):
            client.get("sales/gone", tmp_path / "out")
        after = restored.run(sys.executable, "-c", READS, **asked)
        assert after.state is job.JobState.SUCCEEDED, restored.logs(after)
        newest = edge.catalog.events(made.revision, limit=1)
        assert newest[0].position > done.revision
    finally:
        restored.stop()


def _carried(catalog: Any) -> int:
    leases = catalog.read(lambda tx: [tx.get(kinds.CommitterLease, table) for table in events.TABLES])
    return min(lease.carried for lease in leases)


# -- what a backup is, without a federation ---------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passphrases cost little here: what a guess costs is scrypt's own affair."""
    monkeypatch.setattr(archive, "COST", 1 << 10)


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory, certs: certificates.Certs) -> Path:
    """A catalog of a few events, carried, and three that are not."""
    folder = tmp_path_factory.mktemp("made")
    settings = settings_of(folder, "", certs)
    key = config.keep_secret(settings.state_dir / "grant.key", signing.new_private)
    config.write_secret(settings.state_dir / "admin.token", b"token")
    catalog = SqlCatalog(settings.database_url, SystemClock(), UlidIds())
    records = DeltaRecords(settings.tables_url)
    fill(catalog, "first", 3)
    committer = Committer(catalog, records, heads=HeadKeeper(catalog, records, key))
    committer.run_once()
    fill(catalog, "second", 3)
    leaver = kinds.TokenRecord(token="t1", digest="ab" * 32, user="leaver", role=policy.Role.USER)
    catalog.write(lambda tx: tx.emit("token.created", "tokens/t1", tx.insert(leaver)))
    catalog.put_blob("2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae", [b"foo"])
    catalog.close()
    return folder


@pytest.fixture
def place(made_once: Path, tmp_path: Path, certs: certificates.Certs) -> config.ServerSettings:
    """A server's place of a test's own."""
    shutil.copytree(made_once, tmp_path / "a")
    return settings_of(tmp_path / "a", "", certs)


def fill(catalog: SqlCatalog, prefix: str, count: int) -> None:
    """Some namespaces, each with its event."""
    for number in range(count):
        row = dataset.Namespace(name=f"{prefix}-{number}")
        catalog.write(lambda tx, row=row: tx.emit("namespace.created", f"namespaces/{row.name}", tx.insert(row)))  # type: ignore[misc]


@pytest.mark.parametrize("passphrase", [b"", PASSPHRASE], ids=["plain", "encrypted"])
def test_a_backup_goes_back_as_it_was(
    place: config.ServerSettings, tmp_path: Path, certs: certificates.Certs, passphrase: bytes
) -> None:
    """Rows, blobs, tables; secrets under a passphrase alone; and the tables catch up with the log."""
    _there_and_back(place, settings_of(tmp_path / "b", "", certs), tmp_path / "backup", passphrase)


def test_a_backup_goes_from_sqlite_to_postgresql_and_back(
    place: config.ServerSettings,
    tmp_path: Path,
    certs: certificates.Certs,
    postgres_url: str,  # noqa: F811 - the fixture
) -> None:
    """The same rows, blobs and tables: a federation that has outgrown its file moves like that."""
    key = (place.state_dir / "grant.key").read_bytes()
    for number, url in enumerate((postgres_url, "")):
        again = settings_of(tmp_path / f"b{number}", url, certs)
        config.write_secret(again.state_dir / "grant.key", key)
        _there_and_back(place, again, tmp_path / f"backup{number}", b"")
        place = again


def _there_and_back(place: config.ServerSettings, again: config.ServerSettings, target: Path, passphrase: bytes) -> None:
    before = SqlCatalog(place.database_url, SystemClock(), UlidIds())
    waiting = len(before.events(DeltaRecords(place.tables_url).position("audit")))
    before.close()
    made = wiring.make(place, target, passphrase)
    assert wiring.verify(target, passphrase) == made
    if not (passphrase or again.state_dir.exists()):
        with pytest.raises(errors.FailedPrecondition, match="does not have it"):
            wiring.restore(again, target)
        config.write_secret(again.state_dir / "grant.key", (place.state_dir / "grant.key").read_bytes())
    done = wiring.restore(again, target, passphrase)
    assert done.behind_events == waiting
    assert (again.state_dir / "grant.key").read_bytes() == (place.state_dir / "grant.key").read_bytes()
    catalog, records = SqlCatalog(again.database_url, SystemClock(), UlidIds()), DeltaRecords(again.tables_url)
    names = catalog.read(lambda tx: [row.name for row in tx.list(dataset.Namespace)])
    assert names == ["first-0", "first-1", "first-2", "second-0", "second-1", "second-2"]
    assert b"".join(catalog.get_blob("2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae")) == b"foo"
    fill(catalog, "third", 1)
    Committer(catalog, records).run_once()
    assert records.position("audit") > done.revision >= made.revision
    catalog.write(lambda tx: tx.delete(dataset.Namespace, "third-0"))
    catalog.close()


def test_secrets_are_in_no_file_of_an_encrypted_backup(place: config.ServerSettings, tmp_path: Path) -> None:
    """And in a plain one there are none at all."""
    secret = (place.state_dir / "grant.key").read_bytes()
    for passphrase in (b"", PASSPHRASE):
        target = tmp_path / ("sealed" if passphrase else "plain")
        made = wiring.make(place, target, passphrase)
        assert any(file.path.startswith("state/") for file in made.files) is bool(passphrase)
        for path in target.rglob("*"):
            if path.is_file():
                assert secret not in path.read_bytes()
                assert path.stat().st_mode & 0o077 == 0
                assert not passphrase or b"first-0" not in path.read_bytes()


@pytest.mark.parametrize("harm", ["flip", "cut", "remove", "add", "swap", "manifest"])
def test_a_backup_that_was_changed_is_refused_before_anything_is_written(
    place: config.ServerSettings, tmp_path: Path, certs: certificates.Certs, harm: str
) -> None:
    """By digest, length, name or signature."""
    target = tmp_path / "backup"
    wiring.make(place, target, PASSPHRASE)
    one, other = target / "catalog" / "events.arrow", target / "catalog" / "namespaces.arrow"
    match harm:
        case "flip":
            one.write_bytes(bytes([one.read_bytes()[0] ^ 1]) + one.read_bytes()[1:])
        case "cut":
            one.write_bytes(one.read_bytes()[:-1])
        case "remove":
            one.unlink()
        case "add":
            (target / "catalog" / "stranger.arrow").write_bytes(b"x")
        case "swap":
            first, second = one.read_bytes(), other.read_bytes()
            one.write_bytes(second)
            other.write_bytes(first)
        case "manifest":
            path = target / backup.MANIFEST
            path.write_bytes(path.read_bytes().replace(b'"federation"', b'"fxderation"', 1))
    again = settings_of(tmp_path / "b", "", certs)
    with pytest.raises(errors.DataCorrupt):
        wiring.restore(again, target, PASSPHRASE)
    assert not again.state_dir.exists()


def test_nothing_is_ever_overwritten(place: config.ServerSettings, tmp_path: Path, certs: certificates.Certs) -> None:
    """Neither a backup, nor a catalog, nor tables."""
    target = tmp_path / "backup"
    wiring.make(place, target, PASSPHRASE)
    with pytest.raises(errors.AlreadyExists):
        wiring.make(place, target, PASSPHRASE)
    with pytest.raises(errors.FailedPrecondition, match="tables"):
        wiring.restore(place, target, PASSPHRASE)
    elsewhere = dataclasses.replace(place, tables_url=str(tmp_path / "other"))
    with pytest.raises(errors.FailedPrecondition, match="has a catalog already"):
        wiring.restore(elsewhere, target, PASSPHRASE)


def test_a_backup_of_another_federation_is_refused(
    place: config.ServerSettings, tmp_path: Path, certs: certificates.Certs
) -> None:
    """Where the key of this one is known: by its file, or because it was named."""
    wiring.make(place, tmp_path / "backup", PASSPHRASE)
    again = settings_of(tmp_path / "b", "", certs)
    with pytest.raises(errors.DataCorrupt, match="has signed it"):
        wiring.restore(again, tmp_path / "backup", PASSPHRASE, key="ab" * 32)
    config.write_secret(again.state_dir / "grant.key", signing.new_private())
    with pytest.raises(errors.DataCorrupt, match="has signed it"):
        wiring.restore(again, tmp_path / "backup", PASSPHRASE)


@pytest.mark.invariant("A1")
def test_tables_that_survived_are_kept_and_positions_never_come_twice(
    place: config.ServerSettings, tmp_path: Path, certs: certificates.Certs
) -> None:
    """They know what happened after the backup; the catalog is told how much, and what was erased, and goes on behind it."""
    made = wiring.make(place, tmp_path / "backup", PASSPHRASE)
    catalog = SqlCatalog(place.database_url, SystemClock(), UlidIds())
    fill(catalog, "third", 2)
    gone = dataset.Namespace(name="x")
    catalog.write(lambda tx: tx.emit("version.erased", "namespaces/sales/datasets/gone/versions/1", gone))
    catalog.write(lambda tx: identity.revoke_token(tx, identity.ITSELF, "t1"))
    Committer(catalog, DeltaRecords(place.tables_url)).run_once()
    position = catalog.revision()
    catalog.close()
    for path in place.state_dir.glob("catalog.db*"):
        path.unlink()
    done = wiring.restore(place, tmp_path / "backup", PASSPHRASE, keep_tables=True)
    assert done.revision == position + backup.POSITIONS_SKIPPED
    assert done.unknown == (("audit", 4),)
    assert done.erased == ("namespaces/sales/datasets/gone/versions/1",)
    assert done.revoked == ("tokens/t1",)
    assert done.backup_revision == made.revision
    restored = SqlCatalog(place.database_url, SystemClock(), UlidIds())
    told = [event.kind for event in restored.events(done.revision, limit=10)]
    assert told == ["catalog.restored", "token.revoked"]
    assert not restored.read(lambda tx: tx.list(kinds.TokenRecord))
    fill(restored, "fourth", 1)
    assert Committer(restored, DeltaRecords(place.tables_url)).run_once() >= 1
    restored.close()


def _trim(catalog: SqlCatalog, place: config.ServerSettings) -> None:
    """Carries events and more events, and lets go of the first, as a server does that has run for a week."""
    committer = Committer(catalog, DeltaRecords(place.tables_url), retention_seconds=0)
    for prefix in ("third", "fourth"):
        committer.run_once()
        fill(catalog, prefix, 1)
    committer.run_once()
    assert committer.trim() > 0
    committer.release()


def test_a_backup_with_a_trimmed_log_goes_back(place: config.ServerSettings, tmp_path: Path, certs: certificates.Certs) -> None:
    """The log begins after the last row of tables that had nothing new for a week, or never had a row: they lack nothing."""
    catalog = SqlCatalog(place.database_url, SystemClock(), UlidIds())
    _trim(catalog, place)
    catalog.close()
    wiring.make(place, tmp_path / "backup", PASSPHRASE)
    done = wiring.restore(settings_of(tmp_path / "b", "", certs), tmp_path / "backup", PASSPHRASE)
    assert done.behind_events == 0


def test_tables_that_lack_what_the_log_let_go_of_are_refused(place: config.ServerSettings, tmp_path: Path) -> None:
    """Older ones of the same catalog, kept by mistake: a server would find a gap that nothing fills."""
    older = tmp_path / "older"
    shutil.copytree(place.tables_url, older)
    catalog = SqlCatalog(place.database_url, SystemClock(), UlidIds())
    _trim(catalog, place)
    catalog.close()
    wiring.make(place, tmp_path / "backup", PASSPHRASE)
    for path in place.state_dir.glob("catalog.db*"):
        path.unlink()
    with pytest.raises(errors.FailedPrecondition, match="audit") as caught:
        wiring.restore(dataclasses.replace(place, tables_url=str(older)), tmp_path / "backup", PASSPHRASE, keep_tables=True)
    assert caught.value.reason == "TABLES_BEHIND"


def test_a_crash_leaves_no_half_of_a_backup(
    place: config.ServerSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has its name once it is whole."""

    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(wiring.sql_copy, "dump", fail)
    with pytest.raises(OSError, match="no space"):
        wiring.make(place, tmp_path / "backup")
    assert [path.name for path in tmp_path.iterdir() if "backup" in path.name] == []

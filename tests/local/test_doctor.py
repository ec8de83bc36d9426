"""`fed doctor` finds what is wrong, says what to do, and finds nothing where all is well."""

from __future__ import annotations

import dataclasses
import os
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from federation import config
from federation.adapters import sql_schema
from federation.adapters.catalog_sql import SqlCatalog
from federation.adapters.records_delta import DeltaRecords
from federation.adapters.system import SystemClock, UlidIds
from federation.core import diagnosis, kinds
from federation.core.diagnosis import Diagnosis, Level
from federation.crypto import certificates
from federation.local import doctor
from tests.agent import federation as federations
from tests.agent.federation import Federation
from tests.wire import certs as certificates_of_tests

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> certificates_of_tests.Certs:
    """The throwaway CA."""
    return certificates_of_tests.make(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def fed(tmp_path_factory: pytest.TempPathFactory, certs: certificates_of_tests.Certs) -> Iterator[Federation]:
    """Two sites that answer."""
    started = federations.start(tmp_path_factory.mktemp("fed"), certs)
    yield started
    started.stop()


@pytest.fixture
def me(fed: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person with a context; the file of their contexts."""
    token, ca = tmp_path / "token", tmp_path / "ca.crt"
    config.write_secret(token, fed.edge.tokens["admin"].encode())
    ca.write_bytes(fed.edge.certs.ca)
    monkeypatch.setenv("FED_CONFIG", str(tmp_path / "config.yaml"))
    for name in ("FED_TARGET", "FED_TOKEN", "FED_CA", "FED_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    config.save_context(config.Context(context="here", target=fed.edge.server.address, ca=ca, token=token))
    return tmp_path / "config.yaml"


@pytest.fixture
def settings(tmp_path: Path, certs: certificates_of_tests.Certs) -> config.ServerSettings:
    """A server's place on disk, with a catalog and tables, as a first start leaves it."""
    state = tmp_path / "server"
    config.write_secret(state / "grant.key", os.urandom(32))
    config.write_secret(state / "admin.token", b"token")
    made = config.ServerSettings(
        state_dir=state,
        listen="127.0.0.1:7400",
        agents_listen="127.0.0.1:7401",
        database_url=f"sqlite:///{state}/catalog.db",
        tables_url=str(state / "tables"),
        tls=certs.layout.server_tls(),
    )
    SqlCatalog(made.database_url, SystemClock(), UlidIds()).close()
    return made


def of(found: list[Diagnosis], subject: str, check: str) -> list[Diagnosis]:
    """What was found of one thing."""
    return [row for row in found if (row.subject, row.check) == (subject, check)]


def wrong(found: list[Diagnosis]) -> list[Diagnosis]:
    """What is not good. This machine's disk is not part of the tests."""
    return [row for row in found if row.level is not Level.GOOD and row.check != "disk"]


def _file(tmp_path: Path) -> Path:
    file = tmp_path / "federation.yaml"
    file.write_text("federation: test\n")
    file.chmod(0o644)
    return file


def test_where_all_is_well_nothing_is_said(me: Path) -> None:
    """Only what is a choice: keys in files are grade B, and so is plain compute."""
    found = list(doctor.person())
    assert {row.check for row in wrong(found)} <= {"keys", "compute"}
    assert {("you", "clock"), ("you", "version"), ("server", "certificate"), ("eu-1", "heartbeat"), ("us-1", "version")} <= {
        (row.subject, row.check) for row in found
    }


def test_a_context_that_others_can_read_is_found(me: Path) -> None:
    """With the command that mends it."""
    me.chmod(0o644)
    (row,) = of(list(doctor.person()), "you", "permissions")
    assert row.level is Level.BROKEN
    assert row.help == f"Run: chmod 600 {me}"


def test_a_server_that_is_away_breaks_nothing_else_off(me: Path) -> None:
    """Each look fails by itself, and is told."""
    token = me.parent / "token"
    config.save_context(config.Context(context="gone", target="127.0.0.1:9", ca=me.parent / "ca.crt", token=token))
    found = list(doctor.person())
    (row,) = of(found, "server", "certificate")
    assert row.level is Level.BROKEN
    assert "refused" in row.detail


def test_each_of_several_servers_is_looked_at(me: Path, fed: Federation) -> None:
    """The one that is away is named; the one that answers is good."""
    target = f"{fed.edge.server.address},127.0.0.1:9"
    config.save_context(config.Context(context="two", target=target, ca=me.parent / "ca.crt", token=me.parent / "token"))
    good, away = of(list(doctor.person()), "server", "certificate")
    assert (good.level, away.level) == (Level.GOOD, Level.BROKEN)
    assert away.detail.startswith("127.0.0.1:9: ")


def test_several_servers_have_the_first_one_s_name_in_their_certificate(
    settings: config.ServerSettings, tmp_path: Path
) -> None:
    """It is the one that clients ask them to prove."""
    found = list(doctor.server(settings, _file(tmp_path), ("127.0.0.1:7400,catalog-2.example:7400",)))
    assert [row.level for row in of(found, "server", "names")] == [Level.GOOD]


def test_files_that_cannot_be_read_are_found_each(
    settings: config.ServerSettings, tmp_path: Path, certs: certificates_of_tests.Certs
) -> None:
    """The remedy is the file's, not the network's, and no look keeps the next from being taken."""
    nowhere = _file(tmp_path) / "none"
    away = dataclasses.replace(
        settings, tls=dataclasses.replace(settings.tls, cert=tmp_path / "no.crt", key=nowhere / "server.key")
    )
    found = list(doctor.server(away, _file(tmp_path), ("127.0.0.1:7400",)))
    (certificate,) = of(found, "server", "certificate")
    assert "who looks may read it" in certificate.help
    assert [row.detail.partition(":")[0] for row in wrong(of(found, "server", "permissions"))] == ["NotADirectoryError"]
    assert of(found, "server", "database")[0].level is Level.GOOD


def test_a_certificate_that_names_nobody_is_found(settings: config.ServerSettings, tmp_path: Path) -> None:
    """One without alternative names is nobody's."""
    ca = certificates.Authority.make("nobody", now=datetime.now(UTC), life=timedelta(days=30))
    files = config.TlsFiles(ca=tmp_path / "ca.crt", cert=tmp_path / "ca.crt", key=tmp_path / "ca.key")
    files.ca.write_bytes(certificates.pem(ca.certificate))
    config.write_secret(files.key, certificates.key_pem(ca.key))
    found = list(doctor.server(dataclasses.replace(settings, tls=files), _file(tmp_path), ("127.0.0.1:7400",)))
    (names,) = of(found, "server", "names")
    assert names.detail == "the certificate is good for nobody, not for 127.0.0.1"


def test_a_server_of_another_ca_is_not_trusted(me: Path, tmp_path_factory: pytest.TempPathFactory, fed: Federation) -> None:
    """The handshake's own word is told."""
    other = certificates_of_tests.make(tmp_path_factory.mktemp("other"))
    ca = me.parent / "other.crt"
    ca.write_bytes(other.ca)
    config.save_context(config.Context(context="other", target=fed.edge.server.address, ca=ca, token=me.parent / "token"))
    (row,) = of(list(doctor.person()), "server", "certificate")
    assert row.level is Level.BROKEN
    assert row.detail.startswith("TLS:")


def test_a_server_s_place_is_looked_over(settings: config.ServerSettings, tmp_path: Path) -> None:
    """Files, certificate and names, database, the store of the tables, each table."""
    found = list(doctor.server(settings, _file(tmp_path), ("127.0.0.1:7400",)))
    assert wrong(found) == []
    assert len(of(found, "server", "record")) == 8  # the store, and seven tables


def test_what_is_broken_at_a_server_is_found(settings: config.ServerSettings, tmp_path: Path) -> None:
    """A key that others read, a file that others write, a name that the certificate lacks, an old database."""
    (settings.state_dir / "grant.key").chmod(0o640)
    file = _file(tmp_path)
    file.chmod(0o666)
    with sqlite3.connect(settings.state_dir / "catalog.db") as db:
        db.execute("UPDATE schema_version SET version_num = 'from-the-future'")
        db.execute("UPDATE counters SET value = 9999 WHERE name = ?", (sql_schema.OLDEST,))  # older releases may not use it
    found = list(doctor.server(settings, file, ("fed.example:7400",)))
    assert [row.detail.partition(" has ")[0] for row in of(found, "server", "permissions") if row.level is Level.BROKEN] == [
        str(file),
        str(settings.state_dir / "grant.key"),
    ]
    assert [row.level for row in of(found, "server", "names")] == [Level.BROKEN]
    (row,) = of(found, "server", "database")
    assert "does not know" in row.detail
    assert "newer release" in row.help


def test_a_database_is_looked_at_and_not_made(settings: config.ServerSettings, tmp_path: Path) -> None:
    """A look at a place where nothing is leaves nothing there."""
    away = dataclasses.replace(settings, database_url=f"sqlite:///{tmp_path}/none/catalog.db")
    (row,) = of(list(doctor.server(away, _file(tmp_path), ())), "server", "database")
    assert row.level is Level.BROKEN
    assert not (tmp_path / "none").exists()


def test_tables_of_another_time_are_found(settings: config.ServerSettings, tmp_path: Path) -> None:
    """A catalog from a backup beside tables that went on."""
    catalog = SqlCatalog(settings.database_url, SystemClock(), UlidIds())
    token = kinds.TokenRecord(token="t", digest="d", user="u", role="USER")  # type: ignore[arg-type]
    for number in range(3):
        catalog.write(lambda tx, number=number: tx.emit("token.created", f"tokens/{number}", token))  # type: ignore[misc]
    DeltaRecords(settings.tables_url).append("audit", catalog.events(0))
    catalog.close()
    for path in settings.state_dir.glob("catalog.db*"):
        path.unlink()
    SqlCatalog(settings.database_url, SystemClock(), UlidIds()).close()
    broken = [
        row for row in of(list(doctor.server(settings, _file(tmp_path), ())), "server", "record") if row.level is Level.BROKEN
    ]
    assert [row.detail for row in broken] == ["audit is at 3, the catalog at 0 only"]


def test_a_site_s_place_is_looked_over(fed: Federation) -> None:
    """Certificate with its URI, catalog, store, cluster and journal; the gateway's own name is in the certificate."""
    place = fed.places["eu-1"]
    settings = dataclasses.replace(
        place.settings, compute=config.ComputeSettings(kind="process", address=str(place.root / "compute"))
    )
    found = list(doctor.site(settings))
    assert {row.check for row in wrong(found)} <= {"compute"}
    assert {"catalog", "store", "journal", "names", "certificate"} <= {row.check for row in found if row.level is Level.GOOD}


def test_a_site_with_another_s_certificate_is_found(fed: Federation) -> None:
    """The catalog would know it as the other one."""
    settings = dataclasses.replace(fed.places["eu-1"].settings, tls=fed.places["us-1"].settings.tls)
    (row,) = [row for row in of(list(doctor.site(settings)), "eu-1", "names") if row.level is Level.BROKEN]
    assert "spiffe" in row.detail


def test_a_damaged_journal_is_found(fed: Federation, tmp_path: Path) -> None:
    """SQLite's own check, read only."""
    (tmp_path / "agent.db").write_bytes(b"SQLite format 3\0" + os.urandom(4096))
    settings = dataclasses.replace(fed.places["eu-1"].settings, state_dir=tmp_path)
    (row,) = of(list(doctor.site(settings)), "eu-1", "journal")
    assert row.level is Level.BROKEN


@pytest.mark.parametrize(
    ("apart", "level"), [(0.5, Level.GOOD), (-1.9, Level.GOOD), (5, Level.WARNING), (-29, Level.WARNING), (31, Level.BROKEN)]
)
def test_clocks_are_judged_in_both_directions(apart: float, level: Level) -> None:
    """Ahead is as wrong as behind."""
    assert diagnosis.clock("you", apart).level is level


@pytest.mark.parametrize(
    ("left", "level"),
    [(timedelta(days=30), Level.GOOD), (timedelta(days=6), Level.WARNING), (timedelta(seconds=-1), Level.BROKEN)],
)
def test_what_ends_is_told_in_time(left: timedelta, level: Level) -> None:
    """A week before, while there is time to do something."""
    assert diagnosis.ends("server", "certificate", NOW + left, NOW, "Renew it.").level is level


def test_what_is_good_needs_no_advice() -> None:
    """And what is not has some: else it would be a complaint."""
    for row in (diagnosis.disk("s", "x", 10**9), diagnosis.lag("s", "audit", 3, 500), diagnosis.versions("s", "1", "2")):
        assert row.level is Level.WARNING
        assert row.help
    assert diagnosis.versions("s", "2", "2").help == ""
    assert certificates.agent_uri("d", "eu-1").endswith("/agents/eu-1")

"""What a server's start leaves behind, on the memory catalog."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from federation import config
from federation.adapters.catalog_memory import MemoryCatalog
from federation.adapters.system import ManualClock, SeededIds
from federation.bootstrap import server as bootstrap
from federation.core import errors, people, policy, ratecard, records, site
from federation.crypto import signing
from federation.services import identity
from federation.services.context import Context
from tests import builders

EU = site.Site(site="eu-1", region="aws:eu-central-1", jurisdiction="EU", sources=("file:///lake/",))
ADA = config.UserSettings(user="ada", jurisdiction="EU")


@pytest.fixture
def catalog():
    """An empty catalog."""
    return MemoryCatalog(ManualClock(), SeededIds(1))


@pytest.fixture
def ctx():
    """The terms of a server."""
    return Context(
        ids=SeededIds(2),
        policies=builders.POLICIES,
        rates=ratecard.RateCard(rows=()),
        grant_key=signing.new_private(),
    )


def settings(folder: Path, **changes) -> config.ServerSettings:
    """A server that declares one site and one person."""
    given = {
        "state_dir": folder,
        "listen": "127.0.0.1:0",
        "agents_listen": "127.0.0.1:0",
        "database_url": "",
        "tables_url": "",
        "tls": config.TlsFiles(ca=folder, cert=folder, key=folder),
        "sites": (EU,),
        "users": (ADA,),
    }
    return config.ServerSettings(**{**given, **changes})


def principal(catalog, folder: Path, user: str) -> policy.Principal:
    """Whom the token in a user's file makes known."""
    secret = bootstrap.token_file(folder, user).read_text()
    return catalog.read(lambda tx: identity.principal_for(tx, secret))


def test_a_first_start_makes_tokens_that_only_their_owner_can_read(catalog, ctx, tmp_path):
    """The administrator's, and one for each declared person."""
    bootstrap.declare(catalog, ctx, settings(tmp_path))
    admin, ada = (dataclasses.replace(principal(catalog, tmp_path, name), token="") for name in ("admin", "ada"))
    assert admin == policy.Principal(name="users/admin", role=policy.Role.ADMIN)
    assert ada == policy.Principal(name="users/ada", role=policy.Role.USER, jurisdiction="EU")
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in tmp_path.rglob("*.token"))


def test_starting_again_changes_nothing(catalog, ctx, tmp_path):
    """No event, no new token, no new etag."""
    bootstrap.declare(catalog, ctx, settings(tmp_path))
    before = catalog.revision()
    bootstrap.declare(catalog, ctx, settings(tmp_path))
    assert catalog.revision() == before


def test_a_crash_between_file_and_catalog_is_mended(catalog, ctx, tmp_path):
    """The file is there and the catalog does not know it yet: the next start tells it."""
    config.write_secret(bootstrap.token_file(tmp_path, "admin"), b"fed_written_before_the_crash")
    bootstrap.declare(catalog, ctx, settings(tmp_path))
    assert principal(catalog, tmp_path, "admin").role is policy.Role.ADMIN


def test_a_person_who_is_declared_no_more_is_let_in_no_more(catalog, ctx, tmp_path):
    """Their token is taken back, and its file goes."""
    bootstrap.declare(catalog, ctx, settings(tmp_path))
    secret = bootstrap.token_file(tmp_path, "ada").read_text()
    bootstrap.declare(catalog, ctx, settings(tmp_path, users=()))
    with pytest.raises(errors.Unauthenticated):
        catalog.read(lambda tx: identity.principal_for(tx, secret))
    assert not bootstrap.token_file(tmp_path, "ada").exists()


def test_a_person_s_jurisdiction_follows_the_declaration(catalog, ctx, tmp_path):
    """The token stays."""
    bootstrap.declare(catalog, ctx, settings(tmp_path))
    moved = dataclasses.replace(ADA, jurisdiction="US")
    bootstrap.declare(catalog, ctx, settings(tmp_path, users=(moved,)))
    assert principal(catalog, tmp_path, "ada").jurisdiction == "US"


def test_a_site_s_declaration_is_followed(catalog, ctx, tmp_path):
    """A new price is taken at the next start."""
    bootstrap.declare(catalog, ctx, settings(tmp_path))
    dearer = dataclasses.replace(EU, offer=site.Offer(cpu_hour_micros=48_000, cpu_source="a list"))
    bootstrap.declare(catalog, ctx, settings(tmp_path, sites=(dearer,)))
    stored = catalog.read(lambda tx: tx.get(site.Site, "eu-1"))
    assert stored.offer == dearer.offer
    assert stored.sources == EU.sources


@pytest.mark.invariant("A1")
def test_whom_the_settings_let_in_is_told_whenever_they_let_in_somebody_else(catalog, ctx, tmp_path):
    """An issuer in the federation file can make administrators, and nobody asks the catalog: so the log has it, once."""

    def told() -> list[people.Entrance]:
        return [records.loads(people.Entrance, event.body) for event in catalog.events(0, kinds=["server.configured"])]

    bootstrap.declare(catalog, ctx, settings(tmp_path))
    bootstrap.declare(catalog, ctx, settings(tmp_path))
    assert [each.issuers for each in told()] == [()]
    corp = people.Issuer(issuer="corp", url="https://login", audience="fed", roles=(("staff", policy.Role.ADMIN),))
    for _ in range(2):
        bootstrap.declare(catalog, ctx, settings(tmp_path, issuers=(corp,)))
    assert [each.issuers for each in told()] == [(), (corp,)]

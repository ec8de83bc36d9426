"""The provider, and a server that trusts it, for the tests of identity."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from federation.adapters.catalog_memory import MemoryCatalog
from federation.adapters.oidc import OidcPeople
from federation.adapters.system import UlidIds
from federation.core import people
from federation.core.policy import Role
from tests.identity import provider as providers
from tests.wire import certs as certificates
from tests.wire import edge as edges


@pytest.fixture(scope="session")
def certs(tmp_path_factory: pytest.TempPathFactory) -> certificates.Certs:
    """The throwaway CA."""
    return certificates.make(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def provider() -> Iterator[providers.Provider]:
    """A real OpenID provider."""
    with providers.running() as running:
        yield running


@pytest.fixture(scope="module")
def issuer(provider: providers.Provider) -> people.Issuer:
    """The provider as the settings would name it."""
    return people.Issuer(
        issuer="corp",
        url=provider.url,
        audience=providers.CLIENT,
        client_secret=providers.CLIENT_SECRET,
        scope="openid profile email",
        roles=(("fed-admins", Role.ADMIN), ("fed-auditors", Role.AUDITOR)),
        jurisdiction_claim="country",
        jurisdictions=(("DE", "EU"), ("US", "US")),
        loopback=True,
    )


@pytest.fixture(scope="module")
def edge(certs: certificates.Certs, issuer: people.Issuer) -> Iterator[edges.Edge]:
    """A server that lets in whom the provider vouches for."""
    started = edges.start(certs, MemoryCatalog(edges.clock(), UlidIds()), people=OidcPeople([issuer]))
    edges.populate(started)
    yield started
    started.stop()

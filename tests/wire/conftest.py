"""Servers for the tests of the wire: a fresh one for each test that changes things, one for a whole file that only asks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from federation.adapters.catalog_memory import MemoryCatalog
from federation.adapters.system import UlidIds
from tests.wire import certs as certificates
from tests.wire import edge as edges


@pytest.fixture(scope="session")
def certs(tmp_path_factory: pytest.TempPathFactory) -> certificates.Certs:
    """The throwaway CA."""
    return certificates.make(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def edge(certs: certificates.Certs) -> Iterator[edges.Edge]:
    """A fresh server over a catalog in memory, with two sites, a namespace and a dataset."""
    started = edges.start(certs, MemoryCatalog(edges.clock(), UlidIds()))
    edges.populate(started)
    yield started
    started.stop()


@pytest.fixture(scope="module")
def shared_edge(certs: certificates.Certs) -> Iterator[edges.Edge]:
    """As `edge`, one for all tests of a file that leave it as it was."""
    started = edges.start(certs, MemoryCatalog(edges.clock(), UlidIds()))
    edges.populate(started)
    yield started
    started.stop()

"""A federation of two sites: a fresh one where a test breaks things, one for a whole file where it does not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.agent import federation as federations
from tests.agent.compute import MemoryCompute
from tests.wire import certs as certificates


@pytest.fixture(scope="session")
def certs(tmp_path_factory: pytest.TempPathFactory) -> certificates.Certs:
    """The throwaway CA."""
    return certificates.make(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def fed(tmp_path_factory: pytest.TempPathFactory, certs: certificates.Certs) -> Iterator[federations.Federation]:
    """A fresh federation."""
    started = federations.start(tmp_path_factory.mktemp("fed"), certs, quantum_bytes=64 * 1024)
    yield started
    started.stop()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, certs: certificates.Certs) -> Iterator[federations.Federation]:
    """One federation for all tests of a file that leave no trace on each other."""
    started = federations.start(tmp_path_factory.mktemp("fed"), certs, quantum_bytes=64 * 1024)
    yield started
    started.stop()


@pytest.fixture
def held(tmp_path_factory: pytest.TempPathFactory, certs: certificates.Certs) -> Iterator[federations.Federation]:
    """A fresh federation whose clusters run nothing: the test is the launcher of every run."""
    started = federations.start(
        tmp_path_factory.mktemp("fed"), certs, compute=lambda _: MemoryCompute(), quantum_bytes=64 * 1024
    )
    yield started
    started.stop()

"""A federation with something to see, for the tests of a file that leave it as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browse import story
from tests.wire import certs as certificates
from tests.wire.conftest import certs
from tests.wire.edge import Edge

__all__ = ["certs"]


@pytest.fixture(scope="module")
def told(certs: certificates.Certs) -> Iterator[Edge]:
    """The story's server, for all tests of a file."""
    with story.federation(certs) as edge:
        yield edge


@pytest.fixture
def fresh(certs: certificates.Certs) -> Iterator[Edge]:
    """The same, for a test that changes it."""
    with story.federation(certs) as edge:
        yield edge

"""What conformance suites share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance import keyservers


@pytest.fixture(scope="session")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[keyservers.Bao]:
    """One OpenBao for all."""
    with keyservers.openbao(tmp_path_factory.mktemp("bao")) as made:
        yield made

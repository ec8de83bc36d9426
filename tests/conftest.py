"""Options and fixtures that all tests share."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("default", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("long", deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.too_slow])


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--long` runs campaigns in their long form; `--update-scenarios` rewrites the expected output of scenario files."""
    parser.addoption("--long", action="store_true", help="run campaigns in their long form")
    parser.addoption("--update-scenarios", action="store_true", help="rewrite the expected output of scenario files")


def pytest_configure(config: pytest.Config) -> None:
    """Sets what every test process needs."""
    settings.load_profile("long" if config.getoption("--long") else "default")
    # gRPC's fork handlers and Ray do not mix; no test forks after a channel exists.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")


@pytest.fixture
def long(request: pytest.FixtureRequest) -> bool:
    """Whether campaigns run in their long form."""
    return bool(request.config.getoption("--long"))

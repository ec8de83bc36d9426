"""Options and fixtures that all tests share."""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests import canary, guard, ray_pair

USUAL_THRESHOLDS = gc.get_threshold()

settings.register_profile("default", deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("long", deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.too_slow])


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--long` runs campaigns in their long form; `--update-scenarios` rewrites the expected output of scenario files."""
    parser.addoption("--long", action="store_true", help="run campaigns in their long form")
    parser.addoption("--fuzz-seconds", type=float, default=0, help="how long each fuzzing test goes on, by seeds of its own")
    parser.addoption("--update-scenarios", action="store_true", help="rewrite the expected output of scenario files")


def pytest_configure(config: pytest.Config) -> None:
    """Sets what every test process needs."""
    config.pluginmanager.register(canary.Canary(), "canary")
    config.pluginmanager.register(ray_pair.Turns(), "ray-turns")
    settings.load_profile("long" if config.getoption("--long") else "default")
    # Nearly nothing that is made while tests are collected is garbage: looking for it takes a fifth of that time.
    gc.set_threshold(10_000, 20, 20)
    # gRPC's fork handlers and Ray do not mix; no test forks after a channel exists.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ray last: its two clusters cost a tenth of a core for as long as they live, so they shall not live through all tests.

    Of its modules those of few tests go first: theirs are the longest, and nobody shall begin one when all others have ended.
    All else stays in the random order that it came in.

    On a busy machine Ray itself now and then loses a worker or a health check; what meets that is tried once more, and the
    summary says so. Nothing else is: a test that fails now and then has found something.
    """
    on_ray = [item for item in items if item.get_closest_marker("ray") is not None]
    tests = Counter(item.path for item in items)
    modules = {item.path for item in on_ray}
    items.sort(key=lambda item: tests[item.path] if item.path in modules else 0)
    for item in on_ray:
        item.add_marker(pytest.mark.flaky(reruns=1))


def pytest_collection_finish() -> None:
    """From here on the garbage collector works as everywhere, over what tests make alone."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*USUAL_THRESHOLDS)


@pytest.fixture(scope="session", autouse=True)
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What this test process starts ends with it."""
    with guard.over(tmp_path_factory.getbasetemp()):
        yield


@pytest.fixture
def long(request: pytest.FixtureRequest) -> bool:
    """Whether campaigns run in their long form."""
    return bool(request.config.getoption("--long"))

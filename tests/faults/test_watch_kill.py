"""kill -9 of a server on SQLite, again and again, under those who watch it. `tests/e2e/test_postgres.py` has the short form."""

from __future__ import annotations

import contextlib
import random
import time
from pathlib import Path

import pytest

from federation.adapters.catalog_sql import SqlCatalog
from federation.adapters.system import SystemClock, UlidIds
from tests import localfed
from tests.watch_history import problems
from tests.watch_load import Load, whole_log

KILLS = 40


@pytest.mark.timeout(1800)
def test_nobody_who_watches_is_lied_to_while_the_server_is_killed(tmp_path: Path, long: bool) -> None:
    """Writers, fast and slow followers, followers who break off; the server dies again and again, at any moment."""
    if not long:
        pytest.skip("a campaign: --long runs it")
    seed = random.SystemRandom().randrange(2**32)
    fed = localfed.LocalFederation(folder=tmp_path / "f", compute={}, settings={"rates": {"calls_per_second": 0}})
    luck = random.Random(seed)
    with localfed.running(fed):
        load = Load(fed.client, seed)
        load.start()
        for _ in range(KILLS):
            time.sleep(luck.uniform(0.3, 1.5))
            fed.kill("server")
            fed.up()
        load.finish()
    with contextlib.closing(SqlCatalog(f"sqlite:///{fed.layout.server / 'catalog.db'}", SystemClock(), UlidIds())) as catalog:
        log = whole_log(catalog)
    assert len(load.writes.acknowledged) > KILLS
    assert problems(load.histories, log, load.writes) == [], f"seed {seed}"
    assert all(history.streams for history in load.histories)

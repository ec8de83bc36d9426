"""What audit costs a submit: with every event written in the submit's own transaction, against the same submit with none.

Two catalogs on SQLite, synced at each commit, with the same federation of three sites and the same two inputs. In turns, one
submit each: checked, priced, decided by the policy, placed and stored. In one of them `emit` does nothing, which no server can:
nothing could be proven, carried or followed. What the events are is told beside it.

Run: python -m benchmarks.audit
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from federation.adapters.catalog_sql import SqlCatalog
from federation.adapters.sql_transaction import SqlTransaction
from tests import builders
from tests.sim import Simulation


def main() -> None:
    """Prints milliseconds of a submit with and without its events, and what they are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=300)
    rounds = parser.parse_args().rounds
    print(f"load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        told, silent = (federation(Path(folder) / f"{name}.db") for name in ("told", "silent"))
        times: dict[str, list[float]] = {"with its events": [], "without": []}
        before = told.catalog.revision()
        for turn in range(rounds + 20):
            with_events = timed(told)
            with unheard():
                without = timed(silent)
            if turn >= 20:
                times["with its events"].append(with_events)
                times["without"].append(without)
        report(times, told, before, rounds + 20)


def federation(path: Path) -> Simulation:
    """Three sites, with flights at one and weather at another."""
    sim = Simulation(catalog=lambda clock, ids: SqlCatalog(f"sqlite:///{path}", clock, ids))
    sim.put("sales/flights", "us-1")
    sim.put("sales/weather", "eu-1")
    return sim


def timed(sim: Simulation) -> float:
    """Milliseconds of a submit. The job is cancelled, untimed: the next one meets the same federation."""
    request = builders.request(["flights=sales/flights", "weather=sales/weather"], purpose="forecasting")
    begun = time.perf_counter()
    submitted = sim.submit(request)
    taken = 1000 * (time.perf_counter() - begun)
    sim.cancel(submitted.job)
    return taken


@contextlib.contextmanager
def unheard() -> Iterator[None]:
    """Transactions emit nothing."""
    real = SqlTransaction._emit

    def nothing(self: Any, *_: Any, **__: Any) -> int:
        return self._newest()

    SqlTransaction._emit = nothing  # type: ignore[method-assign]
    try:
        yield
    finally:
        SqlTransaction._emit = real  # type: ignore[method-assign]


def report(times: dict[str, list[float]], told: Simulation, before: int, submits: int) -> None:
    """Medians, their ratio, and the events of a submit."""
    middle = {name: statistics.median(taken) for name, taken in times.items()}
    for name, taken in times.items():
        print(f"{name:16} p50 {middle[name]:6.2f} ms   p99 {statistics.quantiles(taken, n=100)[98]:6.2f} ms")
    ratio, more = middle["with its events"] / middle["without"], middle["with its events"] - middle["without"]
    print(f"ratio {ratio:.3f}: {more:.2f} ms on top")
    every = told.catalog.events(before, limit=50)
    own = every[: next(place for place, event in enumerate(every, 1) if event.kind == "job.placed")]
    print(f"events of one submit: {', '.join(event.kind for event in own)}; {sum(event.size for event in own):,} bytes")
    print(f"{submits} submits in each catalog")


if __name__ == "__main__":
    main()

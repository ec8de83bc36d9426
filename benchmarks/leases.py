"""What a lease costs: a key handed out by a gateway, against a bare call to the catalog and bare HPKE in the same run.

A real catalog server on SQLite and a real agent, each a process, on loopback over TLS; this process is the person who reads.
In turns: `OpenVersion` with `keys_only` (grant checked, lease asked for, written with its event, DEK unwrapped and sealed, the
answer), `GetVersion` of the catalog (a bare call over TLS), and HPKE alone (a seal and an opening). What the agent itself does
is timed apart, with a catalog that answers at once and everything else real.

Run: python -m benchmarks.leases
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from connectors.keys.memory import MemoryKeys
from federation.adapters.system import SystemClock
from federation.agent import leasing, sealing
from federation.agent.identity import Identity
from federation.core import leases
from federation.crypto import hpke
from federation.wire.gateway import GatewayClient
from tests import localfed

AIM_MS = 5.0


class Catalog:
    """Answers at once, with just what was asked for."""

    def issue_lease(self, asked: leases.Asked) -> leases.Lease:
        now = dt.datetime.now(dt.UTC)
        return leases.Lease(
            lease=leases.name(asked.nonce),
            use=asked.use,
            site="eu-1",
            dataset=asked.dataset,
            dataset_uid="d-1",
            version=asked.version,
            generations=asked.generations,
            sensitivities=asked.sensitivities,
            principal="users/ada",
            grant=asked.grant,
            run=asked.run,
            reader_key=asked.reader_key,
            nonce=asked.nonce,
            call=asked.call,
            issue_time=now,
            expire_time=now + dt.timedelta(seconds=leases.LIFE_SECONDS),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=300)
    options = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        compute = {"eu-1": {"compute": {"kind": "process"}}}
        with localfed.running(localfed.LocalFederation(folder=folder / "f", compute=compute)) as federation:
            federation.put("bench/small", {"a.bin": b"x" * 1000})
            report(measure(works(federation), options.rounds))


def works(federation: localfed.LocalFederation) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    client = federation.client()
    access = client.open_read("bench/small@1")
    gateway = GatewayClient(access.gateway, federation.layout.ca.read_bytes(), grant=access.grant)
    private, public = hpke.new_pair()
    keys = MemoryKeys("eu-1")
    leaser = leasing.Leasing(catalog=Catalog(), connector=keys, identity=Identity.of(keys), clock=SystemClock())  # type: ignore[arg-type]
    _, row = keys.generate("g-1", "d-1")

    def at_agent() -> None:
        lease = leaser.lease(secrets.token_hex(16), public, dataset="bench/small", version=1, generations=("g-1",))
        leaser.seal(lease, [sealing.Dek("g-1", "", keys.unwrap(row))], audience="run:jobs/j-1/runs/1", reader_key=public)

    def bare_hpke() -> None:
        hpke.open_(private, hpke.seal(public, b"k" * 32, b"info"), b"info")

    return {
        "lease, whole": lambda: gateway.open_version(public, keys_only=True),
        "lease, at the agent": at_agent,
        "bare call": lambda: client.get_version("bench/small@1"),
        "bare HPKE": bare_hpke,
    }


def measure(timed: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each, in turns; the first tenth warms up."""
    found: dict[str, list[float]] = {name: [] for name in timed}
    for turn in range(rounds + rounds // 10):
        for name, work in timed.items():
            begun = time.perf_counter()
            work()
            if turn >= rounds // 10:
                found[name].append(1000 * (time.perf_counter() - begun))
    return found


def report(found: dict[str, list[float]]) -> None:
    floor = statistics.median(found["bare call"]) + statistics.median(found["bare HPKE"])
    for name, times in found.items():
        p50, p99 = statistics.median(times), statistics.quantiles(times, n=100)[98]
        print(f"{name:22} p50 {p50:7.2f} ms   p99 {p99:7.2f} ms   {p50 / floor:5.2f} of the floor")
    print(f"floor: bare call and bare HPKE, {floor:.2f} ms; aim at the agent: {AIM_MS} ms")


if __name__ == "__main__":
    main()

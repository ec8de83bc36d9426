"""What leases and policy take of an encrypted read: the same job reads an input under a new lease each time, and under one.

A real federation: the catalog on SQLite with the shipped policies, a site's agent, the job, each a process, over TLS. A lease
is asked for when a version is opened: the gateway asks the catalog, the catalog the policy, and both write before a key leaves.
Reading then has nothing to do with either, so the ratio of `benchmarks.encrypted_reads` times this one is that with both on.

Run: python -m benchmarks.governed_reads [--megabytes 100] [--rounds 15]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks import encrypted_reads

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests import localfed

JOB = """
import json, statistics, sys, time
import federation, pyarrow.parquet as pq
from federation.worker import session

rounds, names = int(sys.argv[1]), ("zstd.parquet", "opaque.bin")
held, fs = session.current(), federation.filesystem()

def read(name):
    if name.endswith(".parquet"):
        pq.read_table(f"bench/data/{name}", filesystem=fs)
        return
    with fs.open(f"bench/data/{name}") as file:
        while file.read(1 << 20):
            pass

taken = {}
for _ in range(rounds + 1):
    for name in names:
        for kind in ("new lease", "held"):
            if kind == "new lease":
                held._opened.clear()
            begun = time.perf_counter()
            read(name)
            taken.setdefault((name, kind), []).append(time.perf_counter() - begun)
    held._opened.clear()
    begun = time.perf_counter()
    held.version("data")
    taken.setdefault(("open", "new lease"), []).append(time.perf_counter() - begun)
best = {f"{name}, {kind}": statistics.mean(sorted(each[1:])[: max(1, rounds // 4)]) for (name, kind), each in taken.items()}
print("RESULT", json.dumps(best), flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = localfed.LocalFederation(folder=Path(folder) / "f", settings={"lease_seconds": "60"})
        with localfed.running(made):
            content = encrypted_reads.files(options.megabytes)
            made.put("bench/data", {name: content[name] for name in ("zstd.parquet", "opaque.bin")})
            job = made.submit(JOB, inputs={"data": "bench/data"}, arguments=(str(options.rounds),))
            made.succeed(job.job, 600)
            (line,) = [line for line in made.job_log(job.job).splitlines() if line.startswith("RESULT")]
    best = json.loads(line.removeprefix("RESULT"))
    print(f"{'work':<22}{'bytes':>12}{'held MB/s':>12}{'new lease MB/s':>16}{'ratio':>8}")
    for name in ("zstd.parquet", "opaque.bin"):
        size, held, fresh = len(content[name]), best[f"{name}, held"], best[f"{name}, new lease"]
        print(f"{name:<22}{size:>12,}{size / held / 1e6:>12.0f}{size / fresh / 1e6:>16.0f}{held / fresh:>8.2f}")
    print(f"opening a version, its lease and its manifest: {1000 * best['open, new lease']:.1f} ms")


if __name__ == "__main__":
    main()

"""SkyPilot's own optimizer as a peer: `python -m benchmarks.skypilot_peer` makes its environment and tries it.

SkyPilot is installed from PyPI in an environment of its own (a few hundred MB, once), and works offline on catalogs that are
placed beside it, made from a CSV of prices. It runs in a process of its own that is refused every connection; requests and
answers are JSON lines.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import _peers

VERSION = "0.14.1"
CACHE = Path("~/.cache/dataset-federation/skypilot")
WORKER = Path(__file__).with_name("_skypilot_worker.py")
PRICES = Path(__file__).parents[1] / "federation" / "prices" / "compute.csv"
#: Its name of a cloud, and the scheme by which it knows where an input lies; it knows no other clouds' inputs.
CLOUDS = {"aws": "AWS", "azure": "Azure"}
SCHEMES = {"aws": "s3", "gcp": "gs", "ibm": "cos"}
START_SECONDS = 120
CATALOG = "InstanceType AcceleratorName AcceleratorCount vCPUs MemoryGiB GpuInfo Price SpotPrice Region AvailabilityZone Arch"


class TooSlow(Exception):
    """The peer did not answer within its time; it has been ended."""


@dataclass(frozen=True, kw_only=True)
class Solved:
    """What one of its solvers found: dollars, the site of each task, and the seconds it took by its own clock."""

    usd: float
    sites: tuple[int, ...]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job of one task: where its one input lies, how much that is, how long it runs, on what (`H100:8`)."""

    cloud: str
    region: str
    input_gb: float
    hours: float
    accelerators: str


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Where it would run a job, and the seconds that its optimizer took."""

    cloud: str
    region: str
    seconds: float


class Peer:
    """A process of SkyPilot's environment. One request at a time; started anew after one that ran out of time."""

    def __init__(self, python: Path, home: Path) -> None:
        self._python = python
        self._home = home
        self._process: subprocess.Popen[str] | None = None

    def solve(
        self, tasks: Sequence[Sequence[float | None]], edges: Sequence[tuple[int, int, Any]], *, seconds: float
    ) -> Solved:
        """Its chain DP for a chain, else its ILP, on given costs in dollars; None forbids a site. TooSlow beyond `seconds`."""
        chain = len(edges) == len(tasks) - 1 and len({u for u, _, _ in edges}) == len({v for _, v, _ in edges}) == len(edges)
        answer = self._ask({"do": "dp" if chain else "ilp", "tasks": tasks, "edges": edges}, seconds)
        return Solved(usd=answer["objective"], sites=tuple(answer["sites"]), seconds=answer["seconds"])

    def place(self, jobs: Sequence[Job], *, clouds: Sequence[str] = ("aws",), seconds: float = 600) -> tuple[Placed, ...]:
        """Where its real optimizer, with its own egress prices, would run each job; over the catalogs of `home`."""
        asked = [{**asdict(job), "input": f"{SCHEMES[job.cloud]}://{job.region}"} for job in jobs]
        answer = self._ask({"do": "place", "jobs": asked, "clouds": [CLOUDS[name] for name in clouds]}, seconds)
        return tuple(Placed(**placed) for placed in answer["placed"])

    def version(self) -> str:
        """What it says it is."""
        found: str = self._ask({"do": "version"}, START_SECONDS)["version"]
        return found

    def close(self) -> None:
        """Ends the process, and the solver that it may have started."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.communicate()
            self._process = None

    def _ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        if self._process is None:
            self._process = self._start()
            self._exchange({"do": "version"}, START_SECONDS)
        return self._exchange(request, seconds)

    def _start(self) -> subprocess.Popen[str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}  # noqa: TID251 - not ours to configure
        env = {**kept, "HOME": str(self._home), "SKY_RUNTIME_DIR": str(self._home), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
        return subprocess.Popen(
            [str(self._python), str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(self._home / "skypilot.log").open("a"),
            env=env,
            cwd=self._home,
            text=True,
            start_new_session=True,
        )

    def _exchange(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        if not select.select([process.stdout], [], [], seconds)[0]:
            self.close()
            raise TooSlow(f"no answer in {seconds:g} s")
        line = process.stdout.readline()
        if not line:
            self.close()
            raise RuntimeError(f"SkyPilot's process ended; its last words: {(self._home / 'skypilot.log').read_text()[-2000:]}")
        answer: dict[str, Any] = json.loads(line)
        if answer["refused"]:
            raise RuntimeError(f"SkyPilot tried to reach {', '.join(answer['refused'])}: it would not have worked offline")
        return answer


@contextlib.contextmanager
def peer(cache: Path = CACHE, prices: Path | None = None) -> Iterator[Peer]:
    """The peer with a home of its own for as long as this lasts; `prices` is a CSV like `federation/prices/compute.csv`."""
    python = _peers.environment(cache, VERSION, f"skypilot=={VERSION}")
    with tempfile.TemporaryDirectory(prefix="skypilot-") as folder:
        home = Path(folder)
        place_catalogs(home, prices)
        found = Peer(python, home)
        try:
            yield found
        finally:
            found.close()


def place_catalogs(home: Path, prices: Path | None = None) -> None:
    """Writes catalogs as SkyPilot keeps them. Without a digest it takes them for changed by hand, and pulls none."""
    root = home / ".sky" / "catalogs" / "v8"
    rows = _offers(prices) if prices else []
    for cloud in CLOUDS:
        offers = [row for row in rows if row["provider"] == cloud and row.get("usd_per_hour") and row.get("gpu")]
        _write(root / cloud / "vms.csv", CATALOG.split(), [_machine(row) for row in offers])
        _write(root / cloud / "images.csv", ["Tag", "Region", "OS", "OSVersion", "ImageId", "CreationDate"], [])
    quotas = ["Region", "InstanceType", "OnDemandInstanceCode", "SpotInstanceCode"]
    _write(root / "aws" / "instance_quota_mapping.csv", quotas, [])
    clouds = str(list(CLOUDS.values()))
    gpus = sorted({row["gpu"] for row in rows if row.get("gpu")})
    _write(root / "common" / "accelerators.csv", ["AcceleratorName", "Clouds"], [[name, clouds] for name in gpus])
    _write(root / "common" / "metadata.csv", ["GPU", "MemoryGB"], [[name, 80] for name in gpus])


def _offers(prices: Path) -> list[dict[str, str]]:
    """The rows of a price list: of machines, or of GPUs one by one, as the shipped one has them, which come in eights."""
    rows = list(csv.DictReader(prices.read_text().splitlines()))
    return [_eight(row) if "item" in row else row for row in rows if row.get("item", "gpu") == "gpu"]


def _eight(row: dict[str, str]) -> dict[str, str]:
    machine = row["source"].partition(":")[0]
    spot = str(8 * float(row["usd_spot"])) if row["usd_spot"] else ""
    found = {"instance": machine, "gpu": row["type"], "gpu_count": "8", "usd_per_hour": str(8 * float(row["usd"]))}
    return {**found, "provider": row["provider"], "region": row["region"], "usd_per_hour_spot": spot}


def _machine(row: dict[str, str]) -> list[object]:
    """The optimizer looks at accelerators and prices; processors and memory are the same everywhere."""
    region, spot = row["region"], row.get("usd_per_hour_spot", "")
    return [
        row["instance"],
        row["gpu"],
        float(row["gpu_count"]),
        192.0,
        2048.0,
        "",
        row["usd_per_hour"],
        spot,
        region,
        f"{region}-1",
        "x86_64",
    ]


def _write(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def main() -> None:
    """Makes the environment, and places two jobs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for SkyPilot's environment")
    parser.add_argument("--prices", type=Path, default=PRICES, help="CSV with provider, region, instance, gpu, usd_per_hour")
    options = parser.parse_args()
    jobs = [
        Job(cloud="aws", region=region, input_gb=5000, hours=2, accelerators="H100:8") for region in ("us-east-1", "eu-west-2")
    ]
    with peer(options.cache, options.prices) as found:
        print(f"skypilot {found.version()}")
        for job, placed in zip(jobs, found.place(jobs), strict=True):
            took = f"{placed.seconds * 1e3:.0f} ms"
            print(f"{job.input_gb:g} GB in {job.cloud}:{job.region} -> {placed.cloud}:{placed.region} in {took}")


if __name__ == "__main__":
    main()

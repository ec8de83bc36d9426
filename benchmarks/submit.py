"""From submitting a job to its first line of code: through the federation, against `ray job submit` alone on the same cluster.

Both send the same working directory and run the same `python` script, which writes down the time as its first act. Turns
alternate, so that both meet the same machine. What the federation adds is a plan and a reservation, the way to the site's
agent, one look whether the cluster knows the submission already, and the launcher: one more Python, which exchanges the
ticket. `RUNNING` is when the caller hears it: from the catalog here, from the Jobs API there.

Run: python -m benchmarks.submit
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ray.job_submission import JobSubmissionClient

from federation import config
from federation.client import Client
from federation.core import job
from federation.local.ray_cluster import RayCluster
from tests import localfed

AIM_SECONDS = 0.300
SCRIPT = "import sys, time\nopen(sys.argv[1], 'w').write(repr(time.time()))\n"
LOOK_SECONDS = 0.005


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "work").mkdir()
        (folder / "work" / "job.py").write_text(SCRIPT)
        cluster = RayCluster(
            name="bench", folder=folder / "ray", address_ip="127.0.97.1", port_base=20_000, environ=config.environment(), cpus=2
        )
        compute = {"us-1": {"ray": {"address": cluster.address, "token_file": str(cluster.token_file)}}}
        try:
            cluster.start()
            with localfed.running(localfed.LocalFederation(folder=folder / "f", compute=compute)) as federation:
                report(measure(federation, cluster, folder, options.rounds))
        finally:
            cluster.stop()


def measure(
    federation: localfed.LocalFederation, cluster: RayCluster, folder: Path, rounds: int
) -> dict[str, list[tuple[float, float]]]:
    """Seconds to RUNNING and to the first line, of each way and round; the first round warms up."""
    with federation.client() as client:
        localfed.until(lambda: client.get_site("us-1").capacity.cpus, 30, "the cluster to be known")
        ways = {"fed": through_federation(client, folder / "work"), "ray": through_ray(cluster, folder / "work")}
        taken: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for turn in range(rounds + 1):
            for way, submit in ways.items():
                taken[way].append(submit(folder / f"{way}-{turn}"))
    return {way: times[1:] for way, times in taken.items()}


def through_federation(client: Client, work: Path) -> Callable[[Path], tuple[float, float]]:
    def submit(mark: Path) -> tuple[float, float]:
        begin = time.time()
        request = job.JobRequest(entrypoint=("python", "job.py", str(mark)))
        name = client.submit(request, work).job
        started = (job.JobState.RUNNING, job.JobState.SUCCEEDED)
        running = look(lambda: client.get_job(name).state in started)
        first_line = read(mark)
        assert client.wait(name, 60).state is job.JobState.SUCCEEDED
        return running - begin, first_line - begin

    return submit


def through_ray(cluster: RayCluster, work: Path) -> Callable[[Path], tuple[float, float]]:
    client = JobSubmissionClient(cluster.address, headers={"Authorization": f"Bearer {cluster.token_file.read_text().strip()}"})

    def submit(mark: Path) -> tuple[float, float]:
        begin = time.time()
        name = client.submit_job(entrypoint=f"python job.py {mark}", runtime_env={"working_dir": str(work)})
        running = look(lambda: client.get_job_status(name).value in ("RUNNING", "SUCCEEDED"))
        first_line = read(mark)
        look(lambda: client.get_job_status(name).is_terminal())
        return running - begin, first_line - begin

    return submit


def look(ask: Callable[[], object]) -> float:
    """When the answer was first true."""
    deadline = time.time() + 120
    while not ask():
        assert time.time() < deadline
        time.sleep(LOOK_SECONDS)
    return time.time()


def read(mark: Path) -> float:
    """The time that the script wrote down."""

    def written() -> float:
        with contextlib.suppress(OSError, ValueError):
            return float(mark.read_text())
        return 0.0

    look(written)
    return written()


def report(taken: dict[str, list[tuple[float, float]]]) -> None:
    print(f"{'':<14}{'ray job submit':>16}{'fed job submit':>16}{'on top':>10}{'aim':>10}")
    for place, (what, aim) in enumerate((("RUNNING seen", ""), ("first line", f"{AIM_SECONDS * 1e3:.0f} ms"))):
        ray, fed = (statistics.median(times[place] for times in taken[way]) for way in ("ray", "fed"))
        print(f"{what:<14}{ray * 1e3:>13.0f} ms{fed * 1e3:>13.0f} ms{(fed - ray) * 1e3:>7.0f} ms{aim:>10}")
    print(f"medians of {len(taken['fed'])} alternating rounds; load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()

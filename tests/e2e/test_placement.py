"""Placement as users meet it: plans that are followed, copies that pay, waiting, priorities, prediction, what-if, renderings.

Real processes and a real Ray cluster with two H100, driven through `fed`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from click.testing import CliRunner

from federation.cli import app
from federation.core.dataset import ReplicaState
from federation.core.job import JobState
from tests import localfed
from tests.cli import answering
from tests.ray_pair import RayPair, gpus_alone, ray_pair  # noqa: F401 - a fixture

pytestmark = pytest.mark.ray

MIB = 1 << 20
NUMBERS = random.Random(7).randbytes(6 * MIB + 77)
OFFER = {**localfed.OFFER, "gpus": [{"type": "H100", "hour_usd": "6.88", "source": "test"}]}

READ_FIVE_TIMES = """
import hashlib, federation
digests = {hashlib.sha256(federation.inputs["numbers"].open("numbers.bin").read()).hexdigest() for _ in range(5)}
with federation.outputs["made"].open("digests.txt", "w") as file:
    file.write(" ".join(digests))
"""

#: Tells that it runs, and goes on until it is told to end.
HOLD = """
import pathlib, sys, time
pathlib.Path(sys.argv[1]).touch()
while len(sys.argv) > 2 and not pathlib.Path(sys.argv[2]).exists():
    time.sleep(0.05)
"""

WRITE = """
import federation
with federation.outputs["made"].open("made.txt", "w") as file:
    file.write("here it is")
"""


def asked(label: str, read: str) -> tuple[str, ...]:
    """The options of a job that needs an H100 and reads a dataset five times."""
    options = ("--label", label, "--input", f"numbers={read},read=500%", "--output", "made=lab/digests")
    return (*options, "--gpu-type", "H100", "--duration", "1m")


#: The same with the words of a request file.
REQUEST = {
    "format_version": 1,
    "request": {
        "label": "never-run",
        "principal": "users/admin",
        "namespace": "lab",
        "inputs": [{"alias": "numbers", "dataset": "lab/letters", "read_percent": 500}],
        "outputs": [{"alias": "made", "dataset": "lab/digests"}],
        "resources": {"cpus": 1, "gpus": 1, "gpu_type": "H100"},
        "duration_seconds": 60,
    },
}


@pytest.fixture(scope="module")
def federation(ray_pair: RayPair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[localfed.LocalFederation]:  # noqa: F811
    """eu-1 runs plain processes and has the data; us-1 has two H100, is looked at often, and takes 4 MiB a second."""
    cluster = ray_pair.second
    ray = {"address": cluster.address, "token_file": str(cluster.token_file)}
    made = localfed.LocalFederation(
        folder=tmp_path_factory.mktemp("placement") / "f",
        compute={"eu-1": {"compute": {"kind": "process"}}, "us-1": {"ray": ray, "offer": OFFER}},
        settings={"lease_seconds": "60"},
        site_settings={"us-1": {"look_seconds": "2", "transfer_bytes_per_second": "4MiB"}},
    )
    with gpus_alone(ray_pair), localfed.running(made), made.client() as client:
        for name in ("lab/numbers", "lab/letters"):
            made.put(name, {"numbers.bin": NUMBERS})
        localfed.until(lambda: client.get_site("us-1").capacity.gpus, 120, "the cluster to be known")
        yield made
        assert made.fed("fsck").stdout == ""


def said(fed: localfed.LocalFederation, *words: str, **env: str) -> str:
    """What one `fed` command prints, in this process: starting one takes seconds on a busy machine."""
    result = CliRunner().invoke(app.fed, words, env=fed.environment(**env))
    assert result.exit_code == 0, (words, result.output, fed.logs())
    answering.check(words, result.stdout)
    return result.stdout


def as_json(fed: localfed.LocalFederation, noun: str, verb: str, *words: str) -> Any:
    """The JSON that one command prints."""
    return json.loads(said(fed, noun, verb, "-o", "json", *words))


def submit(fed: localfed.LocalFederation, script: str, *options: str, arguments: tuple[str, ...] = ()) -> dict[str, Any]:
    """What `fed job submit -o json` says of the script's job."""
    folder = fed.folder / f"work-{hashlib.sha256(script.encode()).hexdigest()[:8]}"
    folder.mkdir(exist_ok=True)
    (folder / "job.py").write_text(script)
    return as_json(fed, "job", "submit", *options, "--working-dir", str(folder), "--", "python", "job.py", *arguments)


def comparable(plan: dict[str, Any]) -> dict[str, Any]:
    """A plan without when it was made."""
    return {key: value for key, value in plan.items() if key not in ("revision", "decide_time")}


def test_a_plan_made_from_files_is_the_plan_that_the_federation_makes(federation: localfed.LocalFederation, tmp_path: Path):
    """`fed world export` and `fed plan` say what `fed job plan` says, to the micro-dollar; other schedulers can read it."""
    world, request, plot = tmp_path / "world.json", tmp_path / "request.json", tmp_path / "cost.svg"
    live = as_json(federation, "job", "plan", *asked("never-run", "lab/letters"), "--", "python", "job.py")["plan"]
    said(federation, "world", "export", "-f", str(world))
    request.write_text(json.dumps(REQUEST))
    files = ("--world", str(world), "--request", str(request))
    shown = said(federation, "plan", *files, "-o", "json", "--plot", str(plot), FED_CONFIG=str(tmp_path / "no-server.yaml"))
    assert comparable(json.loads(shown)) == comparable(live)
    assert live["ranked"][0]["inputs"][0]["way"] == "COPY"
    assert ET.parse(plot).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    ray = json.loads(said(federation, "plan", *files, "-o", "ray"))
    assert ray["label_selector"]["ray.io/accelerator-type"] == "H100"
    kueue = yaml.safe_load(said(federation, "plan", *files, "-o", "kueue"))
    assert kueue["status"]["nominatedClusterNames"] == ["us-1"]
    karmada = yaml.safe_load(said(federation, "plan", *files, "-o", "karmada"))
    assert [row["clusterNames"] for row in karmada["spec"]["placement"]["clusterAffinities"]] == [["us-1"]]


def test_an_input_that_is_read_several_times_is_copied_once_and_then_read_in_place(
    federation: localfed.LocalFederation, tmp_path: Path
):
    """The job waits while the destination's agent brings the copy; the link is crossed by the version's bytes and no more.

    The next plan expects the time that this run took, and says so.
    """
    begun = submit(federation, READ_FIVE_TIMES, *asked("five-times", "lab/numbers"))
    planned = begun["plan"]["ranked"][0]
    assert (planned["site"], planned["inputs"][0]["way"]) == ("us-1", "COPY")
    assert (begun["state"], begun["reason"], len(begun["transfers"])) == ("PENDING", "INPUTS_STAGING", 1)
    told = said(federation, "transfer", "watch", "-o", "json", begun["transfers"][0]).splitlines()
    assert json.loads(told[-1])["state"] == "SUCCEEDED"
    federation.succeed(begun["job"], 90)
    with federation.client() as client:
        version = client.get_version("lab/numbers@1")
        (copy,) = [row for row in client.list_replicas("lab/numbers@1") if row.site == "us-1"]
        crossed, read = sorted(
            (row for row in client.list_ledger_entries() if row.dataset == "numbers"), key=lambda row: not row.transfer
        )
    ended = as_json(federation, "job", "show", begun["job"])
    (ran,) = ended["plan"]["ranked"][0]["inputs"]
    assert (ran["way"], ran["source_site"]) == ("LOCAL", "us-1")
    assert copy.expire_time is not None
    assert (crossed.transfer, crossed.source_site, crossed.destination_site) == (begun["transfers"][0], "eu-1", "us-1")
    assert crossed.bytes == version.object_bytes == federation.metered("eu-1")[crossed.grant].counted_bytes
    assert crossed.charge_micros == crossed.estimate_micros == planned["inputs"][0]["egress_micros"]
    assert (read.job, read.source_site, read.destination_site, read.charge_micros) == (begun["job"], "us-1", "us-1", 0)
    assert 4.9 < read.bytes / version.object_bytes <= 5  # a piece that was just read is not read again
    said(federation, "dataset", "get", "lab/digests", str(tmp_path / "out"))
    assert (tmp_path / "out" / "digests.txt").read_text() == hashlib.sha256(NUMBERS).hexdigest()
    _predicted(federation, begun["job"], tmp_path / "cost.svg")


def _predicted(fed: localfed.LocalFederation, name: str, plot: Path) -> None:
    with fed.client() as client:
        run = client.get_run(client.get_job(name).run)
    assert run.start_time
    assert run.end_time
    seconds = max(1, round((run.end_time - run.start_time).total_seconds()))
    again = as_json(fed, "job", "plan", *asked("five-times", "lab/numbers"), "--", "python", "job.py")["plan"]
    assert again["ranked"][0]["run_seconds"] == seconds
    expected = f"a run of {seconds} s is expected: the median of 1 earlier run with the same resources on H100"
    assert expected in again["notes"]
    assert "as earlier runs did" in next(note for note in again["notes"] if note.startswith("numbers: "))
    compared = said(fed, "job", "variance", name)
    assert f"1m estimated, {seconds}s taken" in compared
    explained = said(fed, "job", "explain", name, "--plot", str(plot))
    assert "chosen: us-1 (aws:us-east-1)" in explained
    assert ET.parse(plot).getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_a_job_waits_for_gpus_that_somebody_else_has_taken(
    federation: localfed.LocalFederation,
    ray_pair: RayPair,  # noqa: F811
    tmp_path: Path,
):
    """A job that the catalog never heard of takes both H100: ours says GPUS_EXHAUSTED, waits, and runs when they are free."""
    with foreign(ray_pair) as stranger, federation.client() as client:
        localfed.until(lambda: dict(client.get_site("us-1").capacity.used_gpus).get("H100") == 2, 60, "their use to be known")
        begun = submit(federation, HOLD, "--gpu-type", "H100", "--duration", "1m", arguments=(str(tmp_path / "ran"),))
        assert (begun["state"], begun["plan"]["ranked"]) == ("PENDING", [])
        assert [(row["site"], row["reason"]) for row in begun["plan"]["rejections"] if row["resolvable"]] == [
            ("us-1", "GPUS_EXHAUSTED")
        ]
        assert begun["reason"] == "GPUS_EXHAUSTED"
        stranger()
        federation.succeed(begun["job"], 90)
    assert (tmp_path / "ran").exists()


@contextlib.contextmanager
def foreign(pair: RayPair) -> Iterator[Any]:
    """A Ray job of somebody who has the cluster's token and takes both of its GPUs; gives what ends it."""
    from ray.job_submission import JobSubmissionClient

    token = pair.second.token_file.read_text().strip()
    jobs = JobSubmissionClient(pair.second.address, headers={"Authorization": f"Bearer {token}"})
    name = jobs.submit_job(entrypoint="sleep 300", entrypoint_num_gpus=2)

    def stop() -> None:
        jobs.stop_job(name)
        localfed.until(lambda: jobs.get_job_status(name).is_terminal(), 30, "the stranger to end")

    try:
        yield stop
    finally:
        stop()


def test_of_jobs_that_wait_for_one_slot_the_more_urgent_goes_first(federation: localfed.LocalFederation, tmp_path: Path):
    """The whole site is taken; of two that wait, the later one has the higher priority, and runs before the earlier one."""
    held, done, slow, quick = (str(tmp_path / name) for name in ("held", "done", "slow", "quick"))
    whole = ("--site", "eu-1", "--cpus", str(os.cpu_count() or 1), "--duration", "1m")
    submit(federation, HOLD, *whole, arguments=(held, done))
    localfed.until(Path(held).exists, 60, "the first to run")
    later = submit(federation, HOLD, *whole, arguments=(slow,))
    urgent = submit(federation, HOLD, *whole, "--priority", "5", arguments=(quick,))
    assert later["reason"] == "CPUS_EXHAUSTED"
    assert {as_json(federation, "job", "show", row["job"])["state"] for row in (later, urgent)} == {"PENDING"}
    Path(done).touch()
    federation.succeed(later["job"])
    assert as_json(federation, "job", "show", urgent["job"])["state"] == JobState.SUCCEEDED
    with federation.client() as client:
        first, second = (client.get_run(f"jobs/{row['job']}/runs/1") for row in (urgent, later))
    assert first.create_time < first.end_time <= second.create_time


def test_an_output_is_delivered_to_the_site_that_asked_for_it(federation: localfed.LocalFederation):
    """It is made in Frankfurt, a replica of it comes to Virginia and stays, and the plan had priced the way."""
    begun = submit(federation, WRITE, "--site", "eu-1", "--output", "made=lab/delivered,deliver=us-1,size=1GB")
    assert begun["plan"]["ranked"][0]["landing_micros"] > 0
    federation.succeed(begun["job"])
    with federation.client() as client:

        def there() -> set[str]:
            return {row.site for row in client.list_replicas("lab/delivered@1") if row.state is ReplicaState.AVAILABLE}

        localfed.until(lambda: there() == {"eu-1", "us-1"}, 60, "the replica in Virginia")
        (copy,) = [row for row in client.list_replicas("lab/delivered@1") if row.site == "us-1"]
    assert copy.expire_time is None

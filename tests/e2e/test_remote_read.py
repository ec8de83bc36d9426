"""An input that lies in another region: read gateway to gateway, metered at its source, charged by the card, and bounded.

Real processes: a catalog, an agent and a gateway in Frankfurt and in Virginia, jobs as plain processes.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from federation.adapters import prices
from federation.core import job, metering, ratecard
from tests import localfed

MIB = 1 << 20
QUANTUM_BYTES = MIB
SIZE = 5 * MIB + 4321
WEATHER = random.Random(5).randbytes(SIZE)

READ_ALL = """
import hashlib, federation
data = federation.inputs["weather"].open("weather.bin").read()
print(hashlib.sha256(data).hexdigest())
"""

READ_FOREVER = """
import federation
for turn in range(1000):
    federation.inputs["weather"].open("weather.bin").read()
    print("turn", turn, flush=True)
"""

#: Jumps, so that nothing is read ahead, with a pause after each; tells how far it has come and whose process it is.
READ_BY_JUMPS = """
import os, pathlib, sys, time, federation

progress = pathlib.Path(sys.argv[1])
file = federation.inputs["weather"].open("weather.bin")
for step in range(150):
    place = (step + 1) * 7919 * 4099 % (file.size - 30000)
    assert len(file.read_at(place, 30000)) == 30000
    progress.with_suffix(".new").write_text(f"{os.getpid()} {step}")
    progress.with_suffix(".new").rename(progress)
    time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[localfed.LocalFederation]:
    """Two sites; `lab/weather` lies in Frankfurt without residency, `lab/secret` with one. Small quanta."""
    folder = tmp_path_factory.mktemp("remote")
    with localfed.running(
        localfed.LocalFederation(folder=folder / "f", site_settings={"eu-1": {"quantum_bytes": str(QUANTUM_BYTES)}})
    ) as fed:
        (folder / "weather.bin").write_bytes(WEATHER)
        with fed.client() as client:
            client.put("lab/weather", folder / "weather.bin", site="eu-1")
            client.put("lab/secret", folder / "weather.bin", site="eu-1", residency=("EU",))
        yield fed
        assert fed.fed("fsck").stdout == ""


def _submit(fed: localfed.LocalFederation, script: str, *arguments: str) -> str:
    # Read again and again at one site, the version would be copied there.
    asked = fed.submit(script, inputs={"weather": "lab/weather"}, sites=("us-1",), arguments=arguments, no_copies=True)
    return asked.job


def _one_entry(fed: localfed.LocalFederation, name: str) -> metering.LedgerEntry:
    """The one ledger entry of a job: what its source's meter counted, at exactly the card's price."""
    (entry,) = fed.settled(name)
    assert (entry.source_region, entry.destination_region) == ("aws:eu-central-1", "aws:us-east-1")
    assert (entry.source_site, entry.destination_site) == ("eu-1", "us-1")
    metered = fed.metered("eu-1")[entry.grant]
    assert entry.bytes == metered.counted_bytes + metered.unsettled_bytes
    assert (entry.unsettled_bytes, entry.requests) == (metered.unsettled_bytes, metered.requests)
    price = prices.default_rate_card().price(
        entry.source_region, entry.destination_region, entry.month_to_date_bytes, entry.bytes
    )
    assert price
    assert (entry.charge_micros, entry.price_source) == (price.micros, price.source)
    return entry


def test_a_remote_read_is_metered_and_charged_to_the_byte(federation: localfed.LocalFederation):
    """Whoever reads a file from front to back pays for its object's bytes, once each, and the ledger says what was saved."""
    with federation.client() as client:
        version = client.get_version("lab/weather@1")
    ended = federation.succeed(_submit(federation, READ_ALL))
    assert ended.plan
    assert ended.plan.choice
    (planned,) = ended.plan.choice.inputs
    assert planned.way is job.Way.REMOTE
    entry = _one_entry(federation, ended.job)
    assert entry.bytes == version.object_bytes
    assert entry.unsettled_bytes == 0
    assert entry.charge_micros > 0
    assert (entry.estimate_bytes, entry.estimate_micros) == (version.object_bytes, planned.egress_micros)
    assert planned.baseline_micros is not None
    assert entry.avoided_micros == planned.baseline_micros - entry.charge_micros
    assert hashlib.sha256(WEATHER).hexdigest() in federation.job_log(ended.job)


def test_a_job_that_reads_its_input_over_and_over_is_stopped_at_its_budget(federation: localfed.LocalFederation):
    """The source refuses the byte that would pass the budget, the job's log says so in words, and no byte more is charged."""
    ended = federation.wait_job(_submit(federation, READ_FOREVER))
    assert (ended.state, ended.reason) == (job.JobState.FAILED, "BUDGET_EXHAUSTED")
    log = federation.job_log(ended.job)
    assert "BUDGET_EXHAUSTED" in log
    assert "Read each part once, or submit the job where its input lies." in log
    assert "BUDGET_EXHAUSTED" in ended.detail
    entry = _one_entry(federation, ended.job)
    budget = 4 * entry.estimate_bytes + MIB
    assert budget - 9 * MIB < entry.bytes <= budget
    assert entry.avoided_micros == -entry.charge_micros  # it saved nothing


def test_an_input_with_residency_refuses_a_site_elsewhere(federation: localfed.LocalFederation):
    """Data that must stay in the EU is not read from Virginia: the plan says so, and the job never starts."""
    refused = federation.submit(READ_ALL, inputs={"weather": "lab/secret"}, sites=("us-1",))
    assert refused.state is job.JobState.REJECTED
    assert refused.plan
    reasons = {rejection.site: rejection.reason for rejection in refused.plan.rejections}
    assert reasons["us-1"] == "RESIDENCY_DENIED"
    with federation.client() as client:
        assert not list(client.list_runs(refused.job))


def test_a_reader_that_is_killed_pays_for_what_it_was_sent(federation: localfed.LocalFederation, tmp_path: Path):
    """kill -9 of the job's own process: the job fails and says by what, and its grant is settled once, nothing unsettled."""
    progress = tmp_path / "progress"
    name = _submit(federation, READ_BY_JUMPS, str(progress))
    pid, step = localfed.until(lambda: _progress(progress, 20), 60, "the job to read")
    os.kill(pid, signal.SIGKILL)
    ended = federation.wait_job(name)
    assert (ended.state, ended.reason) == (job.JobState.FAILED, "ENTRYPOINT_FAILED")
    assert "SIGKILL" in ended.detail
    entry = _one_entry(federation, name)
    assert entry.unsettled_bytes == 0
    assert step * 30_000 <= entry.bytes
    assert entry.requests >= step


def test_a_source_that_is_killed_charges_what_it_had_granted(federation: localfed.LocalFederation, tmp_path: Path):
    """kill -9 of the source's agent in mid-read: the job rides it out; what was granted and not counted is charged, marked."""
    progress = tmp_path / "progress"
    name = _submit(federation, READ_BY_JUMPS, str(progress))
    localfed.until(lambda: _progress(progress, 20), 60, "the job to read")
    federation.kill("agent eu-1")
    _, step = _progress(progress, 0)
    federation.up()
    localfed.until(lambda: _progress(progress, step + 10), 60, "the job to read on")
    federation.succeed(name)
    entry = _one_entry(federation, name)
    assert 0 < entry.unsettled_bytes <= 2 * QUANTUM_BYTES
    # Each step is two chunks or three of 16,400 bytes, and none is hidden by the death.
    assert 150 * 2 * 16_400 <= entry.bytes <= 151 * 3 * 16_400 + 2 * QUANTUM_BYTES
    with federation.client() as client:
        (run,) = client.list_runs(name)
    assert run.attempt == 1


def test_a_month_is_charged_as_one_volume(federation: localfed.LocalFederation):
    """However many reads share a link, together they cost what the month's bytes cost at once."""
    federation.settled(federation.succeed(_submit(federation, READ_ALL)).job)
    with federation.client() as client:
        entries = [entry for entry in client.list_ledger_entries() if entry.source_region != entry.destination_region]
    tariff = prices.default_rate_card().tariff("aws:eu-central-1", "aws:us-east-1")
    assert tariff
    assert sum(entry.charge_micros for entry in entries) == tariff.charge(0, sum(entry.bytes for entry in entries))
    assert {ratecard.scope(entry.source_region, entry.destination_region) for entry in entries} == {
        "aws:eu-central-1~aws:us-east-1"
    }


def _progress(file: Path, at_least: int) -> tuple[int, int] | None:
    """Pid and step of the reading job, once it has come so far."""
    if not file.exists():
        return None
    pid, step = map(int, file.read_text().split())
    return (pid, step) if step >= at_least else None

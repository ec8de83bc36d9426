"""Three counters of the same reads agree: the S3 server's, which is the truth, the gateway's, and the jobs' own."""

from __future__ import annotations

import contextlib
import random
import secrets
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from federation.core import metering
from federation.core.metering import Counter
from tests import localfed
from tests.conformance import s3server

BIG = random.Random(5).randbytes(12 * 1024 * 1024 + 31)

#: All of it twice, with jumps, by several threads; and when told so, one answer more that is broken off.
READ = """
import concurrent.futures, sys, federation
big = federation.inputs["big"]
assert sum(len(big.open("big.bin").read()) for _ in range(2)) == 2 * 12582943
with big.open("big.bin") as file:
    for offset in (9_000_001, 17, 5_000_000):
        file.seek(offset)
        file.read(70_000)
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    sizes = list(pool.map(lambda n: len(big.open("small-%d.txt" % n).read()), range(8)))
assert sizes == [1000 + n for n in range(8)]
if sys.argv[1:] == ["break off"]:
    from federation.wire import objects
    version = big._version
    entry = version.entry("big.bin")
    fetch = objects.ObjectFetch(version.gateway, version.input, entry, version.counts)
    with fetch.streaming(0, entry.object_bytes):
        assert len(fetch(0, 100_000)) == 100_000
    # and out of it with twelve megabytes on their way
"""


class Read(NamedTuple):
    """A federation whose site us-1 lies in the counting S3 server, after jobs at home and from afar; and their runs."""

    federation: localfed.LocalFederation
    truth: s3server.Counting
    runs: dict[str, str]


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Read]:
    """Two whole jobs, one at each site, and one that breaks a read off."""
    folder = tmp_path_factory.mktemp("truth")
    with s3server.counting() as truth:
        federation = _federation(folder, truth.endpoint)
        with localfed.running(federation), federation.client() as client:
            data = folder / "data"
            data.mkdir()
            (data / "big.bin").write_bytes(BIG)
            for number in range(8):
                (data / f"small-{number}.txt").write_bytes(b"x" * (1000 + number))
            client.put("lab/big", data, site="us-1")
            runs = {}
            for what, site, arguments in (("home", "us-1", ()), ("afar", "eu-1", ()), ("broken", "us-1", ("break off",))):
                submitted = federation.submit(READ, inputs={"big": "lab/big"}, sites=(site,), arguments=arguments)
                runs[what] = federation.succeed(submitted.job).run
                federation.settled(submitted.job)
            localfed.until(lambda: len(_readers(client, runs)) == len(runs), 30, "the jobs' own counts")
            yield Read(federation, truth, runs)


def _federation(folder: Path, endpoint: str) -> localfed.LocalFederation:
    keys = folder / "s3-keys.yaml"
    keys.write_text("key: us-agent\nsecret: test\n")
    keys.chmod(0o600)
    bucket = f"truth-{secrets.token_hex(4)}"
    s3server.bucket(endpoint, bucket)
    store = {
        "kind": "s3",
        "url": f"s3://{bucket}/fed",
        "endpoint_url": endpoint,
        "region": "us-east-1",
        "key_file": str(keys),
    }
    compute = {site: {"compute": {"kind": "process"}} for site in ("eu-1", "us-1")}
    return localfed.LocalFederation(folder=folder / "f", compute=compute, site_settings={"us-1": {"storage": store}})


def _readers(client, runs: dict[str, str]) -> set[str]:
    return {record.run for record in client.list_usage() if record.counter is Counter.READER and record.run in runs.values()}


def _usage(read: Read) -> dict[str, dict[Counter, list[metering.UsageRecord]]]:
    """What both sides counted, by grant."""
    by_grant: dict[str, dict[Counter, list[metering.UsageRecord]]] = defaultdict(lambda: {counter: [] for counter in Counter})
    with contextlib.closing(read.federation.client()) as client:
        for record in client.list_usage():
            by_grant[record.grant][record.counter].append(record)
    return by_grant


def _whole(records: list[metering.UsageRecord]) -> tuple[int, int]:
    return sum(record.bytes for record in records), sum(record.responses for record in records)


def test_store_gateway_and_job_count_the_same_bytes(read: Read):
    """Per run, pair of regions and hour, to the byte for what went whole, also where it went on to another region."""
    usage = _usage(read)
    seen = set()
    for grant, sides in usage.items():
        (run,) = {record.run for record in sides[Counter.GATEWAY]}
        if run not in read.runs.values() or run == read.runs["broken"]:
            continue
        seen.add(run)
        sent, answers = _whole(sides[Counter.GATEWAY])
        assert sent > 2 * len(BIG) * 0.99
        assert _whole(sides[Counter.READER]) == (sent, answers)
        assert read.truth.whole_bytes(grant) == sent
        assert sum(record.aborted_bytes for record in (*sides[Counter.GATEWAY], *sides[Counter.READER])) == 0
    assert seen == {read.runs["home"], read.runs["afar"]}
    regions = {
        (record.source_region, record.destination_region) for sides in usage.values() for record in sides[Counter.READER]
    }
    assert regions == {("aws:us-east-1", "aws:us-east-1"), ("aws:us-east-1", "aws:eu-central-1")}


def test_what_broke_off_is_apart_and_still_charged(read: Read):
    """More left than arrived, and is charged. Whole answers agree, the broken one being one of them if all of it had left."""
    usage = _usage(read)
    (broken,) = (sides for sides in usage.values() if sides[Counter.GATEWAY][0].run == read.runs["broken"])
    grant = broken[Counter.GATEWAY][0].grant
    sent = sum(record.bytes + record.aborted_bytes for record in broken[Counter.GATEWAY])
    received = sum(record.bytes + record.aborted_bytes for record in broken[Counter.READER])
    served = sum(answer.bytes for answer in read.truth.served if answer.grant == grant)
    assert sum(record.aborted_responses for record in broken[Counter.READER]) == 1
    broken_off = sum(record.aborted_bytes + record.unreceived_bytes for record in broken[Counter.READER])
    assert broken_off > len(BIG)
    whole, answers = _whole(broken[Counter.READER])
    assert _whole(broken[Counter.GATEWAY]) in ((whole, answers), (whole + broken_off, answers + 1))
    assert received <= sent <= served
    with contextlib.closing(read.federation.client()) as client:
        (entry,) = (entry for entry in client.list_ledger_entries() if entry.grant == grant)
    assert entry.bytes - entry.unsettled_bytes == sent


def test_every_hour_of_the_ledger_sums_to_its_entries(read: Read):
    """Each entry's bytes are those of its hours, at the gateway."""
    usage = _usage(read)
    with contextlib.closing(read.federation.client()) as client:
        entries = list(client.list_ledger_entries())
    assert len(entries) >= len(read.runs)
    for entry in entries:
        counted = usage[entry.grant][Counter.GATEWAY]
        assert sum(record.bytes + record.aborted_bytes for record in counted) == entry.bytes - entry.unsettled_bytes


def test_the_store_was_read_by_the_site_alone_and_each_read_names_its_grant(read: Read):
    """Whoever has the store's access log can hold the ledger against it; manifests, read for the site itself, name none."""
    objects = [answer for answer in read.truth.served if "/objects/" in answer.path]
    assert {answer.caller for answer in objects} == {"us-agent"}
    assert {answer.grant for answer in objects} == set(_usage(read))


def test_fed_cost_check_says_that_it_adds_up(read: Read):
    """One command for whoever wants to know; it fails where the two sides differ."""
    for what, region in (("afar", "aws:eu-central-1"), ("broken", "aws:us-east-1")):
        done = read.federation.fed("cost", "check", "--filter", f'run = "{read.runs[what]}"')
        assert region in done.stdout

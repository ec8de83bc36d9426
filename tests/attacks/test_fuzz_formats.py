"""Bytes and texts that readers of ours are given, mutated from good ones: an answer or a refusal of our family, never a crash.

Short by a fixed seed; `make fuzz` goes on for minutes with seeds of its own.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from federation import frames
from federation.api import http
from federation.api.calls import Call
from federation.api.pages import Tokens
from federation.core import bill, chain, dataset, errors, grants, ids, listing, policy, query, records, whatif
from federation.crypto import container, heads, layout, manifest, signing
from federation.crypto import grants as signed_grants
from federation.v1 import catalog_pb2
from federation.wire import methods
from tests.attacks.messages import TEXTS

KEY = signing.new_private()
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
#: Mutations of each sample in the short form.
ROUNDS = 250


def _entry(number: int) -> dataset.FileEntry:
    return dataset.FileEntry(
        path=f"d/{number}.bin",
        file_bytes=10,
        object_id=f"o-{number:026}",
        generation="g-" + "0" * 26,
        object_bytes=container.object_bytes(10),
        object_sha256="ab" * 32,
        commitment="cd" * 32,
        tag="",
        rows=-1,
    )


GRANT = grants.Grant(
    grant="g-1",
    access=grants.Access.READ,
    subject="users/ann",
    site="eu-1",
    version="sales/flights@3",
    bytes_max=1000,
    issue_time=NOW,
    expire_time=NOW + timedelta(hours=1),
)
HEAD = heads.sign(KEY, chain.Head(table="ledger", position=1, rows=1, chain=bytes(32)), NOW)
EVENT = {
    "eventType": "COMPLETE",
    "eventTime": "2026-11-28T12:00:00Z",
    "producer": "https://example.com",
    "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
    "run": {"runId": "01936f3e-0000-7000-8000-000000000000", "facets": {}},
    "job": {"namespace": "n", "name": "j", "facets": {}},
    "inputs": [{"namespace": "s3://b", "name": "x", "facets": {"schema": {"fields": [{"name": "a", "type": "int"}]}}}],
    "outputs": [],
}
TOKENS = Tokens(KEY)
CALL = Call(method=methods.TABLE["Catalog.ListDatasets"], principal=policy.Principal(name="users/ann", role=policy.Role.USER))


def _texts(data: bytes) -> str:
    return data.decode("utf-8", "replace")


#: What reads it, and good samples of it.
READERS: dict[str, tuple[Callable[[bytes], Any], list[bytes]]] = {
    "manifest": (manifest.decode, [manifest.encode(dataset.Manifest(dataset_uid="d-1", files=tuple(map(_entry, range(5)))))]),
    "frame": (lambda data: frames.unpack(bill.BillLine, data), [frames.pack(bill.BillLine, [])]),
    "grant": (
        lambda data: signed_grants.verify(signing.public_hex(KEY), data, now=NOW, site="eu-1"),
        [signed_grants.sign(KEY, GRANT)],
    ),
    "grant that is not checked": (signed_grants.peek, [signed_grants.sign(KEY, GRANT)]),
    "signed payload": (
        lambda data: signed_grants.verify(
            signing.public_hex(KEY), b"\x01" + signing.sign(KEY, signed_grants._statement(data)) + data, now=NOW, site="eu-1"
        ),
        [records.dumps(GRANT).encode()],
    ),
    "head": (lambda data: heads.is_genuine(_head(data)), [records.dumps(HEAD).encode()]),
    "page token": (
        lambda data: TOKENS.after(CALL, catalog_pb2.ListDatasetsRequest(page_token=_texts(data))),
        [b"", b"AAAA", b"eyJhIjoxfQ"],
    ),
    "filter": (lambda data: listing.parse(_texts(data), frozenset({"label", "state"})), [b'label = "x" AND state = "RUNNING"']),
    "statement": (
        lambda data: query.parse(_texts(data)),
        [b"SELECT a, count(*) FROM egress_ledger WHERE b = 'x' GROUP BY a -- c"],
    ),
    "openlineage": (http.parse, [json.dumps(EVENT).encode(), json.dumps([EVENT, EVENT]).encode()]),
    "object key": (lambda data: layout.parse(_texts(data)), [b"objects/d-1/g-" + b"0" * 26 + b"/o-" + b"0" * 26]),
    "path": (lambda data: ids.relative_path(_texts(data)), [b"a/b/c.parquet"]),
    "name": (lambda data: ids.dataset_or_version(_texts(data)), [b"sales/flights@3", b"namespaces/sales/datasets/flights"]),
    "world": (lambda data: whatif.parse_world(_texts(data)), [b'{"sites": [{"site": "eu-1", "region": "aws:eu-central-1"}]}']),
}


def _head(data: bytes) -> chain.SignedHead:
    try:
        return records.loads(chain.SignedHead, _texts(data))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return HEAD


def mutated(sample: bytes, rng: random.Random) -> bytes:
    """The sample with a few things done to it: bits, bytes, cuts, copies, numbers at the edge, texts that mean something."""
    data = bytearray(sample)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(7):
            case 0 if data:
                data[at % len(data)] ^= 1 << rng.randrange(8)
            case 1 if data:
                data[at % len(data)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 2:
                del data[at : at + rng.randrange(1, 40)]
            case 3:
                data[at:at] = data[rng.randrange(len(data) + 1) :][: rng.randrange(1, 60)]
            case 4:
                data[at : at + 4] = rng.choice((0, 1, 2**31 - 1, 2**32 - 1)).to_bytes(4, "little")
            case 5:
                data[at:at] = rng.choice(TEXTS).encode("utf-8", "surrogatepass")
            case _:
                data[at:at] = rng.choice((b"[", b"{", b'"', b"(", b"\\", b"'")) * rng.choice((1, 3, 2000))
    return bytes(data)


def inputs(samples: list[bytes], config: pytest.Config, readers: int) -> Iterator[bytes]:
    """The samples, then mutations of them: so many, or for as long as `--fuzz-seconds` gives each reader."""
    yield from samples
    seconds = config.getoption("--fuzz-seconds") / readers
    if not seconds:
        rng = random.Random(11)
        yield from (mutated(rng.choice(samples), rng) for _ in range(ROUNDS))
        return
    rng, until = random.Random(time.time_ns()), time.monotonic() + seconds
    while time.monotonic() < until:
        yield mutated(rng.choice(samples), rng)


@pytest.mark.invariant("G3")
@pytest.mark.parametrize("reader", READERS)
def test_no_bytes_break_a_reader(reader: str, request: pytest.FixtureRequest):
    """It answers, or refuses with an error of our family; what it refuses it refuses quickly."""
    read, samples = READERS[reader]
    for data in inputs(samples, request.config, len(READERS)):
        begun = time.thread_time()
        try:
            read(data)
        except errors.FederationError:
            pass
        except Exception as error:
            raise AssertionError(f"{reader} broke with {error!r} on {data!r:.2000}") from error
        assert time.thread_time() - begun < 5.0, f"{reader} took too long on {data!r:.2000}"

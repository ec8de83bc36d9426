"""Whether something exists is told to nobody who may not see it: in no word of any answer, and not by how long it takes."""

from __future__ import annotations

import contextlib
import random
import re
import statistics
import time
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_status import rpc_status

from federation.adapters.catalog_sql import SqlCatalog
from federation.adapters.system import UlidIds
from federation.core import dataset
from federation.services import datasets
from federation.v1 import catalog_pb2, jobs_pb2
from federation.wire import methods
from tests import builders, prepared
from tests.attacks.messages import with_text
from tests.wire import edge as edges

#: Of one length, and far from each other in no order that a listing has.
HIDDEN, MISSING = "hidden", "absent"
ROWS = [row for row in methods.TABLE.values() if row.service in methods.PEOPLE]
#: Texts in which a dataset is named.
FORMS = (
    *("sales/{}", "namespaces/sales/datasets/{}", "sales/{}@1", "namespaces/sales/datasets/{}/versions/1"),
    *("namespaces/sales/datasets/{}/versions/1/replicas/eu-1", "sales/{}@latest", 'dataset = "sales/{}"', "{}"),
)
#: What in an answer is new each time, whatever was asked: identifiers, digests, secrets, times, the log's position.
_OWN = re.compile(r"[a-z]+-[0-9a-z]{26}|[0-9a-f]{64}|fed_[\w-]{43}|tokens/\w+|(seconds|nanos|revision|position): \d+")
#: How rarely the two-sample test may err.
ALPHA = 1e-4


@pytest.fixture(scope="module")
def hiding(certs: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[edges.Edge]:
    """A catalog with a dataset, with a version and a replica of it, that `user` may not know of."""
    url = prepared.sqlite(tmp_path_factory.mktemp("oracle") / "catalog.db")
    started = edges.start(certs, SqlCatalog(url, edges.clock(), UlidIds()))
    edges.populate(started)

    def work(tx: Any) -> None:
        datasets.create_dataset(tx, started.ctx, dataset.Dataset(namespace="sales", dataset=HIDDEN))
        tx.insert(builders.version(f"sales/{HIDDEN}@1"))
        tx.insert(builders.replica(f"sales/{HIDDEN}@1", "eu-1"))

    started.catalog.write(work, actor="users/admin")
    yield started
    started.stop()


@pytest.fixture(scope="module")
def channel(hiding: edges.Edge) -> Iterator[grpc.Channel]:
    """The user's."""
    with hiding.channel("user", agents=False) as opened:
        yield opened


def answered(edge: edges.Edge, channel: grpc.Channel, row: methods.Method, request: Any, name: str) -> tuple[Any, ...]:
    """All that an answer tells, with the dataset's name taken out, and the call's own number."""
    function = getattr(channel, row.shape)(
        row.path, request_serializer=row.request.SerializeToString, response_deserializer=row.response.FromString
    )
    sent = iter([request]) if row.request_stream else request
    bearer = [("authorization", f"Bearer {edge.tokens['user']}")]
    try:
        answer = function(sent, timeout=30, metadata=bearer)
        told = [str(next(iter(answer), ""))] if row.response_stream else [str(answer)]
        code = "OK"
        if row.response_stream:
            answer.cancel()
    except grpc.RpcError as error:
        code = error.code().name
        status = rpc_status.from_call(error)
        told = [error.details() or ""]
        for detail in status.details if status else ():
            if not detail.type_url.endswith("RequestInfo"):
                told.append(detail.value.decode("utf-8", "replace"))
    return code, tuple(_OWN.sub("OWN", text.replace(name, "NAME")) for text in told)


@pytest.mark.invariant("P4")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
def test_no_answer_tells_a_dataset_that_is_hidden_from_one_that_is_not_there(
    hiding: edges.Edge, channel: grpc.Channel, row: methods.Method
):
    """In each text of each request, in each form in which a dataset is named: code, reason, message, help and metadata."""
    for form in FORMS:
        if form == "{}" and len(list(with_text(row.request, ""))) > 12:
            continue
        pairs = zip(with_text(row.request, form.format(HIDDEN)), with_text(row.request, form.format(MISSING)), strict=True)
        for (field, hidden), (_, missing) in pairs:
            seen = answered(hiding, channel, row, hidden, HIDDEN)
            unseen = answered(hiding, channel, row, missing, MISSING)
            assert seen == unseen, f"{row.key} {field}={form}"


@pytest.mark.invariant("P4")
def test_whole_requests_tell_no_more(hiding: edges.Edge, channel: grpc.Channel):
    """Where a name alone is not enough to get far: submitting a job, creating, copying, asking for access."""

    def requests(name: str) -> Iterator[tuple[str, Any]]:
        spec = jobs_pb2.InputSpec(alias="x", dataset=f"sales/{name}")
        job = jobs_pb2.JobRequest(entrypoint=["true"], inputs=[spec])
        yield "Jobs.CreateJob", jobs_pb2.CreateJobRequest(request=job)
        yield "Jobs.CreateJob", jobs_pb2.CreateJobRequest(request=job, validate_only=True)
        out = jobs_pb2.JobRequest(entrypoint=["true"], outputs=[jobs_pb2.OutputSpec(alias="y", dataset=f"sales/{name}")])
        yield "Jobs.CreateJob", jobs_pb2.CreateJobRequest(request=out, validate_only=True)
        parent = "namespaces/sales"
        yield "Catalog.CreateDataset", catalog_pb2.CreateDatasetRequest(parent=parent, dataset_id=name, validate_only=True)
        yield "Catalog.OpenRead", catalog_pb2.OpenReadRequest(name=f"sales/{name}@1", site="eu-1")
        yield "Catalog.OpenWrite", catalog_pb2.OpenWriteRequest(name=f"sales/{name}", site="eu-1", validate_only=True)
        changed = catalog_pb2.Dataset(name=f"{parent}/datasets/{name}", description="mine")
        yield "Catalog.UpdateDataset", catalog_pb2.UpdateDatasetRequest(dataset=changed)
        yield "Catalog.DeleteDataset", catalog_pb2.DeleteDatasetRequest(name=f"sales/{name}", etag="x")

    for (key, hidden), (_, missing) in zip(requests(HIDDEN), requests(MISSING), strict=True):
        row = methods.TABLE[key]
        seen = answered(hiding, channel, row, hidden, HIDDEN)
        assert seen == answered(hiding, channel, row, missing, MISSING), key
        assert seen[0] != "OK", key


def test_what_is_looked_for_is_there(hiding: edges.Edge):
    """Else the tests above would compare nothing with nothing: an administrator sees it, with its version and its replica."""
    client = hiding.client()
    assert client.get_dataset(f"sales/{HIDDEN}").dataset == HIDDEN
    assert [row.number for row in client.list_versions(f"sales/{HIDDEN}")] == [1]
    assert [row.site for row in client.list_replicas(f"sales/{HIDDEN}@1")] == ["eu-1"]
    client.close()


def times(edge: edges.Edge, channel: grpc.Channel, calls: int) -> tuple[np.ndarray, np.ndarray]:
    """Seconds that asking for the hidden and for the missing dataset takes, as a caller measures, in random order."""
    row = methods.TABLE["Catalog.GetDataset"]
    function = channel.unary_unary(
        row.path, request_serializer=row.request.SerializeToString, response_deserializer=row.response.FromString
    )
    bearer = [("authorization", f"Bearer {edge.tokens['user']}")]
    order = [0, 1] * (calls // 2)
    random.Random(7).shuffle(order)
    taken: tuple[list[float], list[float]] = ([], [])
    for which in order:
        request = catalog_pb2.GetDatasetRequest(name=f"namespaces/sales/datasets/{(HIDDEN, MISSING)[which]}")
        begun = time.perf_counter()
        with contextlib.suppress(grpc.RpcError):
            function(request, timeout=30, metadata=bearer)
        taken[which].append(time.perf_counter() - begun)
    return np.array(taken[0]), np.array(taken[1])


def ranks_differ(left: np.ndarray, right: np.ndarray) -> float:
    """Mann and Whitney's test of two samples (1947), two-sided, by the normal approximation: how likely it is by chance."""
    both = np.concatenate([left, right])
    order = both.argsort(kind="stable")
    ranks = np.empty(len(both))
    ranks[order] = np.arange(1, len(both) + 1)
    _, inverse, counts = np.unique(both, return_inverse=True, return_counts=True)
    ranks = (np.bincount(inverse, ranks) / counts)[inverse]  # ties share their mean rank
    n, m = len(left), len(right)
    u = ranks[:n].sum() - n * (n + 1) / 2
    ties = ((counts**3 - counts).sum()) / ((n + m) * (n + m - 1))
    spread = (n * m / 12 * (n + m + 1 - ties)) ** 0.5
    return float(2 * (1 - statistics.NormalDist().cdf(abs(u - n * m / 2) / spread)))


@pytest.mark.invariant("P4")
def test_time_tells_a_hidden_dataset_from_a_missing_one_to_nobody(hiding: edges.Edge, channel: grpc.Channel, long: bool):
    """A two-sample test of what a caller measures finds no difference.

    10,000 calls with `--long`, fewer otherwise. A verdict by chance is as rare as `ALPHA`, and three in a row are needed.
    """
    calls, found = 10_000 if long else 500, []
    while len(found) < 3 and (not found or found[-1] < ALPHA):
        found.append(ranks_differ(*times(hiding, channel, calls)))
    assert found[-1] >= ALPHA, f"hidden and missing take differently long: p = {found}"


def test_the_two_sample_test_finds_a_difference_where_there_is_one():
    """A tenth of the time more is found in as many calls; the same distribution twice is not found to differ."""
    rng = np.random.default_rng(3)
    base = rng.gamma(20, 1e-5, size=1_500)
    assert ranks_differ(base[:750], base[750:]) > ALPHA
    assert ranks_differ(base[:750], base[750:] * 1.1) < ALPHA

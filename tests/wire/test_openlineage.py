"""OpenLineage's standard endpoint, called by the official client; its refusals; and events that go out to a real receiver."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.generated.column_lineage_dataset import ColumnLineageDatasetFacet, Fields, InputField
from openlineage.client.transport.http import (
    ApiKeyTokenProvider,
    HttpCompression,
    HttpConfig,
    HttpSslContextConfig,
    HttpTransport,
)

from federation.adapters.openlineage_file import FileTransport
from federation.adapters.openlineage_http import HttpTransport as OurTransport
from federation.api import http as listener
from federation.core import errors, openlineage
from federation.v1 import lineage_pb2
from tests.unit.core.test_openlineage import RUN, foreign
from tests.wire.edge import Edge


def post(
    edge: Edge, body: bytes, *, token: str | None = "admin", path: str = listener.LINEAGE_PATH, **headers: str
) -> tuple[int, Any]:
    """A bare request; status and JSON answer."""
    host, _, port = edge.server.http_address.rpartition(":")
    context = ssl.create_default_context(cafile=str(edge.certs.layout.ca))
    connection = http.client.HTTPSConnection(host, int(port), timeout=30, context=context)
    sent = {"authorization": f"Bearer {edge.tokens.get(token, token)}"} if token is not None else {}
    try:
        connection.request("POST", path, body, sent | {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def official(edge: Edge, **options: Any) -> OpenLineageClient:
    """OpenLineage's own client, with a token and the federation's CA."""
    config = HttpConfig(
        url=f"https://{edge.server.http_address}",
        auth=ApiKeyTokenProvider({"apiKey": edge.tokens["user"]}),
        ssl_context=HttpSslContextConfig(ca_cert_path=str(edge.certs.layout.ca)),
        **options,
    )
    return OpenLineageClient(transport=HttpTransport(config))


@pytest.mark.parametrize("compression", [None, HttpCompression.GZIP])
def test_the_official_client_tells_of_a_spark_like_run(edge: Edge, compression: HttpCompression | None) -> None:
    """Unchanged, compressed or not: START and COMPLETE with column lineage become edges of the same graph as ours."""
    client = official(edge, compression=compression)
    fields = {
        "total": Fields(
            inputFields=[InputField(namespace="s3://lake", name="raw/orders", field="price")],
            transformationDescription="",
            transformationType="",
        )
    }
    made = OutputDataset(
        namespace="s3://lake", name="clean/orders", facets={"columnLineage": ColumnLineageDatasetFacet(fields=fields)}
    )
    for state in (RunState.START, RunState.COMPLETE):
        client.emit(
            RunEvent(
                eventType=state,
                eventTime=datetime(2026, 11, 28, tzinfo=UTC).isoformat(),
                run=Run(runId=RUN),
                job=Job(namespace="airflow", name="etl.clean"),
                inputs=[InputDataset(namespace="s3://lake", name="raw/orders")],
                outputs=[made] if state is RunState.COMPLETE else [],
            )
        )
    graph = edge.client("user").get_lineage("s3://lake/raw/orders", direction="downstream")
    (out,) = [edge_ for edge_ in graph.edges if edge_.direction == "out"]
    assert out.node == "s3://lake/clean/orders"
    assert [(link.column, link.source) for link in out.column_map] == [("total", "in1.price")]
    assert [fact.principal for fact in graph.runs] == ["users/user"]


@pytest.mark.parametrize("token", [None, "", "wrong", "fed_0000"])
def test_nobody_without_a_token_is_heard(edge: Edge, token: str | None) -> None:
    """401, before the body is looked at."""
    status, answer = post(edge, b"not even JSON", token=token)
    assert status == 401
    assert answer["error"]["reason"] in ("TOKEN_MISSING", "TOKEN_UNKNOWN", "TOKEN_INVALID")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "OPENLINEAGE_INVALID"),
        (b"{", "OPENLINEAGE_INVALID"),
        (b"[" * 100_000, "OPENLINEAGE_INVALID"),
        (b"\xff\xfe", "OPENLINEAGE_INVALID"),
        (b"5", "OPENLINEAGE_INVALID"),
        (json.dumps(foreign(eventType="DONE")).encode(), "OPENLINEAGE_INVALID"),
        (json.dumps([foreign()] * (listener.EVENTS_MAX + 1)).encode(), "BATCH_TOO_LARGE"),
        (json.dumps(foreign(outputs=[{"namespace": "fed://acme", "name": "sales/flights"}])).encode(), "OUTPUT_NOT_FOREIGN"),
    ],
    ids=["nothing", "half", "deep", "not UTF-8", "a number", "no such state", "too many", "forged"],
)
def test_what_is_wrong_is_refused_with_a_reason(edge: Edge, body: bytes, reason: str) -> None:
    """400 with what to do, and nothing of it is kept."""
    status, answer = post(edge, body)
    assert (status, answer["error"]["reason"]) == (400, reason)
    assert answer["error"]["help"]
    assert edge.catalog.read(lambda tx: tx.list(openlineage.ForeignRun)) == ()


def test_a_body_that_is_too_large_is_refused_also_when_it_came_small(edge: Edge) -> None:
    """413: the bound is on what it unpacks to."""
    bomb = gzip.compress(b" " * (listener.BODY_BYTES_MAX + 1))
    assert len(bomb) < 100_000
    for body, headers in ((b" " * (listener.BODY_BYTES_MAX + 1), {}), (bomb, {"content_encoding": "gzip"})):
        status, _ = post(edge, body, **headers)
        assert status == 413


def test_of_a_list_all_are_taken_or_none(edge: Edge) -> None:
    """The second is wrong: the first is not kept either."""
    status, _ = post(edge, json.dumps([foreign(), foreign(producer="")]).encode())
    assert status == 400
    assert edge.catalog.read(lambda tx: tx.list(openlineage.ForeignRun)) == ()
    status, answer = post(edge, json.dumps([foreign(eventType="START"), foreign()]).encode())
    assert (status, answer) == (201, {"runs": 1, "ended": 1, "ignored": 0})


def test_other_paths_and_methods_are_not_there(edge: Edge) -> None:
    """Nothing else listens, and no file is reachable through the schemas."""
    for path in ("/", "/api/v1/namespaces", "/schemas/1-0-0/../../config.py", "/schemas/1-0-0/x.json"):
        status, _ = post(edge, b"{}", path=path)
        assert status in (404, 405)


def test_the_schemas_of_our_facets_are_served_to_anybody(edge: Edge) -> None:
    """What events refer to can be fetched where `schemas_url` says so."""
    for name in ("PlacementRunFacet", "DataLocalityInputDatasetFacet"):
        assert name in got(edge, f"/schemas/1-0-0/{name}.json")["$defs"]


def got(edge: Edge, path: str) -> Any:
    """What anybody gets there, as JSON."""
    host, _, port = edge.server.http_address.rpartition(":")
    context = ssl.create_default_context(cafile=str(edge.certs.layout.ca))
    connection = http.client.HTTPSConnection(host, int(port), timeout=30, context=context)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200
        return json.loads(answer.read())


def test_whoever_balances_load_is_told_that_the_server_works(edge: Edge) -> None:
    """Without a token, and with nothing but that."""
    assert got(edge, listener.HEALTH_PATH) == {"status": "SERVING"}


def test_the_same_is_taken_by_rpc_and_by_the_cli(edge: Edge) -> None:
    """For files of events, and with the promises of every mutation."""
    events = [json.dumps(foreign()).encode()]
    tried = edge.call("Lineage.ReceiveOpenLineage", lineage_pb2.ReceiveOpenLineageRequest(events=events, validate_only=True))
    assert tried.ended == 1
    assert edge.catalog.read(lambda tx: tx.list(openlineage.ForeignRun)) == ()
    received = edge.client("user").receive_open_lineage(events)
    assert (received.runs, received.ended, received.ignored) == (1, 1, 0)


# Outward


@contextmanager
def receiver(*answers: int) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """A real HTTP receiver that answers as told, 201 at last; where it is, and what came with which token."""
    came: list[tuple[str, Any]] = []
    waiting = list(answers)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = waiting.pop(0) if waiting else 201
            if status < 300:
                came.append((self.headers.get("authorization", ""), json.loads(body)))
            self.send_response(status)
            if status in (301, 302):
                self.send_header("location", "http://127.0.0.1:1/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/api/v1/lineage", came
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_events_reach_a_receiver_over_http_in_order_with_the_token() -> None:
    """One request each."""
    with receiver() as (url, came):
        OurTransport(url, token="secret").send(('{"n": 1}', '{"n": 2}'))
    assert came == [("Bearer secret", {"n": 1}), ("Bearer secret", {"n": 2})]


@pytest.mark.parametrize("status", [500, 503, 401, 404, 429, 302])
def test_a_receiver_in_trouble_is_told_later(status: int) -> None:
    """Unavailable, so that nothing is skipped; and nobody is followed elsewhere."""
    with receiver(201, status) as (url, came):
        transport = OurTransport(url)
        with pytest.raises(errors.Unavailable) as refused:
            transport.send(('{"n": 1}', '{"n": 2}', '{"n": 3}'))
        assert refused.value.reason == "LINEAGE_RECEIVER_UNAVAILABLE"
        transport.send(('{"n": 1}', '{"n": 2}', '{"n": 3}'))
    assert [event["n"] for _, event in came] == [1, 1, 2, 3]


def test_an_event_that_a_receiver_will_never_take_keeps_no_others_waiting() -> None:
    """It is logged and left."""
    with receiver(400) as (url, came):
        OurTransport(url).send(('{"n": 1}', '{"n": 2}'))
    assert [event["n"] for _, event in came] == [2]


def test_a_receiver_that_is_not_there_is_unavailable() -> None:
    """Nobody listens."""
    with pytest.raises(errors.Unavailable):
        OurTransport("http://127.0.0.1:9/api/v1/lineage").send(("{}",))


@pytest.mark.parametrize("url", ["ftp://x/y", "http://", "https://user:pass@x/y", "file:///etc/passwd", "x"])
def test_what_is_no_endpoint_is_refused_at_the_start(url: str) -> None:
    """By name."""
    with pytest.raises(errors.InvalidArgument):
        OurTransport(url)


def test_a_file_gets_a_line_for_each_event(tmp_path: Path) -> None:
    """Appended, also by the next server; a full or missing disk is told, and leaves no half of a line."""
    file = tmp_path / "told" / "lineage.jsonl"
    for number in range(2):
        FileTransport(file).send((f'{{"n": {number}}}', "{}"))
    assert file.read_text() == '{"n": 0}\n{}\n{"n": 1}\n{}\n'
    with pytest.raises(errors.Unavailable):
        FileTransport(file / "below").send(("{}",))

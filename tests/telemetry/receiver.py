"""A real OTLP receiver on loopback: it takes spans over HTTP in protobuf, as any collector does, and keeps them."""

from __future__ import annotations

import gzip
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2


@dataclass(frozen=True, kw_only=True)
class Span:
    """One span as it came."""

    name: str
    service: str
    trace: str
    span: str
    parent: str
    kind: int
    attributes: dict[str, str]
    failed: bool


@dataclass(kw_only=True)
class Receiver:
    """What was received, and where to send more."""

    endpoint: str = ""
    spans: list[Span] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    stop: Any = None

    @property
    def environment(self) -> dict[str, str]:
        """The standard variables that name it; what is batched is sent at once."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}

    def take(self, body: bytes) -> None:
        """Takes one request."""
        request = trace_service_pb2.ExportTraceServiceRequest.FromString(body)
        self.raw.append(body)
        for group in request.resource_spans:
            service = next(row.value.string_value for row in group.resource.attributes if row.key == "service.name")
            for scope in group.scope_spans:
                self.spans += [
                    Span(
                        name=row.name,
                        service=service,
                        trace=row.trace_id.hex(),
                        span=row.span_id.hex(),
                        parent=row.parent_span_id.hex(),
                        kind=row.kind,
                        attributes={item.key: item.value.string_value for item in row.attributes},
                        failed=row.status.code == 2,
                    )
                    for row in scope.spans
                ]


def start() -> Receiver:
    """A receiver on a free port; `stop()` ends it."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.take(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Tells nobody."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    receiver.endpoint, receiver.stop = f"http://127.0.0.1:{server.server_address[1]}", stop
    return receiver

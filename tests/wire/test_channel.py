"""What every channel bears: a peer that is far away."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

from grpc_health.v1 import health_pb2, health_pb2_grpc

from federation.wire import tls
from tests.wire import certs as certificates
from tests.wire import edge as edges

#: Longer than the pause before a client looks again, and than what a handshake takes around the world.
FAR_SECONDS = 1.5


@contextlib.contextmanager
def far_away(target: str, seconds: float) -> Iterator[str]:
    """An address from which the first answer of `target` takes so long."""
    host, _, port = target.rpartition(":")

    def carry(source: socket.socket, sink: socket.socket, pause: float) -> None:
        with contextlib.suppress(OSError):
            while content := source.recv(65_536):
                time.sleep(pause)
                pause = 0
                sink.sendall(content)
            sink.shutdown(socket.SHUT_WR)

    def serve(near: socket.socket) -> None:
        with near, socket.create_connection((host, int(port))) as far:
            there = threading.Thread(target=carry, args=(near, far, 0))
            there.start()
            carry(far, near, seconds)
            there.join()

    def accept() -> None:
        serving: list[threading.Thread] = []
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                serving.append(threading.Thread(target=serve, args=(listener.accept()[0],)))
                serving[-1].start()
        for each in serving:
            each.join()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept)
        accepting.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join(30)


def test_a_peer_that_answers_late_is_reached_by_the_first_call(edge: edges.Edge, certs: certificates.Certs) -> None:
    """One connection, one call, no other try: whatever pause stands between two tries, a handshake may take longer."""
    with (
        far_away(edge.server.address, FAR_SECONDS) as target,
        tls.channel(target, tls.Tls(certs.ca)) as channel,
    ):
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING

"""What every channel bears: a peer that is far away."""

from __future__ import annotations

from grpc_health.v1 import health_pb2, health_pb2_grpc

from federation.wire import tls
from tests import wan
from tests.wire import certs as certificates
from tests.wire import edge as edges

#: A connection takes three round trips before its first call: longer than the pause before a client looks again.
FAR_SECONDS = 0.5


def test_a_peer_that_answers_late_is_reached_by_the_first_call(edge: edges.Edge, certs: certificates.Certs) -> None:
    """One connection, one call, no other try: whatever pause stands between two tries, a handshake may take longer."""
    with (
        wan.far_away(edge.server.address, rtt_seconds=FAR_SECONDS) as relay,
        tls.channel(relay.address, tls.Tls(certs.ca)) as channel,
    ):
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING

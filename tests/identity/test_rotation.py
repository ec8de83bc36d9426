"""Certificates that change while everything runs: new connections have the new one, what was open lives on."""

from __future__ import annotations

import contextlib
import logging
import shutil
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509

from connectors.keys.memory import MemoryKeys
from federation import config
from federation.adapters.catalog_memory import MemoryCatalog
from federation.adapters.system import UlidIds
from federation.agent import gateway
from federation.agent.catalog import Catalog
from federation.agent.identity import Identity
from federation.agent.remote import Remotes
from federation.core import errors
from federation.crypto import certificates as certificates_
from federation.local import pki
from federation.v1 import agent_pb2, agent_pb2_grpc
from federation.wire import handshake, tls
from tests import builders
from tests.wire import certs as certificates
from tests.wire import edge as edges
from tests.wire.edge import Edge
from tests.wire.test_server import submit


@pytest.fixture
def rotating(tmp_path: Path) -> Iterator[Edge]:
    """A server of its own, whose files a test may change."""
    started = edges.start(certificates.make(tmp_path / "pki"), MemoryCatalog(edges.clock(), UlidIds()))
    edges.populate(started)
    yield started
    started.stop()


def served(address: str, ca: bytes) -> int:
    """Serial number of the certificate that a new connection is shown."""
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context(cadata=ca.decode())
    context.set_alpn_protocols(["h2"])
    return handshake.certificate(host, int(port), context, host, 30).serial_number


def renew(layout: config.Layout, files: config.TlsFiles) -> int:
    """A new certificate and key in place of old ones; its serial number."""
    files.cert.unlink()
    pki.ensure(layout, certificates.SITES)
    return x509.load_pem_x509_certificate(files.cert.read_bytes()).serial_number


def test_a_server_shows_a_new_certificate_and_open_streams_live_on(rotating):
    """At both ports; the stream of work that was open before goes on telling."""
    layout, ca = rotating.certs.layout, rotating.certs.ca
    before = served(rotating.server.address, ca)
    with tls.channel(rotating.server.agents_address, rotating.certs.agent("eu-1")) as channel:
        stub = agent_pb2_grpc.AgentStub(channel)
        stream, woken = stub.Work(agent_pb2.WorkRequest()), threading.Event()
        threading.Thread(target=_await_first, args=(stream, woken), daemon=True).start()
        now = renew(layout, layout.server_tls())
        assert served(rotating.server.address, ca) == now != before
        with tls.channel(rotating.server.agents_address, rotating.certs.agent("us-1")) as fresh:
            agent_pb2_grpc.AgentStub(fresh).Heartbeat(agent_pb2.HeartbeatRequest(), timeout=30)
        submit(rotating)
        assert woken.wait(30)
        stream.cancel()


def _await_first(stream: Any, woken: threading.Event) -> None:
    with contextlib.suppress(grpc.RpcError):
        next(iter(stream))
        woken.set()


def test_a_bad_file_keeps_the_certificate_that_was_and_is_logged(rotating, caplog):
    """Half of a pair, garbage, nothing at all; once the files are good again they are used."""
    layout, ca = rotating.certs.layout, rotating.certs.ca
    files = layout.server_tls()
    before = served(rotating.server.address, ca)
    kept = files.cert.read_bytes(), files.key.read_bytes()
    other = layout.agent_tls("eu-1")
    for spoil in (
        lambda: files.cert.write_bytes(b"garbage"),
        lambda: shutil.copy(other.cert, files.cert),
        files.cert.unlink,
    ):
        caplog.clear()
        with caplog.at_level(logging.ERROR):
            spoil()
            assert served(rotating.server.address, ca) == before
        assert "stays as it was" in caplog.text
    files.cert.write_bytes(kept[0])
    assert served(rotating.server.address, ca) == before
    assert served(rotating.server.address, ca) != renew(layout, files) == served(rotating.server.address, ca)


def test_a_gateway_shows_a_new_certificate(rotating):
    """It is read at each new connection."""
    layout = rotating.certs.layout
    files = layout.agent_tls("eu-1")
    server, port = gateway.listen("127.0.0.1:0", tls.Files(files.ca, files.cert, files.key))
    server.start()
    try:
        before = served(f"127.0.0.1:{port}", rotating.certs.ca)
        now = renew(layout, files)
        assert served(f"127.0.0.1:{port}", rotating.certs.ca) == now != before
    finally:
        server.stop(grace=0).wait()


def test_sites_follow_a_ca_that_takes_anothers_place(rotating):
    """With both in the file what either has signed is trusted, from the next call on; with one alone, only its own."""
    layout, now = rotating.certs.layout, datetime.now(UTC)
    gate, reader = layout.agent_tls("eu-1"), layout.agent_tls("us-1")
    server, port = gateway.listen("127.0.0.1:0", tls.Files(gate.ca, gate.cert, gate.key))
    server.start()
    own_ca = reader.ca.with_name("us-1-ca.pem")
    shutil.copy(reader.ca, own_ca)
    remotes = Remotes(Identity.of(MemoryKeys("us-1")), tls.Files(own_ca, reader.cert, reader.key), clock=edges.clock())

    def reached(lane: int, seconds: float = 30.0) -> bool:
        ready = grpc.channel_ready_future(remotes._channel(f"127.0.0.1:{port}", lane))
        with contextlib.suppress(grpc.FutureTimeoutError):
            ready.result(seconds)
            return True
        ready.cancel()
        return False

    try:
        assert reached(1)
        newer = certificates_.Authority.make("the next", now=now, life=timedelta(days=9))
        key = certificates_.new_key()
        leaf = newer.issue("eu-1", key.public_key(), now=now, life=timedelta(days=9))
        gate.key.write_bytes(certificates_.key_pem(key))
        gate.cert.write_bytes(certificates_.pem(leaf))
        assert not reached(2, 1.0), "the new one is not trusted before it is told"
        own_ca.write_bytes(reader.ca.read_bytes() + certificates_.pem(newer.certificate))
        assert reached(3)
        own_ca.write_bytes(reader.ca.read_bytes())
        assert not reached(4, 1.0), "nor after it was taken away"
    finally:
        remotes.close()
        server.stop(grace=0).wait()


def test_an_agent_calls_with_a_new_certificate(rotating):
    """Its next call, over a new connection; what it had begun goes on over the old one."""
    layout = rotating.certs.layout
    files = layout.agent_tls("eu-1")
    catalog = Catalog(rotating.server.agents_address, tls.Files(files.ca, files.cert, files.key))
    try:
        stream = catalog.work()
        old = catalog._identity
        renew(layout, files)
        for _ in range(3):
            catalog.heartbeat(capacity=builders.capacity(), compute_error="", runs=(), open_grants=())
        assert catalog._identity != old
        assert len(catalog._channels) == 2
        stream.cancel()
    finally:
        catalog.close()


def test_files_that_cannot_be_used_at_the_start_are_refused(tmp_path):
    """By name, before anything listens."""
    made = certificates.make(tmp_path)
    files, other = made.layout.server_tls(), made.layout.agent_tls("eu-1")
    for ca, cert, key in (
        (files.ca, files.cert, other.key),
        (files.ca, files.key, files.key),
        (files.ca, files.cert, tmp_path / "none"),
    ):
        with pytest.raises(errors.InvalidArgument) as caught:
            tls.Files(ca, cert, key)
        assert caught.value.reason == "TLS_INVALID"


@pytest.mark.invariant("I1")
def test_a_certificate_of_another_trust_domain_is_nobody_s(tmp_path):
    """The same CA, the same site, another federation's name."""
    made = certificates.make(tmp_path / "pki")
    pki.ensure(made.layout, ("ap-1",), trust_domain="other")
    pki.ensure(made.layout, certificates.SITES)
    started = edges.start(made, MemoryCatalog(edges.clock(), UlidIds()))
    edges.populate(started)
    try:
        with pytest.raises(errors.Unauthenticated) as caught:
            started.call("Agent.Heartbeat", agent_pb2.HeartbeatRequest(), who="agent:ap-1")
        assert caught.value.reason == "CERTIFICATE_INVALID"
    finally:
        started.stop()

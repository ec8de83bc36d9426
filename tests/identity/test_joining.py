"""Sites come in by a join token and an admission test, and speak for themselves alone."""

from __future__ import annotations

import dataclasses
import http.server
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from connectors.compute.ray import RayCompute
from federation import config
from federation.adapters.catalog_memory import MemoryCatalog
from federation.adapters.system import UlidIds
from federation.agent import certificate
from federation.agent.admission import Examiner
from federation.api.agent import AgentServicer
from federation.api.calls import Call
from federation.client import Client
from federation.core import admission, errors, kinds, site
from federation.crypto import certificates
from federation.local import joining
from federation.services import joining as service
from federation.services import sites
from federation.v1 import agent_pb2
from federation.wire import codec, methods, tls
from tests import builders
from tests.agent.compute import MemoryCompute
from tests.sim import Simulation
from tests.wire import certs as certificates_of_tests
from tests.wire import edge as edges
from tests.wire.edge import Edge


@pytest.fixture(scope="module")
def joinable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """A server that holds its CA's key."""
    made = certificates_of_tests.make(tmp_path_factory.mktemp("pki"))
    authority = certificates.Authority.load(made.ca, made.layout.ca_key.read_bytes())
    started = edges.start(made, MemoryCatalog(edges.clock(), UlidIds()), authority=authority)
    edges.populate(started)
    yield started
    started.stop()


def settings(folder: Path, name: str) -> config.AgentSettings:
    """An agent's settings whose certificate is not there yet."""
    files = config.TlsFiles(ca=folder / "ca.crt", cert=folder / "site.crt", key=folder / "site.key")
    return config.AgentSettings(
        site=name,
        state_dir=folder,
        catalog="127.0.0.1:1",
        gateway_listen="127.0.0.1:0",
        tls=files,
        storage=config.StorageSettings(kind="memory", url=""),
        keys=config.KeysSettings(kind="local", folder=folder / "keys"),
    )


def invite(edge: Edge, name: str, **asked: Any) -> str:
    """A join token for a site that was declared and has not joined."""
    with edge.client() as admin:
        if name not in {row.site for row in admin.list_sites()}:
            admin.create_site(site.Site(site=name, region="aws:eu-west-1", jurisdiction="EU"))
        return admin.invite_site(name, **asked).secret


def identity(files: config.TlsFiles) -> tls.Tls:
    """What is in the files now."""
    return tls.Tls(files.ca.read_bytes(), files.cert.read_bytes(), files.key.read_bytes())


def register(edge: Edge, who: tls.Tls, findings: tuple[admission.Finding, ...] = ()) -> agent_pb2.RegisterResponse:
    """An agent's first word, with that certificate."""
    request = agent_pb2.RegisterRequest(gateway="127.0.0.1:1", signing_key="33" * 32, sealing_key="22" * 32)
    request.findings.extend(codec.to_message(row) for row in findings or builders.findings())
    request.agent_time.GetCurrentTime()
    return call(edge, who, "Agent.Register", request)


def call(edge: Edge, who: tls.Tls, key: str, request: Any) -> Any:
    """One method of the agents' service."""
    from federation.wire import errors as wire_errors

    method = methods.TABLE[key]
    with tls.channel(edge.server.agents_address, who) as channel, wire_errors.translated():
        make = channel.unary_unary(
            method.path, request_serializer=method.request.SerializeToString, response_deserializer=method.response.FromString
        )
        return make(request, timeout=30)


# Joining


@pytest.mark.invariant("I4")
def test_a_site_joins_with_its_token_and_is_admitted_by_its_test(joinable, tmp_path):
    """Invited, joined, certified, tested, graded; its certificate says what the invitation said, whatever the request does."""
    token = invite(joinable, "eu-7", hosts=("gw.eu-7.example", "127.0.0.1"))
    agent = settings(tmp_path, "eu-7")
    assert "has joined" in joining.join(agent, joinable.server.address, token)
    assert agent.tls.key.stat().st_mode & 0o777 == 0o600
    cert = x509.load_pem_x509_certificate(agent.tls.cert.read_bytes())
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://federation/agents/eu-7"]
    assert names.get_values_for_type(x509.DNSName) == ["gw.eu-7.example"]
    answer = register(joinable, identity(agent.tls))
    assert (answer.site.name, answer.site.grade, answer.site.state) == ("sites/eu-7", "A", 2)


@pytest.mark.invariant("I4")
def test_a_site_that_was_declared_and_has_not_joined_stays_out(joinable):
    """Even with a certificate that the CA has signed."""
    with joinable.client() as admin:
        admin.create_site(site.Site(site="eu-8", region="aws:eu-west-1", jurisdiction="EU"))
    key = certificates.new_key()
    signed = joinable.ctx.authority.issue(
        "agent",
        key.public_key(),
        identities=(certificates.agent_uri("federation", "eu-8"),),
        now=datetime.now(UTC),
        life=timedelta(1),
    )
    who = tls.Tls(joinable.certs.ca, certificates.pem(signed), certificates.key_pem(key))
    with pytest.raises(errors.FailedPrecondition) as caught:
        register(joinable, who)
    assert caught.value.reason == "SITE_NOT_JOINED"


@pytest.mark.invariant("I4")
def test_a_join_token_is_good_for_one_key_and_a_short_time(joinable):
    """The same key gets the same answer again, for an answer may be lost; another key, or an invented token, nothing."""
    secret = invite(joinable, "eu-9").partition(".")[0]
    csr, other = (certificates.request(certificates.new_key()) for _ in range(2))
    with Client(joinable.server.address, "", joinable.certs.ca) as stranger:
        first = stranger.join_site(secret, csr)
        assert stranger.join_site(secret, csr) == first
        for sent, why in ((secret, "JOIN_TOKEN_USED"), ("fedjoin_x", "JOIN_TOKEN_INVALID"), ("", "JOIN_TOKEN_INVALID")):
            with pytest.raises(errors.Unauthenticated) as caught:
                stranger.join_site(sent, other)
            assert caught.value.reason == why


@pytest.mark.invariant("I4")
def test_a_join_token_lets_no_other_site_of_that_name_in():
    """It was for the one that is gone."""
    sim = Simulation()
    new = site.Site(site="eu-9", region="aws:eu-west-1", jurisdiction="EU")
    sim.write(lambda tx: sites.create_site(tx, sim.ctx, new))
    _, secret = sim.write(lambda tx: service.invite(tx, "eu-9"))
    sim.write(lambda tx: sites.delete_site(tx, "eu-9"))
    sim.write(lambda tx: sites.create_site(tx, sim.ctx, new))
    with pytest.raises(errors.Unauthenticated) as caught:
        sim.write(lambda tx: service.join(tx, sim.ctx, secret, b""))
    assert caught.value.reason == "JOIN_TOKEN_INVALID"


@pytest.mark.invariant("I4")
def test_a_join_token_ends(joinable):
    """An hour after it was made; nothing lasts longer than a day."""
    sim = Simulation()
    _, secret = sim.write(lambda tx: service.invite(tx, "eu-1"))
    sim.clock.advance(3600)
    with pytest.raises(errors.Unauthenticated) as caught:
        sim.write(lambda tx: service.join(tx, sim.ctx, secret, b""))
    assert caught.value.reason == "JOIN_TOKEN_EXPIRED"
    with pytest.raises(errors.InvalidArgument):
        invite(joinable, "eu-9", expires_in_seconds=2 * 86_400)
    stored = sim.all(kinds.JoinRecord)
    assert secret not in str(stored)
    assert all(secret not in event.body for event in sim.events())


@pytest.mark.invariant("I4")
def test_the_token_s_secret_goes_to_the_server_that_made_it_alone(joinable, tmp_path):
    """Another server, with a CA of its own, is found out by the fingerprint before it hears the secret."""
    token = invite(joinable, "eu-9")
    other = certificates_of_tests.make(tmp_path / "other")
    impostor = edges.start(other, MemoryCatalog(edges.clock(), UlidIds()))
    try:
        with pytest.raises(errors.Unauthenticated) as caught:
            joining.join(settings(tmp_path, "eu-9"), impostor.server.address, token)
        assert caught.value.reason == "CA_UNKNOWN"
        bundle = joinable.certs.ca + other.ca  # it sends the real CA along: trusted is the real one alone
        pin = token.partition(".")[2]
        assert certificates.pinned(bundle, pin) == joinable.certs.ca
        assert certificates.pinned(other.ca + joinable.certs.ca, pin) == joinable.certs.ca
    finally:
        impostor.stop()


@pytest.mark.invariant("I4")
@pytest.mark.parametrize("kind", ["garbage", "rsa", "p384", "unsigned", "long"])
def test_a_certificate_request_that_is_no_good_gets_none(joinable, kind):
    """And the token is not used up by it."""
    secret = invite(joinable, "eu-9").partition(".")[0]
    made = {
        "garbage": lambda: b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        "rsa": lambda: _csr(rsa.generate_private_key(65537, 2048)),
        "p384": lambda: _csr(ec.generate_private_key(ec.SECP384R1())),
        "unsigned": lambda: _tampered(certificates.request(certificates.new_key())),
        "long": lambda: certificates.request(certificates.new_key()) + b"#" * 20_000,
    }
    with Client(joinable.server.address, "", joinable.certs.ca) as stranger:
        with pytest.raises(errors.InvalidArgument) as caught:
            stranger.join_site(secret, made[kind]())
        assert caught.value.reason == "CSR_INVALID"
        assert stranger.join_site(secret, certificates.request(certificates.new_key())).certificate


def _csr(key: Any) -> bytes:
    named = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return named.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _tampered(pem: bytes) -> bytes:
    der = bytearray(x509.load_pem_x509_csr(pem).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    return x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM)


def test_without_the_ca_s_key_joining_lets_in_and_certifies_nobody(tmp_path):
    """The certificate comes from the deployment's own CA."""
    sim = Simulation()
    sim.write(lambda tx: sites.create_site(tx, sim.ctx, builders.site("own-1")))
    _, secret = sim.write(lambda tx: service.invite(tx, "own-1"))
    joined, cert = sim.write(lambda tx: service.join(tx, sim.ctx, secret, b""))
    assert (joined.site, cert, joined.join_time) == ("own-1", b"", sim.clock.now())
    with pytest.raises(errors.FailedPrecondition) as caught:
        sim.write(lambda tx: service.renew(tx, sim.ctx, "own-1", b""))
    assert caught.value.reason == "CA_ELSEWHERE"


def test_a_certificate_is_renewed_when_a_third_of_its_life_is_left(joinable, tmp_path):
    """With a new key and the hosts that the site joined with; before that it is left alone."""
    agent = settings(tmp_path, "eu-7")
    joining.join(agent, joinable.server.address, invite(joinable, "eu-7", hosts=("gw.example",)))
    who = identity(agent.tls)

    class Signer:
        def renew_certificate(self, csr: bytes) -> tuple[bytes, bytes]:
            answer = call(joinable, who, "Agent.RenewCertificate", agent_pb2.RenewCertificateRequest(csr=csr))
            return bytes(answer.certificate), bytes(answer.ca) + other

    other = certificates.pem(certificates.Authority.make("the next", now=datetime.now(UTC), life=timedelta(days=9)).certificate)

    now = datetime.now(UTC)
    assert not certificate.renew(agent.tls, Signer(), now)
    assert certificate.renew(agent.tls, Signer(), now + timedelta(days=61))
    fresh = identity(agent.tls)
    assert fresh.key != who.key
    assert fresh.ca == who.ca + other, "a CA that is to take the other's place comes with the certificate"
    cert = certificates.require_pair(fresh.cert, fresh.key, fresh.ca)
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["gw.example"]


@pytest.fixture
def rejoined(joinable, tmp_path) -> tuple[tls.Tls, tls.Tls, Future[Any]]:
    """What an agent had and what it has since its site joined anew; and what its old stream of work says next."""
    first, second = (settings(tmp_path / folder, "eu-4") for folder in ("first", "second"))
    joining.join(first, joinable.server.address, invite(joinable, "eu-4"))
    old = identity(first.tls)
    register(joinable, old)
    call(joinable, old, "Agent.Heartbeat", agent_pb2.HeartbeatRequest())
    token = invite(joinable, "eu-4")
    with joinable.client() as admin:
        admin.rotate_keys("eu-4")
    servicer = AgentServicer(joinable.server._store, joinable.server._identity, heartbeat_seconds=1)
    stream = servicer.work(agent_pb2.WorkRequest(), Call(method=methods.TABLE["Agent.Work"], principal=builders.agent("eu-4")))
    assert joinable.run(anext(stream)).HasField("rotate_keys")
    told = joinable.begin(anext(stream))
    time.sleep(1.01)  # certificates count in seconds
    joining.join(second, joinable.server.address, token)
    return old, identity(second.tls), told


@pytest.mark.invariant("I4")
def test_a_certificate_ends_when_its_site_joins_anew(joinable, rejoined):
    """It registers and renews nothing, and a stream that was open under it ends; the newer one is good for all."""
    old, new, told = rejoined
    renewal = agent_pb2.RenewCertificateRequest(csr=certificates.request(certificates.new_key()))
    said = {"Register": agent_pb2.RegisterRequest(), "RenewCertificate": renewal, "Heartbeat": agent_pb2.HeartbeatRequest()}
    for name, request in said.items():
        with pytest.raises(errors.Unauthenticated) as caught:
            call(joinable, old, f"Agent.{name}", request)
        assert caught.value.reason == "CERTIFICATE_REPLACED"
    with pytest.raises(errors.Unauthenticated) as caught:
        told.result(timeout=60)
    assert caught.value.reason == "CERTIFICATE_REPLACED"
    assert register(joinable, new).site.grade == "A"
    fresh = call(joinable, new, "Agent.RenewCertificate", renewal).certificate
    assert certificates.begin(fresh) >= certificates.begin(new.cert)


@pytest.mark.invariant("I4")
def test_a_certificate_is_no_good_for_another_site_that_has_the_name(joinable, rejoined, tmp_path):
    """The machine of a site that is gone does not become the site that is declared under its name."""
    _, old, _ = rejoined
    with joinable.client() as admin:
        admin.delete_site("eu-4")
    token = invite(joinable, "eu-4")
    time.sleep(1.01)
    joining.join(settings(tmp_path / "third", "eu-4"), joinable.server.address, token)
    with pytest.raises(errors.Unauthenticated) as caught:
        register(joinable, old)
    assert caught.value.reason == "CERTIFICATE_REPLACED"


# The admission test


def graded(**grades: str) -> str:
    """The grade that findings leave."""
    return admission.grade(builders.findings(**grades))


@pytest.mark.invariant("I4")
def test_a_grade_is_the_worst_that_any_finding_leaves():
    """A when all pass; one refusal keeps the site out, and a test that was not made is not passed."""
    assert (graded(), graded(disk="B"), graded(disk="B", compute="C"), graded(compute="")) == ("A", "B", "C", "")
    assert admission.grade(()) == ""
    for missing in admission.MANDATORY:
        rows = admission.whole(row for row in builders.findings() if row.check != missing)
        assert admission.grade(rows) == ""
    assert admission.grade(admission.whole(builders.findings(disk="A+"))) == ""
    assert admission.grade(builders.findings(), "B") == "B"
    assert admission.grade(builders.findings(disk="C"), "B") == "C"


@pytest.mark.parametrize(("seconds", "grade"), [(0, "A"), (-2, "A"), (5, "B"), (-29, "C"), (31, ""), (-86_400, "")])
def test_a_clock_that_is_far_off_keeps_a_site_out(seconds, grade):
    """Leases and grants are judged by both clocks."""
    assert admission.clock(builders.NOW + timedelta(seconds=seconds), builders.NOW).grade == grade
    assert admission.clock(None, builders.NOW).grade == ""


@pytest.mark.parametrize(("free", "grade"), [(10**11, "A"), (5 * 10**9, "B"), (5 * 10**8, "C"), (10**8, "")])
def test_a_site_needs_room(free, grade):
    """Its journal and spool lie there."""
    assert admission.disk(free).grade == grade


@pytest.mark.invariant("I4")
def test_who_fails_later_is_told_nothing_more_by_a_stream_that_was_open(joinable, tmp_path):
    """An agent's stream of work lives for days; whether it may have it is looked at with each thing that it is told."""
    agent = settings(tmp_path, "eu-5")
    joining.join(agent, joinable.server.address, invite(joinable, "eu-5"))
    who = identity(agent.tls)
    register(joinable, who)
    with pytest.raises(errors.FailedPrecondition):
        register(joinable, who, builders.findings(compute=""))
    server = joinable.server
    servicer = AgentServicer(server._store, server._identity, heartbeat_seconds=1)
    as_its_agent = Call(method=methods.TABLE["Agent.Work"], principal=builders.agent("eu-5"))
    with pytest.raises(errors.FailedPrecondition) as caught:  # beyond the door, where a stream is that was let in before
        joinable.run(anext(servicer.work(agent_pb2.WorkRequest(), as_its_agent)))
    assert caught.value.reason == "SITE_NOT_ADMITTED"


@pytest.mark.invariant("I4")
def test_who_fails_is_told_which_line_and_can_do_nothing_else(joinable, tmp_path):
    """Its state is not READY, its calls are refused, people see why; once it passes it is let in."""
    agent = settings(tmp_path, "eu-6")
    joining.join(agent, joinable.server.address, invite(joinable, "eu-6"))
    who = identity(agent.tls)
    with pytest.raises(errors.FailedPrecondition, match="refused compute: as the test says") as caught:
        register(joinable, who, builders.findings(compute=""))
    assert caught.value.reason == "SITE_NOT_ADMITTED"
    with joinable.client() as admin:
        seen = admin.get_site("eu-6")
        assert (seen.grade, seen.state) == ("", site.SiteState.DECLARED)
        assert "refused compute: as the test says" in seen.admission
    for key in ("Agent.Heartbeat", "Agent.GetSealedVersion", "Agent.AcceptRun"):
        with pytest.raises(errors.FailedPrecondition) as refused:
            call(joinable, who, key, methods.TABLE[key].request())
        assert refused.value.reason == "SITE_NOT_ADMITTED"
    assert register(joinable, who, builders.findings(disk="B")).site.grade == "B"
    call(joinable, who, "Agent.Heartbeat", agent_pb2.HeartbeatRequest())


def test_an_administrator_can_hold_a_grade_down_and_never_lift_it(joinable):
    """Also over later tests; A lets them decide again. A reason belongs to it."""
    with joinable.client() as admin, joinable.client("user") as user:
        assert admin.admit_site("us-1", "B", "shared disk").grade == "B"
        register(joinable, joinable.certs.agent("us-1"))
        assert (admin.get_site("us-1").grade, admin.get_site("us-1").grade_reason) == ("B", "shared disk")
        register(joinable, joinable.certs.agent("us-1"), builders.findings(keys="C"))
        assert admin.admit_site("us-1", "B", "shared disk").grade == "C"
        register(joinable, joinable.certs.agent("us-1"))
        assert admin.admit_site("us-1", "A").grade == "A"
        for grade, reason in (("D", "x"), ("", "x"), ("B", " ")):
            with pytest.raises(errors.InvalidArgument):
                admin.admit_site("us-1", grade, reason)
        with pytest.raises(errors.PermissionDenied):
            user.admit_site("us-1", "C", "mine")


class Store:
    """A store of which only the probe is asked."""

    def __init__(self, *, honest: bool = True) -> None:
        self.honest = honest

    def probe(self) -> None:
        if not self.honest:
            raise errors.FailedPrecondition("it overwrites", reason="STORE_DISHONEST")


def examined(joinable: Edge, name: str, *, gateway: str = "localhost:7443", **parts: Any) -> dict[str, admission.Finding]:
    """What an agent's own test finds, with the certificates of a site."""
    agent = dataclasses.replace(settings(joinable.certs.layout.root, name), tls=joinable.certs.layout.agent_tls("eu-1"))
    made = Examiner(
        agent,
        store=parts.get("store", Store()),
        compute=parts.get("compute", MemoryCompute()),
        identity=tls.Fixed(joinable.certs.agent("eu-1")),
    )
    return {row.check: row for row in made.examine(gateway, listening=parts.get("listening", False))}


def test_an_agent_tests_its_store_gateway_compute_keys_and_disk(joinable):
    """Each with what it found; a keyring in a file is B."""
    found = examined(joinable, "eu-1")
    assert {name: row.grade for name, row in found.items() if name != "disk"} == {
        "store": "A",
        "gateway_tls": "A",
        "compute": "A",
        "keys": "B",
        "version": "A",
    }
    assert found.keys() == set(admission.MANDATORY) - {"clock"} | {"version"}


def test_what_fails_in_an_agent_s_test_is_a_refusal_and_never_a_crash(joinable):
    """A dishonest store, another host's certificate, another site's, a port that nobody listens on."""
    assert examined(joinable, "eu-1", store=Store(honest=False))["store"].grade == ""
    assert examined(joinable, "eu-1", gateway="gw.elsewhere.example:1")["gateway_tls"].grade == ""
    assert examined(joinable, "eu-2")["gateway_tls"].grade == ""
    assert examined(joinable, "eu-1", gateway="127.0.0.1:9", listening=True)["gateway_tls"].grade == ""
    # A server that listens, with a certificate of the CA that is no site's.
    there = joinable.server.address
    assert "does not name" in examined(joinable, "eu-1", gateway=there, listening=True)["gateway_tls"].detail


@pytest.mark.invariant("G5")
@pytest.mark.parametrize(
    ("mode", "status", "version", "grade"),
    [
        ("token", 401, "2.60.0", "A"),
        ("token", 401, "2.59.1", "A"),
        ("token", 401, "2.59.0", ""),
        ("token", 401, "nightly", ""),
        ("token", 200, "2.60.0", ""),
        ("token", 403, "2.60.0", ""),
        ("token", 302, "2.60.0", ""),
        ("disabled", 401, "2.60.0", ""),
        ("disabled", 200, "2.60.0", ""),
        (None, 404, "2.60.0", ""),
    ],
)
def test_an_open_ray_dashboard_is_refused(mode, status, version, grade, tmp_path):
    """Anything but 401 to a stranger, another mode than `token`, a release with known holes."""
    token = tmp_path / "token"
    token.write_text("right")
    with _dashboard(mode, status, version) as address:
        found = RayCompute(address, token).examine()
    assert (found.check, found.grade) == ("compute", grade)


def test_a_cluster_that_is_away_is_tested_later(tmp_path):
    """It is told as not asked: the agent lets nothing be placed there until it was."""
    found = RayCompute("http://127.0.0.1:9", None).examine()
    assert found.grade == "C"
    assert found.detail.startswith(admission.UNASKED)


def _dashboard(mode: str | None, status: int, version: str) -> Any:
    """The three addresses of Ray's dashboard that the test looks at, with the answers of a dashboard in that state."""
    import contextlib

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = {"/api/authentication_mode": {"authentication_mode": mode}, "/api/version": {"ray_version": version}}
            stranger = self.headers.get("authorization") != "Bearer right"
            code = status if self.path == "/api/jobs/" and stranger else 200
            body = json.dumps(known.get(self.path, {}) | {"version": "4", "ray_commit": ""}).encode()
            self.send_response(code)
            self.send_header("content-length", str(len(body)))
            self.send_header("location", "/api/version")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    @contextlib.contextmanager
    def listening() -> Iterator[str]:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()

    return listening()

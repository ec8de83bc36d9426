"""Who may call what: every role at every method, from the contract's own options, at real ports."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from federation.api import matrix
from federation.core import errors, policy
from federation.services import identity
from federation.wire import methods
from tests.wire.edge import PEOPLE, Edge

PUBLIC = [row for row in methods.TABLE.values() if row.service in methods.PEOPLE and row.permission == policy.PUBLIC]
AT_PEOPLE = [row for row in methods.TABLE.values() if row.service in methods.PEOPLE and row not in PUBLIC]
AT_AGENTS = [row for row in methods.TABLE.values() if row.service in methods.AGENTS]
REFUSED = {"PERMISSION_MISSING", "TOKEN_MISSING", "TOKEN_INVALID", "TOKEN_EXPIRED", "CERTIFICATE_INVALID"}
#: A refusal is waited for; whoever is let in may wait for what a stream has not got to tell, which need not be seen.
REFUSED_SECONDS, REACHED_SECONDS = 60, 2


def named(rows: list[methods.Method]) -> Any:
    """One test for each method."""
    return pytest.mark.parametrize("row", rows, ids=lambda row: row.key)


def reason(edge: Edge, row: methods.Method, *, patience: float = REFUSED_SECONDS, **how: Any) -> str:
    """How an empty request ends: '' when it goes through."""
    try:
        edge.call(row.key, row.request(), timeout=patience, **how)
    except errors.FederationError as error:
        return error.reason
    return ""


@pytest.mark.invariant("P1")
@named(AT_PEOPLE)
@pytest.mark.parametrize("who", PEOPLE)
def test_a_role_may_call_what_it_has_the_permission_for_and_nothing_else(shared_edge, row, who):
    """The matrix: wherever `core.policy` says no the answer is PERMISSION_DENIED, and otherwise the method is reached."""
    principal = policy.Principal(name=f"users/{who}", role=PEOPLE[who])
    allowed = policy.allowed(principal, row.permission)
    got = reason(shared_edge, row, who=who, patience=REACHED_SECONDS if allowed else REFUSED_SECONDS)
    if allowed:
        assert got not in REFUSED
    else:
        assert got == "PERMISSION_MISSING"


def test_the_matrix_is_printed():
    """`docs/authorization.md` is the contract's: made by `make authorization-docs`."""
    assert (Path(__file__).parents[2] / "docs" / "authorization.md").read_text() == matrix.page()


@pytest.fixture(scope="module")
def narrow(shared_edge) -> dict[str, str]:
    """A token of an administrator for each permission alone, by the permission."""
    names = {row.permission for row in AT_PEOPLE}

    def work(tx: Any) -> dict[str, str]:
        make = identity.create_token
        return {name: make(tx, shared_edge.ctx, "ada", policy.Role.ADMIN, "", scopes=(name,))[1] for name in names}

    return shared_edge.catalog.write(work)


@pytest.mark.invariant("I2")
@named(AT_PEOPLE)
def test_a_token_with_one_scope_reaches_its_methods_and_no_other(shared_edge, narrow, row):
    """Positive with the method's own permission, negative with the next one."""
    others = sorted(set(narrow) - {row.permission})
    other = others[sum(map(ord, row.key)) % len(others)]
    for permission, reached in ((row.permission, True), (other, False)):
        shared_edge.tokens["scoped"] = narrow[permission]
        got = reason(shared_edge, row, who="scoped", patience=REACHED_SECONDS if reached else REFUSED_SECONDS)
        assert (got not in REFUSED) if reached else (got == "PERMISSION_MISSING"), (permission, got)


def test_the_matrix_has_a_no_in_it():
    """Else the test above could not fail."""
    user = policy.Principal(name="users/user", role=policy.Role.USER)
    assert {row.key for row in AT_PEOPLE if not policy.allowed(user, row.permission)} >= {
        "Sites.CreateSite",
        "Sites.InviteSite",
    }


def test_few_methods_are_open_to_anybody_and_each_is_named_here():
    """How to come in is told to strangers; a site that joins proves itself by its join token."""
    assert {row.key for row in PUBLIC} == {"Identity.FindEntrance", "Sites.JoinSite"}


@pytest.mark.invariant("I1")
@named(AT_PEOPLE)
def test_nobody_calls_without_a_token(shared_edge, row):
    """UNAUTHENTICATED, before anything of the request is looked at."""
    assert reason(shared_edge, row, who="") == "TOKEN_MISSING"


@named(AT_PEOPLE)
def test_a_token_that_nobody_was_given_opens_nothing(shared_edge, row):
    """Neither an invented one nor another kind of authorization."""
    assert reason(shared_edge, row, who="", metadata=[("authorization", "Bearer fed_invented")]) == "TOKEN_INVALID"
    assert reason(shared_edge, row, who="", metadata=[("authorization", "Basic YWRtaW46")]) == "TOKEN_MISSING"


def test_a_token_that_has_ended_opens_nothing(edge):
    """From its time of expiry on, also for whoever used it a moment before."""

    def make(tx: Any) -> str:
        return identity.create_token(tx, edge.ctx, "ada", policy.Role.ADMIN, "", timedelta(milliseconds=1))[1]

    edge.tokens["ada"] = edge.catalog.write(make)
    assert reason(edge, methods.TABLE["Identity.WhoAmI"], who="ada") == "TOKEN_EXPIRED"


@named(AT_AGENTS)
def test_an_agent_reaches_every_method_of_its_service(shared_edge, row):
    """By its certificate alone."""
    assert reason(shared_edge, row, who="agent:eu-1", patience=REACHED_SECONDS) not in REFUSED


@named(AT_AGENTS)
def test_nobody_reaches_the_agents_port_without_a_certificate(shared_edge, row):
    """Not even an administrator with a token: the connection itself fails."""
    with pytest.raises(errors.Unavailable):
        shared_edge.call(row.key, row.request(), who="admin", timeout=30)


@named(AT_AGENTS)
def test_a_certificate_that_names_no_site_is_no_agent(shared_edge, row):
    """The server's own is signed by the same CA, and opens nothing here."""
    assert reason(shared_edge, row, who="server") == "CERTIFICATE_INVALID"


@named(AT_PEOPLE + PUBLIC)
def test_the_agents_port_serves_no_method_of_people(shared_edge, row):
    """A stolen agent's certificate opens the agents' service alone."""
    assert reason(shared_edge, row, who="agent:eu-1", agents=True) == "UNIMPLEMENTED"


@named(AT_AGENTS)
def test_the_people_port_serves_no_method_of_agents(shared_edge, row):
    """No token, of whatever role, speaks for a site."""
    assert reason(shared_edge, row, who="admin", agents=False) == "UNIMPLEMENTED"


@pytest.mark.parametrize("who", ["", "agent:eu-1"])
def test_health_is_told_to_anyone_who_can_connect(shared_edge, who):
    """For load balancers, at both ports and for each service."""
    with shared_edge.channel(who, agents=bool(who)) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "federation.v1.Catalog"):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=30)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.invariant("G5")
def test_reflection_is_off(shared_edge):
    """Nobody is told what there is to call."""
    with shared_edge.channel("", agents=False) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")(b"", timeout=30)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_client_that_trusts_another_ca_does_not_connect(shared_edge, tmp_path):
    """The server proves itself too."""
    from federation.client import Client
    from tests.wire import certs

    other = certs.make(tmp_path)
    client = Client(shared_edge.server.address, shared_edge.tokens["admin"], other.ca, call_seconds=1)
    with pytest.raises(errors.Unavailable):
        client.who_am_i()
    client.close()


@named(AT_PEOPLE)
def test_every_refusal_carries_one_error_info_and_a_request_id(shared_edge, row):
    """In our domain, with a reason in capitals, whatever went wrong."""
    for who in ("", "user", "admin"):
        try:
            shared_edge.raw(row.key, row.request(), who=who)
        except grpc.RpcError as error:
            details = rpc_status.from_call(error).details
            infos = [detail for detail in details if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR)]
            assert len(infos) == 1
            info = error_details_pb2.ErrorInfo()
            infos[0].Unpack(info)
            assert info.domain == "federation"
            assert info.reason.replace("_", "").isupper()
            assert any(detail.Is(error_details_pb2.RequestInfo.DESCRIPTOR) for detail in details)

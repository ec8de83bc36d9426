"""The MCP server before a real catalog, asked by the official client: in process, by stdio, and over HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, ElicitResult

from federation.core import errors
from federation.mcp import server, sizing
from federation.wire import listening as addresses
from tests import builders, tcp
from tests.wire import edge as edges
from tests.wire.edge import Edge

JOB = {"command": "python train.py --lr '0.1 x'", "inputs": {"flights": "sales/flights@1"}, "outputs": {"out": "sales/model"}}


def ask(edge: Edge, work: Callable[[Client], Coroutine[Any, Any, Any]], who: str = "admin", **how: Any) -> Any:
    """What the work gives when it is handed a client of a server that speaks for that person."""

    async def main() -> Any:
        callers = server.Callers(edge.server.address, edge.certs.ca, edge.tokens.get(who, who))
        async with Client(server.make(callers, may_submit=how.pop("may_submit", False)), **how) as client:
            return await work(client)

    return asyncio.run(main())


def call(edge: Edge, tool: str, who: str = "admin", may_submit: bool = False, **arguments: Any) -> CallToolResult:
    """One tool's answer."""
    return ask(edge, lambda client: client.call_tool(tool, arguments), who, may_submit=may_submit)


def answer(edge: Edge, tool: str, who: str = "admin", **arguments: Any) -> Any:
    """What a tool answers, as JSON; it must not be refused."""
    found = call(edge, tool, who, **arguments)
    assert not found.is_error, found
    return json.loads(found.content[0].text)


def refused(found: CallToolResult, reason: str) -> str:
    """The text of a refusal, which names its reason."""
    assert found.is_error
    text: str = found.content[0].text
    assert reason in text
    return text


def test_what_is_offered_reads_and_submitting_is_off(edge: Edge) -> None:
    """Every tool says what it does, takes what its function takes, and claims to change nothing."""
    tools = ask(edge, lambda client: client.list_tools()).tools
    assert {tool.name for tool in tools} == {*(read.__name__ for read in server.READS), "plan_job"}
    for tool in tools:
        assert tool.description, tool.name
        assert tool.annotations.read_only_hint, tool.name
        assert not {"client", "context"} & set(tool.input_schema["properties"]), tool.name
    with_it = ask(edge, lambda client: client.list_tools(), may_submit=True).tools
    (submit,) = [tool for tool in with_it if tool.name not in {known.name for known in tools}]
    assert (submit.name, submit.annotations.read_only_hint) == ("submit_job", False)


def test_a_model_finds_a_dataset_and_looks_at_it(edge: Edge) -> None:
    """By words of its description; an answer names what governs it."""
    edge.client().create_dataset(builders.dataset("sales/returns", ("EU",), description="Refunds by customer, monthly"))
    found = answer(edge, "search_datasets", text="refunds monthly")
    assert [row["name"] for row in found["rows"]] == ["namespaces/sales/datasets/returns"]
    assert found["rows"][0]["found_in"] == {"description": "Refunds by customer, monthly"}
    assert answer(edge, "search_datasets", text="refunds", filter="residency:US") == {}
    assert answer(edge, "search_datasets", text="nothing of the kind") == {}
    described = answer(edge, "describe_dataset", name="sales/returns")
    assert described["dataset"]["residency"] == ["EU"]
    assert "why_this_residency" in described


def test_a_plan_is_explained_and_nothing_is_stored(placeable: Edge) -> None:
    """Choice, those after it, rejections with their reasons; no job is there afterwards."""
    planned = answer(placeable, "plan_job", **JOB)
    assert planned["choice"]["site"] == "eu-1"
    assert [row["site"] for row in planned["ranked"]["rows"]] == ["eu-1", "us-1"]
    assert answer(placeable, "list_jobs") == {}


def test_a_refusal_tells_reason_and_cure(edge: Edge) -> None:
    """As `fed` does; what is not there, what is wrong, what one may not."""
    assert "fed dataset list" in refused(call(edge, "describe_dataset", name="sales/none"), "NOT_FOUND")
    refused(call(edge, "price_egress", source_region="aws:us-east-1", destination_region="internet", size="x"), "SIZE_INVALID")
    refused(call(edge, "plan_job", **{**JOB, "inputs": {"a": "sales/flights@x"}}), "NAME_INVALID")
    refused(call(edge, "who_am_i", who="fed_nobody"), "TOKEN_INVALID")


def test_an_argument_that_a_tool_does_not_have_is_refused(placeable: Edge) -> None:
    """Left out in silence it would narrow nothing: all jobs for those that failed, a plan without the site that was meant."""
    assert "state" in refused(call(placeable, "list_jobs", state="FAILED"), "list_jobs")
    assert "words" in refused(call(placeable, "search_datasets", text="flights", words="delay"), "search_datasets")
    assert "site" in refused(call(placeable, "plan_job", **JOB, site="us-1"), "plan_job")
    assert "site" in refused(call(placeable, "submit_job", may_submit=True, **JOB, site="us-1"), "submit_job")
    schemas = [tool.input_schema for tool in ask(placeable, lambda client: client.list_tools(), may_submit=True).tools]
    assert not any(schema["additionalProperties"] for schema in schemas)


def test_each_call_is_the_callers(edge: Edge) -> None:
    """A user's tools do what that user may do."""
    assert answer(edge, "who_am_i", who="user")["principal"] == "users/user"
    assert answer(edge, "who_am_i")["role"] == "ADMIN"


def test_long_answers_are_cut_and_say_so(edge: Edge) -> None:
    """By rows first, by bytes at last."""
    for number in range(120):
        edge.client().create_namespace(builders.namespace(f"n{number:03}", description="d" * 300))
    found = answer(edge, "list_namespaces", limit=500)
    assert found["more"]
    assert len(json.dumps(found)) <= sizing.ANSWER_BYTES_MAX + 200
    assert len(answer(edge, "list_namespaces")["rows"]) == 25


# -- submitting -------------------------------------------------------------------------------------------------------------


def _says(action: str, asked: list[str], **content: Any) -> Any:
    async def person(_context: Any, params: Any) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action=action, content=content or None)

    return person


@pytest.mark.parametrize(("action", "content"), [("decline", {}), ("cancel", {}), ("accept", {"submit": False})])
def test_without_a_persons_yes_nothing_is_submitted(placeable: Edge, action: str, content: dict[str, Any]) -> None:
    """No, no answer, and a yes that says no."""
    asked: list[str] = []
    found = ask(
        placeable,
        lambda client: client.call_tool("submit_job", JOB),
        may_submit=True,
        elicitation_callback=_says(action, asked, **content),
    )
    refused(found, "NOT_CONFIRMED")
    assert len(asked) == 1
    assert not list(placeable.client().list_jobs())


def test_where_nobody_can_be_asked_nothing_is_submitted(placeable: Edge) -> None:
    """A model alone is no person."""
    refused(call(placeable, "submit_job", may_submit=True, **JOB), "NOT_CONFIRMED")
    assert not list(placeable.client().list_jobs())


def test_a_person_is_told_what_runs_where_at_which_cost_and_then_it_runs(placeable: Edge) -> None:
    """The command as it will be, with its quotes."""
    asked: list[str] = []
    found = ask(
        placeable,
        lambda client: client.call_tool("submit_job", JOB),
        may_submit=True,
        elicitation_callback=_says("accept", asked, submit=True),
    )
    assert not found.is_error, found
    submitted = json.loads(found.content[0].text)
    (made,) = placeable.client().list_jobs()
    assert submitted["submitted"]
    assert submitted["name"] == f"jobs/{made.job}"
    assert "`python train.py --lr '0.1 x'` at eu-1" in asked[0]
    assert "sales/flights" in asked[0]


@pytest.fixture
def placeable(edge: Edge) -> Edge:
    """The edge with a version of sales/flights at eu-1, and sites that have prices."""
    edges.make_placeable(edge)
    return edge


# -- transports -------------------------------------------------------------------------------------------------------------


def test_by_stdio_it_speaks_for_who_started_it(edge: Edge, tmp_path: Path) -> None:
    """`fed mcp`, as an editor starts it."""
    (tmp_path / "ca").write_bytes(edge.certs.ca)
    env = {"FED_TARGET": edge.server.address, "FED_TOKEN": edge.tokens["user"], "FED_CA": str(tmp_path / "ca")}
    path = os.pathsep.join(sys.path)
    started = StdioServerParameters(command=sys.executable, args=["-m", "federation", "mcp"], env={**env, "PYTHONPATH": path})

    async def main() -> Any:
        async with Client(started) as client:
            return await client.call_tool("who_am_i", {})

    assert json.loads(asyncio.run(main()).content[0].text)["principal"] == "users/user"


@pytest.fixture
def listening(edge: Edge, tmp_path: Path) -> Iterator[str]:
    """`fed mcp --listen`, and where."""
    (tmp_path / "ca").write_bytes(edge.certs.ca)
    (port,) = tcp.free_ports(1)
    environ = {**os.environ, "FED_TARGET": edge.server.address, "FED_TOKEN": "unused", "FED_CA": str(tmp_path / "ca")}
    started = subprocess.Popen(
        [sys.executable, "-m", "federation", "mcp", "--listen", f"127.0.0.1:{port}"],
        env={**environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        started.terminate()
        started.wait(60)


def test_over_http_each_request_speaks_for_its_own_token(edge: Edge, listening: str) -> None:
    """And without one for nobody; a browser that was led here by another name gets in not at all."""

    async def whoami(token: str) -> CallToolResult:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        http = httpx2.AsyncClient(headers=headers)
        async with http, Client(streamable_http_client(listening, http_client=http)) as client:
            return await client.call_tool("who_am_i", {})

    for who in ("user", "admin"):
        found = asyncio.run(whoami(edge.tokens[who]))
        assert json.loads(found.content[0].text)["principal"] == f"users/{who}"
    refused(asyncio.run(whoami("")), "TOKEN_MISSING")
    refused(asyncio.run(whoami("fed_wrong")), "TOKEN_INVALID")
    rebound = httpx2.post(listening, json={}, headers={"host": "evil.example", "content-type": "application/json"})
    assert rebound.status_code in (403, 421)


def test_tokens_do_not_travel_in_the_clear() -> None:
    """Beyond loopback a certificate is needed."""
    with pytest.raises(errors.FailedPrecondition) as caught:
        addresses.parse("0.0.0.0:0")
    assert caught.value.reason == "TLS_MISSING"

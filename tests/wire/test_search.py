"""Searching over a real server: by SDK and `fed`, page by page, and nothing that its caller may not know of."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest
from click.testing import CliRunner

from federation.cli import app
from federation.client import AsyncClient, connect
from federation.core import dataset, errors
from federation.v1 import catalog_pb2
from tests.wire.edge import Edge


@pytest.fixture(scope="module")
def rooms(shared_edge: Edge) -> Edge:
    """A namespace of sixty datasets, of which everybody may know each third."""
    admin = shared_edge.client()
    admin.create_namespace(dataset.Namespace(name="lab"))
    for number in range(60):
        readers = ("groups/everyone",) if number % 3 == 0 else ()
        name = f"probe-{number:02}" if readers else f"secret-{number:02}"
        admin.create_dataset(
            dataset.Dataset(
                namespace="lab",
                dataset=name,
                readers=readers,
                description="Probes of rain water",
                labels=(("lot", str(number)),),
            )
        )
    return shared_edge


def test_the_best_matches_come_with_what_was_found(rooms: Edge) -> None:
    """Newest first among those alike; each says where the words stand."""
    found = list(rooms.client().search_datasets("rain prob", namespace="lab"))
    assert len(found) == 60
    assert found[0].dataset == rooms.client().get_dataset("lab/secret-59")
    (match,) = found[0].matches
    assert [match.text[span.start : span.end] for span in match.spans] == ["Prob", "rain"]
    assert next(rooms.client().search_datasets("probe-57")).dataset.dataset == "probe-57"


def test_a_caller_finds_what_they_may_know_of_over_all_pages(rooms: Edge) -> None:
    """By SDK, in either form, and as many as a listing has."""
    user = rooms.client("user")
    expected = [f"lab/probe-{number:02}" for number in range(57, -1, -3)]
    assert [row.dataset.name.short for row in user.search_datasets("probes")] == expected
    assert [row.dataset.name.short for row in user.search_datasets("", namespace="lab", filter="labels:lot")] == expected
    assert list(user.search_datasets("secret")) == []
    assert [row.name.short for row in user.list_datasets("lab")] == expected[::-1]

    async def ask() -> list[str]:
        async with AsyncClient(rooms.server.address, rooms.tokens["user"], rooms.certs.ca) as client:
            return [row.dataset.name.short async for row in client.search_datasets("probes")]

    assert asyncio.run(ask()) == expected


@pytest.mark.invariant("P4")
def test_a_page_token_tells_no_hidden_name(rooms: Edge) -> None:
    """A page ends where the next row would be seen; between lie rows that its reader may not know of."""
    for key, request in (
        ("Catalog.ListDatasets", catalog_pb2.ListDatasetsRequest(parent="namespaces/lab", page_size=2)),
        ("Catalog.SearchDatasets", catalog_pb2.SearchDatasetsRequest(query="rain", page_size=2)),
    ):
        token = rooms.call(key, request, who="user").next_page_token
        told = base64.urlsafe_b64decode(token)
        assert b"secret" not in told
        assert b"lab" not in told
        request.page_token = token
        assert rooms.call(key, request, who="user").next_page_token
        with pytest.raises(errors.InvalidArgument, match="page_token"):
            rooms.call(key, request)


def test_fed_search_shows_and_tells_of_more(rooms: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table with what was found in which field, JSON for programs, and a word where there are more."""
    monkeypatch.setattr(connect, "connect", lambda _context: rooms.client())

    def fed(*words: str, code: int = 0) -> str:
        result = CliRunner().invoke(app.fed, ["search", *words])
        assert result.exit_code == code, result.output
        return result.output

    shown = fed("rain", "--filter", "labels.lot = 58 OR labels.lot = 57")
    assert [line.split()[0] for line in shown.splitlines()] == ["NAME", "lab/secret-58", "lab/probe-57"]
    assert "description: Probes of rain water" in shown
    assert "There are more than 2" in fed("rain", "--limit", "2")
    answer = json.loads(fed("probe-57", "-o", "json"))
    assert (answer[0]["name"], answer[0]["matches"][0]["field"]) == ("namespaces/lab/datasets/probe-57", "name")
    assert "nothing to show" in fed("snow")
    assert "no field" in fed("rain", "--filter", "price = 1", code=2)

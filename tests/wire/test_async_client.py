"""The SDK on an event loop: the same methods against the same server, and nothing that holds the loop up."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import multiprocessing
import sys
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from federation.client import AsyncClient, Client, connection
from federation.client.loop import LoopClient, on_loop, wait_for
from federation.core import dataset, errors
from tests import builders
from tests.wire.edge import Edge

sys.path.insert(0, str(Path(__file__).parents[2] / "infra"))
import gen_aio


def on(edge: Edge, work: Any, who: str = "admin") -> Any:
    """What the coroutine function gives when it is handed a client."""

    async def main() -> Any:
        async with AsyncClient(edge.server.address, edge.tokens.get(who, who), edge.certs.ca) as client:
            return await work(client)

    return asyncio.run(main())


def test_the_printed_client_is_the_one_that_the_areas_give() -> None:
    """`make aio` was run; formatting aside."""
    printed = ast.parse(gen_aio.generate())
    stored = ast.parse(Path(inspect.getfile(AsyncClient)).read_text())
    imports = (ast.Import, ast.ImportFrom)
    assert [ast.dump(node) for node in stored.body if not isinstance(node, imports)] == [
        ast.dump(node) for node in printed.body if not isinstance(node, imports)
    ]


def test_both_clients_have_the_same_methods_with_the_same_arguments() -> None:
    """What is a method of one is a method of the other."""
    for name, method in inspect.getmembers(Client, inspect.isfunction):
        if not name.startswith("_"):
            there = getattr(AsyncClient, name)
            assert list(inspect.signature(there).parameters) == list(inspect.signature(method).parameters), name


def test_values_come_and_go_as_with_the_other_client(edge: Edge) -> None:
    """Made, read, changed, listed over many pages, refused with the same error."""

    async def work(client: AsyncClient) -> list[str]:
        await client.create_namespace(builders.namespace("ml"))
        await asyncio.gather(*(client.create_dataset(builders.dataset(f"ml/d{number:03}")) for number in range(30)))
        with pytest.raises(errors.AlreadyExists):
            await client.create_namespace(builders.namespace("ml"))
        with pytest.raises(errors.NotFound) as caught:
            await client.get_dataset("ml/none")
        assert caught.value.help
        changed = await client.update_dataset(builders.dataset("ml/d007", description="x"), ("description",))
        assert changed == await client.get_dataset("ml/d007")
        return [row.dataset async for row in client.list_datasets("ml")]

    assert on(edge, work) == [f"d{number:03}" for number in range(30)]
    assert [row.dataset for row in edge.client().list_datasets("ml")] == [f"d{number:03}" for number in range(30)]


def test_pages_are_fetched_as_they_are_read(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a listing may be left early."""
    monkeypatch.setattr("federation.client.connection.PAGE_SIZE", 2)
    for number in range(5):
        edge.client().create_namespace(builders.namespace(f"n{number}"))

    async def work(client: AsyncClient) -> tuple[list[str], str]:
        everything = [row.name async for row in client.list_namespaces()]
        listing = client.list_namespaces()
        async for row in listing:
            return everything, row.name
        return everything, ""

    everything, first = on(edge, work)
    assert everything == [*(f"n{number}" for number in range(5)), "sales"]
    assert first == "n0"


def test_streams_that_answer_flow(edge: Edge) -> None:
    """A world file comes in pieces; what a stream is refused with is the error of our family."""

    async def work(client: AsyncClient) -> bytes:
        return b"".join([piece async for piece in client.export_world()])

    assert b'"sites"' in on(edge, work)
    with pytest.raises(errors.PermissionDenied):
        on(edge, work, "user")


def test_a_wait_holds_nothing_up(edge: Edge) -> None:
    """While one call waits for a server that is away, others of the same loop go on; and the wait ends at its deadline."""

    async def main() -> tuple[int, float]:
        ticks, begin = 0, time.monotonic()

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        async with AsyncClient("127.0.0.1:1", "t", edge.certs.ca, call_seconds=0.6) as away:
            with pytest.raises(errors.Unavailable):
                await away.who_am_i()
        ticking.cancel()
        return ticks, time.monotonic() - begin

    ticks, seconds = asyncio.run(main())
    assert ticks >= 10
    assert seconds < connection.CALL_SECONDS


def test_a_cancelled_call_ends_at_once(edge: Edge) -> None:
    """The method that was waiting sees the cancellation, as if it had awaited by itself."""
    seen = []

    def method() -> None:
        try:
            wait_for(asyncio.sleep(60))
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def main() -> None:
        waiting = asyncio.create_task(on_loop(method))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())
    assert seen == ["cancelled"]


def test_a_mutation_is_done_once_over_retries(edge: Edge) -> None:
    """Each gets a request_id of its own, as with the other client."""

    async def work(client: AsyncClient) -> tuple[dataset.Namespace, dataset.Namespace]:
        first = await client.create_namespace(builders.namespace("once"), request_id="r-1")
        return first, await client.create_namespace(builders.namespace("once"), request_id="r-1")

    first, second = on(edge, work)
    assert first == second


def test_the_same_client_may_be_used_on_one_loop_after_another_and_in_a_fork(edge: Edge) -> None:
    """Each loop has its own channel. Threads with loops of their own have clients of their own."""
    client = AsyncClient(edge.server.address, edge.tokens["admin"], edge.certs.ca)
    names = {asyncio.run(_principal(client)) for _ in range(2)}
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(on(edge, _principal)))
    thread.start()
    thread.join(60)
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        names.add(pool.apply(_elsewhere, (edge.server.address, edge.tokens["admin"], edge.certs.ca)))
    assert {*names, *found} == {"users/admin"}


async def _principal(client: AsyncClient) -> str:
    return (await client.who_am_i()).principal


def _elsewhere(target: str, token: str, ca: bytes) -> str:
    return asyncio.run(_principal(AsyncClient(target, token, ca)))


def test_what_moves_data_runs_beside_the_loop(edge: Edge, tmp_path: Path) -> None:
    """In a thread, with the errors of the other client."""

    async def work(client: AsyncClient) -> Coroutine[Any, Any, Any] | None:
        with pytest.raises(errors.NotFound):
            await client.put("ml/x", tmp_path, site="nowhere")
        with contextlib.suppress(errors.FederationError):
            await client.get("ml/none", tmp_path)
        return None

    (tmp_path / "a").write_text("a")
    on(edge, work)


def test_it_says_where_it_speaks_to_and_shows_no_token() -> None:
    """In its repr."""
    client: LoopClient = AsyncClient("catalog.example:7400", "fed_secret", b"")
    assert repr(client) == "<AsyncClient catalog.example:7400>"

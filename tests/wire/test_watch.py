"""Watching the catalog over a real server: in order, each once, from any revision, and only what the caller may know of."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from federation.api import authentication, feed
from federation.client import AsyncClient, Client
from federation.core import dataset, errors, watching
from federation.core.policy import Role
from federation.services import datasets, identity, namespaces
from federation.v1 import events_pb2
from tests import builders
from tests.wire.edge import Edge

_names = itertools.count()


@pytest.fixture(scope="module")
def client(shared_edge: Edge) -> Iterator[Client]:
    """The administrator's."""
    with shared_edge.client() as made:
        yield made


def make(edge: Edge, namespace: str = "sales", **changes: Any) -> dataset.Dataset:
    """A new dataset, made in the catalog itself, as another server would."""
    name = f"{namespace}/d{next(_names)}"

    def work(tx: Any) -> dataset.Dataset:
        if tx.get(dataset.Namespace, namespace) is None:
            namespaces.create(tx, edge.ctx, dataset.Namespace(name=namespace, owner="users/admin"))
        return datasets.create_dataset(tx, edge.ctx, builders.dataset(name, create_time=None, **changes))

    return edge.catalog.write(work, actor="users/admin")


def change(edge: Edge, name: str, number: int) -> None:
    """Describes a dataset anew."""
    edge.catalog.write(
        lambda tx: datasets.update_dataset(tx, builders.dataset(name, description=str(number)), frozenset({"description"})),
        actor="users/admin",
    )


def stream(edge: Edge, who: str = "admin", **request: Any) -> tuple[Any, Any]:
    """A raw stream, and its channel."""
    channel = edge.channel(who, agents=False)
    call = channel.unary_stream(
        "/federation.v1.Events/Watch",
        request_serializer=events_pb2.WatchRequest.SerializeToString,
        response_deserializer=events_pb2.WatchResponse.FromString,
    )(
        events_pb2.WatchRequest(**request),
        timeout=60,
        metadata=[("authorization", f"Bearer {edge.tokens.get(who, who)}")],
    )
    return call, channel


def test_changes_come_in_order_each_once_with_what_they_made(shared_edge: Edge, client: Client) -> None:
    """From the revision before them on; what one transaction wrote stays together."""
    start = shared_edge.catalog.revision() + 1
    made = [make(shared_edge) for _ in range(30)]
    found = list(client.watch('type = "datasets"', start_revision=start, until_now=True))
    assert [row.value.name.short for row in found] == [row.name.short for row in made]
    assert [row.revision for row in found] == sorted({row.revision for row in found})
    assert {(row.kind, row.actor, row.type) for row in found} == {("dataset.created", "users/admin", "datasets")}
    assert found[0].value.uid == made[0].uid


def test_a_stream_says_at_once_from_where_it_tells_and_then_tells_at_once(shared_edge: Edge) -> None:
    """The first answer is a bookmark: whoever lists after it, and applies what comes, misses nothing."""
    call, channel = stream(shared_edge, filter='type = "datasets"')
    with channel:
        first = next(call)
        assert (first.revision, list(first.events)) == (shared_edge.catalog.revision(), [])
        waits = []
        for _ in range(10):  # of a busy machine the quickest counts: what waits for the feed's next look is never quick
            made = make(shared_edge)
            begun = time.monotonic()
            told = next(call)
            waits.append(time.monotonic() - begun)
            assert [event.dataset.name for event in told.events] == [made.name.resource]
        assert min(waits) < 0.3
        call.cancel()


def test_going_on_from_the_last_revision_loses_nothing_and_repeats_nothing(shared_edge: Edge) -> None:
    """Cut anywhere, as often as one likes."""
    start = shared_edge.catalog.revision() + 1
    made = [make(shared_edge).name.resource for _ in range(20)]
    told: list[str] = []
    while len(told) < len(made):
        call, channel = stream(shared_edge, start_revision=start, filter='type = "datasets"', until_now=True)
        with channel:
            for answer in call:
                told += [event.name for event in answer.events][:7]
                start = (answer.events[min(len(answer.events), 7) - 1].revision if answer.events else answer.revision) + 1
                if answer.events:
                    call.cancel()
                    break
    assert told == made


def test_a_name_is_watched_without_the_rest(shared_edge: Edge, client: Client) -> None:
    """And names only, where what it is now is of no use."""
    start = shared_edge.catalog.revision() + 1
    one, other = make(shared_edge), make(shared_edge)
    change(shared_edge, one.name.short, 1)
    wanted = f'name = "{one.name.resource}"'
    found = list(client.watch(wanted, start_revision=start, until_now=True, names_only=True))
    assert [(row.kind, row.value) for row in found] == [("dataset.created", None), ("dataset.updated", None)]
    assert other.name.resource not in {row.name for row in found}


def test_quiet_streams_get_bookmarks_that_move_on(shared_edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that who hears of nothing can go on from near the end of the log, and not from where they began."""
    monkeypatch.setattr(feed, "BOOKMARK_SECONDS", 0.1)
    call, channel = stream(shared_edge, filter='name = "jobs/none"')
    with channel:
        before = next(call).revision
        made = make(shared_edge)
        revisions = [next(call).revision for _ in range(5)]
        call.cancel()
    assert made
    assert revisions[-1] == shared_edge.catalog.revision() > before


def test_nobody_is_told_of_a_dataset_that_they_may_not_know_of(shared_edge: Edge) -> None:
    """And everybody from the moment on when they may; an old answer is not kept beyond the change that makes it wrong."""
    start = shared_edge.catalog.revision() + 1
    secret = make(shared_edge, "vault", owner="users/admin", readers=())
    with shared_edge.client("user") as user, pytest.raises(errors.NotFound):
        user.get_dataset(secret.name.short)
    call, channel = stream(shared_edge, "user", start_revision=start, filter='namespace = "vault" AND type = "datasets"')
    with channel:
        next(call)
        change(shared_edge, secret.name.short, 1)
        time.sleep(0.2)
        opened = builders.dataset(secret.name.short, readers=("users/user",))
        shared_edge.catalog.write(lambda tx: datasets.update_dataset(tx, opened, frozenset({"readers"})))
        told = next(call)
        assert [event.dataset.readers for event in told.events] == [["users/user"]]
        closed = builders.dataset(secret.name.short, readers=("users/nobody",))
        shared_edge.catalog.write(lambda tx: datasets.update_dataset(tx, closed, frozenset({"readers"})))
        last = make(shared_edge, "vault", owner="users/user", readers=("users/user",))
        told = next(call)
        assert [event.name for event in told.events] == [last.name.resource]
        call.cancel()


def test_a_type_needs_the_permission_to_get_it(shared_edge: Edge) -> None:
    """Asked for by name it is refused; otherwise it is not among what is told."""
    scopes = ("events.get", "datasets.get")
    made = shared_edge.catalog.write(
        lambda tx: identity.create_token(tx, shared_edge.ctx, "narrow", Role.USER, scopes=scopes)[1]
    )
    with shared_edge.client(made) as narrow:
        start = shared_edge.catalog.revision() + 1
        make(shared_edge, f"n{next(_names)}")
        assert {row.type for row in narrow.watch(start_revision=start, until_now=True)} == {"datasets"}
        with pytest.raises(errors.PermissionDenied) as caught:
            next(narrow.watch('type = "namespaces"'))
        assert caught.value.metadata["permission"] == "namespaces.get"


def leave(edge: Edge) -> str:
    """A token that is taken back while a stream is open on it, which ends that stream."""
    secret = edge.catalog.write(lambda tx: identity.create_token(tx, edge.ctx, "leaver", Role.USER)[1])
    call, channel = stream(edge, secret)
    with channel:
        next(call)
        admin = builders.person("users/admin", Role.ADMIN)
        edge.catalog.write(lambda tx: identity.revoke_token(tx, admin, identity.token_id(secret)))
        with pytest.raises(Exception, match="UNAUTHENTICATED"):
            next(call)
    return secret


def test_a_token_that_is_taken_back_ends_its_streams(shared_edge: Edge) -> None:
    """Also those that are open, whichever server took it back."""
    assert leave(shared_edge)


@pytest.mark.invariant("I1")
def test_a_token_that_was_taken_back_begins_no_stream(shared_edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even in the moment for which a look-up is good, at a server that was not the one: it would last for a year."""
    monkeypatch.setattr(authentication, "_CACHE_SECONDS", 60.0)
    call, channel = stream(shared_edge, leave(shared_edge))
    with channel, pytest.raises(Exception, match="UNAUTHENTICATED"):
        next(call)


@pytest.mark.parametrize(("start", "reason"), [(-1, "REVISION_INVALID"), (10**9, "REVISION_AHEAD")])
def test_a_revision_that_cannot_be_is_refused(client: Client, start: int, reason: str) -> None:
    """One that is ahead tells that the catalog is not the one that it was."""
    with pytest.raises(errors.FederationError) as caught:
        list(client.watch(start_revision=start, until_now=True))
    assert caught.value.reason == reason


def test_one_who_opens_too_many_streams_is_told(shared_edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their number is bounded, for each and for all."""
    monkeypatch.setattr(feed, "WATCHES_MAX", 1)
    call, channel = stream(shared_edge, "auditor")
    with channel, shared_edge.client("auditor") as auditor:
        next(call)
        with pytest.raises(errors.ResourceExhausted) as caught:
            next(auditor.watch())
        assert caught.value.reason == "WATCHES_TOO_MANY"
        call.cancel()


def test_what_the_log_has_let_go_of_is_refused_with_where_it_begins(edge: Edge) -> None:
    """Nothing is left out in silence: whoever is behind lists, and watches anew."""
    for _ in range(5):
        make(edge)
    later = edge.catalog.events(0)[0].time + timedelta(days=1)
    edge.catalog.trim(edge.catalog.revision() - 1, later)
    with edge.client() as client:
        with pytest.raises(errors.OutOfRange) as caught:
            list(client.watch(start_revision=2, until_now=True))
        floor = edge.catalog.floor()
        assert (caught.value.reason, caught.value.metadata["compact_revision"]) == ("REVISION_COMPACTED", str(floor))
        assert "list what you follow" in caught.value.help
        assert list(client.watch(start_revision=floor + 1, until_now=True))


def test_one_who_is_slow_gets_everything_later_and_nothing_is_queued_for_them(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The window is small, the log is long: what left the window is read from the log again."""
    monkeypatch.setattr(feed, "WINDOW_EVENTS", 20)
    monkeypatch.setattr(feed, "PIECE_EVENTS", 3)
    call, channel = stream(edge, filter='type = "datasets"')
    with channel:
        next(call)
        made = [make(edge, description="long " * 3000).name.resource for _ in range(200)]
        time.sleep(0.2)
        assert len(edge.server._feed._window) <= 20
        told: list[str] = []
        while len(told) < len(made):
            told += [event.name for event in next(call).events]
        call.cancel()
    assert told == made


def test_many_who_watch_are_each_told_all_of_theirs(edge: Edge) -> None:
    """Forty streams by name and by type, while four threads write."""
    made = [make(edge).name.short for _ in range(4)]
    start = edge.catalog.revision() + 1
    wanted = [f'name = "{builders.dataset(name).name.resource}"' for name in made] + ['type = "datasets"']

    def write(name: str) -> None:
        for number in range(25):
            change(edge, name, number)

    def read(text: str) -> list[tuple[int, str]]:
        whole = 100 if "type" in text else 25
        with edge.client() as client:
            found = client.watch(text, start_revision=start, timeout=60)
            return [(row.revision, row.name) for row in itertools.islice(found, whole)]

    with ThreadPoolExecutor(44) as pool:
        reading = [(text, pool.submit(read, text)) for text in wanted * 8]
        list(pool.map(write, made))
        log = [(event.position, event.name) for event in edge.catalog.events(start - 1) if event.kind == "dataset.updated"]
        for text, future in reading:
            expected = [row for row in log if "type" in text or row[1] in text]
            assert future.result(timeout=60) == expected


def test_a_server_that_stops_ends_its_streams_and_the_client_goes_on_at_the_next(edge: Edge) -> None:
    """At the same address, over the same catalog: nothing lost, nothing twice."""
    from tests.wire import edge as edges

    told: list[str] = []
    start = edge.catalog.revision() + 1
    with edge.client() as client:

        def follow() -> None:
            changes = client.watch('type = "datasets"', start_revision=start, timeout=120)
            told.extend(row.name for row in itertools.islice(changes, 12))

        thread = threading.Thread(target=follow)
        thread.start()
        time.sleep(0.3)
        made = [make(edge).name.resource for _ in range(6)]
        address = edge.server.address
        edge.stop(close=False)
        made += [make(edge).name.resource for _ in range(3)]
        again = edges.start(edge.certs, edge.catalog, listen=address)
        try:
            again.catalog.write(lambda tx: tx.emit("token.updated", "tokens/x", None))
            made += [make(edge).name.resource for _ in range(3)]
            # The token of before is in the catalog still: the client is let in as it was.
            thread.join(timeout=120)
        finally:
            again.run(again.server.stop(0.1))
            edge.server, edge.loop, edge.thread = again.server, again.loop, again.thread
    assert told == made


def test_the_client_for_asyncio_watches_as_well(shared_edge: Edge) -> None:
    """By `async for`; leaving the loop ends the stream."""
    start = shared_edge.catalog.revision() + 1
    made = [make(shared_edge).name.resource for _ in range(3)]

    async def main() -> list[watching.Change]:
        found = []
        async with AsyncClient(shared_edge.server.address, shared_edge.tokens["admin"], shared_edge.certs.ca) as client:
            async for row in client.watch('type = "datasets"', start_revision=start, timeout=60):
                found.append(row)
                if len(found) == 3:
                    break
        return found

    assert [row.name for row in asyncio.run(main())] == made

"""What lets the methods of `Client` run on an event loop: each is written once, for both clients.

A call of `AsyncClient` runs the method of `Client` on a greenlet, a stack of its own. Where that would wait, for an answer or
for a pause, it hands what it waits for to the event loop and goes on with the result: no thread waits, and nothing of the
method is written twice. What encrypts, packs or writes files runs in a thread, by a client of its own: it would hold up the
loop.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import grpc.aio
from greenlet import getcurrent, greenlet

from federation.client import transfer
from federation.client.client import Client
from federation.client.connection import CALL_SECONDS, REPEATABLE, Connection
from federation.client.values import Access
from federation.wire import balancing, methods, tls
from federation.wire import errors as wire_errors

P = ParamSpec("P")
T = TypeVar("T")
_OVER = object()


class LoopClient:
    """What `AsyncClient` has beside the methods: it belongs to the event loop that it is first used on, and to its process."""

    def __init__(self, target: str, token: str | Callable[[], str], ca: bytes, *, call_seconds: float = CALL_SECONDS) -> None:
        self._bridged = _Bridged(target, token, ca, call_seconds=call_seconds)
        self._threaded = Client(target, token, ca, call_seconds=call_seconds)

    def __repr__(self) -> str:
        return repr(self._threaded).replace("<Client", "<AsyncClient")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connection; a later call makes another."""
        await on_loop(self._bridged.close)
        self._threaded.close()

    async def _call(self, method: Callable[Concatenate[Client, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        result: T = await on_loop(method, self._bridged, *args, **kwargs)
        return result

    async def _iterate(
        self, method: Callable[Concatenate[Client, P], Iterator[T]], *args: P.args, **kwargs: P.kwargs
    ) -> AsyncIterator[T]:
        found = await on_loop(method, self._bridged, *args, **kwargs)
        try:
            while (row := await on_loop(next, found, _OVER)) is not _OVER:
                yield row
        finally:
            if isinstance(found, Generator):  # what it holds open is let go of here, on the loop
                await on_loop(found.close)

    async def _thread(self, method: Callable[Concatenate[Client, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.to_thread(method, self._threaded, *args, **kwargs)

    async def _iterate_thread(
        self, method: Callable[Concatenate[Client, P], Iterator[T]], *args: P.args, **kwargs: P.kwargs
    ) -> AsyncIterator[T]:
        found = await asyncio.to_thread(method, self._threaded, *args, **kwargs)
        while (row := await asyncio.to_thread(next, found, _OVER)) is not _OVER:
            yield row  # type: ignore[misc]


async def on_loop(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What the function returns, run on a stack of its own; what it waits for by `wait_for` is awaited here."""
    stack = greenlet(function)
    stack.gr_context = getcurrent().gr_context
    found = stack.switch(*args, **kwargs)
    while not stack.dead:
        try:
            answer = await found
        except BaseException as error:  # noqa: BLE001 - a cancellation too is the function's to see
            found = stack.throw(error)
        else:
            found = stack.switch(answer)
    return found


def wait_for(awaitable: Awaitable[T]) -> T:
    """What the awaitable gives, from inside of a function that `on_loop` runs."""
    loop = getcurrent().parent
    assert loop is not None, "runs on the event loop's own stack"
    result: T = loop.switch(awaitable)
    return result


class _Bridged(Client):
    """The methods of `Client`, over a connection that waits on the event loop."""

    @staticmethod
    def _connect(target: str, token: str | Callable[[], str], ca: bytes, call_seconds: float) -> Connection:
        return _LoopConnection(target, token, ca, call_seconds=call_seconds)


class _LoopConnection(Connection):
    """A connection whose channel is asyncio's: made at the first call on a loop, and anew after a fork or on another loop."""

    def __init__(self, target: str, token: str | Callable[[], str], ca: bytes, *, call_seconds: float = CALL_SECONDS) -> None:
        super().__init__(target, token, ca, call_seconds=call_seconds)
        self._made: tuple[int, asyncio.AbstractEventLoop, grpc.aio.Channel] | None = None

    def logs(self, access: Access, *, follow: bool) -> Generator[bytes]:
        """As a connection does it, by a channel of this loop's: nobody waits in a thread for what may never be printed."""
        method = methods.TABLE["Gateway.ReadLogs"]
        credentials = grpc.ssl_channel_credentials(self.ca)
        channel = grpc.aio.secure_channel(transfer.require_gateway(access), credentials, options=tls.CHANNEL_OPTIONS)
        try:
            call = _Messages(_made(channel, method)(method.request(follow=follow), metadata=(("fed-grant-bin", access.grant),)))
            try:
                yield from (message.data for message in wire_errors.translated_stream(call))
            finally:
                call.cancel()
        finally:
            wait_for(channel.close())

    def pause(self, seconds: float) -> None:
        wait_for(asyncio.sleep(seconds))

    def close(self) -> None:
        made, self._made = self._made, None
        if made is not None and made[:2] == (os.getpid(), asyncio.get_running_loop()):
            wait_for(made[2].close())

    def _send(self, method: methods.Method, request: Any, seconds: float | None) -> Any:
        call = _made(self._aio_channel(), method)(request, timeout=seconds, metadata=tuple(self._metadata()))
        if method.response_stream:
            return _Messages(call)
        with wire_errors.translated(request if isinstance(request, wire_errors.Outgoing) else None):
            return wait_for(call)

    def _aio_channel(self) -> grpc.aio.Channel:
        here = (os.getpid(), asyncio.get_running_loop())
        if self._made is None or self._made[:2] != here:
            credentials = grpc.ssl_channel_credentials(self.ca)
            place, options = balancing.settings(self.target, REPEATABLE)
            self._made = (*here, grpc.aio.secure_channel(place, credentials, options=(*tls.CHANNEL_OPTIONS, *options)))
        return self._made[2]


def _made(channel: grpc.aio.Channel, method: methods.Method) -> Any:
    """What calls a method over a channel."""
    return getattr(channel, method.shape)(
        method.path, request_serializer=method.request.SerializeToString, response_deserializer=method.response.FromString
    )


class _Messages(Iterator[Any]):
    """The messages of a stream."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __next__(self) -> Any:
        message = wait_for(self._call.read())
        if message is grpc.aio.EOF:
            raise StopIteration
        return message

    def cancel(self) -> None:
        """Ends the stream, wherever it is."""
        self._call.cancel()

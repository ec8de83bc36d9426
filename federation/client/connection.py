"""One executor for every method of the table: channel, token, request id, deadline, retries, errors of our family."""

from __future__ import annotations

import copy
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, Self, TypeVar

from google.protobuf.message import Message

from federation import jitter
from federation.client import transfer
from federation.client.values import Access
from federation.core import errors
from federation.wire import codec, methods, tls
from federation.wire import errors as wire_errors

T = TypeVar("T")

#: How long a unary call may take, with its retries, unless the caller says otherwise.
CALL_SECONDS = 10.0
#: How long a stream that carries a package may take.
UPLOAD_SECONDS = 600.0
#: How long a stream that answers may take.
DOWNLOAD_SECONDS = 600.0
PAGE_SIZE = 500
#: Every call of people may be repeated: it asks, or bears a request_id, or stores what is known by its digest.
REPEATABLE = tuple(f"federation.v1.{name}" for name in methods.PEOPLE)
_OVER = object()
_PAUSE_SECONDS = 0.1
_PAUSE_SECONDS_MAX = 2.0


class Connection:
    """A catalog as one caller reaches it.

    The channel is made at the first call in each process, so that a fork may inherit a connection. Threads may share it.
    `token` may be a function, asked at each call: a sign-in is refreshed while its owner works.
    """

    def __init__(self, target: str, token: str | Callable[[], str], ca: bytes, *, call_seconds: float = CALL_SECONDS) -> None:
        self.target = target
        self.ca = ca
        self.call_seconds = call_seconds
        self._token = token
        self._tries = False
        self._channel = tls.ProcessChannel(target, tls.Tls(ca), metadata=self._metadata, repeatable=REPEATABLE)

    def __repr__(self) -> str:
        return f"<Connection {self.target}>"

    def trying(self) -> Self:
        """This connection, over which what changes something is only tried: checked as if it were meant, without effect."""
        made = copy.copy(self)
        made._tries = True
        return made

    def call(self, key: str, request: Any, *, seconds: float | None = None) -> Any:
        """The answer to `Service.Method`. A mutation gets a request_id, kept over its retries: it is done once."""
        method = methods.TABLE[key]
        if method.is_mutation and self._tries:
            request.validate_only = True
        if method.is_mutation and not request.request_id:
            request.request_id = str(uuid.uuid4())
        return self._persistent(lambda left: self._send(method, request, left), seconds or self.call_seconds)

    def upload(self, key: str, requests: Callable[[], Iterable[Message]]) -> Any:
        """The answer to a method that takes a stream. `requests` makes the stream anew for each try."""
        method = methods.TABLE[key]
        return self._persistent(lambda left: self._send(method, wire_errors.Outgoing(requests()), left), UPLOAD_SECONDS)

    def stream(
        self, key: str, request: Any, *, seconds: float | None = DOWNLOAD_SECONDS, persistent: bool = True
    ) -> Generator[Any]:
        """The messages of a method that answers with a stream, as they come, for so many seconds or for ever.

        Until its first message it is tried again as a call is, if it is to be `persistent`. What broke off after that is not
        begun again; what is left before its end is cancelled.
        """
        method = methods.TABLE[key]
        opened: list[Any] = []

        def begin(_: float = 0.0) -> tuple[Any, Iterator[Any]]:
            opened.append(self._send(method, request, seconds))
            messages = wire_errors.translated_stream(opened[-1])
            return next(messages, _OVER), messages

        try:
            first, rest = self._persistent(begin, self.call_seconds) if persistent else begin()
            if first is not _OVER:
                yield first
                yield from rest
        finally:
            for call in opened:
                call.cancel()

    def pages(self, key: str, request: Any) -> Iterator[Any]:
        """All values of a listing, one page after the other, each fetched when it is needed."""
        request.page_size = request.page_size or PAGE_SIZE
        while True:
            page = self.call(key, request)
            for message in getattr(page, methods.TABLE[key].pager):
                yield codec.to_value(message)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def logs(self, access: Access, *, follow: bool) -> Generator[bytes]:
        """What a run has printed, from its site's gateway, in the pieces that come; with `follow` until it ends."""
        return transfer.logs(self.ca, access, follow=follow)

    def pause(self, seconds: float) -> None:
        """Waits between two looks or two tries."""
        time.sleep(seconds)

    def close(self) -> None:
        """Ends this process's channel; a later call makes another."""
        self._channel.close()

    def _send(self, method: methods.Method, request: Any, seconds: float | None) -> Any:
        make = getattr(self._channel.get(), method.shape)
        call = make(
            method.path, request_serializer=method.request.SerializeToString, response_deserializer=method.response.FromString
        )
        with wire_errors.translated(request if isinstance(request, wire_errors.Outgoing) else None):
            return call(request, timeout=seconds)

    def _persistent(self, attempt: Callable[[float], T], seconds: float) -> T:
        """Tries again while the server is away or has too many calls of ours, until the deadline is near.

        In ever longer pauses of random length, and never sooner than the server says.
        """
        deadline, pause = time.monotonic() + seconds, _PAUSE_SECONDS
        away: errors.FederationError | None = None
        while True:
            try:
                return attempt(deadline - time.monotonic())
            except errors.FederationError as error:
                if isinstance(error, errors.DeadlineExceeded) and away is not None:
                    raise away from error  # why it came to that
                # For a certificate an agent goes on waiting, since it may be between two CAs; whoever calls us need not.
                if not error.passes or error.reason == wire_errors.CERTIFICATE_UNVERIFIED:
                    raise
                away = error
                drawn = jitter.pause(pause, pause / 2) + (error.retry_seconds or 0)
                if time.monotonic() + drawn >= deadline:
                    raise
            self.pause(drawn)
            pause = min(pause * 2, _PAUSE_SECONDS_MAX)

    def _metadata(self) -> tls.Metadata:
        token = self._token if isinstance(self._token, str) else self._token()
        return [("authorization", f"Bearer {token}")] if token else []

"""OpenLineage events to an HTTP receiver, such as Marquez: one request each, over one connection. Follows no redirect."""

from __future__ import annotations

import http.client
import logging
import ssl
from urllib.parse import urlsplit

from federation.core import errors

_log = logging.getLogger(__name__)

SECONDS = 15.0
#: The receiver has read the event and will never take it: asking again would keep all others waiting for ever.
_REFUSED = frozenset({400, 413, 422})


class HttpTransport:
    """A `ports.LineageTransport`. `url` is the receiver's whole endpoint; `ca` a PEM file of the only CAs to trust."""

    def __init__(self, url: str, *, token: str = "", ca: str | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.fragment:
            raise errors.InvalidArgument(
                f"{url!r} is no endpoint for lineage events", reason="URL_INVALID", help="Write https://HOST/api/v1/lineage."
            )
        self._url = url
        self._host, self._port = parts.hostname, parts.port
        self._path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
        self._tls = ssl.create_default_context(cafile=ca) if parts.scheme == "https" else None
        self._headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})

    def __repr__(self) -> str:
        return f"<HttpTransport {self._url}>"

    def send(self, events: tuple[str, ...]) -> None:
        connection = self._connection()
        try:
            for event in events:
                self._post(connection, event)
        except (OSError, http.client.HTTPException) as error:
            raise errors.Unavailable(
                f"{self._url} does not take lineage events: {error or type(error).__name__}",
                reason="LINEAGE_RECEIVER_UNAVAILABLE",
                help="Check its address and that it runs. Nothing is lost: events are told once it answers.",
            ) from error
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self._tls is not None:
            return http.client.HTTPSConnection(self._host, self._port, timeout=SECONDS, context=self._tls)
        return http.client.HTTPConnection(self._host, self._port, timeout=SECONDS)

    def _post(self, connection: http.client.HTTPConnection, event: str) -> None:
        connection.request("POST", self._path, event.encode(), self._headers)
        answer = connection.getresponse()
        said = answer.read(4096)
        if 200 <= answer.status < 300:
            return
        if answer.status in _REFUSED:
            _log.error("%s refuses a lineage event (%d): %s", self._url, answer.status, said[:400].decode(errors="replace"))
            return
        raise http.client.HTTPException(f"HTTP {answer.status}")

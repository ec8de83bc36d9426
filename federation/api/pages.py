"""Pages of a listing (AIP-158): signed opaque tokens that are good for the listing they came from, and for no other."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Collection, Mapping
from typing import Any

from google.protobuf.message import Message

from federation.api.calls import Call
from federation.api.store import Store
from federation.core import errors, kinds, listing
from federation.ports import Transaction
from federation.wire import codec

SIZE_DEFAULT = 50
SIZE_MAX = 1000
#: Values that one page looks at, at most, to find those that its caller may see.
LOOKED_AT_MAX = 5000
_TAG_BYTES = 16


class Pages:
    """Signs and checks tokens with a key of the catalog, so that every server of it takes the others' tokens."""

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.digest(secret, b"fed/page-token/v1", hashlib.sha256)

    def after(self, call: Call, request: Any) -> str:
        """The key after which the asked page begins; InvalidArgument (PAGE_TOKEN_INVALID) for another listing's token."""
        if not request.page_token:
            return ""
        raw = _decoded(request.page_token)
        tag, key = raw[:_TAG_BYTES], raw[_TAG_BYTES:]
        if key and hmac.compare_digest(tag, self._tag(call, request, key)):
            return key.decode()
        raise errors.InvalidArgument(
            "page_token is not of this listing",
            reason="PAGE_TOKEN_INVALID",
            help="Pass next_page_token of the page before, with parent and filter unchanged, or none to begin anew.",
            violations={"page_token": "must be the next_page_token of the same listing"},
        )

    def token(self, call: Call, request: Any, key: str) -> str:
        """The token of the page that begins after a key."""
        raw = key.encode()
        return _encoded(self._tag(call, request, raw) + raw)

    def _tag(self, call: Call, request: Any, key: bytes) -> bytes:
        # Everything that shapes the listing is bound, the size of its pages is not; nor may a token wander to another caller.
        bare = type(request)()
        bare.CopyFrom(request)
        bare.ClearField("page_size")
        bare.ClearField("page_token")
        parts = (call.method.key.encode(), call.principal.name.encode(), bare.SerializeToString(deterministic=True), key)
        framed = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(self._key, framed, hashlib.sha256)[:_TAG_BYTES]


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode()


def _decoded(token: str) -> bytes:
    """The bytes of a token in its one spelling; nothing for any other."""
    try:
        raw = base64.b64decode(token, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):  # not base64, or not ASCII
        return b""
    return raw if _encoded(raw) == token else b""


def size(request: Any) -> int:
    """How many values a page may hold: 50 unless asked, at most 1000; a negative number is refused."""
    asked = int(request.page_size)
    if asked < 0:
        raise errors.InvalidArgument(
            f"page_size {asked} is negative",
            reason="PAGE_SIZE_INVALID",
            help=f"Ask for 1 to {SIZE_MAX}, or 0 for {SIZE_DEFAULT}.",
            violations={"page_size": "must not be negative"},
        )
    return min(asked, SIZE_MAX) or SIZE_DEFAULT


async def stored(
    store: Store,
    pages: Pages,
    call: Call,
    request: Any,
    cls: type,
    *,
    parent: str = "",
    where: Mapping[str, str] | None = None,
    newest_first: bool = False,
    check: Callable[[Transaction], object] = lambda _: None,
    show: Callable[[Any], Any] = lambda value: value,
    keep: Callable[[Transaction, Any], bool] | None = None,
) -> Message:
    """A page of stored values of one kind. `where` are the path's conditions; `check` refuses a parent that is not there.

    `show` makes what is sent of what is stored. `keep` leaves out what the caller may not see; a page is then shorter than
    asked, even empty, where so much had to be left out that the look would take long: its token goes on all the same.
    """
    fixed = dict(where or {})
    kind = kinds.KINDS[cls]
    wanted = listing.parse(request.filter, set(kind.columns or ()) - set(fixed)) | fixed
    limit, after = size(request), pages.after(call, request)

    def look(tx: Transaction) -> tuple[Any, ...]:
        check(tx)
        return tx.list(cls, parent=parent, where=wanted, after=after, limit=limit + 1, newest_first=newest_first)

    if keep is None:
        values = await store.read(look)
        return _page(pages, call, request, values, limit=limit, key=kind.key, show=show)
    sees = keep

    def sift(tx: Transaction) -> tuple[list[Any], str]:
        check(tx)
        kept: list[Any] = []
        last, looked_at = after, 0
        while looked_at < LOOKED_AT_MAX:
            rows: tuple[Any, ...] = tx.list(
                cls, parent=parent, where=wanted, after=last, limit=limit + 1, newest_first=newest_first
            )
            for row in rows:
                if sees(tx, row):
                    if len(kept) == limit:
                        return kept, last
                    kept.append(row)
                last = kind.key(row)
            looked_at += len(rows)
            if len(rows) <= limit:
                return kept, ""
        return kept, last

    shown, following = await store.read(sift)
    more = {"next_page_token": pages.token(call, request, following)} if following else {}
    return call.method.response(**{call.method.pager: [codec.to_message(show(value)) for value in shown]}, **more)


def computed(
    pages: Pages, call: Call, request: Any, values: Collection[Any], *, key: Callable[[Any], str], fields: Collection[str]
) -> Message:
    """A page of values that are not stored but made: sorted, filtered and cut here."""
    wanted = listing.parse(request.filter, fields)
    limit, after = size(request), pages.after(call, request)
    kept = [value for value in values if key(value) > after and all(getattr(value, f) == v for f, v in wanted.items())]
    return _page(pages, call, request, sorted(kept, key=key), limit=limit, key=key)


def _page(
    pages: Pages,
    call: Call,
    request: Any,
    values: Collection[Any],
    *,
    limit: int,
    key: Callable[[Any], str],
    show: Callable[[Any], Any] = lambda value: value,
) -> Message:
    shown = list(values)[:limit]
    more = {"next_page_token": pages.token(call, request, key(shown[-1]))} if len(values) > limit else {}
    return call.method.response(**{call.method.pager: [codec.to_message(show(value)) for value in shown]}, **more)

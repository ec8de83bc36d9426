"""Pages of a listing (AIP-158): sealed opaque tokens that are good for the listing they came from, and for no other."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import os
from collections.abc import Callable, Collection, Mapping
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
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
_NONCE_BYTES = 12
_PADDED_BYTES = 64


class Pages:
    """Seals and opens tokens with a key of the catalog, so that every server of it takes the others' tokens.

    They are sealed and not only signed: a page may end behind a value that its caller may not know of.
    """

    def __init__(self, secret: bytes) -> None:
        self._cipher = AESGCM(hmac.digest(secret, b"fed/page-token/v2", hashlib.sha256))

    def after(self, call: Call, request: Any) -> str:
        """The key after which the asked page begins; InvalidArgument (PAGE_TOKEN_INVALID) for another listing's token."""
        if not request.page_token:
            return ""
        raw = _decoded(request.page_token)
        with contextlib.suppress(InvalidTag, ValueError):
            return self._cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _listing(call, request)).rstrip(b"\0").decode()
        raise errors.InvalidArgument(
            "page_token is not of this listing",
            reason="PAGE_TOKEN_INVALID",
            help="Pass next_page_token of the page before, with parent and filter unchanged, or none to begin anew.",
            violations={"page_token": "must be the next_page_token of the same listing"},
        )

    def token(self, call: Call, request: Any, key: str) -> str:
        """The token of the page that begins after a key. Its length does not tell the key's."""
        raw, nonce = key.encode(), os.urandom(_NONCE_BYTES)
        padded = raw.ljust(-(-len(raw) // _PADDED_BYTES) * _PADDED_BYTES, b"\0")
        return _encoded(nonce + self._cipher.encrypt(nonce, padded, _listing(call, request)))


def _listing(call: Call, request: Any) -> bytes:
    """Everything that shapes a listing, without the size of its pages; and who asks, for no token may wander to another."""
    bare = type(request)()
    bare.CopyFrom(request)
    bare.ClearField("page_size")
    bare.ClearField("page_token")
    parts = (call.method.key.encode(), call.principal.name.encode(), bare.SerializeToString(deterministic=True))
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


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
    keep: Callable[[Transaction], Callable[[Any], bool]] | None = None,
    filtered: bool = False,
    prefix: str = "",
    narrowing: Collection[str] = (),
) -> Message:
    """A page of stored values of one kind. `where` are the path's conditions; `check` refuses a parent that is not there.

    `show` makes what is sent of what is stored. `keep` leaves out what the caller may not see; a page is then shorter than
    asked, even empty, where so much had to be left out that the look would take long: its token goes on all the same. With
    `narrowing` that is done only where the filter names one of these fields, which are not told of what is hidden: all else
    is told, and `redaction` says how. `filtered` says that `where`, `keep` and `prefix`, with which keys begin, do already what
    the request's filter does.
    """
    fixed = dict(where or {})
    kind = kinds.KINDS[cls]
    said = {} if filtered else listing.parse(request.filter, {"name", *(kind.columns or ())} - set(fixed))
    name, prefix = listing.named(said.pop("name")) if "name" in said else ("", prefix)
    stretch = listing.Stretch(prefix, newest_first)
    wanted = said | fixed
    limit, after = size(request), stretch.after(pages.after(call, request))

    def read(tx: Transaction, last: str) -> tuple[Any, ...]:
        found: tuple[Any, ...] = tx.list(
            cls,
            parent=parent,
            where=wanted,
            keys=(name,) if name else (),
            after=last,
            limit=limit + 1,
            newest_first=newest_first,
        )
        return found

    def look(tx: Transaction) -> tuple[Any, ...]:
        check(tx)
        return tuple(row for row in read(tx, after) if stretch.holds(kind.key(row)))

    if keep is None or (narrowing and wanted.keys().isdisjoint(narrowing)):
        values = await store.read(look)
        return _page(pages, call, request, values, limit=limit, key=kind.key, show=show)
    keeping = keep

    def sift(tx: Transaction) -> tuple[list[Any], str]:
        check(tx)
        sees = keeping(tx)
        kept: list[Any] = []
        last, looked_at = after, 0
        while looked_at < LOOKED_AT_MAX:
            rows = read(tx, last)
            for row in rows:
                if stretch.ends_before(kind.key(row)):
                    return kept, ""
                if stretch.holds(kind.key(row)) and sees(row):
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

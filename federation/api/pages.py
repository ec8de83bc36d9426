"""Pages of a listing (AIP-158): sealed tokens that are good for the listing they came from, and for no other.

Sealed, and not only signed: where a page ends, there may be the name of something that its reader may not know of.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Collection, Mapping
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
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


class Pages:
    """Seals and opens tokens with a key of the catalog, so that every server of it takes the others' tokens."""

    def __init__(self, secret: bytes) -> None:
        # Deterministic (RFC 5297): the same place of the same listing is the same token, and no nonce can be used twice.
        self._sealer = AESSIV(hmac.digest(secret, b"fed/page-token/v1", hashlib.sha512))

    def after(self, call: Call, request: Any) -> str:
        """The key after which the asked page begins; InvalidArgument (PAGE_TOKEN_INVALID) for another listing's token."""
        if not request.page_token:
            return ""
        try:
            return self._sealer.decrypt(_decoded(request.page_token), self._bound(call, request)).decode()
        except (InvalidTag, ValueError):  # of another listing, or no token of ours at all
            raise errors.InvalidArgument(
                "page_token is not of this listing",
                reason="PAGE_TOKEN_INVALID",
                help="Pass next_page_token of the page before, with parent and filter unchanged, or none to begin anew.",
                violations={"page_token": "must be the next_page_token of the same listing"},
            ) from None

    def token(self, call: Call, request: Any, key: str) -> str:
        """The token of the page that begins after a key."""
        return _encoded(self._sealer.encrypt(key.encode(), self._bound(call, request)))

    @staticmethod
    def _bound(call: Call, request: Any) -> list[bytes]:
        # Everything that shapes the listing is bound, the size of its pages is not; nor may a token wander to another caller.
        bare = type(request)()
        bare.CopyFrom(request)
        bare.ClearField("page_size")
        bare.ClearField("page_token")
        return [call.method.key.encode(), call.principal.name.encode(), bare.SerializeToString(deterministic=True)]


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
    keeper = keep

    def sift(tx: Transaction) -> tuple[list[Any], str]:
        check(tx)
        sees = keeper(tx)
        kept: list[Any] = []
        last, looked_at = after, 0
        while looked_at < LOOKED_AT_MAX:
            rows: tuple[Any, ...] = tx.list(
                cls, parent=parent, where=wanted, after=last, limit=limit + 1, newest_first=newest_first
            )
            for row in rows:
                if sees(row):
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

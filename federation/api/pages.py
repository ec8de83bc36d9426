"""Pages of a listing (AIP-158): sealed opaque tokens that are good for the listing they came from, and for no other."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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


class Tokens:
    """Seals and opens pages' tokens with a key of the catalog, so that every server of it takes the others' tokens.

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


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Stored values of one kind, as a method lists them."""

    of: type
    parent: str = ""
    #: The path's conditions.
    where: Mapping[str, str] = field(default_factory=dict)
    newest_first: bool = False
    #: Refuses a parent that is not there.
    check: Callable[[Transaction], object] = lambda _: None
    #: Makes what is sent of what is stored.
    show: Callable[[Any], Any] = lambda value: value
    #: Leaves out what the caller may not see. A page is then shorter than asked, even empty, where so much had to be left out
    #: that the look would take long: its token goes on all the same.
    keep: Callable[[Transaction], Callable[[Any], bool]] | None = None
    #: With these that is done only where the filter names one of these fields, which are not told of what is hidden: all else
    #: is told, and `redaction` says how.
    narrowing: Collection[str] = ()
    #: With what keys begin, where this, `where` and `keep` do already what the request's filter does; None where that is read
    #: here.
    prefix: str | None = None


class Pages:
    """Answers listings page by page. Servicers that cut pages themselves use its `tokens`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.tokens = Tokens(store.ctx.grant_key)

    async def stored(self, call: Call, request: Any, listed: Listing) -> Message:
        """A page of stored values."""
        look = _Look.of(listed, request)
        after = look.stretch.after(self.tokens.after(call, request))
        values, last = await self._store.read(lambda tx: look.page(tx, after))
        return self._answer(call, request, [listed.show(value) for value in values], last)

    def computed(
        self, call: Call, request: Any, values: Iterable[Any], *, key: Callable[[Any], str], fields: Collection[str]
    ) -> Message:
        """A page of values that are not stored but made: sorted, filtered and cut here."""
        wanted = listing.parse(request.filter, fields)
        limit, after = size(request), self.tokens.after(call, request)
        kept = [value for value in values if key(value) > after and all(getattr(value, f) == v for f, v in wanted.items())]
        return self._answer(call, request, *_cut(sorted(kept, key=key), limit, key))

    def _answer(self, call: Call, request: Any, values: Iterable[Any], last: str) -> Message:
        """The message of a page, behind whose `last` key there is more; of the last page, where that is empty."""
        more = {"next_page_token": self.tokens.token(call, request, last)} if last else {}
        return call.method.response(**{call.method.pager: [codec.to_message(value) for value in values]}, **more)


@dataclass(frozen=True, kw_only=True)
class _Look:
    """How a page of a listing is read: the values with the `keys` that are named, or of a stretch of all."""

    listed: Listing
    wanted: Mapping[str, str]
    keys: tuple[str, ...]
    stretch: listing.Stretch
    limit: int

    @classmethod
    def of(cls, listed: Listing, request: Any) -> _Look:
        """The look that a request asks for."""
        said: dict[str, str] = {}
        name, prefix = "", listed.prefix or ""
        if listed.prefix is None:
            columns = kinds.KINDS[listed.of].columns or ()
            said = listing.parse(request.filter, {"name", *columns} - set(listed.where))
            name, prefix = listing.named(said.pop("name")) if "name" in said else ("", "")
        return cls(
            listed=listed,
            wanted={**said, **listed.where},
            keys=(name,) if name else (),
            stretch=listing.Stretch(prefix, listed.newest_first),
            limit=size(request),
        )

    def page(self, tx: Transaction, after: str) -> tuple[Sequence[Any], str]:
        """The values of the page after a key, and the key behind which the next one begins, if there is one."""
        self.listed.check(tx)
        keep = self.listed.keep
        if keep is None or (self.listed.narrowing and self.wanted.keys().isdisjoint(self.listed.narrowing)):
            rows = [row for row in self._read(tx, after) if self.stretch.holds(self._key(row))]
            return _cut(rows, self.limit, self._key)
        return self._sifted(tx, keep(tx), after)

    def _sifted(self, tx: Transaction, sees: Callable[[Any], bool], after: str) -> tuple[Sequence[Any], str]:
        kept: list[Any] = []
        last, looked_at = after, 0
        while looked_at < LOOKED_AT_MAX:
            rows = self._read(tx, last)
            for row in rows:
                key = self._key(row)
                if self.stretch.ends_before(key):
                    return kept, ""
                if self.stretch.holds(key) and sees(row):
                    if len(kept) == self.limit:
                        return kept, last
                    kept.append(row)
                last = key
            looked_at += len(rows)
            if len(rows) <= self.limit:
                return kept, ""
        return kept, last

    def _read(self, tx: Transaction, after: str) -> tuple[Any, ...]:
        """One row more than a page has, so that it is known whether there are more."""
        found: tuple[Any, ...] = tx.list(
            self.listed.of,
            parent=self.listed.parent,
            where=self.wanted,
            keys=self.keys,
            after=after,
            limit=self.limit + 1,
            newest_first=self.listed.newest_first,
        )
        return found

    def _key(self, row: Any) -> str:
        return kinds.KINDS[self.listed.of].key(row)


def _cut(values: Sequence[Any], limit: int, key: Callable[[Any], str]) -> tuple[Sequence[Any], str]:
    return values[:limit], key(values[limit - 1]) if len(values) > limit else ""

"""What all stores share: which keys are legal, how a store is put to the test, which urls a source may open."""

from __future__ import annotations

import io
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from federation import ports
from federation.core import errors, ids
from federation.crypto import layout

#: The largest piece that a store hands out at once.
PIECE = 1024 * 1024
#: The first segment of what a store keeps for itself.
RESERVED = ".tmp"


def key(text: str) -> tuple[str, ...]:
    """The segments of an object's key; InvalidArgument (PATH_INVALID) for one that no store may be asked for."""
    parts = tuple(ids.relative_path(text).split("/"))
    if parts[0] == RESERVED:
        raise errors.InvalidArgument(f"the key {text!r} is the store's own", reason="PATH_INVALID")
    return parts


def missing(text: str) -> errors.NotFound:
    """Nothing is stored under this key."""
    return errors.NotFound(
        f"the object {text} is not in the store",
        reason="OBJECT_MISSING",
        help="Run `fed fsck` at the site that stores it.",
        metadata={"key": text},
    )


def taken(text: str) -> errors.AlreadyExists:
    """Something is stored under this key; objects are never overwritten."""
    return errors.AlreadyExists(f"the object {text} is in the store already", reason="OBJECT_EXISTS", metadata={"key": text})


def full(where: str, detail: str) -> errors.ResourceExhausted:
    """There is no room left."""
    return errors.ResourceExhausted(
        f"the store {where} has no room: {detail}",
        reason="STORAGE_FULL",
        help="Free some room or raise the quota, then do it again; nothing was left behind.",
        metadata={"store": where},
    )


def forbidden(where: str, detail: str) -> errors.PermissionDenied:
    """The store is there and does not let us."""
    return errors.PermissionDenied(
        f"the store {where} refuses: {detail}",
        reason="STORE_FORBIDDEN",
        help="Check the credentials and rights of the site's agent.",
        metadata={"store": where},
    )


def unavailable(where: str, detail: str) -> errors.Unavailable:
    """The store does not answer, or not in a way that can be understood."""
    return errors.Unavailable(
        f"the store {where} is not available: {detail}",
        reason="STORE_UNAVAILABLE",
        help="Check that it is up and that its address is right.",
        metadata={"store": where},
        retry_seconds=1,
    )


def dishonest(where: str, detail: str) -> errors.FailedPrecondition:
    """The store does not keep a promise that everything here is built on."""
    return errors.FailedPrecondition(
        f"the store {where} cannot be used: {detail}",
        reason="STORE_DISHONEST",
        help="Use a store that honours If-None-Match on writes and Range on reads.",
        metadata={"store": where},
    )


def probe(store: ports.ObjectStore, where: str, *others: Callable[[str, BinaryIO], int]) -> None:
    """Puts a store to the test with a small object of its own: it must not overwrite, and must answer ranges exactly.

    `others` are further ways in which this store writes objects; they must not overwrite either.
    """
    name = f"{layout.PROBES}{secrets.token_hex(16)}"
    first, second = b"0123456789", b"overwritten"
    store.put(name, io.BytesIO(first))
    try:
        _refuses_to_overwrite(store.put, name, second, where)
        if b"".join(store.read(name)) != first or b"".join(store.read(name, 2, 3)) != first[2:5]:
            raise dishonest(where, "it does not read back what was written, by range")
        for write in others:
            _refuses_to_overwrite(write, name, second, where)
    finally:
        store.delete(name)


def _refuses_to_overwrite(write: Callable[[str, BinaryIO], int], name: str, data: bytes, where: str) -> None:
    try:
        write(name, io.BytesIO(data))
    except errors.AlreadyExists:
        return
    raise dishonest(where, "it overwrites an object that was to be created anew")


def options(given: Mapping[str, str], known: Iterable[str], what: str) -> dict[str, str]:
    """The options as they are, if all are known: a misspelt one must not be ignored."""
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise errors.InvalidArgument(
            f"{what} has no option {unknown[0]!r}",
            reason="OPTION_UNKNOWN",
            help=f"Known options: {', '.join(sorted(known))}.",
            violations=dict.fromkeys(unknown, "unknown option"),
        )
    return dict(given)


def url(text: str, scheme: str) -> tuple[str, tuple[str, ...]]:
    """Host (or bucket) and path segments of a url; refuses what could lead elsewhere: queries, chains, users, dot segments."""
    split = urlsplit(text.replace("[", ""))
    # File urls are percent-encoded; S3's keys stand in their urls as they are.
    path = unquote(split.path) if scheme == "file" else split.path
    parts = tuple(part for part in path.split("/") if part)
    bad = (
        split.scheme != scheme
        or any(ord(c) < 32 or c == "[" for c in text)
        or "::" in text
        or "@" in split.netloc
        or "?" in text
        or "#" in text
        or any(part in (".", "..") or "\0" in part for part in parts)
    )
    if bad:
        raise errors.InvalidArgument(
            f"{text!r} is not a plain {scheme} url",
            reason="URL_INVALID",
            help=f"Write {scheme}://... without '?', '#', '@', '::', '.' or '..'.",
            violations={"url": f"must be a plain {scheme} url"},
        )
    return split.netloc, parts


def beneath(prefix: str, text: str, scheme: str) -> tuple[str, ...]:
    """Path segments of a url below an allowed prefix, segment by segment; PermissionDenied (SOURCE_DENIED) outside it."""
    host, parts = url(text, scheme)
    allowed_host, allowed = url(prefix, scheme)
    if host != allowed_host or parts[: len(allowed)] != allowed:
        raise errors.PermissionDenied(
            f"{text!r} does not lie under {prefix}, which is what may be read here",
            reason="SOURCE_DENIED",
            help="Add its prefix to the sources of the site.",
            metadata={"url": text, "prefix": prefix},
        )
    return parts[len(allowed) :]

"""Grants as they travel: the catalog signs them, a gateway checks them offline.

    version byte 1 | Ed25519 signature[64] | canonical JSON of the grant

The signature is over the length-prefixed constant `fed/grant/v1` and the JSON.
"""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime, timedelta

from federation.core import errors, records
from federation.core.grants import Grant
from federation.crypto import canonical, signing

#: How far the clocks of catalog and gateway may be apart.
SKEW = timedelta(seconds=30)
TOKEN_BYTES_MAX = 16 * 1024

_VERSION = b"\x01"
_HEAD = len(_VERSION) + signing.SIGNATURE
_FIELDS = frozenset(field.name for field in dataclasses.fields(Grant))


def sign(private: bytes, grant: Grant) -> bytes:
    """The grant as a token."""
    payload = records.dumps(grant).encode()
    return _VERSION + signing.sign(private, _statement(payload)) + payload


def verify(public_hex: str, token: bytes, *, now: datetime, site: str) -> Grant:
    """The grant, if the catalog signed it, it is for this site and its time has not ended.

    Unauthenticated (GRANT_INVALID, GRANT_EXPIRED) or PermissionDenied (GRANT_FOREIGN_SITE) otherwise.
    """
    signature, payload = _split(token)
    try:
        signing.verify(public_hex, _statement(payload), signature)
    except errors.Unauthenticated:
        raise _invalid("it is not signed by this federation's catalog") from None
    grant = _parse(payload)
    if grant.site != site:
        raise errors.PermissionDenied(
            f"the grant {grant.grant} is for site {grant.site}, not {site}",
            reason="GRANT_FOREIGN_SITE",
            help=f"Present it at the gateway of {grant.site}.",
            metadata={"grant": grant.grant, "site": grant.site},
        )
    if now > grant.expire_time + SKEW or now < grant.issue_time - SKEW:
        raise errors.Unauthenticated(
            f"the grant {grant.grant} holds from {grant.issue_time.isoformat()} to {grant.expire_time.isoformat()}, not now",
            reason="GRANT_EXPIRED",
            help="Ask the catalog for a new one.",
            metadata={"grant": grant.grant, "expire_time": grant.expire_time.isoformat()},
        )
    return grant


def peek(token: bytes) -> Grant:
    """What a token says, unchecked: for display and routing, never for a decision."""
    return _parse(_split(token)[1])


def _statement(payload: bytes) -> bytes:
    return canonical.join("fed/grant/v1", payload)


def _split(token: bytes) -> tuple[bytes, bytes]:
    if not _HEAD < len(token) <= TOKEN_BYTES_MAX or token[:1] != _VERSION:
        raise _invalid("it is not a grant of a version known here")
    return token[1:_HEAD], token[_HEAD:]


def _parse(payload: bytes) -> Grant:
    try:
        fields = json.loads(payload)
        grant = records.load(Grant, fields)
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise _invalid("it cannot be read") from None
    # A field that this gateway does not know may be a restriction: what cannot be obeyed is not honoured.
    unknown = sorted(set(fields) - _FIELDS)
    if unknown:
        raise _invalid(f"it has fields unknown here: {', '.join(unknown)}")
    return grant


def _invalid(why: str) -> errors.Unauthenticated:
    return errors.Unauthenticated(
        f"the grant is not valid: {why}", reason="GRANT_INVALID", help="Ask the catalog for a new one."
    )

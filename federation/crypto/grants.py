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
#: How old a site's proof may be that it presents a grant, and how far ahead its clock.
PROOF_SECONDS = 60

_VERSION = b"\x01"
_HEAD = len(_VERSION) + signing.SIGNATURE
_TIME = 8
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


def prove(private: bytes, grant: str, *, now: datetime) -> bytes:
    """A site's word, good for a minute, that it presents a grant that is its own: seconds since 1970[8] | Ed25519[64]."""
    time = int(now.timestamp()).to_bytes(_TIME, "big")
    return time + signing.sign(private, _presented(grant, time))


def check_proof(grant: Grant, proof: bytes, *, now: datetime) -> None:
    """Returns when the site that a grant is for said so just now; Unauthenticated (READER_UNPROVEN) otherwise.

    A grant that names no key of that site is presented by nobody.
    """
    time, signature = proof[:_TIME], proof[_TIME:]
    try:
        signing.verify(grant.reader_signing_key, _presented(grant.grant, time), signature)
    except errors.Unauthenticated:
        raise _unproven(grant, "the proof is not that site's") from None
    if abs(int.from_bytes(time, "big") - now.timestamp()) > PROOF_SECONDS:
        raise _unproven(grant, "the proof is too old, or the clocks are apart")


def _presented(grant: str, time: bytes) -> bytes:
    return canonical.join("fed/grant-proof/v1", grant, time)


def _unproven(grant: Grant, why: str) -> errors.Unauthenticated:
    return errors.Unauthenticated(
        f"the grant {grant.grant} is for site {grant.reader_site} alone: {why}",
        reason="READER_UNPROVEN",
        help="Present it from that site's agent; if it is, compare the two sites' clocks.",
        metadata={"grant": grant.grant, "reader_site": grant.reader_site},
    )


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

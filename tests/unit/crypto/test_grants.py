"""Grants: only the catalog makes them, only the named site honours them, and only in their time."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core import errors, records
from federation.core.grants import Access, Grant
from federation.crypto import grants, signing

PRIVATE = signing.new_private()
PUBLIC = signing.public_hex(PRIVATE)
NOW = datetime(2026, 11, 3, 12, tzinfo=UTC)
GRANT = Grant(
    grant="r-1",
    access=Access.READ,
    subject="ann",
    site="eu-1",
    version="sales/flights@3",
    bytes_max=1 << 50,
    issue_time=NOW,
    expire_time=NOW + timedelta(hours=1),
)
TOKEN = grants.sign(PRIVATE, GRANT)
#: The signing key of the site that a transfer's grant is for.
SITE = signing.new_private()
OWN = dataclasses.replace(GRANT, reader_site="us-1", reader_signing_key=signing.public_hex(SITE))


def refused(token: bytes, *, public: str = PUBLIC, now: datetime = NOW, site: str = "eu-1") -> str:
    """The reason for which a token is refused."""
    with pytest.raises((errors.Unauthenticated, errors.PermissionDenied)) as caught:
        grants.verify(public, token, now=now, site=site)
    return caught.value.reason


def signed(payload: bytes) -> bytes:
    """A token that the catalog really signed, with any payload."""
    return b"\x01" + signing.sign(PRIVATE, grants._statement(payload)) + payload


def test_a_signed_grant_is_honoured():
    """What was granted comes out as it went in, for the reader who looks only and for the gateway that checks."""
    assert grants.verify(PUBLIC, TOKEN, now=NOW, site="eu-1") == GRANT
    assert grants.peek(TOKEN) == GRANT
    assert grants.sign(PRIVATE, GRANT) == TOKEN


@given(st.integers(0, len(TOKEN) - 1), st.integers(1, 255))
def test_any_changed_byte_is_refused(at, change):
    """Version, signature and every field."""
    assert refused(TOKEN[:at] + bytes([TOKEN[at] ^ change]) + TOKEN[at + 1 :]) == "GRANT_INVALID"


@given(st.integers(0, len(TOKEN) - 1))
def test_a_shortened_token_is_refused(length):
    """At any length, down to nothing."""
    assert refused(TOKEN[:length]) == "GRANT_INVALID"


def test_another_catalogs_grant_is_refused():
    """Who signs decides, not what is said."""
    assert refused(grants.sign(signing.new_private(), GRANT)) == "GRANT_INVALID"
    assert refused(TOKEN, public="") == "GRANT_INVALID"


def test_a_signature_for_another_purpose_is_refused():
    """The same key's signature over the bare payload is not a grant."""
    payload = records.dumps(GRANT).encode()
    assert refused(b"\x01" + signing.sign(PRIVATE, payload) + payload) == "GRANT_INVALID"


def test_another_sites_grant_is_refused():
    """With the name of the site that would honour it."""
    assert refused(TOKEN, site="us-1") == "GRANT_FOREIGN_SITE"


@pytest.mark.parametrize(
    ("when", "honoured"),
    [
        (GRANT.issue_time - grants.SKEW, True),
        (GRANT.issue_time - grants.SKEW - timedelta(seconds=1), False),
        (GRANT.expire_time + grants.SKEW, True),
        (GRANT.expire_time + grants.SKEW + timedelta(seconds=1), False),
    ],
)
def test_a_grant_has_its_time(when, honoured):
    """It ends, give or take what clocks may differ; one from the future is not honoured either."""
    if honoured:
        grants.verify(PUBLIC, TOKEN, now=when, site="eu-1")
    else:
        assert refused(TOKEN, now=when) == "GRANT_EXPIRED"


def test_a_field_from_the_future_is_refused():
    """It may be a restriction, and what cannot be obeyed is not honoured."""
    fields = {**records.dump(GRANT), "only_on_mondays": True}
    assert refused(signed(json.dumps(fields).encode())) == "GRANT_INVALID"


@pytest.mark.parametrize("payload", [b"{}", b"[]", b"null", b"\xff", b'{"grant": 1}', b"[" * 15_000, b"x" * 20_000])
def test_a_payload_that_is_no_grant_is_refused(payload):
    """Even signed: the gateway does not fall over it."""
    assert refused(signed(payload)) == "GRANT_INVALID"
    with pytest.raises(errors.Unauthenticated):
        grants.peek(signed(payload))


def test_each_field_is_signed():
    """A grant that differs in one field alone has another token, which the old signature does not cover."""
    for field in dataclasses.fields(Grant):
        token = grants.sign(PRIVATE, dataclasses.replace(GRANT, **{field.name: _another(getattr(GRANT, field.name))}))
        assert refused(TOKEN[:65] + token[65:]) == "GRANT_INVALID", field.name


def proven(proof: bytes, *, now: datetime = NOW) -> str:
    """The reason with which a proof is refused, "" where it is good."""
    try:
        grants.check_proof(OWN, proof, now=now)
    except errors.Unauthenticated as error:
        return error.reason
    return ""


@pytest.mark.parametrize(
    ("seconds", "good"), [(0, True), (grants.PROOF_SECONDS - 1, True), (-grants.PROOF_SECONDS - 1, False), (3600, False)]
)
def test_a_proof_of_who_presents_a_grant_has_its_minute(seconds: int, good: bool):
    """It is good about when it was made, by clocks that may be a little apart."""
    proof = grants.prove(SITE, OWN.grant, now=NOW)
    assert proven(proof, now=NOW + timedelta(seconds=seconds)) == ("" if good else "READER_UNPROVEN")


def test_a_proof_is_for_one_grant_and_by_one_key():
    """Neither another site's word, nor one on another grant, nor a changed or missing one counts; none does without a key."""
    proof = grants.prove(SITE, OWN.grant, now=NOW)
    other = grants.prove(signing.new_private(), OWN.grant, now=NOW)
    moved = grants.prove(SITE, "a-" + "1" * 26, now=NOW)
    later = (int.from_bytes(proof[:8]) + 1).to_bytes(8) + proof[8:]
    assert proven(proof) == ""
    assert {proven(each) for each in (other, moved, later, proof[:-1], b"")} == {"READER_UNPROVEN"}
    with pytest.raises(errors.Unauthenticated):
        grants.check_proof(dataclasses.replace(OWN, reader_signing_key=""), proof, now=NOW)


def _another(value):
    match value:
        case Access():
            return Access.WRITE
        case int():
            return value + 1
        case datetime():
            return value + timedelta(1)
    return f"{value}x"

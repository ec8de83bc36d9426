"""What is signed when a version is erased: each site's word that its secrets are gone, and the catalog's certificate of all.

A certificate is JSON, `{"certificate": TEXT, "key": HEX, "signature": HEX}`: TEXT is the canonical JSON of
`core.erasure.Deletion`, the signature Ed25519 over the length-prefixed constant `fed/deletion-certificate/v1` and TEXT. It is
verified without the catalog.
"""

from __future__ import annotations

import json

from federation.core import errors, records
from federation.core.erasure import Deletion, ErasureState
from federation.crypto import canonical, signing

#: A certificate names every lease; more than this is no certificate of ours.
CERTIFICATE_BYTES_MAX = 256 * 1024 * 1024


def confirm(private: bytes, *, erasure: str, site: str, dataset_uid: str, generations: tuple[str, ...]) -> bytes:
    """A site's word that the secrets of these generations are destroyed in its key connector."""
    return signing.sign(private, _statement(erasure, site, dataset_uid, generations))


def check_confirmation(
    signing_key: str, signature: bytes, *, erasure: str, site: str, dataset_uid: str, generations: tuple[str, ...]
) -> None:
    """Returns when the site with that key said so; Unauthenticated (SIGNATURE_INVALID) otherwise."""
    signing.verify(signing_key, _statement(erasure, site, dataset_uid, generations), signature)


def certify(private: bytes, deletion: Deletion) -> str:
    """The certificate."""
    text = records.dumps(deletion)
    signature = signing.sign(private, _certificate(text))
    return json.dumps({"certificate": text, "key": signing.public_hex(private), "signature": signature.hex()})


def verify(data: bytes, key: str = "") -> Deletion:
    """What a certificate says, once the catalog's signature and that of every site were found good.

    `key` is the catalog's public key, hex; without it the one that the certificate names is taken, and the caller must know
    whose it is. DataCorrupt (CERTIFICATE_INVALID) says what is wrong.
    """
    if len(data) > CERTIFICATE_BYTES_MAX:
        raise _invalid("it is too long")
    try:
        outer = json.loads(data)
        text, named, signature = (str(outer[name]) for name in ("certificate", "key", "signature"))
        signing.verify(key or named, _certificate(text), bytes.fromhex(signature))
        deletion = records.loads(Deletion, text)
    except errors.Unauthenticated:
        raise _invalid("it is not signed by that catalog, or was changed") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise _invalid("it cannot be read") from None
    _check(deletion)
    return deletion


def signer(data: bytes) -> str:
    """The public key that a certificate names, unchecked: to be compared with the catalog's."""
    return str(json.loads(data)["key"])


def _check(deletion: Deletion) -> None:
    erased = deletion.erasure
    if erased.state is not ErasureState.CERTIFIED or erased.certify_time is None:
        raise _invalid("it is of an erasure that was not complete")
    for part in erased.sites:
        try:
            check_confirmation(
                part.signing_key,
                bytes.fromhex(part.signature),
                erasure=erased.erasure,
                site=part.site,
                dataset_uid=erased.dataset_uid,
                generations=erased.generations,
            )
        except (errors.Unauthenticated, ValueError):
            raise _invalid(f"the word of site {part.site} is not signed by its key") from None
    late = [lease.lease for lease in deletion.leases if lease.expire_time > erased.certify_time]
    if late:
        raise _invalid(f"lease {late[0]} had not run out when it was issued")


def _statement(erasure: str, site: str, dataset_uid: str, generations: tuple[str, ...]) -> bytes:
    return canonical.join("fed/erasure/v1", erasure, site, dataset_uid, *generations)


def _certificate(text: str) -> bytes:
    return canonical.join("fed/deletion-certificate/v1", text)


def _invalid(why: str) -> errors.DataCorrupt:
    return errors.DataCorrupt(
        f"this is not a valid deletion certificate: {why}",
        reason="CERTIFICATE_INVALID",
        help="Get it anew: fed dataset certificate get DATASET@VERSION.",
    )

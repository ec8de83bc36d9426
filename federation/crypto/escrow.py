"""An escrow's key on its way: made at a site, split over custodians, handed back share by share, and put together there again.

A DEK in escrow is sealed to the escrow's public key, and within is still sealed under its generation's secret, which the site
alone has. So custodians open nothing without the site, and nothing at all of what was erased.
"""

from __future__ import annotations

from collections.abc import Sequence

from federation.core import errors
from federation.core.keys import Approval, Custodian, Escrow, EscrowedKey, Opening
from federation.crypto import canonical, hpke, shares


def split(escrow: Escrow, sealing_public: bytes) -> tuple[str, dict[str, str]]:
    """A new escrow's public key, and its private one as a sealed share for each custodian, hex; nobody has it afterwards.

    With each share goes the fingerprint of the site's sealing key: to no other key will a custodian hand it.
    """
    private, public = hpke.new_pair()
    parts = shares.split(private, shares=len(escrow.custodians), threshold=escrow.threshold)
    target = hpke.fingerprint(sealing_public)
    sealed = {
        each.principal: hpke.seal(
            bytes.fromhex(each.public_key), canonical.join(part, target), _share_info(escrow, each.principal)
        ).hex()
        for each, part in zip(escrow.custodians, parts, strict=True)
    }
    return public.hex(), sealed


def approve(escrow: Escrow, opening: Opening, custodian: Custodian, private: bytes) -> bytes:
    """A custodian's share, opened by their key and sealed to the site for this opening.

    PermissionDenied (ESCROW_MISDIRECTED) where the key that it is to be sealed to was not the site's when the escrow was made.
    """
    opened = hpke.open_(private, bytes.fromhex(custodian.sealed_share), _share_info(escrow, custodian.principal))
    part, target = canonical.split(opened)
    sealing_key = bytes.fromhex(opening.sealing_key)
    if hpke.fingerprint(sealing_key) != target.decode():
        raise errors.PermissionDenied(
            f"opening {opening.opening} asks for a share to be sealed to another key than site {escrow.site}'s",
            reason="ESCROW_MISDIRECTED",
            help="Do not approve it; find out who put that key into the catalog.",
            metadata={"opening": opening.opening, "site": escrow.site},
        )
    return hpke.seal(sealing_key, part, _approval_info(opening, custodian.principal))


def combine(escrow: Escrow, opening: Opening, approvals: Sequence[Approval], sealing_private: bytes) -> bytes:
    """The escrow's private key; FailedPrecondition (SHARES_INVALID) where the shares do not make it."""
    parts = [
        hpke.open_(sealing_private, bytes.fromhex(each.sealed_share), _approval_info(opening, each.principal))
        for each in approvals
    ]
    private = shares.combine(parts)
    if hpke.public_bytes(private).hex() != escrow.public_key:
        raise errors.FailedPrecondition(
            f"the shares of opening {opening.opening} do not make the key of escrow {escrow.escrow}",
            reason="SHARES_INVALID",
            help="One of the custodians gave another share: ask anew.",
        )
    return private


def key_info(row: EscrowedKey) -> bytes:
    """What a DEK in escrow is sealed for."""
    return canonical.join("fed/escrow/v1", row.escrow, row.dataset_uid, row.generation, row.sensitivity)


def _share_info(escrow: Escrow, principal: str) -> bytes:
    return canonical.join("fed/escrow-share/v1", escrow.escrow, principal)


def _approval_info(opening: Opening, principal: str) -> bytes:
    return canonical.join("fed/escrow-approval/v1", opening.opening, principal)

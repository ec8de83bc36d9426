"""The keys of sites, who was given data keys, and what is destroyed for good."""

from __future__ import annotations

from collections.abc import Iterator

from federation.client.areas import base
from federation.core import erasure, keys, leases
from federation.v1 import keys_pb2, leases_pb2
from federation.wire import codec


class Keys(base.Area):
    """Keys, leases, erasures."""

    def list_keyrings(self, *, filter: str = "") -> Iterator[keys.SiteKeyring]:  # noqa: A002
        """What the catalog knows of each site's keys. Administrators may."""
        return self._connection.pages("Keys.ListKeyrings", keys_pb2.ListKeyringsRequest(filter=filter))

    def list_key_uses(self, *, filter: str = "") -> Iterator[keys.KeyUse]:  # noqa: A002
        """What sites' keys wrap, by site and dataset."""
        return self._connection.pages("Keys.ListKeyUses", keys_pb2.ListKeyUsesRequest(filter=filter))

    def rotate_keys(self, site: str, part: str = "KEK", *, request_id: str = "") -> keys.SiteKeyring:
        """Has a site's rows re-wrapped under a new KEK (`KEK`), or new versions there share no file with older ones (`DEK`)."""
        request = keys_pb2.RotateKeysRequest(
            name=base.named(site, "sites"), part=keys_pb2.KeyPart.Value(f"KEY_PART_{part}"), request_id=request_id
        )
        return self._value(keys.SiteKeyring, "Keys.RotateKeys", request)

    def create_escrow(self, new: keys.Escrow, *, request_id: str = "") -> keys.Escrow:
        """Makes a way back to a site's keys for several custodians together. Administrators may."""
        request = keys_pb2.CreateEscrowRequest(
            escrow_id=new.escrow, escrow=codec.to_message(new, keys_pb2.Escrow), request_id=request_id
        )
        return self._value(keys.Escrow, "Keys.CreateEscrow", request)

    def get_escrow(self, name: str) -> keys.Escrow:
        """One escrow, with its custodians' sealed shares."""
        return self._value(keys.Escrow, "Keys.GetEscrow", keys_pb2.GetEscrowRequest(name=base.named(name, "escrows")))

    def list_escrows(self, *, filter: str = "") -> Iterator[keys.Escrow]:  # noqa: A002
        """All escrows, by name."""
        return self._connection.pages("Keys.ListEscrows", keys_pb2.ListEscrowsRequest(filter=filter))

    def request_opening(self, escrow: str, reason: str, *, request_id: str = "") -> keys.Opening:
        """Asks for an escrow to be opened. Nothing is before enough custodians have approved it."""
        request = keys_pb2.RequestOpeningRequest(name=base.named(escrow, "escrows"), reason=reason, request_id=request_id)
        return self._value(keys.Opening, "Keys.RequestOpening", request)

    def get_opening(self, name: str) -> keys.Opening:
        """One opening of an escrow."""
        return self._value(keys.Opening, "Keys.GetOpening", keys_pb2.GetOpeningRequest(name=base.named(name, "openings")))

    def list_openings(self, *, filter: str = "") -> Iterator[keys.Opening]:  # noqa: A002
        """All openings, newest first."""
        return self._connection.pages("Keys.ListOpenings", keys_pb2.ListOpeningsRequest(filter=filter))

    def approve_opening(self, name: str, sealed_share: bytes, *, request_id: str = "") -> keys.Opening:
        """A custodian's yes, with their share as `crypto.escrow.approve` sealed it to the site."""
        request = keys_pb2.ApproveOpeningRequest(
            name=base.named(name, "openings"), sealed_share=sealed_share, request_id=request_id
        )
        return self._value(keys.Opening, "Keys.ApproveOpening", request)

    def list_leases(self, *, filter: str = "") -> Iterator[leases.Lease]:  # noqa: A002
        """Who was given data keys: for example of `version = "sales/flights@3"`, or by `run = "jobs/j-1/runs/1"`."""
        return self._connection.pages("Leases.ListLeases", leases_pb2.ListLeasesRequest(filter=filter))

    def erase_version(self, version: str, reason: str, *, request_id: str = "", validate_only: bool = False) -> erasure.Erasure:
        """Destroys for good what opens a version, at every site. Administrators may; with `validate_only` it is only tried."""
        request = leases_pb2.EraseVersionRequest(
            version=version, reason=reason, request_id=request_id, validate_only=validate_only
        )
        return self._value(erasure.Erasure, "Erasures.EraseVersion", request)

    def get_erasure(self, name: str) -> erasure.Erasure:
        """One erasure, by its name or its version's: who has confirmed it, and what it waits for."""
        return self._value(erasure.Erasure, "Erasures.GetErasure", leases_pb2.GetErasureRequest(name=name))

    def list_erasures(self, *, filter: str = "") -> Iterator[erasure.Erasure]:  # noqa: A002
        """All erasures, for example with `state = "PENDING"`."""
        return self._connection.pages("Erasures.ListErasures", leases_pb2.ListErasuresRequest(filter=filter))

    def get_deletion_certificate(self, name: str) -> bytes:
        """The signed certificate of a version's erasure; FailedPrecondition (ERASURE_PENDING) until it is complete."""
        request = leases_pb2.GetDeletionCertificateRequest(name=name)
        return bytes(self._connection.call("Erasures.GetDeletionCertificate", request).certificate)

"""The one way by which a data key leaves this site's gateway: under a lease that the catalog has granted and written down.

So the record comes before the key. And the way by which keys end: secrets of what was erased are destroyed, and that is signed.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import timedelta

from federation import failpoints, ports
from federation.agent import catalog as agent_catalog
from federation.agent import sealing
from federation.agent.identity import Identity
from federation.core import erasure, errors, keys, leases
from federation.crypto import erasure as signed
from federation.crypto import hpke

_SKEW = timedelta(seconds=leases.SKEW_SECONDS)


class Leasing:
    """Asks for leases and seals what they allow."""

    def __init__(
        self, *, catalog: agent_catalog.Catalog, connector: ports.KeyConnector, identity: Identity, clock: ports.Clock
    ) -> None:
        self._catalog = catalog
        self._connector = connector
        self._identity = identity
        self._clock = clock

    def lease(
        self,
        nonce: str,
        reader_key: bytes,
        *,
        use: leases.Use = leases.Use.READ,
        grant: str = "",
        run: str = "",
        dataset: str,
        version: int = 0,
        generations: tuple[str, ...],
        sensitivities: tuple[str, ...] = (keys.DEFAULT,),
    ) -> leases.Lease:
        """A lease for just this, still good; the catalog's refusal otherwise.

        FailedPrecondition (LEASE_EXPIRED) for an answer that took longer than the lease lasts, DataCorrupt (LEASE_FOREIGN) for
        one that is for something else.
        """
        asked = leases.Asked(
            nonce=nonce,
            call=secrets.token_hex(16),
            use=use,
            grant=grant,
            run=run,
            dataset=dataset,
            version=version,
            generations=generations,
            sensitivities=sensitivities,
            reader_key=hpke.fingerprint(reader_key),
        )
        leases.check(asked)
        granted = self._catalog.issue_lease(asked)
        if not granted.answers(asked):
            raise errors.DataCorrupt(f"the catalog's lease {granted.lease} is not for {asked.short}", reason="LEASE_FOREIGN")
        if granted.expire_time + _SKEW <= self._clock.now():
            raise errors.FailedPrecondition(
                f"lease {granted.lease} has run out already",
                reason="LEASE_EXPIRED",
                help="Ask for a new one; compare this site's clock with the catalog's.",
                metadata={"lease": granted.lease},
            )
        failpoints.hit("agent.leased")
        return granted

    def seal(
        self, lease: leases.Lease, deks: Iterable[sealing.Dek], *, audience: str, reader_key: bytes
    ) -> tuple[sealing.SealedDek, ...]:
        """The DEKs of a lease, sealed to the key that it names and for nobody else; AssertionError for any other's."""
        if hpke.fingerprint(reader_key) != lease.reader_key:
            raise AssertionError(f"lease {lease.lease} is for another key")
        generations, sensitivities = frozenset(lease.generations), frozenset(lease.sensitivities)
        return sealing.seal(
            (each for each in deks if each.generation in generations and each.sensitivity in sensitivities),
            dataset_uid=lease.dataset_uid,
            audience=leases.audience(audience, lease.lease),
            reader_key=reader_key,
        )

    def erase(self, ordered: erasure.EraseGenerations, site: str) -> None:
        """Destroys the generations' secrets in the key connector and tells the catalog, signed. Again is harmless."""
        self._connector.destroy(ordered.dataset_uid, ordered.generations)
        failpoints.hit("agent.secrets_destroyed")
        word = signed.confirm(
            self._identity.signing_private,
            erasure=ordered.erasure,
            site=site,
            dataset_uid=ordered.dataset_uid,
            generations=ordered.generations,
        )
        self._catalog.confirm_erasure(ordered.erasure, word)

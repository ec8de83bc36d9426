"""Reading from another site's gateway, for a run or a transfer. Keys are re-wrapped on the way, bytes are not touched."""

from __future__ import annotations

import functools
import secrets
import threading
from collections import OrderedDict
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import grpc

from federation import ports
from federation.agent import door, sealing
from federation.agent.identity import Identity
from federation.core import errors, ids, job, leases
from federation.core.keys import DEFAULT
from federation.crypto import grants, manifest
from federation.v1 import gateway_pb2, gateway_pb2_grpc
from federation.wire import errors as wire_errors
from federation.wire import gateway as wire_gateway
from federation.wire import tls

OPEN_SECONDS = 60.0
CLOSE_SECONDS = 5.0
#: A proof is made anew when it is so old: far from the age at which it is refused.
PROOF_AGE = timedelta(seconds=grants.PROOF_SECONDS / 4)
_KEPT = 16


@dataclass(frozen=True, kw_only=True)
class Handed:
    """A version as another site handed it over: manifest and signatures checked, DEKs still sealed to this site's key.

    They were handed over under `lease`; once that has run out they are asked for anew.
    """

    version: str
    dataset_uid: str
    data: bytes
    manifest_digest: str
    manifest_signature: str
    manifest_signing_key: str
    keys: tuple[sealing.SealedDek, ...]
    lease: str
    expire_time: datetime


class Remotes:
    """The gateways of other sites, as this site calls them with grants of its runs and transfers."""

    def __init__(self, identity: Identity, credentials: tls.Source, *, clock: ports.Clock) -> None:
        self._identity = identity
        self._credentials = credentials
        self._ca = credentials.current().ca
        self._clock = clock
        self._lock = threading.Lock()
        self._channels: dict[tuple[str, int], grpc.Channel] = {}
        #: Connections that trust the CA of before: what still runs over them goes on, until the CA changes again.
        self._older: list[grpc.Channel] = []
        self._proofs: dict[str, tuple[datetime, bytes]] = {}
        self._handed: OrderedDict[tuple[bytes, tuple[str, ...]], Handed] = OrderedDict()

    def close(self) -> None:
        """Closes all connections."""
        with self._lock:
            for channel in (*self._channels.values(), *self._older):
                channel.close()
            self._channels.clear()
            self._older.clear()

    def open(self, given: job.InputAssignment, sensitivities: tuple[str, ...] = (DEFAULT,)) -> Handed:
        """The input's version from its source, with the keys of these classes of columns.

        Asked for once, as long as it is in use and its lease lasts.
        """
        self.forget_expired()
        asked = (given.grant, sensitivities)
        with self._lock:
            if asked in self._handed:
                self._handed.move_to_end(asked)
                return self._handed[asked]
        handed = self._open(given, sensitivities)
        with self._lock:
            self._handed[asked] = handed
            while len(self._handed) > _KEPT:
                self._handed.popitem(last=False)
        return handed

    def forget_expired(self) -> None:
        """Lets go of what was handed over under leases that have run out."""
        now = self._clock.now()
        with self._lock:
            for over in [asked for asked, kept in self._handed.items() if kept.expire_time <= now]:
                del self._handed[over]

    def deks(self, given: job.InputAssignment, handed: Handed) -> Iterator[sealing.Dek]:
        """The DEKs that the source sealed to this site."""
        audience = leases.audience(sealing.grant_audience(grants.peek(given.grant).grant), handed.lease)
        yield from sealing.open_(handed.keys, identity=self._identity, dataset_uid=handed.dataset_uid, audience=audience)

    def fetch(
        self, given: job.InputAssignment, request: gateway_pb2.ReadObjectRequest, *, lane: int, timeout: float
    ) -> Generator[bytes | memoryview]:
        """A range of an object's ciphertext, for a transfer. Each lane has a connection of its own."""
        return wire_gateway.read_object(
            self._channel(given.gateway, lane), request, metadata=self._metadata(given.grant), timeout=timeout
        )

    def read(
        self, given: job.InputAssignment, *, object_id: str, generation: str, offset: int, length: int, ask_seconds: int
    ) -> Iterator[bytes]:
        """A range of an object's ciphertext as the source sends it, which meters it there."""
        request = gateway_pb2.ReadObjectRequest(
            object_id=object_id, generation=generation, offset=offset, length=length, ask_seconds=ask_seconds
        )
        with wire_errors.translated():
            call = self._stub(given.gateway).ReadObject(request, metadata=self._metadata(given.grant))
            try:
                for message in call:
                    yield message.data
            finally:
                call.cancel()  # the source must stop sending when nobody listens here

    def close_grant(self, given: job.InputAssignment) -> None:
        """Asks the source to settle what it sent under the grant."""
        with wire_errors.translated():
            self._stub(given.gateway).CloseGrant(
                gateway_pb2.CloseGrantRequest(), metadata=self._metadata(given.grant), timeout=CLOSE_SECONDS
            )

    def _open(self, given: job.InputAssignment, sensitivities: tuple[str, ...]) -> Handed:
        now = self._clock.now()
        request = gateway_pb2.OpenVersionRequest(
            reader_key=self._identity.sealing_public,
            nonce=secrets.token_hex(16),
            column_classes=[each for each in sensitivities if each != DEFAULT],
        )
        with wire_errors.translated():
            answer = self._stub(given.gateway).OpenVersion(request, metadata=self._metadata(given.grant), timeout=OPEN_SECONDS)
        keys = sealing.from_wire(answer.keys)
        sealing.verify(
            given.signing_key,
            answer.keys_signature,
            grant=grants.peek(given.grant).grant,
            version=answer.version,
            manifest_digest=answer.manifest_digest,
            keys=keys,
        )
        handed = Handed(
            version=answer.version,
            dataset_uid=answer.dataset_uid,
            data=answer.manifest,
            manifest_digest=answer.manifest_digest,
            manifest_signature=answer.manifest_signature,
            manifest_signing_key=answer.manifest_signing_key,
            keys=keys,
            lease=answer.lease,
            expire_time=now + timedelta(seconds=answer.lease_seconds),
        )
        _check(given, handed)
        return handed

    def _stub(self, gateway: str) -> Any:
        return gateway_pb2_grpc.GatewayStub(self._channel(gateway, 0))

    def _channel(self, gateway: str, lane: int) -> grpc.Channel:
        with self._lock:
            ca = self._credentials.current().ca
            if ca != self._ca:
                for channel in self._older:
                    channel.close()
                self._ca, self._older, self._channels = ca, list(self._channels.values()), {}
            if (gateway, lane) not in self._channels:
                # Without its own certificate: to another gateway a site is known by its grant, and its proof of it.
                self._channels[gateway, lane] = tls.channel(
                    gateway, tls.Tls(ca), own_connection=lane > 0, window_bytes=tls.DATA_WINDOW_BYTES
                )
            return self._channels[gateway, lane]

    def _metadata(self, grant: bytes) -> tuple[tuple[str, bytes], ...]:
        name = _proven(grant)
        if not name:
            return ((door.GRANT, grant),)
        now = self._clock.now()
        with self._lock:
            made = self._proofs.get(name)
            if made is None or now - made[0] > PROOF_AGE or now < made[0]:
                self._proofs = {key: kept for key, kept in self._proofs.items() if now - kept[0] <= PROOF_AGE}
                made = self._proofs[name] = (now, grants.prove(self._identity.signing_private, name, now=now))
        return (door.GRANT, grant), (door.PROOF, made[1])


def _check(given: job.InputAssignment, handed: Handed) -> None:
    """Returns when what was handed over is the version that the plan names, whole."""
    planned = ids.VersionName(ids.dataset(given.plan.dataset), given.plan.version).short
    if (handed.version, handed.dataset_uid) != (planned, given.dataset_uid):
        raise errors.DataCorrupt(
            f"the source handed over {handed.version} and not {planned}",
            reason="VERSION_FOREIGN",
            metadata={"version": planned},
        )
    if manifest.digest(handed.data) != handed.manifest_digest:
        raise errors.DataCorrupt(f"the manifest of {planned} was changed on its way", reason="MANIFEST_INVALID")
    manifest.verify(handed.manifest_signing_key, handed.dataset_uid, handed.manifest_digest, handed.manifest_signature)


@functools.lru_cache(maxsize=64)
def _proven(grant: bytes) -> str:
    """The id of a grant that its bearer must prove to be; '' for a run's."""
    known = grants.peek(grant)
    return known.grant if known.for_site else ""

"""DEKs on their way to a reader: sealed to the reader's key, and from site to site signed as well, for HPKE names no sender."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from federation.agent.identity import Identity
from federation.core import errors
from federation.core.keys import DEFAULT
from federation.crypto import canonical, hpke, signing
from federation.v1 import gateway_pb2


class Dek(NamedTuple):
    """The DEK of one class of one generation. Its repr does not show it."""

    generation: str
    sensitivity: str
    dek: bytes

    def __repr__(self) -> str:
        return f"<Dek {self.generation} {self.sensitivity}>"


@dataclass(frozen=True, kw_only=True)
class SealedDek:
    """The DEK of one class of one generation, sealed."""

    generation: str
    sealed: bytes
    sensitivity: str = DEFAULT


def run_audience(run: str) -> str:
    """Whom a DEK is sealed for: the workers of a run."""
    return f"run:{run}"


def grant_audience(grant: str) -> str:
    """Whom a DEK is sealed for: the bearer of a grant, a person or another site's gateway."""
    return f"grant:{grant}"


def from_wire(keys: Iterable[gateway_pb2.SealedKey]) -> tuple[SealedDek, ...]:
    """Sealed keys as a gateway's answer has them."""
    return tuple(
        SealedDek(generation=key.generation, sealed=key.sealed, sensitivity=key.sensitivity or DEFAULT) for key in keys
    )


def seal(deks: Iterable[Dek], *, dataset_uid: str, audience: str, reader_key: bytes) -> tuple[SealedDek, ...]:
    """Each DEK, sealed to the reader's key for that audience alone."""
    return tuple(
        SealedDek(
            generation=each.generation,
            sensitivity=each.sensitivity,
            sealed=hpke.seal(reader_key, each.dek, hpke.dek_info(dataset_uid, each.generation, audience, each.sensitivity)),
        )
        for each in deks
    )


def open_(sealed: Iterable[SealedDek], *, identity: Identity, dataset_uid: str, audience: str) -> Iterator[Dek]:
    """The DEKs that were sealed to this site's key."""
    for key in sealed:
        info = hpke.dek_info(dataset_uid, key.generation, audience, key.sensitivity)
        yield Dek(key.generation, key.sensitivity, hpke.open_(identity.sealing_private, key.sealed, info))


def sign(identity: Identity, *, grant: str, version: str, manifest_digest: str, keys: Iterable[SealedDek]) -> bytes:
    """This site's word that these sealed keys are those of the version, handed over under the grant."""
    return signing.sign(identity.signing_private, _statement(grant, version, manifest_digest, keys))


def verify(
    signing_key: str, signature: bytes, *, grant: str, version: str, manifest_digest: str, keys: Iterable[SealedDek]
) -> None:
    """Returns when the site with that key said so; DataCorrupt (KEYS_NOT_SIGNED) otherwise."""
    try:
        signing.verify(signing_key, _statement(grant, version, manifest_digest, keys), signature)
    except errors.Unauthenticated:
        raise errors.DataCorrupt(
            f"the keys of {version} are not signed by the site that the plan reads from",
            reason="KEYS_NOT_SIGNED",
            help="Somebody answers in that site's place: check its gateway's address and certificate.",
            metadata={"version": version, "grant": grant},
        ) from None


def _statement(grant: str, version: str, manifest_digest: str, keys: Iterable[SealedDek]) -> bytes:
    ordered = sorted(keys, key=lambda key: (key.generation, key.sensitivity))
    parts = [part for key in ordered for part in (key.generation, key.sensitivity, key.sealed)]
    return canonical.join("fed/rewrap/v2", grant, version, manifest_digest, *parts)

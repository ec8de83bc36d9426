"""HPKE (RFC 9180, base mode): bytes sealed to the holder of a private key. It names no sender; what it carries is signed.

Suite, the only one: MLKEM768-X25519 (HPKE's KEM 0x647a; X-Wing, draft-connolly-cfrg-xwing-kem), HKDF-SHA256, AES-256-GCM: what
is sealed today stays closed to whoever keeps it until there are quantum computers, unless both halves are broken. A private
key is a seed of 32 bytes, expanded by SHAKE256 as X-Wing says; a public one has 1,216: ML-KEM's 1,184, then X25519's 32.
"""

from __future__ import annotations

import hashlib
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from federation.core import errors
from federation.crypto import canonical

PRIVATE = 32
_LATTICE_PUBLIC = 1184
_CURVE_PUBLIC = 32
PUBLIC = _LATTICE_PUBLIC + _CURVE_PUBLIC
_LATTICE_SEED = 64
_SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


def new_pair() -> tuple[bytes, bytes]:
    """A fresh (private, public) pair."""
    private = secrets.token_bytes(PRIVATE)
    return private, public_bytes(private)


def public_bytes(private: bytes) -> bytes:
    """The public key that belongs to a private one."""
    lattice, curve = _halves(private)
    return lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()


def fingerprint(public: bytes) -> str:
    """What a public key is known by where its 1,216 bytes are too many: SHA-256, hex."""
    return hashlib.sha256(public).hexdigest()


def seal(public: bytes, plaintext: bytes, info: bytes) -> bytes:
    """Plaintext that only the holder of the private key opens, and only under the same `info`."""
    try:
        if len(public) != PUBLIC:
            raise ValueError("too long, or too short")
        lattice = MLKEM768PublicKey.from_public_bytes(public[:_LATTICE_PUBLIC])
        curve = X25519PublicKey.from_public_bytes(public[_LATTICE_PUBLIC:])
        return _SUITE.encrypt(plaintext, hpke.MLKEM768X25519PublicKey(lattice, curve), info=info)
    except ValueError:
        # Not so many bytes, not a key of ML-KEM's, or a point of low order, whose shared secret anybody knows.
        raise errors.InvalidArgument(
            "the sealing key is not an MLKEM768-X25519 public key",
            reason="SEALING_KEY_INVALID",
            help="Use one from `new_pair`.",
        ) from None


def open_(private: bytes, sealed: bytes, info: bytes) -> bytes:
    """What was sealed; Unauthenticated (SEAL_INVALID) when it is for another key or another purpose, or was changed."""
    try:
        return _SUITE.decrypt(sealed, hpke.MLKEM768X25519PrivateKey(*_halves(private)), info=info)
    except (InvalidTag, ValueError):
        raise errors.Unauthenticated(
            "the sealed bytes do not open with this key for this purpose", reason="SEAL_INVALID"
        ) from None


def dek_info(dataset_uid: str, generation: str, audience: str, sensitivity: str = "default") -> bytes:
    """What a DEK is sealed for. `audience`: `run:<run>` for a worker, `grant:<grant>` for a person or another gateway."""
    return canonical.join("fed/dek-seal/v1", dataset_uid, generation, sensitivity, audience)


def _halves(private: bytes) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
    if len(private) != PRIVATE:
        raise ValueError("a private key is a seed of 32 bytes")
    seeds = hashlib.shake_256(private).digest(_LATTICE_SEED + _CURVE_PUBLIC)
    lattice = MLKEM768PrivateKey.from_seed_bytes(seeds[:_LATTICE_SEED])
    return lattice, X25519PrivateKey.from_private_bytes(seeds[_LATTICE_SEED:])

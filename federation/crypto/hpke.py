"""HPKE (RFC 9180, base mode): bytes sealed to the holder of a private key. It names no sender; what it carries is signed.

Suite: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. Keys are 32 raw bytes.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from federation.core import errors
from federation.crypto import canonical

_SUITE = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


def new_pair() -> tuple[bytes, bytes]:
    """A fresh (private, public) pair."""
    private = X25519PrivateKey.generate()
    return private.private_bytes_raw(), private.public_key().public_bytes_raw()


def public_bytes(private: bytes) -> bytes:
    """The public key that belongs to a private one."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def seal(public: bytes, plaintext: bytes, info: bytes) -> bytes:
    """Plaintext that only the holder of the private key opens, and only under the same `info`."""
    try:
        return _SUITE.encrypt(plaintext, X25519PublicKey.from_public_bytes(public), info=info)
    except ValueError:
        # Not 32 bytes, or a point of low order, whose shared secret anybody knows.
        raise errors.InvalidArgument(
            "the sealing key is not an X25519 public key",
            reason="SEALING_KEY_INVALID",
            help="Use one from `new_pair`.",
        ) from None


def open_(private: bytes, sealed: bytes, info: bytes) -> bytes:
    """What was sealed; Unauthenticated (SEAL_INVALID) when it is for another key or another purpose, or was changed."""
    try:
        return _SUITE.decrypt(sealed, X25519PrivateKey.from_private_bytes(private), info=info)
    except (InvalidTag, ValueError):
        raise errors.Unauthenticated(
            "the sealed bytes do not open with this key for this purpose", reason="SEAL_INVALID"
        ) from None


def dek_info(dataset_uid: str, generation: str, audience: str) -> bytes:
    """What a DEK is sealed for. `audience`: `run:<run>` for a worker, `grant:<grant>` for a person or another gateway."""
    return canonical.join("fed/dek-seal/v1", dataset_uid, generation, audience)

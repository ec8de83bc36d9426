"""Ed25519 over bytes: who said it. Private keys are 32 raw bytes, public ones hex as they stand in the catalog."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from federation.core import errors

SIGNATURE = 64


def new_private() -> bytes:
    """A fresh private key."""
    return Ed25519PrivateKey.generate().private_bytes_raw()


def public_hex(private: bytes) -> str:
    """The public key that belongs to a private one, hex."""
    return Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw().hex()


def sign(private: bytes, message: bytes) -> bytes:
    """The signature, 64 bytes. `message` begins with what it is for, so that no signature serves another purpose."""
    return Ed25519PrivateKey.from_private_bytes(private).sign(message)


def verify(public_hex: str, message: bytes, signature: bytes) -> None:
    """Returns when the key signed the message; Unauthenticated (SIGNATURE_INVALID) otherwise, also for an unusable key."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_hex)).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise errors.Unauthenticated(
            f"the signature is not by the key {public_hex[:16] or '(none)'}", reason="SIGNATURE_INVALID"
        ) from None

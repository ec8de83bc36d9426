"""Published vectors of every primitive that we use, through the calls that we make; the container's are in test_container.

All are from `cryptography-vectors`: NIST's CAVS for AES-GCM and SHA-2, RFC 5869, 7748 and 9180, Bernstein's of Ed25519, NIST's
ML-KEM, and the IETF's of hybrid HPKE.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import json
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.bindings._rust import openssl
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from federation.core import errors
from federation.crypto import signing

ROOT = importlib.resources.files("cryptography_vectors")
_KEMS = {32: hpke.KEM.X25519, 25722: hpke.KEM.MLKEM768_X25519}
_KDFS = {1: hpke.KDF.HKDF_SHA256}
_AEADS = {1: hpke.AEAD.AES_128_GCM, 2: hpke.AEAD.AES_256_GCM, 3: hpke.AEAD.CHACHA20_POLY1305}


def lines(path: str) -> list[str]:
    """A file of vectors."""
    return (ROOT / path).read_text().splitlines()


def blocks(path: str, first: str) -> Iterator[dict[str, str]]:
    """Blocks of `name = value`, each beginning with the name `first`; a word alone is a name without a value."""
    block: dict[str, str] = {}
    for line in lines(path):
        if not line or line[0] in "#[":
            continue
        name, _, value = (part.strip() for part in line.partition("="))
        if name == first and block:
            yield block
            block = {}
        block[name] = value
    if block:
        yield block


def test_aes_256_gcm_opens_what_is_good_and_refuses_what_is_not():
    """All of NIST's with the nonce and the tag that we use: 12 and 16 bytes."""
    opened = refused = 0
    for vector in blocks("ciphers/AES/GCM/gcmDecrypt256.rsp", "Count"):
        key, nonce, sealed, aad, tag = (bytes.fromhex(vector[name]) for name in ("Key", "IV", "CT", "AAD", "Tag"))
        if (len(nonce), len(tag)) != (12, 16):
            continue
        if "FAIL" in vector:
            refused += 1
            with pytest.raises(InvalidTag):
                AESGCM(key).decrypt(nonce, sealed + tag, aad)
        else:
            opened += 1
            plain = bytes.fromhex(vector["PT"])
            assert AESGCM(key).decrypt(nonce, sealed + tag, aad) == plain
            assert AESGCM(key).encrypt(nonce, plain, aad) == sealed + tag
    assert opened > 150
    assert refused > 100


def test_ed25519_signs_and_verifies_as_its_author_says():
    """By our own `sign` and `verify`; a flipped bit of the signature is refused each time."""
    rows = lines("asymmetric/Ed25519/sign.input")[::8]
    assert len(rows) > 100
    for row in rows:
        private, public, message, signed = (bytes.fromhex(part) for part in row.split(":")[:4])
        signature = signed[: signing.SIGNATURE]
        assert signing.public_hex(private[:32]) == public.hex()
        assert signing.sign(private[:32], message) == signature
        signing.verify(public.hex(), message, signature)
        with pytest.raises(errors.Unauthenticated):
            signing.verify(public.hex(), message, signature[:-1] + bytes([signature[-1] ^ 1]))


def test_x25519_agrees_with_rfc_7748():
    """Both of the RFC's, and its thousand iterations."""
    rows = [row for row in blocks("asymmetric/X25519/rfc7748.txt", "COUNT") if "INPUT_SCALAR" in row]
    for row in rows[:2]:
        scalar, point = (bytes.fromhex(row[name]) for name in ("INPUT_SCALAR", "INPUT_U"))
        shared = X25519PrivateKey.from_private_bytes(scalar).exchange(X25519PublicKey.from_public_bytes(point))
        assert shared.hex() == row["OUTPUT_U"]
    # RFC 7748, 5.2: begin with 9 as both, and exchange again and again.
    k = u = (9).to_bytes(32, "little")
    for _ in range(1000):
        k, u = X25519PrivateKey.from_private_bytes(k).exchange(X25519PublicKey.from_public_bytes(u)), k
    assert k.hex() == "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"


def test_hkdf_agrees_with_rfc_5869():
    """With SHA-256, of short and long inputs and of none."""
    rows = list(blocks("KDF/rfc-5869-HKDF-SHA256.txt", "COUNT"))
    assert len(rows) == 3
    for row in rows:
        ikm, salt, info = (bytes.fromhex(row[name]) for name in ("IKM", "salt", "info"))
        derived = HKDF(hashes.SHA256(), int(row["L"]), salt, info).derive(ikm)
        assert derived.hex() == row["OKM"]


@pytest.mark.parametrize(("name", "size"), [("sha256", 256), ("sha512", 512)])
def test_sha2_agrees_with_nist(name: str, size: int):
    """Every length up to two blocks, of the function that names manifests and binds rows, and of the container's."""
    count = 0
    for row in blocks(f"hashes/SHA2/SHA{size}ShortMsg.rsp", "Len"):
        message = bytes.fromhex(row["Msg"])[: int(row["Len"]) // 8]
        assert hashlib.new(name, message).hexdigest() == row["MD"]
        count += 1
    assert count > 60


def test_ml_kem_768_opens_what_nist_encapsulated():
    """The half of the hybrid that no quantum computer is known to break: a seed gives the key, the key gives the secret."""
    count = 0
    for row in blocks("asymmetric/MLKEM/kat_MLKEM_768.rsp", "count"):
        private = MLKEM768PrivateKey.from_seed_bytes(bytes.fromhex(row["d"] + row["z"]))
        assert private.public_key().public_bytes_raw().hex() == row["pk"].lower()
        assert private.decapsulate(bytes.fromhex(row["ct"])).hex() == row["ss"].lower()
        count += 1
    assert count >= 20


def hpke_vectors() -> list[dict[str, Any]]:
    """Base mode, with the KEMs that are or were ours."""
    found = json.loads((ROOT / "HPKE/test-vectors.json").read_text())
    found += json.loads((ROOT / "HPKE/hpke-pq-test-vectors.json").read_text())
    return [
        row
        for row in found
        if row["mode"] == 0 and row["kem_id"] in _KEMS and row["kdf_id"] in _KDFS and row["aead_id"] in _AEADS
    ]


def recipient(row: dict[str, Any]) -> Any:
    """The private key of a vector. A hybrid's is a seed, expanded as X-Wing (draft-connolly-cfrg-xwing-kem) says."""
    private = bytes.fromhex(row["skRm"])
    if row["kem_id"] == 32:
        return X25519PrivateKey.from_private_bytes(private)
    expanded = hashlib.shake_256(private).digest(96)
    lattice, curve = MLKEM768PrivateKey.from_seed_bytes(expanded[:64]), X25519PrivateKey.from_private_bytes(expanded[64:])
    return hpke.MLKEM768X25519PrivateKey(lattice, curve)


@pytest.mark.parametrize("row", hpke_vectors(), ids=lambda row: f"{row['kem_id']}-{row['kdf_id']}-{row['aead_id']}")
def test_hpke_opens_what_the_rfc_sealed(row: dict[str, Any]):
    """The first message of each context, which is what a one-shot call seals; another `info` does not open it.

    Every published message has associated data, of which a Suite's own methods know nothing: what they call does.
    """
    suite = hpke.Suite(_KEMS[row["kem_id"]], _KDFS[row["kdf_id"]], _AEADS[row["aead_id"]])
    first, info = row["encryptions"][0], bytes.fromhex(row["info"])
    sealed = bytes.fromhex(row["enc"] + first["ct"])
    opened = openssl.hpke._decrypt_with_aad(suite, sealed, recipient(row), info=info, aad=bytes.fromhex(first["aad"]))
    assert opened.hex() == first["pt"]
    with pytest.raises(InvalidTag):
        openssl.hpke._decrypt_with_aad(suite, sealed, recipient(row), info=info + b"x", aad=bytes.fromhex(first["aad"]))


def test_both_kems_have_their_vectors():
    """A package that had lost them would let the test above pass on nothing."""
    assert {row["kem_id"] for row in hpke_vectors()} == set(_KEMS)

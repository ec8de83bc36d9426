"""Signatures, sealed bytes, tags, secrets and the names of things in a store: the small parts."""

from __future__ import annotations

import hashlib
import pickle
import re

import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from federation.core import errors
from federation.crypto import canonical, hpke, layout, secrets, signing, tags

GENERATION = "g-" + "0" * 26
OBJECT = "o-" + "1" * 26

parts = st.lists(st.text(max_size=5), max_size=4)


class TestCanonical:
    """One string of bytes for one list of parts."""

    @given(parts, parts)
    def test_two_lists_never_give_the_same_bytes(self, left, right):
        """Where one part ends and the next begins cannot be shifted."""
        assert (canonical.join(*left) == canonical.join(*right)) == (left == right)


class TestCanonicalParts:
    """And back."""

    @given(parts)
    def test_parts_come_back(self, listed):
        """`split` undoes `join`, and refuses what was cut."""
        joined = canonical.join(*listed)
        assert canonical.split(joined) == tuple(part.encode() for part in listed)
        with pytest.raises(ValueError, match="cut"):
            canonical.split(joined + b"\x00\x00\x00\x01")


class TestSigning:
    """Ed25519."""

    def test_a_signature_is_checked(self):
        """It holds for its key and message alone."""
        private = signing.new_private()
        signature = signing.sign(private, b"message")
        signing.verify(signing.public_hex(private), b"message", signature)
        other = signing.public_hex(signing.new_private())
        for public, message, given_signature in (
            (other, b"message", signature),
            (signing.public_hex(private), b"massage", signature),
            (signing.public_hex(private), b"message", signature[:-1] + bytes([signature[-1] ^ 1])),
            (signing.public_hex(private), b"message", b""),
            ("", b"message", signature),
            ("zz", b"message", signature),
        ):
            with pytest.raises(errors.Unauthenticated) as caught:
                signing.verify(public, message, given_signature)
            assert caught.value.reason == "SIGNATURE_INVALID"


class TestHpke:
    """Bytes for one holder and one purpose."""

    def test_what_was_sealed_opens_for_its_holder(self):
        """Each time differently, always to the same."""
        private, public = hpke.new_pair()
        info = hpke.dek_info("d-1", GENERATION, "run:r-1")
        assert hpke.seal(public, b"k" * 32, info) != hpke.seal(public, b"k" * 32, info)
        assert hpke.open_(private, hpke.seal(public, b"k" * 32, info), info) == b"k" * 32
        assert hpke.public_bytes(private) == public

    def test_half_a_key_does_not_open_it(self):
        """Neither ML-KEM's nor X25519's half of a key is enough: with the other half another, nothing opens."""
        seed, other = bytes(32), bytes([1]) * 32
        public, foreign = hpke.public_bytes(seed), hpke.public_bytes(other)
        for mixed in (public[:1184] + foreign[1184:], foreign[:1184] + public[1184:]):
            sealed = hpke.seal(mixed, b"k" * 32, b"info")
            for private in (seed, other):
                with pytest.raises(errors.Unauthenticated):
                    hpke.open_(private, sealed, b"info")

    def test_another_key_or_purpose_does_not_open_it(self):
        """Another dataset, generation, run or grant, a changed byte, or nothing at all."""
        private, public = hpke.new_pair()
        info = hpke.dek_info("d-1", GENERATION, "run:r-1")
        sealed = hpke.seal(public, b"k" * 32, info)
        attempts = [(hpke.new_pair()[0], sealed, info), (private, sealed[:-1], info), (private, b"", info)]
        attempts += [(private, sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :], info) for at in range(len(sealed))]
        for other in (("d-2", GENERATION, "run:r-1"), ("d-1", OBJECT, "run:r-1"), ("d-1", GENERATION, "grant:r-1")):
            attempts.append((private, sealed, hpke.dek_info(*other)))
        for key, given_sealed, given_info in attempts:
            with pytest.raises(errors.Unauthenticated) as caught:
                hpke.open_(key, given_sealed, given_info)
            assert caught.value.reason == "SEAL_INVALID"

    def test_the_key_is_expanded_as_x_wing_says(self):
        """From a seed of 32 bytes, by SHAKE256 (draft-connolly-cfrg-xwing-kem, section 5.2)."""
        expanded = hashlib.shake_256(bytes(32)).digest(96)
        lattice = MLKEM768PrivateKey.from_seed_bytes(expanded[:64]).public_key().public_bytes_raw()
        curve = X25519PrivateKey.from_private_bytes(expanded[64:]).public_key().public_bytes_raw()
        assert hpke.public_bytes(bytes(32)) == lattice + curve
        assert len(lattice + curve) == hpke.PUBLIC
        with pytest.raises(ValueError, match="seed"):
            hpke.public_bytes(bytes(33))

    @pytest.mark.parametrize("public", [b"", b"short", bytes(32), bytes(1215), bytes(1217)])
    def test_an_unusable_public_key_is_refused(self, public):
        """Not so many bytes, or a point to which everybody knows the secret."""
        with pytest.raises(errors.InvalidArgument) as caught:
            hpke.seal(public, b"k" * 32, b"")
        assert caught.value.reason == "SEALING_KEY_INVALID"


class TestTags:
    """Keyed digests of plaintext."""

    def test_a_tag_depends_on_content_and_key_alone(self):
        """Not on how the bytes came; and a tag is no plain digest."""
        one, two, other, foreign = (tags.Tagger(key) for key in (b"k" * 32, b"k" * 32, b"k" * 32, b"l" * 32))
        one.update(b"abc")
        two.update(b"a")
        two.update(memoryview(b"bc"))
        other.update(b"abd")
        foreign.update(b"abc")
        assert one.hexdigest() == two.hexdigest()
        assert len({one.hexdigest(), other.hexdigest(), foreign.hexdigest()}) == 3

    def test_the_tag_does_not_drift(self):
        """A known tag: if it changed, every unchanged file would be written again."""
        tagger = tags.Tagger(bytes(32))
        tagger.update(b"abc")
        assert tagger.hexdigest() == "7eb600dddc05a10046b11e6355d39fa01cd8adb9516e08d19d1925765a58c05c"


class TestSecrets:
    """Values that nobody sees."""

    def test_a_secret_is_not_shown(self):
        """By repr, str, format or pickle, alone or inside something."""
        secret = secrets.Secret(b"hush")
        assert f"{secret} {secret!r} {[secret]}" == "<secret> <secret> [<secret>]"
        assert secret.reveal() == b"hush"
        with pytest.raises(TypeError):
            pickle.dumps(secret)

    def test_secrets_compare(self):
        """By value, and with nothing else."""
        assert secrets.Secret(b"a") == secrets.Secret(b"a")
        assert secrets.Secret(b"a") != secrets.Secret(b"b")
        assert secrets.Secret(b"a") != b"a"
        assert len({secrets.Secret(b"a"), secrets.Secret(b"a")}) == 1

    def test_a_token_is_random_and_known_by_its_prefix(self):
        """43 characters of 32 random bytes; stored is its digest alone."""
        token = secrets.new_token()
        assert re.fullmatch(r"fed_[A-Za-z0-9_-]{43}", token)
        assert secrets.new_token("run").startswith("run_")
        assert token != secrets.new_token()
        assert re.fullmatch(r"[0-9a-f]{64}", secrets.digest(token))


class TestLayout:
    """Keys in a store."""

    def test_a_key_is_taken_apart_as_it_was_built(self):
        """For both kinds."""
        key = layout.object_key("d-1", GENERATION, OBJECT)
        assert key == f"objects/d-1/{GENERATION}/{OBJECT}"
        assert layout.parse(key) == layout.ObjectKey("d-1", GENERATION, OBJECT)
        assert key.startswith(layout.generation_prefix("d-1", GENERATION))
        assert key.startswith(layout.dataset_prefix("d-1"))
        assert layout.parse(layout.manifest_key("ab" * 32)) == layout.ManifestKey("ab" * 32)

    @pytest.mark.parametrize(
        "key",
        [
            "",
            "x",
            "objects/d-1",
            f"objects/../{GENERATION}/{OBJECT}",
            f"objects/d/{GENERATION}/{OBJECT}/x",
            "manifests/AB",
            "probe/x",
        ],
    )
    def test_a_strange_key_is_nothing_of_ours(self, key):
        """So that a check of the store can tell what does not belong there."""
        assert layout.parse(key) is None

    @pytest.mark.parametrize("bad", ["", "..", "g-1", "G-" + "0" * 26, "g-" + "0" * 25 + "/", GENERATION + "\n"])
    def test_a_bad_part_makes_no_key(self, bad):
        """Neither generation, object id nor digest leads elsewhere."""
        for build in (
            lambda: layout.object_key("d-1", bad, OBJECT),
            lambda: layout.object_key("d-1", GENERATION, bad),
            lambda: layout.manifest_key(bad),
            lambda: layout.object_key(bad if not bad.startswith("g-") else "../x", GENERATION, OBJECT),
        ):
            with pytest.raises(errors.InvalidArgument) as caught:
                build()
            assert caught.value.reason == "NAME_INVALID"

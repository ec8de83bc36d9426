"""Every key connector keeps the same promises: one suite, inherited by each. What a file can do wrong comes after it."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.keys.keyfile import FILE
from connectors.keys.local import LocalKeys
from connectors.keys.memory import MemoryKeys
from federation.core import errors
from federation.crypto import hpke, signing

GENERATION = "g-" + "0" * 26
OTHER = "g-" + "1" * 26


class KeySuite:
    """What every `KeyConnector` promises. A subclass gives the fixtures `keys` (site eu-1) and `foreign` (site us-1)."""

    def test_a_generated_key_unwraps_to_itself(self, keys):
        """What was wrapped comes back, and names its generation, dataset, site and KEK."""
        dek, row = keys.generate(GENERATION, "d-1")
        assert len(dek) == 32
        assert keys.unwrap(row) == dek
        assert (row.generation, row.dataset_uid, row.site) == (GENERATION, "d-1", "eu-1")
        assert row.kek

    def test_no_two_keys_are_the_same(self, keys):
        """Neither DEKs nor the wraps of one DEK repeat."""
        assert keys.generate(GENERATION, "d-1")[0] != keys.generate(GENERATION, "d-1")[0]
        dek = b"k" * 32
        assert keys.wrap(dek, GENERATION, "d-1").wrapped != keys.wrap(dek, GENERATION, "d-1").wrapped

    def test_a_key_of_another_site_can_be_wrapped_here(self, keys, foreign):
        """A DEK that another gateway handed over is wrapped anew, and each site opens its own row alone."""
        dek, row = foreign.generate(GENERATION, "d-1")
        ours = keys.wrap(dek, GENERATION, "d-1")
        assert keys.unwrap(ours) == dek
        with pytest.raises(errors.PermissionDenied) as caught:
            keys.unwrap(row)
        assert caught.value.reason == "KEY_NOT_OURS"

    @pytest.mark.parametrize("change", [{"generation": OTHER}, {"dataset_uid": "d-2"}, {"wrapped": ""}, {"wrapped": "?"}])
    def test_a_row_that_was_moved_does_not_open(self, keys, change):
        """A row copied to another dataset or generation, or emptied, is refused."""
        _, row = keys.generate(GENERATION, "d-1")
        with pytest.raises(errors.DataCorrupt) as caught:
            keys.unwrap(dataclasses.replace(row, **change))
        assert caught.value.reason == "KEY_INVALID"

    def test_a_row_that_claims_to_be_ours_does_not_open(self, keys, foreign):
        """Relabelling another site's row changes nothing: neither its KEK nor its place is ours."""
        _, row = foreign.generate(GENERATION, "d-1")
        with pytest.raises(errors.PermissionDenied) as caught:
            keys.unwrap(dataclasses.replace(row, site="eu-1"))
        assert caught.value.reason == "KEY_NOT_OURS"
        _, own = keys.generate(GENERATION, "d-1")
        with pytest.raises(errors.DataCorrupt) as caught:
            keys.unwrap(dataclasses.replace(row, site="eu-1", kek=own.kek))
        assert caught.value.reason == "KEY_INVALID"

    def test_any_flipped_bit_is_refused(self, keys):
        """Each character of a wrapped key counts."""
        _, row = keys.generate(GENERATION, "d-1")

        @given(st.integers(0, len(row.wrapped) - 1), st.sampled_from("ABCxyz019+/="))
        def flipped(at: int, letter: str) -> None:
            wrapped = row.wrapped[:at] + letter + row.wrapped[at + 1 :]
            if wrapped != row.wrapped:
                with pytest.raises(errors.DataCorrupt):
                    keys.unwrap(dataclasses.replace(row, wrapped=wrapped))

        flipped()

    def test_a_dek_has_32_bytes(self, keys):
        """Anything else is refused before it is wrapped."""
        with pytest.raises(errors.InvalidArgument):
            keys.wrap(b"short", GENERATION, "d-1")

    def test_the_site_can_sign_and_be_sealed_to(self, keys, foreign):
        """Signing key and sealing pair work, stay the same, and are the site's own."""
        signature = signing.sign(keys.signing_key(), b"said")
        signing.verify(signing.public_hex(keys.signing_key()), b"said", signature)
        private, public = keys.sealing_pair()
        assert hpke.open_(private, hpke.seal(public, b"dek", b"info"), b"info") == b"dek"
        assert keys.sealing_pair() == (private, public)
        assert keys.signing_key() != foreign.signing_key()
        assert keys.sealing_pair() != foreign.sealing_pair()

    def test_nothing_secret_is_shown(self, keys):
        """Repr and str show no key, in bytes or hex."""
        dek, row = keys.generate(GENERATION, "d-1")
        shown = repr(keys) + str(keys) + repr(vars(keys)) + repr(row)
        for secret in (dek, keys.signing_key(), keys.sealing_pair()[0]):
            assert secret.hex() not in shown
            assert repr(secret) not in shown


def _changed(data: bytes, **changes: str) -> bytes:
    file = json.loads(data)
    return json.dumps(file | {"keyring": file["keyring"] | changes}).encode()


class TestMemoryKeys(KeySuite):
    """Keys in memory."""

    @pytest.fixture
    def keys(self):
        return MemoryKeys("eu-1")

    @pytest.fixture
    def foreign(self):
        return MemoryKeys("us-1")


class TestLocalKeys(KeySuite):
    """Keys in a file."""

    @pytest.fixture
    def keys(self, tmp_path):
        return LocalKeys("eu-1", tmp_path / "keys")

    @pytest.fixture
    def foreign(self, tmp_path):
        return LocalKeys("us-1", tmp_path / "other-keys")

    def test_the_keyring_outlives_its_process(self, keys, tmp_path):
        """A second one on the same folder opens what the first sealed, and signs as the same site."""
        dek, row = keys.generate(GENERATION, "d-1")
        again = LocalKeys("eu-1", tmp_path / "keys")
        assert again.unwrap(row) == dek
        assert again.signing_key() == keys.signing_key()
        assert again.sealing_pair() == keys.sealing_pair()

    def test_only_the_owner_may_read_it(self, keys, tmp_path):
        """Folder 0700, file 0600, and nothing else in the folder."""
        assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "keys" / FILE).stat().st_mode & 0o777 == 0o600
        assert [path.name for path in (tmp_path / "keys").iterdir()] == [FILE]

    @pytest.mark.parametrize(("name", "mode"), [(FILE, 0o640), (FILE, 0o604), ("", 0o770), ("", 0o702)])
    def test_an_exposed_keyring_is_refused(self, keys, tmp_path, name, mode):
        """A file that others can read, or a folder that others can write, is not used any more."""
        (tmp_path / "keys" / name).chmod(mode)
        with pytest.raises(errors.FailedPrecondition) as caught:
            LocalKeys("eu-1", tmp_path / "keys")
        assert caught.value.reason == "KEYRING_EXPOSED"

    def test_another_sites_keyring_is_refused(self, keys, tmp_path):
        """Two sites that share a folder by mistake are told, before one seals with the other's keys."""
        with pytest.raises(errors.FailedPrecondition) as caught:
            LocalKeys("us-1", tmp_path / "keys")
        assert caught.value.reason == "KEYRING_INVALID"
        assert "eu-1" in str(caught.value)

    @pytest.mark.parametrize(
        "damage",
        [
            lambda data: b"",
            lambda data: data[:-20],
            lambda data: b"[]",
            lambda data: data.replace(b'"format": 2', b'"format": 3'),
            lambda data: _changed(data, current="kek-none"),
            lambda data: _changed(data, signing="00"),
        ],
    )
    def test_a_damaged_keyring_is_refused_and_not_replaced(self, keys, tmp_path, damage):
        """It is never overwritten by a fresh one, and the error quotes nothing of it."""
        path, signing_key = tmp_path / "keys" / FILE, keys.signing_key()
        damaged = damage(path.read_bytes())
        path.write_bytes(damaged)
        with pytest.raises(errors.FailedPrecondition) as caught:
            LocalKeys("eu-1", tmp_path / "keys")
        assert caught.value.reason == "KEYRING_INVALID"
        assert signing_key.hex() not in str(caught.value)
        assert caught.value.__cause__ is None
        assert path.read_bytes() == damaged

    def test_a_link_is_no_keyring(self, keys, tmp_path):
        """The file itself has to be there: a link could be turned elsewhere."""
        (tmp_path / "second").mkdir(mode=0o700)
        (tmp_path / "second" / FILE).symlink_to(tmp_path / "keys" / FILE)
        with pytest.raises(errors.FailedPrecondition):
            LocalKeys("eu-1", tmp_path / "second")

    def test_processes_that_begin_at_once_agree(self, tmp_path):
        """Eight threads and two processes make one keyring between them."""
        script = (
            "import sys\nfrom connectors.keys.local import LocalKeys\nfrom federation.crypto import signing\n"
            "print(signing.public_hex(LocalKeys('eu-1', sys.argv[1]).signing_key()))\n"
        )
        command = [sys.executable, "-c", script, str(tmp_path / "keys")]
        processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        with ThreadPoolExecutor(8) as pool:
            found = set(pool.map(lambda _: signing.public_hex(LocalKeys("eu-1", tmp_path / "keys").signing_key()), range(8)))
        found |= {process.communicate(timeout=60)[0].strip() for process in processes}
        assert len(found) == 1
        assert [path.name for path in (tmp_path / "keys").iterdir()] == [FILE]

"""Every key connector keeps the same promises: one suite, inherited by each. What a file can do wrong comes after it."""

from __future__ import annotations

import ctypes
import dataclasses
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import boto3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.keys import passphrases
from connectors.keys.aws import AwsKeys
from connectors.keys.keyfile import FILE
from connectors.keys.local import LocalKeys
from connectors.keys.memory import MemoryKeys
from connectors.keys.vault import VaultKeys
from federation.core import errors
from federation.crypto import hpke, signing
from tests.conformance import s3server
from tests.conformance.s3server import OPTIONS

GENERATION = "g-" + "0" * 26
OTHER = "g-" + "1" * 26
DOOMED = "g-" + "2" * 26
#: A connector to a service is asked over the network for each.
FLIPS = 40


@pytest.fixture(scope="module")
def aws():
    """One AWS for all."""
    with s3server.honest() as endpoint:
        yield endpoint


class KeySuite:
    """What every key connector promises.

    A subclass gives the fixtures `keys` (site eu-1), `foreign` (site us-1) and `again`, which makes the same one anew.
    """

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

    @pytest.mark.invariant("K1")
    def test_a_key_of_another_site_can_be_wrapped_here(self, keys, foreign):
        """A DEK that another gateway handed over is wrapped anew, and each site opens its own row alone."""
        dek, row = foreign.generate(GENERATION, "d-1")
        ours = keys.wrap(dek, GENERATION, "d-1")
        assert keys.unwrap(ours) == dek
        with pytest.raises(errors.PermissionDenied) as caught:
            keys.unwrap(row)
        assert caught.value.reason == "KEY_NOT_OURS"

    @pytest.mark.invariant("K2")
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

        @settings(max_examples=FLIPS)
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

    @pytest.mark.invariant("K2")
    def test_a_key_opens_in_its_class_alone(self, keys):
        """One generation has a DEK for each class, and the row of one class is no row of another."""
        _, plain = keys.generate(GENERATION, "d-1")
        dek, row = keys.generate(GENERATION, "d-1", "pii")
        assert (row.sensitivity, plain.sensitivity) == ("pii", "default")
        assert keys.unwrap(row) == dek
        with pytest.raises(errors.DataCorrupt) as caught:
            keys.unwrap(dataclasses.replace(row, sensitivity="default"))
        assert caught.value.reason == "KEY_INVALID"

    @pytest.mark.invariant("K4")
    def test_a_destroyed_generation_opens_nothing_any_more(self, keys, again):
        """None of its rows, whatever its class, also for a connector made anew; its neighbours and namesakes live on."""
        rows = [keys.generate(DOOMED, "d-9", each)[1] for each in ("default", "pii")]
        dek, other = keys.generate(OTHER, "d-9")
        namesake_dek, namesake = keys.generate(DOOMED, "d-8")
        keys.destroy("d-9", [DOOMED])
        keys.destroy("d-9", [DOOMED])
        for ring in (keys, again(keys)):
            for row in rows:
                with pytest.raises(errors.FailedPrecondition) as caught:
                    ring.unwrap(row)
                assert caught.value.reason == "KEY_DESTROYED"
            assert (ring.unwrap(other), ring.unwrap(namesake)) == (dek, namesake_dek)
            assert DOOMED in ring.status().destroyed

    @pytest.mark.invariant("K4")
    def test_a_destroyed_generation_is_not_begun_anew(self, keys):
        """A DEK that comes late, from another site or an old transfer, is not wrapped for it again."""
        keys.destroy("d-7", [DOOMED])
        for attempt in (lambda: keys.wrap(b"k" * 32, DOOMED, "d-7"), lambda: keys.generate(DOOMED, "d-7", "pii")):
            with pytest.raises(errors.FailedPrecondition) as caught:
                attempt()
            assert caught.value.reason == "KEY_DESTROYED"

    @pytest.mark.invariant("K5")
    def test_a_new_kek_takes_all_rows_over(self, keys, again):
        """Old rows open before and after they were re-wrapped; the old KEK goes, and with it what still names it, alone."""
        dek, row = keys.generate(GENERATION, "d-1")
        left = keys.generate(OTHER, "d-1")[1]
        signing_key, before = keys.signing_key(), keys.status().kek
        after = keys.rotate()
        assert keys.status().kek == after != before
        assert {before, after} <= set(keys.status().keks)
        assert keys.unwrap(row) == dek
        moved = keys.rewrap(row)
        assert (moved.kek, moved.generation, moved.sensitivity) == (after, row.generation, row.sensitivity)
        assert keys.rewrap(moved) == moved
        for old in keys.status().keks:
            if old != after:
                keys.retire(old)
        for ring in (keys, again(keys)):
            assert ring.unwrap(moved) == dek
            assert ring.status().keks == (after,)
            assert ring.signing_key() == signing_key
            with pytest.raises(errors.PermissionDenied) as caught:
                ring.unwrap(left)
            assert caught.value.reason == "KEY_NOT_OURS"

    def test_the_current_kek_is_not_retired(self, keys):
        """Nothing would be sealed any more; one that is gone already is gone."""
        with pytest.raises(errors.FailedPrecondition) as caught:
            keys.retire(keys.status().kek)
        assert caught.value.reason == "KEK_CURRENT"

    def test_a_changed_row_is_not_made_good_by_a_new_kek(self, keys):
        """Re-wrapping refuses what unwrapping does."""
        _, row = keys.generate(GENERATION, "d-1")
        keys.rotate()
        with pytest.raises(errors.DataCorrupt):
            keys.rewrap(dataclasses.replace(row, generation=OTHER))

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

    @pytest.fixture
    def again(self):
        return lambda keys: keys


class TestVaultKeys(KeySuite):
    """Keys with a real OpenBao."""

    @pytest.fixture
    def keys(self, bao, tmp_path):
        return VaultKeys("eu-1", tmp_path / "keys", bao.options(path=f"fed/{tmp_path.name}", key=f"eu-{tmp_path.name}"))

    @pytest.fixture
    def foreign(self, bao, tmp_path):
        return VaultKeys("us-1", tmp_path / "other", bao.options(path=f"fed/us-{tmp_path.name}", key=f"us-{tmp_path.name}"))

    @pytest.fixture
    def again(self, bao, tmp_path):
        options = bao.options(path=f"fed/{tmp_path.name}", key=f"eu-{tmp_path.name}")
        return lambda _: VaultKeys("eu-1", tmp_path / "keys", options)

    @pytest.mark.invariant("K4")
    def test_an_old_copy_of_the_file_opens_nothing(self, keys, again, tmp_path):
        """The key that it was sealed under was destroyed with the change, in Vault, for good."""
        copy = (tmp_path / "keys" / FILE).read_bytes()
        keys.destroy("d-1", [DOOMED])
        (tmp_path / "keys" / FILE).write_bytes(copy)
        with pytest.raises(errors.FailedPrecondition) as caught:
            again(keys)
        assert caught.value.reason == "KEYRING_INVALID"

    def test_vault_keeps_one_version_of_the_files_key(self, keys, bao, tmp_path):
        """Whatever was changed how often."""
        for number in range(3):
            keys.destroy("d-1", [f"g-{number:026d}"])
        found = bao.client().secrets.kv.v2.read_secret_metadata(f"fed/{tmp_path.name}")["data"]["versions"]
        assert [row["destroyed"] for _, row in sorted(found.items(), key=lambda each: int(each[0]))][-1] is False
        assert sum(not row["destroyed"] for row in found.values()) == 1

    def test_a_refused_token_is_told(self, keys, bao, tmp_path):
        """Not as a broken key, and it is read again once it is good."""
        _, row = keys.generate(GENERATION, "d-1")
        own = tmp_path / "token"
        own.write_text("no-such-token", encoding="utf-8")
        options = {**bao.options(path=f"fed/{tmp_path.name}", key=f"eu-{tmp_path.name}"), "token_file": str(own)}
        with pytest.raises(errors.PermissionDenied) as caught:
            VaultKeys("eu-1", tmp_path / "keys", options)
        assert caught.value.reason == "KEYS_DENIED"
        own.write_text(bao.token_file.read_text(encoding="utf-8"), encoding="utf-8")
        ring = VaultKeys("eu-1", tmp_path / "keys", options)
        ring._keks._server._client.token = "ended"
        assert ring.unwrap(row) == keys.unwrap(row)

    def test_a_vault_without_its_mounts_is_told(self, bao, tmp_path):
        """By what is missing, not by an error of its own."""
        for mounts in ({"transit": "nowhere"}, {"kv": "nowhere"}):
            with pytest.raises(errors.FailedPrecondition) as caught:
                VaultKeys("eu-1", tmp_path / "k", bao.options(**mounts))
            assert caught.value.reason == "KEYS_REFUSED"

    def test_a_vault_that_is_away_may_be_asked_again(self, tmp_path):
        """Unavailable, which is retryable, and names where it was looked for."""
        (tmp_path / "token").write_text("x", encoding="utf-8")
        with pytest.raises(errors.Unavailable) as caught:
            VaultKeys("eu-1", tmp_path / "k", {"address": "http://127.0.0.1:9", "token_file": str(tmp_path / "token")})
        assert caught.value.reason == "KEYS_UNAVAILABLE"
        assert "127.0.0.1:9" in str(caught.value)


class TestAwsKeys(KeySuite):
    """Keys with KMS and Parameter Store, by moto's server."""

    @pytest.fixture
    def options(self, aws, tmp_path):
        return lambda site: {
            **OPTIONS,
            "endpoint": aws,
            "alias": f"alias/{site}-{tmp_path.name}",
            "parameters": f"/{site}/{tmp_path.name}",
        }

    @pytest.fixture
    def keys(self, options, tmp_path):
        return AwsKeys("eu-1", tmp_path / "keys", options("eu-1"))

    @pytest.fixture
    def foreign(self, options, tmp_path):
        return AwsKeys("us-1", tmp_path / "other", options("us-1"))

    @pytest.fixture
    def again(self, options, tmp_path):
        return lambda _: AwsKeys("eu-1", tmp_path / "keys", options("eu-1"))

    @pytest.mark.invariant("K4")
    def test_an_old_copy_of_the_file_opens_nothing(self, keys, again, tmp_path):
        """The parameter with its key was deleted with the change."""
        copy = (tmp_path / "keys" / FILE).read_bytes()
        keys.destroy("d-1", [DOOMED])
        (tmp_path / "keys" / FILE).write_bytes(copy)
        with pytest.raises(errors.FailedPrecondition) as caught:
            again(keys)
        assert caught.value.reason == "KEYRING_INVALID"

    def test_an_aws_that_is_away_may_be_asked_again(self, options, tmp_path):
        """Unavailable, which is retryable."""
        with pytest.raises(errors.Unavailable) as caught:
            AwsKeys("eu-1", tmp_path / "k", {**options("eu-1"), "endpoint": "http://127.0.0.1:9"})
        assert caught.value.reason == "KEYS_UNAVAILABLE"

    def test_only_keys_of_one_region_are_made(self, keys, options):
        """A multi-Region key could be copied to where the data may not be."""
        made = options("eu-1")
        kms = boto3.client(
            "kms",
            endpoint_url=made["endpoint"],
            region_name=made["region"],
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        assert kms.describe_key(KeyId=keys.status().kek)["KeyMetadata"]["MultiRegion"] is False


class TestPassphraseKeys(KeySuite):
    """Keys in a file under a passphrase."""

    @pytest.fixture(autouse=True)
    def _cheap(self, monkeypatch):
        # What is tried here does not depend on what a guess costs.
        monkeypatch.setattr(passphrases.Passphrase.__init__, "__defaults__", (2**4,))

    @pytest.fixture
    def options(self, tmp_path):
        path = tmp_path / "passphrase"
        path.touch(0o600)
        path.write_text("correct horse battery\n", encoding="utf-8")
        return {"passphrase_file": str(path)}

    @pytest.fixture
    def keys(self, options, tmp_path):
        return LocalKeys("eu-1", tmp_path / "keys", options)

    @pytest.fixture
    def foreign(self, options, tmp_path):
        return LocalKeys("us-1", tmp_path / "other", options)

    @pytest.fixture
    def again(self, options, tmp_path):
        return lambda _: LocalKeys("eu-1", tmp_path / "keys", options)

    def test_the_file_shows_nothing(self, keys, tmp_path):
        """No key, no name of one, and no tree."""
        text = (tmp_path / "keys" / FILE).read_text(encoding="utf-8")
        assert keys.signing_key().hex() not in text
        assert keys.status().kek not in text
        assert '"tree"' not in text

    def test_another_passphrase_opens_nothing(self, keys, options, tmp_path):
        """And neither does none at all, nor a file that others can read."""
        path = tmp_path / "passphrase"
        for change, reason in (
            (lambda: path.write_text("another horse", encoding="utf-8"), "KEYRING_INVALID"),
            (lambda: path.chmod(0o640), "PASSPHRASE_UNUSABLE"),
            (path.unlink, "PASSPHRASE_UNUSABLE"),
        ):
            change()
            with pytest.raises(errors.FailedPrecondition) as caught:
                LocalKeys("eu-1", tmp_path / "keys", options)
            assert caught.value.reason == reason
        with pytest.raises(errors.FailedPrecondition) as caught:
            LocalKeys("eu-1", tmp_path / "keys")
        assert caught.value.reason == "KEYRING_INVALID"

    def test_a_descriptor_gives_it_once(self, keys, tmp_path):
        """So that no path names it; it is closed once it was read."""
        read, write = os.pipe()
        os.write(write, b"correct horse battery")
        os.close(write)
        ring = LocalKeys("eu-1", tmp_path / "keys", {"passphrase_fd": str(read)})
        assert ring.signing_key() == keys.signing_key()
        with pytest.raises(OSError):
            os.fstat(read)

    def test_the_kernel_gives_it(self, keys, tmp_path):
        """From a keyring of this process, where the system lets us have one."""
        libc = ctypes.CDLL(None, use_errno=True)
        add_key = {"x86_64": 248, "aarch64": 217}.get(os.uname().machine)
        secret, process_keyring = b"correct horse battery", -2
        if add_key is None or libc.syscall(add_key, b"user", b"fed:test", secret, len(secret), process_keyring) < 0:
            pytest.skip("this system lets no process have a kernel keyring")
        ring = LocalKeys("eu-1", tmp_path / "keys", {"passphrase_key": "fed:test"})
        assert ring.signing_key() == keys.signing_key()
        with pytest.raises(errors.FailedPrecondition) as caught:
            LocalKeys("eu-1", tmp_path / "keys", {"passphrase_key": "fed:none"})
        assert caught.value.reason == "PASSPHRASE_UNUSABLE"


class TestLocalKeys(KeySuite):
    """Keys in a file."""

    @pytest.fixture
    def keys(self, tmp_path):
        return LocalKeys("eu-1", tmp_path / "keys")

    @pytest.fixture
    def foreign(self, tmp_path):
        return LocalKeys("us-1", tmp_path / "other-keys")

    @pytest.fixture
    def again(self, tmp_path):
        return lambda _: LocalKeys("eu-1", tmp_path / "keys")

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

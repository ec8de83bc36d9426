"""Keyrings that are lost and come back: from a backup and a mirror, and never with what was erased in between."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from connectors.keys import keyfile, passphrases
from connectors.keys.keyfile import FILE, MIRROR
from connectors.keys.local import LocalKeys
from connectors.keys.vault import VaultKeys
from federation.core import errors

DOOMED, KEPT = "g-" + "0" * 26, "g-" + "1" * 26


@pytest.fixture(autouse=True)
def _cheap(monkeypatch):
    # What is tried here does not depend on what a guess costs.
    monkeypatch.setattr(passphrases.Passphrase.__init__, "__defaults__", (2**4,))


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a site's keyring, its mirror and the passphrase of its backups are."""

    root: Path

    @property
    def folder(self) -> Path:
        return self.root / "keys"

    @property
    def passphrase(self) -> Path:
        return self.root / "passphrase"

    @property
    def options(self) -> dict[str, str]:
        return {"mirror": str(self.root / "mirror")}

    def keys(self) -> LocalKeys:
        return LocalKeys("eu-1", self.folder, self.options)

    def restore(self, backup: bytes, *, forget: bool = False, mirror: bool = True, site: str = "eu-1") -> LocalKeys:
        LocalKeys.restore(site, self.folder, self.options if mirror else {}, backup, self.passphrase, forget=forget)
        return self.keys()


@pytest.fixture
def place(tmp_path):
    """A place with a passphrase for backups."""
    made = Place(root=tmp_path)
    made.passphrase.touch(0o600)
    made.passphrase.write_text("a backup's own passphrase", encoding="utf-8")
    return made


def refused(call) -> str:
    """The reason with which a call is refused."""
    with pytest.raises(errors.FederationError) as caught:
        call()
    return caught.value.reason


@pytest.mark.invariant("K4")
def test_an_old_backup_does_not_revive_what_was_erased_after_it(place):
    """With its mirror it opens all that lives, signs as the same site, and keeps closed what was erased since."""
    keys = place.keys()
    dek, kept = keys.generate(KEPT, "d-1")
    _, doomed = keys.generate(DOOMED, "d-1")
    backup, signing_key = keys.back_up(place.passphrase), keys.signing_key()
    keys.destroy("d-1", [DOOMED])
    shutil.rmtree(place.folder)
    restored = place.restore(backup)
    assert restored.unwrap(kept) == dek
    assert restored.signing_key() == signing_key
    assert refused(lambda: restored.unwrap(doomed)) == "KEY_DESTROYED"
    assert restored.status().destroyed == (DOOMED,)


@pytest.mark.invariant("K4")
def test_a_backup_holds_nothing_that_can_be_erased(place):
    """Opened by its owner, it has no tree, so that no copy of it is ever in the way of an erasure."""
    keys = place.keys()
    _, row = keys.generate(DOOMED, "d-1")
    backup = keys.back_up(place.passphrase)
    opened = json.loads(passphrases.of_path(place.passphrase).open(json.loads(backup), keyfile.place("eu-1", keyfile.BACKUP)))
    assert set(opened) == {"current", "keks", "signing", "sealing", "destroyed"}
    shutil.rmtree(place.root / "mirror")
    shutil.rmtree(place.folder)
    assert refused(lambda: place.restore(backup)) == "MIRROR_MISSING"
    forgotten = place.restore(backup, forget=True)
    assert refused(lambda: forgotten.unwrap(row)) == "KEY_INVALID"
    assert forgotten.unwrap(forgotten.generate(KEPT, "d-1")[1])


@pytest.mark.invariant("K4")
def test_a_mirror_that_missed_an_erasure_is_told_by_the_backup(place):
    """An old copy of the mirror beside a newer backup: what the backup knows to be erased is erased there too."""
    keys = place.keys()
    _, doomed = keys.generate(DOOMED, "d-1")
    old = (place.root / "mirror" / MIRROR).read_bytes()
    keys.destroy("d-1", [DOOMED])
    backup = keys.back_up(place.passphrase)
    shutil.rmtree(place.folder)
    (place.root / "mirror" / MIRROR).write_bytes(old)
    restored = place.restore(backup)
    assert refused(lambda: restored.unwrap(doomed)) == "KEY_DESTROYED"
    assert old != (place.root / "mirror" / MIRROR).read_bytes()


@pytest.mark.invariant("K4")
@pytest.mark.parametrize("file", ["keys/" + FILE, "mirror/" + MIRROR])
def test_a_crash_between_mirror_and_keyring_is_made_good(place, file):
    """Whichever of the two kept its old state, the next start erases there as well."""
    keys = place.keys()
    _, doomed = keys.generate(DOOMED, "d-1")
    old = (place.root / file).read_bytes()
    keys.destroy("d-1", [DOOMED])
    (place.root / file).write_bytes(old)
    assert refused(lambda: place.keys().unwrap(doomed)) == "KEY_DESTROYED"
    for each in ("keys/" + FILE, "mirror/" + MIRROR):
        assert DOOMED in (place.root / each).read_text(encoding="utf-8")


def test_an_erasure_that_does_not_reach_the_mirror_is_none(place):
    """It fails, to be tried again: what is done has reached both."""
    keys = place.keys()
    shutil.rmtree(place.root / "mirror")
    (place.root / "mirror").write_text("no folder any more", encoding="utf-8")
    assert refused(lambda: keys.destroy("d-1", [DOOMED])) == "KEYRING_INVALID"
    assert keys.status().destroyed == ()
    (place.root / "mirror").unlink()
    keys.destroy("d-1", [DOOMED])
    assert keys.status().destroyed == (DOOMED,)


def test_a_lost_keyring_is_not_begun_anew_beside_its_mirror(place):
    """A site that lost its keyring says so, and seals nothing under fresh keys in the meantime."""
    place.keys()
    shutil.rmtree(place.folder)
    assert refused(place.keys) == "KEYRING_INVALID"


def test_a_restore_overwrites_nothing_and_takes_its_own_backup_alone(place):
    """Not over a keyring that is there, not another site's, not a changed one, not under another passphrase."""
    backup = place.keys().back_up(place.passphrase)
    assert refused(lambda: place.restore(backup)) == "KEYRING_THERE"
    shutil.rmtree(place.folder)
    assert refused(lambda: place.restore(backup, site="us-1")) == "BACKUP_INVALID"
    assert refused(lambda: place.restore(backup.replace(b'"sealed": "', b'"sealed": "A'))) == "BACKUP_INVALID"
    assert refused(lambda: place.restore(b"[]")) == "BACKUP_INVALID"
    place.passphrase.write_text("another passphrase", encoding="utf-8")
    assert refused(lambda: place.restore(backup)) == "BACKUP_INVALID"


def test_options_are_checked(place):
    """One that is not known, and two passphrases, are refused by name."""
    for options in ({"miror": "x"}, {"passphrase_file": "a", "passphrase_fd": "3"}):
        assert refused(lambda options=options: LocalKeys("eu-1", place.folder, options)) == "CONFIG_INVALID"


@pytest.mark.invariant("K4")
def test_a_keyring_of_vault_comes_back_too(bao, tmp_path):
    """Its file was lost; with backup and mirror it opens what lives, and keeps closed what was erased after the backup."""
    options = bao.options(path="fed/lost", key="fed-lost", mirror=str(tmp_path / "mirror"))
    passphrase = Place(root=tmp_path).passphrase
    passphrase.touch(0o600)
    passphrase.write_text("a backup's own passphrase", encoding="utf-8")
    keys = VaultKeys("eu-1", tmp_path / "keys", options)
    dek, kept = keys.generate(KEPT, "d-1")
    _, doomed = keys.generate(DOOMED, "d-1")
    backup, signing_key = keys.back_up(passphrase), keys.signing_key()
    keys.destroy("d-1", [DOOMED])
    shutil.rmtree(tmp_path / "keys")
    VaultKeys.restore("eu-1", tmp_path / "keys", options, backup, passphrase)
    restored = VaultKeys("eu-1", tmp_path / "keys", options)
    assert restored.unwrap(kept) == dek
    assert restored.signing_key() == signing_key
    assert refused(lambda: restored.unwrap(doomed)) == "KEY_DESTROYED"

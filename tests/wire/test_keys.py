"""`fed key` at the command line, and the backup of a keyring where it lies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from connectors.keys import passphrases
from federation import config
from federation.cli import exits
from federation.core import errors
from tests.wire import edge as edges
from tests.wire.typing_fed import Fed, typing

FEDERATION = """
federation: demo
sites:
  - site: eu-1
    region: aws:eu-central-1
    jurisdiction: EU
    gateway: 127.0.0.1:7443
    keys: {folder: keys, mirror: mirror}
"""


@pytest.fixture
def fed(edge: edges.Edge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fed:
    """Runs a command line of `fed` against the server, as its administrator."""
    monkeypatch.chdir(tmp_path)
    return typing(edge, monkeypatch, tmp_path)


def test_rotations_and_escrows_are_asked_for(fed: Fed, tmp_path: Path) -> None:
    """Each is stored for the site's agent to do; a custodian's key is in a file of theirs alone, and never written over."""
    assert json.loads(fed("key", "rotate", "--site", "eu-1", "-o", "json").stdout)["wanted"] == 1
    assert json.loads(fed("key", "rotate", "--site", "eu-1", "-o", "json").stdout)["wanted"] == 1
    fed("key", "rotate", "--site", "eu-1", "--dek")
    shown = json.loads(fed("key", "status", "--site", "eu-1", "-o", "json").stdout)
    assert [(ring["site"], bool(ring["dek_time"])) for ring in shown["keyrings"]] == [("eu-1", True)]
    assert "under way" in fed("key", "status").stdout
    for name in ("ada", "bob"):
        fed("key", "escrow", "keygen", f"{name}.key")
        assert (tmp_path / f"{name}.key").stat().st_mode & 0o077 == 0
    fed("key", "escrow", "keygen", "ada.key", code=exits.CONFLICT)
    guards = ("--custodian", "ada=ada.key.pub", "--custodian", "bob=bob.key.pub")
    fed("key", "escrow", "create", "eu-back", "--site", "eu-1", *guards)
    assert "ada, bob" in fed("key", "escrow", "list").stdout
    fed("key", "escrow", "create", "one", "--site", "eu-1", *guards[:2], code=exits.USAGE)
    fed("key", "escrow", "request", "eu-back", "--reason", "too soon", code=exits.ERROR)
    assert json.loads(fed("key", "escrow", "openings", "-o", "json").stdout) == []


def test_a_keyring_is_backed_up_and_restored_where_it_lies(fed: Fed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the federation file alone; with its mirror it is what it was, and a passphrase that others can read is refused."""
    # What is tried here does not depend on what a guess costs.
    monkeypatch.setattr(passphrases.Passphrase.__init__, "__defaults__", (2**4,))
    (tmp_path / "fed.yaml").write_text(FEDERATION, encoding="utf-8")
    passphrase = tmp_path / "passphrase"
    passphrase.touch(0o600)
    passphrase.write_text("a backup's own passphrase", encoding="utf-8")
    where = ("--config", "fed.yaml", "--site", "eu-1", "--state", "state", "--passphrase-file", passphrase)
    fed("key", "backup", "eu-1.backup", *where)
    before = json.loads((tmp_path / "keys" / "keyring.json").read_bytes())
    assert (tmp_path / "eu-1.backup").stat().st_mode & 0o077 == 0
    fed("key", "restore", "eu-1.backup", *where, code=exits.ERROR)
    (tmp_path / "keys" / "keyring.json").unlink()
    fed("key", "restore", "eu-1.backup", *where)
    assert json.loads((tmp_path / "keys" / "keyring.json").read_bytes()) == before
    passphrase.chmod(0o644)
    fed("key", "backup", "again.backup", *where, code=exits.ERROR)


def test_settings_of_connectors_are_read(tmp_path: Path) -> None:
    """Paths are from the file's folder, options go to the connector, and a secret in the file is refused."""
    from federation import config

    def keys(line: str) -> config.KeysSettings:
        path = tmp_path / "fed.yaml"
        path.write_text(FEDERATION.replace("{folder: keys, mirror: mirror}", line), encoding="utf-8")
        return config.agent(config.federation_file(path), "eu-1", tmp_path / "state").keys

    found = keys("{kind: vault, address: 'https://vault:8200', token_file: token, mirror: m}")
    assert (found.kind, found.folder) == ("vault", tmp_path / "state" / "sites" / "eu-1" / "keys")
    assert dict(found.options) == {
        "address": "https://vault:8200",
        "token_file": str(tmp_path / "token"),
        "mirror": str(tmp_path / "m"),
    }
    assert "vault:8200" not in repr(found)
    for line in ("{passphrase: hush}", "{kind: vault, token: hush}", "{kind: aws, secret: hush}"):
        with pytest.raises(errors.InvalidArgument) as caught:
            keys(line)
        assert caught.value.reason == "CONFIG_INVALID"
        assert "hush" not in str(caught.value)

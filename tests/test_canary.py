"""The hunt for keys finds what it must find, in every form and place, and fails the session that left it there."""

from __future__ import annotations

import base64
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from connectors.keys.local import LocalKeys
from connectors.keys.memory import MemoryKeys
from tests import canary

KEY = bytes(range(7, 39))


def found(folder: Path, **texts: bytes) -> list[str]:
    """What a hunt finds of one key."""
    known = canary.Known()
    known.add(KEY, "DEK of g-1")
    return canary.hunt(known, [folder], texts)


@pytest.mark.invariant("L3")
@pytest.mark.parametrize("before", [b"", b"x", b"xy", b"xyz"])
@pytest.mark.parametrize("form", ["raw", "hex", "HEX", "base64", "urlsafe", "base64 in a longer text"])
def test_a_key_is_found_in_each_form(tmp_path: Path, form: str, before: bytes) -> None:
    """Wherever it stands in a file, and in what a test has printed."""
    text = {
        "raw": KEY,
        "hex": KEY.hex().encode(),
        "HEX": KEY.hex().upper().encode(),
        "base64": base64.b64encode(KEY),
        "urlsafe": base64.urlsafe_b64encode(KEY),
        "base64 in a longer text": base64.b64encode(before + KEY + b"more"),
    }[form]
    gap = b"" if "longer" in form else before + b" "
    (tmp_path / "agent.log").write_bytes(b"line\n" + gap + text + b"\nmore")
    assert len(found(tmp_path)) == 1
    assert len(found(tmp_path / "none", printed=gap + text)) == 1


@pytest.mark.invariant("L3")
def test_a_key_is_found_in_databases_tables_and_command_lines(tmp_path: Path) -> None:
    """Compressed columns of Parquet too; a token or ticket in a log, a database or a command line as well."""
    with sqlite3.connect(tmp_path / "catalog2.db") as database:
        database.execute("CREATE TABLE t (body TEXT)")
        database.execute("INSERT INTO t VALUES (?)", (KEY.hex(),))
    database.close()
    pa.parquet.write_table(pa.table({"body": [KEY.hex()] * 1000}), tmp_path / "part.parquet", compression="zstd")
    names = {line.partition(": ")[0] for line in found(tmp_path, **{"command line of process 1": base64.b64encode(KEY)})}
    assert names == {"command line of process 1", str(tmp_path / "catalog2.db"), str(tmp_path / "part.parquet")}
    token = b"fed_" + base64.urlsafe_b64encode(KEY[::-1]).rstrip(b"=")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "server.log").write_bytes(b"Bearer " + token)
    (tmp_path / "x" / "contexts.yaml").write_bytes(token)
    log = tmp_path / "x" / "server.log"
    assert found(tmp_path / "x", **{"environment of process 1": token}) == [f"{log}: a token or ticket"]
    ray = b"setup_worker.py\0--serialized-runtime-env-context={FED_TICKET: %b}\0" % token
    line = "command line of process 2"
    assert found(tmp_path / "x", **{line: ray}) == [f"{log}: a token or ticket"]  # used when the job began
    assert f"{line}: a token or ticket" in found(tmp_path / "x", **{line: ray + token})
    log.unlink()  # the hunt at the end of this very session would find it


def test_keyrings_and_what_is_random_are_left_alone(tmp_path: Path) -> None:
    """A keyring holds keys: its own are known from it, and are not found in it."""
    keys = LocalKeys("eu-1", tmp_path / "keys")
    dek, _ = keys.generate("g-1", "d-1")
    known = canary.Known()
    canary.collect(known, tmp_path)
    assert any("KEK" in what for what in known.keys.values())
    (tmp_path / "noise.bin").write_bytes(os.urandom(1 << 20))
    (tmp_path / "digests.txt").write_text("\n".join(os.urandom(32).hex() for _ in range(1000)))
    assert canary.hunt(known, [tmp_path], {}) == []
    kek = next(key for key, what in known.keys.items() if "KEK" in what)
    (tmp_path / "agent.log").write_text(f"using {kek.hex()}")
    assert canary.hunt(known, [tmp_path], {}) != []
    (tmp_path / "agent.log").unlink()
    assert len(dek) == 32


def test_connectors_of_this_process_tell_their_keys() -> None:
    """Made, opened and wrapped."""
    known = canary.Known()
    restore = canary.recording(known)
    try:
        keys = MemoryKeys("eu-1")
        dek, row = keys.generate("g-1", "d-1")
        assert keys.unwrap(row) == dek
    finally:
        restore()
    assert known.keys == {dek: "DEK of g-1"}


@pytest.mark.invariant("L3")
def test_a_keyring_under_a_passphrase_tells_what_is_in_it_and_what_seals_it(tmp_path: Path) -> None:
    """On disk it tells nothing, so it is asked while it is open; Vault's and KMS's are files of the same kind."""
    known = canary.Known()
    restore = canary.recording(known)
    try:
        (tmp_path / "passphrase").write_text("correct horse")
        (tmp_path / "passphrase").chmod(0o600)
        ring = LocalKeys("eu-1", tmp_path / "keys", {"passphrase_file": str(tmp_path / "passphrase")})
        dek, _ = ring.generate("g-1", "d-1")
        kek = ring.rotate()
    finally:
        restore()
    told = set(known.keys.values())
    assert {"DEK of g-1", f"KEK {kek} of eu-1", "signing key of eu-1", "sealing key of eu-1"} < told
    assert "key of the keyring of eu-1" in told
    assert canary.hunt(known, [tmp_path], {}) == []
    seal = next(key for key, what in known.keys.items() if what == "key of the keyring of eu-1")
    log = tmp_path / "agent.log"
    log.write_bytes(dek + seal)
    assert len(canary.hunt(known, [tmp_path], {})) == 2
    log.unlink()  # the hunt at the end of this very session would find it


PLANTED = """
from tests import canary


def pytest_configure(config):
    config.pluginmanager.register(canary.Canary(), "canary")
"""
CASE = """
from connectors.keys.memory import MemoryKeys


def test_one(tmp_path):
    dek, _ = MemoryKeys("eu-1").generate("g-1", "d-1")
    (tmp_path / "job.log").write_text("opened with " + dek.hex())
"""


def test_a_session_that_leaves_a_key_behind_fails(tmp_path: Path) -> None:
    """Although each of its tests has passed."""
    (tmp_path / "conftest.py").write_text(PLANTED)
    (tmp_path / "test_one.py").write_text(CASE)
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", ".", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(root), "PYTEST_DEBUG_TEMPROOT": str(tmp_path), "PYTEST_ADDOPTS": ""},
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "DEK of g-1, in hex" in done.stdout
    assert "1 passed" in done.stdout

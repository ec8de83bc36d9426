"""Looks, when a test session ends, for keys of it wherever it has written: no key may be outside of a keyring.

Known are the keys that key connectors of this process have made or opened, and those of every keyring and catalog that the
tests have left on disk. They are searched for, raw, in hex and in base64, in what was captured of the tests, in every file
under the session's folder (logs of processes and jobs, Ray's sessions with what was spilled, databases, Delta tables, small
objects), and in command lines and environments of processes as they were seen. Tokens and tickets are known by their form: in a
log, a database, a table or a command line there may be none. What is found fails the session.

It is bounded: so many bytes of a file, so many of all; large objects are skipped, which are ciphertext.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from connectors.keys.keyfile import KeyFile
from connectors.keys.local import LocalKeys
from federation.core import dataset, errors, records
from federation.crypto import wrapping
from federation.crypto.secrets import Secret
from federation.local import procfs
from federation.local.ray_cluster import RayCluster
from tests import guard

FILE_BYTES_MAX = 8 * 1024 * 1024
ALL_BYTES_MAX = 192 * 1024 * 1024
OBJECT_BYTES_MAX = 256 * 1024
CAPTURED_BYTES_MAX = 16 * 1024 * 1024
#: Between two looks at the processes of the session.
LOOK_SECONDS = 5.0
_KEY = 32
_DISTINCT = 12
#: Characters of base64 that are a key's own, wherever it begins.
_WINDOW = 40
#: So many bytes of a form decide whether the rest is compared.
_HEAD = 8
_TABLE_BITS = 24
_TOKEN = re.compile(rb"fed_[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])")
#: What Ray starts a worker with, for as long as its environment is set up: the environment of the submission. A ticket that
#: stands there is good for one exchange; `_of_ray` says the same of Ray's logs.
_RAYS_ENVIRONMENT = re.compile(rb"--serialized-runtime-env-context=[^\0]*")
#: Files that hold keys because that is what they are for.
_KEPT = (b'"keyring"', b'"fed/keyring')
_KEYRINGS = {"keyring.json", "mirror.json"}
_NO_TOKENS = (".log", ".db", ".db-wal", ".parquet")


@dataclass(kw_only=True)
class Known:
    """The keys of a session, by what they are, and the forms that are searched for."""

    keys: dict[bytes, str] = field(default_factory=dict)

    def add(self, key: bytes, what: str) -> None:
        """Takes a key; a value that a test chose and not a generator (few distinct bytes) could be found anywhere."""
        if len(key) == _KEY and len(set(key)) >= _DISTINCT:
            self.keys.setdefault(key, what)

    @functools.cached_property
    def _forms(self) -> dict[bytes, list[tuple[bytes, str]]]:
        """What is searched for, by its first bytes: each key raw, in hex, and in base64 wherever it begins in a longer text."""
        found: dict[bytes, list[tuple[bytes, str]]] = {}
        for key, what in self.keys.items():
            forms = {key: "raw", key.hex().encode(): "in hex", key.hex().upper().encode(): "in hex"}
            for before, skip in ((0, 0), (1, 2), (2, 3)):
                text = base64.b64encode(b"\0" * before + key)[skip : skip + _WINDOW]
                forms |= dict.fromkeys((text, text.replace(b"+", b"-").replace(b"/", b"_")), "in base64")
            for form, how in forms.items():
                found.setdefault(form[:_HEAD], []).append((form, f"{what}, {how}"))
        return found

    @functools.cached_property
    def _table(self) -> np.ndarray[Any, Any]:
        table = np.zeros(1 << _TABLE_BITS, dtype=bool)
        table[_hashed(b"".join(self._forms))[::_HEAD]] = True
        return table

    def forget_forms(self) -> None:
        """After more keys were taken."""
        self.__dict__.pop("_forms", None)
        self.__dict__.pop("_table", None)

    def search(self, data: bytes) -> Iterator[str]:
        """What of it is there."""
        if len(data) < _HEAD or not self.keys:
            return
        for position in np.flatnonzero(self._table[_hashed(data)]):
            for form, what in self._forms.get(data[position : position + _HEAD], ()):
                if data.startswith(form, position):
                    yield what


def _hashed(data: bytes) -> np.ndarray[Any, Any]:
    """For each place of the data a number of `_TABLE_BITS` bits that the next `_HEAD` bytes give (Fibonacci hashing)."""
    padded = np.frombuffer(data, dtype=np.uint8)
    length = len(padded) - _HEAD + 1
    words = np.zeros(length, dtype=np.uint64)
    for offset in range(_HEAD):
        words <<= np.uint64(8)
        words |= padded[offset : offset + length]
    words *= np.uint64(0x9E3779B97F4A7C15)
    words >>= np.uint64(64 - _TABLE_BITS)
    return words


def recording(known: Known) -> Callable[[], None]:
    """Makes every key connector of this process tell its keys; what is returned ends it.

    DEKs of any; and of those with a keyring file (Vault's, KMS's, under a passphrase, plain) what is in it, what seals it.
    """
    made, opened, wrapped = wrapping.Keyring.generate, wrapping.Keyring.unwrap, wrapping.Keyring.wrap

    def generate(self: wrapping.Keyring, *args: Any, **kwargs: Any) -> Any:
        dek, row = made(self, *args, **kwargs)
        known.add(dek, f"DEK of {row.generation}")
        return dek, row

    def unwrap(self: wrapping.Keyring, key: dataset.WrappedKey) -> bytes:
        dek = opened(self, key)
        known.add(dek, f"DEK of {key.generation}")
        return dek

    def wrap(self: wrapping.Keyring, dek: bytes, *args: Any, **kwargs: Any) -> Any:
        row = wrapped(self, dek, *args, **kwargs)
        known.add(dek, f"DEK of {row.generation}")
        return row

    read, written = KeyFile._read, KeyFile._write

    def take_read(self: KeyFile) -> wrapping.Material:
        found = read(self)
        _take(known, found)
        _take_seal(known, self)
        return found

    def take_written(self: KeyFile, material: wrapping.Material) -> None:
        written(self, material)
        _take(known, material)
        _take_seal(known, self)

    KeyFile._read, KeyFile._write = take_read, take_written  # type: ignore[method-assign]
    wrapping.Keyring.generate, wrapping.Keyring.unwrap, wrapping.Keyring.wrap = generate, unwrap, wrap  # type: ignore[method-assign]

    def restore() -> None:
        KeyFile._read, KeyFile._write = read, written  # type: ignore[method-assign]
        wrapping.Keyring.generate, wrapping.Keyring.unwrap, wrapping.Keyring.wrap = made, opened, wrapped  # type: ignore[method-assign]

    return restore


# What the tests have left on disk


def collect(known: Known, root: Path) -> None:
    """Takes the keys of all plain keyrings below a folder, and the DEKs that they open of all catalogs there."""
    rings: dict[str, list[LocalKeys]] = {}
    for path in _files(root):
        if path.name == "keyring.json":
            with contextlib.suppress(errors.FederationError, OSError, ValueError, KeyError, TypeError):
                ring = LocalKeys(_site(path), path.parent)
                rings.setdefault(ring.site, []).append(ring)
                _take(known, ring._store.material())
    for path in _files(root):
        if path.name == "catalog.db":
            with contextlib.suppress(Exception):  # a catalog that a test has damaged is none
                _take_catalog(known, path, rings)
    known.forget_forms()


def _site(path: Path) -> str:
    text = path.read_text()
    found = re.search(r'"site":\s*"([^"]+)"', text)
    return found.group(1) if found else ""


def _take(known: Known, material: wrapping.Material) -> None:
    for name, key in material.keks.items():
        known.add(key.reveal(), f"KEK {name} of {material.site}")
    known.add(material.signing.reveal(), f"signing key of {material.site}")
    known.add(material.sealing.reveal(), f"sealing key of {material.site}")


def _take_seal(known: Known, file: KeyFile) -> None:
    """The key that a keyring file is under: in KV, in Parameter Store, or derived from a passphrase; none of a plain one."""
    protection: Any = file._protection
    derived = getattr(protection, "_keys", {}).values()
    for key in (*derived, getattr(protection, "_key", None)):
        if isinstance(key, Secret):
            known.add(key.reveal(), f"key of the keyring of {file._site}")


def _take_catalog(known: Known, path: Path, rings: Mapping[str, list[LocalKeys]]) -> None:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        bodies = database.execute("SELECT body FROM wrapped_keys LIMIT 1000").fetchall()
    rows = [records.loads(dataset.WrappedKey, body) for (body,) in bodies]
    for row in rows:
        for ring in rings.get(row.site, ()):
            with contextlib.suppress(errors.FederationError):
                known.add(ring.unwrap(row), f"DEK of {row.generation}")


def _files(root: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                yield path


# The hunt


def hunt(known: Known, roots: Iterable[Path], texts: Mapping[str, bytes]) -> list[str]:
    """Where something is that must not be: in a file below the folders, or in a text that was kept, each by its name."""
    found = []
    for name, text in texts.items():
        found += [f"{name}: {what}" for what in dict.fromkeys(known.search(text))]
        if not name.startswith("environment") and _TOKEN.search(_RAYS_ENVIRONMENT.sub(b"", text)):
            found.append(f"{name}: a token or ticket")
    budget = ALL_BYTES_MAX
    for root in roots:
        for path in sorted(_files(root), key=_first):
            if budget <= 0:
                return found
            for data in _contents(path):
                budget -= len(data)
                found += [f"{path}: {what}" for what in dict.fromkeys(known.search(data))]
                if path.name.endswith(_NO_TOKENS) and not _of_ray(path) and _TOKEN.search(data):
                    found.append(f"{path}: a token or ticket")
    return found


def _first(path: Path) -> tuple[bool, str]:
    """Objects of stores come last: they are ciphertext, and many."""
    return "store" in path.parts, str(path)


def _contents(path: Path) -> Iterator[bytes]:
    try:
        size = path.stat().st_size
        if path.name in _KEYRINGS or not size or ("store" in path.parts and size > OBJECT_BYTES_MAX):
            return
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX)
        if any(mark in data[:4096] for mark in _KEPT):
            return
        yield data
        if path.suffix == ".parquet" and data[:4] == b"PAR1" and size <= FILE_BYTES_MAX:
            yield from _columns(path)
    except OSError:  # it went while we looked
        return


def _columns(path: Path) -> Iterator[bytes]:
    """The values of a Parquet file, which lie compressed in it."""
    with contextlib.suppress(pa.ArrowException):
        for column in pa.parquet.read_table(path).flatten().columns:
            for chunk in column.chunks:
                yield b"".join(bytes(buffer) for buffer in chunk.buffers() if buffer is not None)[:FILE_BYTES_MAX]


# The session


class Canary:
    """The plugin: registered by conftest in every process of a session."""

    def __init__(self) -> None:
        self.known = Known()
        self.texts: dict[str, bytes] = {}
        self.findings: list[str] = []
        self._captured = 0
        self._looked = 0.0
        self._restore = recording(self.known)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keeps what a test has printed and logged."""
        text = "".join(part for _, part in report.sections).encode()
        if text and self._captured < CAPTURED_BYTES_MAX:
            self._captured += len(text)
            name = f"output of {report.nodeid}"
            self.texts[name] = self.texts.get(name, b"") + text

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        """Looks at the processes that the tests have started while they live, and at Ray's sessions before they go."""
        folder = _basetemp(item.config)
        if nextitem is None and folder and (rays := list(_rays(folder))):
            collect(self.known, folder)
            self.findings += hunt(self.known, rays, {})
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        for process in procfs.every() if folder else ():
            with contextlib.suppress(OSError):
                if folder and guard._belongs(process.pid, folder):
                    for what in ("cmdline", "environ"):
                        text = Path(f"/proc/{process.pid}/{what}").read_bytes()
                        label = "environment" if what == "environ" else "command line"
                        self.texts[f"{label} of process {process.pid}"] = text

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Hunts; a process of xdist tells the one that began it."""
        self._restore()
        folder = _basetemp(session.config)
        if folder is not None and (self.known.keys or folder.exists()):
            collect(self.known, folder)
            self.findings += hunt(self.known, [folder], self.texts)
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput["canary"] = self.findings
        elif self.findings:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Hears what a process of xdist has found."""
        del error
        self.findings += getattr(node, "workeroutput", {}).get("canary", [])

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Says what was found."""
        if self.findings:
            terminalreporter.section("keys where none may be", red=True)
            for finding in self.findings[:50]:
                terminalreporter.line(finding)


def _rays(base: Path) -> Iterator[Path]:
    """The session folders of Ray clusters that live, wherever they had to lie for their paths to be short."""
    for folder in (base, base.parent):
        for cluster in folder.glob("ray-pair/*/"):
            session = RayCluster._temp_folder(SimpleNamespace(folder=cluster))  # type: ignore[arg-type]
            if session.exists():
                yield session


def _of_ray(path: Path) -> bool:
    """Ray shows a submission's environment in its logs; the ticket there was used when its job began."""
    return any(part == "ray" or part.startswith("fed-ray-") for part in path.parts)


def _basetemp(config: pytest.Config) -> Path | None:
    factory = getattr(config, "_tmp_path_factory", None)
    given = getattr(factory, "_basetemp", None)
    return Path(given) if given else None

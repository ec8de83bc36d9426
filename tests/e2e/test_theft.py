"""A thief's copy of the server: with every byte of it, and all that can be made from those bytes, no data and no key is found.

The DEKs that nobody may find are taken from the keyrings, which the thief does not have.
"""

from __future__ import annotations

import base64
import contextlib
import io
import re
import shutil
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pyarrow.parquet
import pytest

from connectors.keys.local import LocalKeys
from federation import errors
from federation.adapters import catalog_sql, system
from federation.client import Client
from federation.core import dataset, job
from federation.core.grants import Access, Grant
from federation.crypto import container, grants, layout, manifest, wrapping
from federation.wire import data
from federation.wire.gateway import GatewayClient
from tests import localfed

CANARY = b"the canary sings at dawn in the coal mine of Zollverein"
WRITTEN = CANARY[::-1]
SITES = ("eu-1", "us-1")

#: Reads one canary and writes the other, and prints nothing of them; leaves its token where the test alone looks for it.
SCRIPT = """
import federation, os, pathlib, sys
canary = federation.inputs["birds"].open("canary.txt").read()
with federation.outputs["song"].open("song.txt") as file: file.write(canary[::-1])
pathlib.Path(sys.argv[1]).write_text(os.environ["FED_TOKEN"])
print("done")
"""


@dataclass(frozen=True, kw_only=True)
class Loot:
    """The federation, the thief's copy of the server's folder, and what the test alone knows.

    `rest` is a copy of the whole federation's state without stores and keyrings, logs and records of jobs included.
    """

    fed: localfed.LocalFederation
    rest: Path
    copy: Path
    rows: tuple[dataset.WrappedKey, ...]
    deks: tuple[bytes, ...]
    tokens: tuple[str, ...]
    jobs: tuple[job.Job, ...]

    @property
    def secrets(self) -> dict[str, bytes]:
        """What must be found nowhere, by what it is."""
        keys = {f"DEK {number}": dek for number, dek in enumerate(self.deks)}
        tokens = {f"run token {number}": token.encode() for number, token in enumerate(self.tokens)}
        return {"canary": CANARY, "written canary": WRITTEN, **tokens, **keys}


@pytest.fixture(scope="module")
def loot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loot]:
    """Canaries are put, read by a job here and from another region, and written; then the server's folder is copied."""
    folder = tmp_path_factory.mktemp("theft")
    with localfed.running(localfed.LocalFederation(folder=folder / "f")) as fed:
        fed.put("mine/birds", {"canary.txt": CANARY, "many.txt": (CANARY + b"\n") * 5000})
        jobs, tokens = [], []
        for site in SITES:
            told = folder / f"token-{site}"
            asked = {"inputs": {"birds": "mine/birds"}, "outputs": {"song": f"mine/song-{site}"}}
            jobs.append(fed.succeed(fed.submit(SCRIPT, sites=(site,), arguments=(str(told),), **asked).job))
            tokens.append(told.read_text())
            told.unlink()
            fed.settled(jobs[-1].job)
        localfed.until(lambda: _in_tables(fed, jobs), 30, "ledger and lineage in the tables")
        rest = folder / "rest"
        fed.down()  # a copy of a database that is being written is none
        shutil.copytree(fed.state, rest, ignore=shutil.ignore_patterns("store", "keys"))
        fed.up()
        copy = rest / "server"
        rows = tuple(_wrapped(copy / "catalog.db"))
        keys = {site: LocalKeys(site, fed.layout.site(site) / "keys") for site in SITES}
        deks = tuple(keys[row.site].unwrap(row) for row in rows)
        yield Loot(fed=fed, rest=rest, copy=copy, rows=rows, deks=deks, tokens=tuple(tokens), jobs=tuple(jobs))
        assert fed.findings() == []


def _in_tables(fed: localfed.LocalFederation, jobs: list[job.Job]) -> bool:
    """Whether every run is named in the Delta tables."""
    tables = b"".join(_opened(path) for path in _files(fed.layout.server / "tables"))
    return all(one.run.encode() in tables for one in jobs)


def _wrapped(database: Path) -> Iterator[dataset.WrappedKey]:
    """Every wrapped DEK of a catalog, by way of its own adapter."""
    catalog = catalog_sql.SqlCatalog(f"sqlite:///{database}", system.SystemClock(), system.UlidIds())
    try:
        yield from catalog.read(lambda tx: list(tx.list(dataset.WrappedKey, where={}, limit=1000)))
    finally:
        catalog.close()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _opened(path: Path) -> bytes:
    """A file's bytes, and what they hold when they are unpacked: Parquet columns, values of a database."""
    raw = path.read_bytes()
    parts = [raw]
    if path.suffix == ".parquet":
        parts += [str(pyarrow.parquet.read_table(io.BytesIO(raw)).to_pylist()).encode()]
    if raw[:15] == b"SQLite format 3":
        parts += list(_cells(path))
    return b"\n".join(parts)


def _cells(database: Path) -> Iterator[bytes]:
    """Every value of every table, so that nothing hides behind the seams of a database's pages."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for row in connection.execute(f'SELECT * FROM "{table}"'):
                for value in row:
                    cell = value if isinstance(value, bytes) else str(value).encode()
                    yield cell
                    try:
                        yield zlib.decompress(cell)
                    except zlib.error:
                        continue


def _forms(secret: bytes) -> Iterator[bytes]:
    """A secret as it might be written down: raw, hex, base64 at any offset, quoted, or as numbers."""
    yield secret
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for shift in range(3):
            yield encode(bytes(shift) + secret)[4:-4]
    yield repr(secret)[2:-1].encode()
    yield ", ".join(map(str, secret)).encode()


def _found(secrets: dict[str, bytes], files: Iterable[Path]) -> list[tuple[str, str]]:
    """Which secret was found in which file."""
    forms = [(what, form) for what, secret in secrets.items() for form in _forms(secret)]
    found = []
    for path in files:
        content = _opened(path)
        found += [(what, str(path)) for what, form in forms if form in content]
    return found


def test_the_search_would_find_a_secret(loot: Loot, tmp_path: Path):
    """The instrument works: each secret in each form is found where it is, so an empty answer means something."""
    for what, secret in loot.secrets.items():
        for number, form in enumerate(_forms(secret)):
            (file := tmp_path / str(number)).write_bytes(b"xx" + form + b"yy")
            assert (what, str(file)) in _found({what: secret}, [file])
            file.unlink()  # else it is found at the session's end, too
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as database, database:
        database.execute("CREATE TABLE t (v)")
        database.execute("INSERT INTO t VALUES (?)", (zlib.compress(CANARY),))
    assert _found({"canary": CANARY}, [tmp_path / "a.db"])


def test_the_copy_is_the_whole_server(loot: Loot):
    """It has the database with the wrapped keys, the grant key, the administrator's token, and the tables."""
    names = {path.relative_to(loot.copy).as_posix() for path in _files(loot.copy)}
    assert {"catalog.db", "admin.token", "grant.key"} <= names
    assert any(name.startswith("tables/") for name in names)
    assert {row.site for row in loot.rows} == set(SITES)
    assert len(loot.rows) >= 3


@pytest.mark.invariant("K3")
def test_no_plaintext_and_no_key_lies_in_the_copy(loot: Loot):
    """Neither raw nor in any form that something might have written it in, in no file and no value of a database."""
    assert _found(loot.secrets, _files(loot.copy)) == []


def _candidates(loot: Loot) -> set[bytes]:
    """Every 32 bytes of the copy that could be a key: all of small files, of others what is written as hex or base64."""
    found: set[bytes] = set()
    for path in _files(loot.copy):
        content = _opened(path)
        if len(content) <= 4096:
            found.update(_windows(content))
        for text in re.findall(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])", content):
            found.add(bytes.fromhex(text.decode()))
        for text in re.findall(rb"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{43,120}(?![A-Za-z0-9+/_-])", content):
            whole = text[: -1 if len(text) % 4 == 1 else None].translate(_URL_SAFE)
            found.update(_windows(base64.urlsafe_b64decode(whole + b"===")))
    return {key for key in found if len(key) == wrapping.KEK}


_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def _windows(data: bytes) -> Iterator[bytes]:
    return (data[at : at + wrapping.KEK] for at in range(len(data) - wrapping.KEK + 1))


def _unwrap(kek: bytes, row: dataset.WrappedKey) -> bytes:
    """What lies under the KEK of a row: still sealed by its generation's secret, which no copy has either."""
    try:
        return wrapping.open_(kek, base64.b64decode(row.wrapped), wrapping._kek_place(row))
    except ValueError:
        raise errors.DataCorrupt("it does not open", reason="KEY_INVALID") from None


def _opens(attempt: Callable[..., object], *arguments: object) -> bool:
    try:
        attempt(*arguments)
    except errors.DataCorrupt:
        return False
    return True


def test_no_key_in_the_copy_unwraps_a_wrapped_key(loot: Loot):
    """Everything that looks like a key is tried on every row as its KEK."""
    candidates = _candidates(loot)
    assert (loot.copy / "grant.key").read_bytes() in candidates
    assert [row for row in loot.rows for key in candidates if _opens(_unwrap, key, row)] == []


def test_no_key_in_the_copy_opens_an_object(loot: Loot):
    """Nor is any of them a DEK: with a copy of a site's store too, but of no keyring, every object stays shut."""
    candidates = _candidates(loot)
    objects = list(_objects(loot))
    assert len(objects) == 4
    for reader in objects:
        assert any(_opens(reader, dek) for dek in loot.deks)
        assert not any(_opens(reader, key) for key in candidates)


def _objects(loot: Loot) -> Iterator[Callable[[bytes], bytes]]:
    """For each object of each store a function that reads it with a key."""
    for site in SITES:
        store = loot.fed.layout.site(site) / "store"
        for file in _files(store / "manifests"):
            listed = manifest.decode(file.read_bytes())
            yield from (partial(_read, store, listed.dataset_uid, entry) for entry in listed.files)


def _read(store: Path, dataset_uid: str, entry: dataset.FileEntry, key: bytes) -> bytes:
    sealed = (store / layout.object_key(dataset_uid, entry.generation, entry.object_id)).read_bytes()
    return container.RangedReader(
        key,
        container.context(dataset_uid, entry.generation, entry.object_id),
        object_bytes=entry.object_bytes,
        commitment=entry.commitment,
        fetch=lambda offset, length: sealed[offset : offset + length],
    ).read_at(0, entry.file_bytes)


@pytest.mark.invariant("K1")
def test_another_sites_keys_refuse_the_rows(loot: Loot, tmp_path: Path):
    """A keyring opens its own site's rows alone: not another's, not one that was moved, not one of a fresh keyring's site."""
    keys = {site: LocalKeys(site, loot.fed.layout.site(site) / "keys") for site in SITES}
    fresh = LocalKeys("eu-1", tmp_path / "fresh")
    for row in loot.rows:
        (other,) = (keyring for site, keyring in keys.items() if site != row.site)
        for keyring in (other, fresh):
            with pytest.raises(errors.PermissionDenied) as caught:
                keyring.unwrap(row)
            assert caught.value.reason == "KEY_NOT_OURS"


def test_a_grant_that_the_thief_signs_opens_nothing_of_the_copy(loot: Loot):
    """The copy's grant key signs what it likes, and there is nobody in the copy who hands a key out for it.

    A thief who also reaches the gateway that a grant is for reads there as the catalog could: then the grant key must be
    replaced. Any other gateway refuses it.
    """
    row, key = loot.rows[0], (loot.copy / "grant.key").read_bytes()
    now = datetime.now(UTC)
    forged = grants.sign(
        key,
        Grant(
            grant="a-" + "0" * 26,
            access=Access.READ,
            subject="users/thief",
            site=row.site,
            version="mine/birds@1",
            issue_time=now,
            expire_time=now + timedelta(hours=1),
        ),
    )
    assert not any(_opens(_unwrap, part, one) for one in loot.rows for part in (key, *_windows(forged)))
    elsewhere = next(site for site in SITES if site != row.site)
    with loot.fed.client() as client:
        address = client.get_site(elsewhere).gateway
    gateway = GatewayClient(address, loot.fed.layout.ca.read_bytes(), grant=forged)
    with contextlib.closing(gateway), pytest.raises(errors.PermissionDenied) as caught:
        data.open_version(gateway, audience=data.grant_audience(forged))
    assert caught.value.reason == "GRANT_FOREIGN_SITE"  # not GRANT_INVALID: it is the key that the gateways trust


def test_no_secret_lies_in_a_log_or_a_record_of_a_job(loot: Loot):
    """Not in what processes log, not in what jobs print, not in what their compute and their agents keep of them."""
    kept = _files(loot.rest)
    assert any(path.suffix == ".log" for path in kept)
    assert any("jobs" in path.parts for path in kept)
    assert _found(loot.secrets, kept) == []


def test_no_secret_comes_out_of_the_catalog(loot: Loot):
    """Neither from what a job printed, nor from any resource that an administrator can list."""
    with loot.fed.client() as client:
        text = "\n".join(map(repr, _resources(client, loot.jobs))).encode()
        text += b"".join(b"".join(client.logs(one.job)) for one in loot.jobs)
    assert b"done\n" in text
    forms = [(what, form) for what, secret in loot.secrets.items() for form in _forms(secret)]
    assert [what for what, form in forms if form in text] == []


def _resources(client: Client, jobs: Iterable[job.Job]) -> Iterator[object]:
    yield from client.list_namespaces()
    yield from client.list_sites()
    yield from client.list_ledger_entries()
    for one in client.list_datasets():
        yield from (one, *client.list_versions(one.name.short), *client.list_replicas(one.name.short))
    for asked in jobs:
        yield from (client.get_job(asked.job), *client.list_runs(asked.job), client.get_lineage(asked.run))

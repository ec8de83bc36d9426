"""Backup and restore of a server's catalog and record, where it runs: copied while it serves, put back into an empty place.

Tables of the record are copied first and the catalog after them, so the catalog's log has whatever the tables lack, and the
committer of a restored server carries it. The manifest is signed by the catalog's key, and with a passphrase everything is
encrypted, the server's own secrets among it; without one those are left out. Sites' stores and keyrings are not in it:
`fed key backup` keeps the one, replicas at other sites the other.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import pyarrow as pa

from federation import config, ports
from federation.adapters import catalog_rows, catalog_sql, records_copy, sql_copy
from federation.adapters.records_delta import DeltaRecords
from federation.adapters.records_files import Place
from federation.adapters.system import SystemClock, UlidIds
from federation.core import backup, errors, ids, kinds
from federation.core.backup import Backup, CopiedFile, TableCopy
from federation.core.events import TABLES, kinds_of
from federation.core.kinds import CommitterLease
from federation.crypto import archive, container, signing
from federation.services import identity

_PIECE = 1024 * 1024
_GRANT_KEY = "grant.key"
_EVENTS_BYTES_MAX = 64 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What a restore has made of the backup of `create_time`, at `backup_revision`. The catalog goes on after `revision`.

    The record's tables lack `behind_events` of the log, which the next server carries. `unknown` names what tables that were
    kept hold and the catalog no longer knows, and how many rows; `erased` the versions that were erased after the backup, as
    those tables tell: their keys are gone for good, whatever the catalog says. `revoked` are tokens that were taken back after
    it, as they tell as well, and are taken back again.
    """

    create_time: datetime
    backup_revision: int
    revision: int
    behind_events: int
    unknown: tuple[tuple[str, int], ...] = ()
    erased: tuple[str, ...] = ()
    revoked: tuple[str, ...] = ()


def make(settings: config.ServerSettings, target: Path, passphrase: bytes = b"") -> Backup:
    """Makes a backup in a new folder, whole or not at all; AlreadyExists (BACKUP_EXISTS) where something is.

    FailedPrecondition for a database that is not this release's.
    """
    schema = catalog_sql.schema(settings.database_url)
    if target.exists():
        raise errors.AlreadyExists(f"{target} is there already", reason="BACKUP_EXISTS", help="Name a folder that is not.")
    key = config.read_secret_bytes(settings.state_dir / _GRANT_KEY, "grant key")
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True, mode=0o700)
    try:
        made = _Writer(partial, passphrase).write(settings, schema, key)
        partial.rename(target)
        _sync(target.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return made


def read(source: Path) -> Backup:
    """What a backup says of itself, if its signature holds; DataCorrupt (BACKUP_INVALID) otherwise."""
    try:
        data, signature = (source / backup.MANIFEST).read_bytes(), (source / backup.SIGNATURE).read_bytes()
    except OSError as error:
        raise backup.invalid(f"{error.filename} cannot be read: {error.strerror}") from error
    found = backup.parsed(data)
    try:
        signing.verify(found.signing_key, backup.message(data), signature)
    except errors.Unauthenticated as error:
        raise backup.invalid("its manifest was changed after it was signed") from error
    return found


def verify(source: Path, passphrase: bytes = b"") -> Backup:
    """As `read`, with each file's length and digest compared, and the passphrase tried; nothing is written anywhere."""
    found = read(source)
    there = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()}
    for file in found.files:
        if file.path not in there:
            raise backup.invalid(f"{file.path} is missing")
        path = source / file.path
        if path.stat().st_size != file.stored_bytes or _sha256(path) != file.sha256:
            raise backup.invalid(f"{file.path} is not what it was")
    if strangers := there - {file.path for file in found.files} - {backup.MANIFEST, backup.SIGNATURE}:
        raise backup.invalid(f"{min(strangers)} is none of it")
    reader = _Reader(source, found, passphrase)
    for file in found.files[:1]:
        next(reader.pieces(file), None)
    return found


def restore(
    settings: config.ServerSettings, source: Path, passphrase: bytes = b"", *, key: str = "", keep_tables: bool = False
) -> Restored:
    """Puts a backup back: into an empty database, an empty place for tables, and a state folder without other secrets.

    `key` is the public key (hex) that must have signed it; the state folder's own is compared in any case. With `keep_tables`
    the tables that are there stay: they are of the same catalog, and may know more than the backup. Nothing is begun before
    all of it was verified and every place was found empty; what fails later leaves the places to be emptied by hand.
    """
    found = verify(source, passphrase)
    reader, place = _Reader(source, found, passphrase), Place(settings.tables_url, dict(settings.tables_options))
    _check_key(settings, found, key)
    there = records_copy.tables(place)
    if there and not keep_tables:
        raise errors.FailedPrecondition(
            f"there are tables at {settings.tables_url} already: {', '.join(there)}",
            reason="TABLES_NOT_EMPTY",
            help="Name an empty place; or keep them with --keep-tables where they are this catalog's own and newer.",
        )
    catalog_sql.make(settings.database_url)
    if found.schema != catalog_sql.schema(settings.database_url):
        raise backup.invalid(
            f"its tables are of revision {found.schema}: restore it with release {found.release}, then upgrade"
        )
    rows = {file.path: file for file in found.files}
    kept = _positions(settings, there) if keep_tables else {}
    revision = max(found.revision, *kept.values(), 0) + backup.POSITIONS_SKIPPED
    positions = {copy.table: copy.position for copy in found.tables} | kept
    _require_log(found, positions, _batches(reader.pieces(rows[f"{backup.CATALOG}/committer_leases.arrow"])))
    sql_copy.load(
        settings.database_url,
        lambda name: _batches(reader.pieces(rows[f"{backup.CATALOG}/{name}.arrow"])),
        revision=revision,
    )
    if not keep_tables:
        _restore_tables(place, reader, found)
    _restore_state(settings, reader, found)
    told = _told(settings, kept, found.revision)
    revoked = told.get("token.revoked", ())
    with contextlib.closing(catalog_sql.SqlCatalog(settings.database_url, SystemClock(), UlidIds())) as catalog:
        behind = _behind(catalog, positions)
        _begin_again(catalog, found, revoked, tables_kept=keep_tables)
    return Restored(
        create_time=found.create_time,
        backup_revision=found.revision,
        revision=revision,
        behind_events=behind,
        unknown=_unknown(settings, kept, found.revision),
        erased=told.get("version.erased", ()),
        revoked=revoked,
    )


class _Writer:
    """Writes one backup into a folder that is its own."""

    def __init__(self, folder: Path, passphrase: bytes) -> None:
        self._folder = folder
        self._salt = archive.new_salt() if passphrase else b""
        self._key = archive.key_of(passphrase, self._salt, archive.COST) if passphrase else b""
        self._files: list[CopiedFile] = []

    def write(self, settings: config.ServerSettings, schema: str, key: bytes) -> Backup:
        """Tables, then the catalog, then secrets if they are encrypted, then what is signed."""
        where = (settings.tables_url, dict(settings.tables_options))
        place, records = Place(*where), DeltaRecords(*where)
        copies: list[TableCopy] = []
        for table in records_copy.tables(place):
            pinned = records_copy.pin(records, place, table)
            copies.append(pinned.copy)
            for path in pinned.paths:
                self._add(f"{backup.TABLES}/{table}/{path}", records_copy.pieces(place, table, path))
        revision, floor = sql_copy.dump(
            settings.database_url,
            lambda name, batches: self._add(f"{backup.CATALOG}/{name}.arrow", _stream(sql_copy.schema(name), batches)),
        )
        if self._key:
            for path in _secrets(settings):
                self._add(f"{backup.STATE}/{path}", iter([(settings.state_dir / path).read_bytes()]))
        made = Backup(
            release=metadata.version("dataset-federation"),
            schema=schema,
            federation=settings.federation,
            create_time=datetime.now(UTC),
            revision=revision,
            floor=floor,
            tables=tuple(copies),
            files=tuple(self._files),
            signing_key=signing.public_hex(key),
            salt=self._salt.hex(),
            cost=archive.COST if self._salt else 0,
        )
        data = made.to_json()
        self._put(backup.SIGNATURE, iter([signing.sign(key, backup.message(data))]))
        self._put(backup.MANIFEST, iter([data]))
        return made

    def _add(self, path: str, pieces: Iterable[bytes]) -> None:
        if not self._key:
            size, digest = self._put(path, pieces)
            self._files.append(CopiedFile(path=path, bytes=size, stored_bytes=size, sha256=digest))
            return
        sealer = archive.sealer(self._key, path)
        size, digest = self._put(path, _sealed(sealer, pieces))
        self._files.append(
            CopiedFile(path=path, bytes=sealer.file_bytes, stored_bytes=size, sha256=digest, commitment=sealer.commitment)
        )

    def _put(self, path: str, pieces: Iterable[bytes]) -> tuple[int, str]:
        target, size, digest = self._folder / path, 0, hashlib.sha256()
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            for piece in pieces:
                file.write(piece)
                digest.update(piece)
                size += len(piece)
            file.flush()
            os.fsync(file.fileno())
        return size, digest.hexdigest()


class _Reader:
    """Reads the files of one backup."""

    def __init__(self, folder: Path, found: Backup, passphrase: bytes) -> None:
        if found.encrypted and not passphrase:
            raise errors.InvalidArgument(
                "the backup is encrypted", reason="PASSPHRASE_MISSING", help="Name the file of its passphrase."
            )
        self._folder = folder
        self._key = archive.key_of(passphrase, bytes.fromhex(found.salt), found.cost) if found.encrypted else b""

    def pieces(self, file: CopiedFile) -> Iterator[bytes]:
        """A file's own bytes."""
        with (self._folder / file.path).open("rb") as stored:
            if self._key:
                try:
                    yield from archive.opened(
                        self._key, file.path, stored, stored_bytes=file.stored_bytes, commitment=file.commitment
                    )
                except errors.DataCorrupt as error:
                    raise backup.invalid("the passphrase is another one") from error
                return
            while piece := stored.read(_PIECE):
                yield piece


def _sealed(sealer: container.Sealer, pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        yield sealer.update(piece)
    yield sealer.finalize()


def _stream(schema: pa.Schema, batches: sql_copy.Batches) -> Iterator[bytes]:
    """Record batches as an Arrow IPC stream, piece by piece."""
    sink = _Pieces()
    with pa.ipc.new_stream(pa.PythonFile(sink, mode="w"), schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
            yield from sink.taken()
    yield from sink.taken()


class _Pieces:
    """A file that is only written to, and whose content is taken away as it comes."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Has nothing to do."""

    def taken(self) -> list[bytes]:
        """What was written since it was last asked."""
        found, self._pieces = self._pieces, []
        return found


def _batches(pieces: Iterator[bytes]) -> Iterator[pa.RecordBatch]:
    with pa.ipc.open_stream(pa.PythonFile(_Incoming(pieces), mode="r")) as reader:
        yield from reader


class _Incoming:
    """Pieces as a file that is only read."""

    closed = False

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = b""

    def read(self, size: int = -1) -> bytes:
        while size < 0 or len(self._left) < size:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._left += piece
        taken = self._left if size < 0 else self._left[:size]
        self._left = self._left[len(taken) :]
        return taken


def _secrets(settings: config.ServerSettings) -> list[str]:
    """The server's own secrets, by their paths in its state folder: its key, and the tokens that it keeps in files."""
    folder = settings.state_dir
    tokens = sorted(folder.glob("tokens/*.token"))
    return [str(path.relative_to(folder)) for path in (folder / _GRANT_KEY, folder / "admin.token", *tokens) if path.is_file()]


def _check_key(settings: config.ServerSettings, found: Backup, key: str) -> None:
    """The backup is of this federation, as far as anybody here can tell."""
    own = settings.state_dir / _GRANT_KEY
    here = signing.public_hex(config.read_secret_bytes(own, "grant key")) if own.exists() else ""
    for wanted, whose in ((key, "the key that was named"), (here, f"the key in {own}")):
        if wanted and wanted != found.signing_key:
            raise backup.invalid(f"{found.signing_key[:16]}… has signed it, not {whose}")
    if not here and not found.encrypted:
        raise errors.FailedPrecondition(
            f"there is no {own}, and a backup without a passphrase does not have it",
            reason="GRANT_KEY_MISSING",
            help="Put the catalog's key there first: agents know the catalog by it, and it has signed the record's heads.",
        )


def _restore_tables(place: Place, reader: _Reader, found: Backup) -> None:
    """Data before logs: a table that is there is whole."""
    place.prepare()
    prefix = f"{backup.TABLES}/"
    files = [file for file in found.files if file.path.startswith(prefix)]
    for file in sorted(files, key=lambda file: "/_delta_log/" in file.path):
        table, _, path = file.path.removeprefix(prefix).partition("/")
        records_copy.put(place, table, path, reader.pieces(file))


def _restore_state(settings: config.ServerSettings, reader: _Reader, found: Backup) -> None:
    prefix = f"{backup.STATE}/"
    for file in found.files:
        target = settings.state_dir / file.path.removeprefix(prefix)
        if file.path.startswith(prefix) and not target.exists():
            config.write_secret(target, b"".join(reader.pieces(file)))


def _positions(settings: config.ServerSettings, tables: Iterable[str]) -> dict[str, int]:
    records = DeltaRecords(settings.tables_url, dict(settings.tables_options))
    return {table: records.position(table) for table in tables}


def _require_log(found: Backup, positions: Mapping[str, int], leases: Iterator[pa.RecordBatch]) -> None:
    """The restored log has what the tables lack. What lies before it they have if they have all that they once had."""
    for batch in leases:
        for body in batch.column("body").to_pylist():
            lease = catalog_rows.to_value(CommitterLease, body)
            position = positions.get(lease.table, 0)
            if position < min(lease.position, found.floor):
                raise errors.FailedPrecondition(
                    f"{lease.table} is at position {position}, it once held events up to {lease.position}, and the backup's log"
                    f" begins after {found.floor}",
                    reason="TABLES_BEHIND",
                    help="Restore the backup's own tables, into an empty place.",
                )


def _behind(catalog: ports.Catalog, positions: Mapping[str, int]) -> int:
    """How many events of the log wait to be carried to the tables, each to its own."""
    count = 0
    for table in TABLES:
        after = max(positions.get(table, 0), catalog.floor())
        while found := catalog.events(after, bytes_max=_EVENTS_BYTES_MAX, **kinds_of(table)):
            count, after = count + len(found), found[-1].position
    return count


def _unknown(settings: config.ServerSettings, kept: dict[str, int], revision: int) -> tuple[tuple[str, int], ...]:
    """How many rows of which tables tell what happened after the backup."""
    counted = ((table, len(_after(settings, table, revision, "position"))) for table, at in kept.items() if at > revision)
    return tuple((table, count) for table, count in counted if count)


def _begin_again(catalog: ports.Catalog, found: Backup, revoked: Iterable[str], *, tables_kept: bool) -> None:
    """Writes down that the catalog was put back, and takes back again what had been taken back."""
    note = backup.RestoreNote(
        create_time=found.create_time, revision=found.revision, signing_key=found.signing_key, tables_kept=tables_kept
    )

    def work(tx: ports.Transaction) -> None:
        tx.emit("catalog.restored", f"backups/{found.revision}", note)
        for name in revoked:
            if tx.get(kinds.TokenRecord, ids.child(name, "tokens")) is not None:
                identity.revoke_token(tx, identity.ITSELF, name)

    catalog.write(work, actor=identity.SERVER)


def _told(settings: config.ServerSettings, kept: dict[str, int], revision: int) -> dict[str, tuple[str, ...]]:
    """What happened after the backup, by kind, and to what, as tables tell that were kept."""
    if kept.get("audit", 0) <= revision:
        return {}
    names = defaultdict[str, set[str]](set)
    for row in _after(settings, "audit", revision, "kind", "name").to_pylist():
        names[row["kind"]].add(row["name"])
    return {kind: tuple(sorted(found)) for kind, found in names.items()}


def _after(settings: config.ServerSettings, table: str, revision: int, *columns: str) -> pa.Table:
    handle = DeltaRecords(settings.tables_url, dict(settings.tables_options)).table(table)
    return handle.to_pyarrow_table(columns=list(columns), filters=[("position", ">", revision)])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

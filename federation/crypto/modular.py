"""Column classes: Parquet files by Parquet Modular Encryption, each sensitivity class of columns under a DEK of its own.

The DEK of a class is a master key in the words of Parquet. pyarrow makes a fresh key for each column and the footer, wraps
those by a key of the file's writer, and this one is wrapped here, by AES-256-GCM with the master key's name as associated data:

    fed/<dataset uid>/<generation>/<class>          its name, which the file holds; Parquet's settings split at colons
    base64(nonce[12] | ciphertext | tag[16])        as parquet-java's KeyToolkit.encryptKeyLocally has it, so Spark reads it

Whoever lacks a class's DEK reads all other columns; of the closed ones names and types alone. The footer is encrypted and of
class `default`, and so is each column that no class names. pyarrow takes a plaintext file, or another file of the same key,
for the one that was meant: so a file is only opened here once length, magic and SHA-256 are those that its manifest pins. Never
opens a file with a plaintext footer: pyarrow 26 aborts the whole process over one.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe

from federation.core import errors, keys
from federation.crypto import layout, wrapping
from federation.crypto.secrets import Secret

MAGIC = b"PARE"
#: Magic, the length of a footer, and magic again: no file of the format is shorter.
FILE_BYTES_MIN = 12
CLASSES_MAX = 16
_CLASS = re.compile(r"[a-z][a-z0-9-]{0,30}")
_PREFIX = "fed"
_PIECE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class ColumnClass:
    """Columns that are sealed together, under one DEK. A nested column is named by its root."""

    name: str
    columns: tuple[str, ...]


def parse_classes(texts: Sequence[str]) -> tuple[ColumnClass, ...]:
    """Classes as people write them: `pii=email,ssn`, one for each text; InvalidArgument (COLUMN_CLASS_INVALID) for others."""
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, mark, rest = text.partition("=")
        columns = tuple(column.strip() for column in rest.split(","))
        if not mark or not all(columns):
            raise _invalid(text, "it is not written CLASS=COLUMN,COLUMN")
        if name in found:
            raise _invalid(text, f"class {name!r} is there twice")
        found[name] = columns
    return checked(ColumnClass(name=name, columns=columns) for name, columns in found.items())


def checked(classes: Any) -> tuple[ColumnClass, ...]:
    """The classes in order of their names, once each is well-formed and no column has two."""
    ordered = tuple(sorted(classes, key=lambda one: one.name))
    if not 0 < len(ordered) <= CLASSES_MAX:
        raise _invalid(f"{len(ordered)} classes", f"there are 1 to {CLASSES_MAX}")
    owner: dict[str, str] = {}
    for one in ordered:
        if not _CLASS.fullmatch(one.name) or one.name == keys.DEFAULT:
            raise _invalid(one.name, f"a class is named in lower case, up to 31 characters, and not {keys.DEFAULT!r}")
        for column in one.columns:
            if column in owner:
                raise _invalid(column, f"the column is in {owner[column]!r} and in {one.name!r}")
            if not _sealable(column):
                raise _invalid(column, "a column's name has none of : ; , . in it and no space around it")
            owner[column] = one.name
    return ordered


def identifier(dataset_uid: str, generation: str, sensitivity: str) -> str:
    """The name of a class's master key, as a file holds it."""
    layout.uid(dataset_uid)
    layout.identifier(generation, "generation")
    if not _CLASS.fullmatch(sensitivity):
        raise _invalid(sensitivity, "a class is named in lower case, up to 31 characters")
    return f"{_PREFIX}/{dataset_uid}/{generation}/{sensitivity}"


class Keyholder:
    """The DEKs of one generation by class, for as long as their lease: what pyarrow asks to wrap and to open keys.

    It is of one process and does not pickle. After `close` it opens nothing more, and pyarrow's own cache is empty. `calls`
    counts what pyarrow has asked.
    """

    def __init__(self, dataset_uid: str, generation: str, deks: Mapping[str, bytes], *, lifetime: timedelta) -> None:
        self._masters = {identifier(dataset_uid, generation, name): Secret(dek) for name, dek in deks.items()}
        self._place = (dataset_uid, generation)
        self._lifetime = lifetime
        self._factory = pe.CryptoFactory(lambda _: _Client(self))
        # A connection's address is never taken from a file.
        self._connection = pe.KmsConnectionConfig(kms_instance_id=_PREFIX, kms_instance_url="fed://local")
        self.calls = 0

    def __repr__(self) -> str:
        return f"<Keyholder {self._place[1]} classes={len(self._masters)}>"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a Keyholder holds keys and stays in its process; open the lease where they are needed")

    def close(self) -> None:
        """Lets go of every key, pyarrow's cached ones too. Again is harmless."""
        self._masters.clear()
        self._factory.remove_cache_entries_for_all_tokens()

    def write(
        self,
        table: pa.Table,
        sink: Any,
        classes: Sequence[ColumnClass],
        *,
        row_group_rows: int | None = None,
        **options: Any,
    ) -> None:
        """Writes a table; `options` are pyarrow's. InvalidArgument (COLUMN_UNKNOWN) for a class with a column it lacks."""
        with self.writer(table.schema, sink, classes, **options) as writer:
            writer.write_table(table, row_group_size=row_group_rows)

    @contextlib.contextmanager
    def writer(
        self, schema: pa.Schema, sink: Any, classes: Sequence[ColumnClass], **options: Any
    ) -> Iterator[pq.ParquetWriter]:
        """A writer of row groups to a sink."""
        ordered = checked(classes)
        unfit = next((name for name in schema.names if not _sealable(name)), None)
        if unfit is not None:
            # A column that is named in no setting would lie there in plaintext.
            raise errors.InvalidArgument(
                f"the column {unfit!r} cannot be sealed by Parquet: : ; , . and spaces around it mean something else there",
                reason="COLUMN_NAME_UNSUPPORTED",
                help="Rename the column, or put the file without column classes.",
                violations={"column_classes": unfit},
            )
        for one in ordered:
            self._require(one.name)
            for column in one.columns:
                if column not in schema.names:
                    raise errors.InvalidArgument(
                        f"class {one.name!r} has the column {column!r}, which the file does not have",
                        reason="COLUMN_UNKNOWN",
                        help=f"Its columns are: {', '.join(schema.names)}.",
                        violations={"column_classes": column},
                    )
        with pq.ParquetWriter(sink, schema, encryption_properties=self._encryption(schema, ordered), **options) as writer:
            yield writer

    def open(self, file: BinaryIO, *, file_bytes: int, sha256: str) -> pq.ParquetFile:
        """A file whose length, magic and digest are those; DataCorrupt (OBJECT_SWAPPED, ...) before anything is parsed.

        PermissionDenied (COLUMN_CLASS_CLOSED), naming the class, once a column is read whose DEK is not held. Asking for the
        metadata of such a column (statistics, a dataset's filter on it) aborts the process in pyarrow 26: read by name alone.
        """
        check(file, file_bytes=file_bytes, sha256=sha256)
        self._require(keys.DEFAULT)
        try:
            return pq.ParquetFile(file, decryption_properties=self._decryption())
        except (pa.ArrowException, OSError) as error:
            raise _corrupt(f"it does not open with its keys ({type(error).__name__})", "OBJECT_CORRUPT") from error

    def wrap(self, key: bytes, name: str) -> str:
        """A key as the file will hold it."""
        self.calls += 1
        return base64.b64encode(wrapping.seal(self._master(name), key, name.encode())).decode()

    def unwrap(self, wrapped: str, name: str) -> bytes:
        """The key; PermissionDenied (COLUMN_CLASS_CLOSED, KEY_FOREIGN), DataCorrupt (KEY_INVALID) where it does not open."""
        self.calls += 1
        try:
            return wrapping.open_(self._master(name), base64.b64decode(wrapped, validate=True), name.encode())
        except (ValueError, binascii.Error):
            raise _corrupt(f"a key in it does not open under {name}", "KEY_INVALID") from None

    def _encryption(self, schema: pa.Schema, classes: tuple[ColumnClass, ...]) -> Any:
        by_class: dict[str, list[str]] = {one.name: list(one.columns) for one in classes}
        named = {column for one in classes for column in one.columns}
        rest = [column for column in schema.names if column not in named]
        if rest:
            by_class[keys.DEFAULT] = rest
        self._require(keys.DEFAULT)
        config = pe.EncryptionConfiguration(
            footer_key=identifier(*self._place, keys.DEFAULT),
            column_keys={identifier(*self._place, name): columns for name, columns in by_class.items()},
            encryption_algorithm="AES_GCM_V1",
            plaintext_footer=False,
            double_wrapping=True,
            data_key_length_bits=256,
            cache_lifetime=self._lifetime,
        )
        return self._factory.file_encryption_properties(self._connection, config)

    def _decryption(self) -> Any:
        config = pe.DecryptionConfiguration(cache_lifetime=self._lifetime)
        return self._factory.file_decryption_properties(self._connection, config)

    def _require(self, sensitivity: str) -> None:
        self._master(identifier(*self._place, sensitivity))

    def _master(self, name: str) -> bytes:
        if name not in self._masters:
            raise _closed(name, self._place)
        return self._masters[name].reveal()


class _Client(pe.KmsClient):  # type: ignore[misc]
    """What pyarrow calls."""

    def __init__(self, holder: Keyholder) -> None:
        super().__init__()
        self._holder = holder

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> str:
        return self._holder.wrap(key_bytes, master_key_identifier)

    def unwrap_key(self, wrapped_key: str, master_key_identifier: str) -> bytes:
        return self._holder.unwrap(_text(wrapped_key), _text(master_key_identifier))


def check(file: BinaryIO, *, file_bytes: int, sha256: str) -> None:
    """Returns when the file is the one that a manifest pins; DataCorrupt otherwise. Leaves it at its beginning.

    OBJECT_TRUNCATED for another length, OBJECT_NOT_ENCRYPTED where the magic is not that of an encrypted footer,
    OBJECT_SWAPPED for another digest. Nothing is parsed.
    """
    file.seek(0, 2)
    if file.tell() != file_bytes or file_bytes < FILE_BYTES_MIN:
        raise _corrupt(f"it has {file.tell()} bytes, and its manifest says {file_bytes}", "OBJECT_TRUNCATED")
    file.seek(file_bytes - len(MAGIC))
    ends = [file.read(len(MAGIC))]
    file.seek(0)
    ends.append(file.read(len(MAGIC)))
    if ends != [MAGIC, MAGIC]:
        raise _corrupt("it is not Parquet with an encrypted footer", "OBJECT_NOT_ENCRYPTED")
    file.seek(0)
    digest = hashlib.sha256()
    while piece := file.read(_PIECE):
        digest.update(piece)
    if digest.hexdigest() != sha256:
        raise _corrupt("its bytes are not those that its manifest names", "OBJECT_SWAPPED")
    file.seek(0)


def _sealable(column: str) -> bool:
    return bool(column) and column == column.strip() and not set(column) & set(":;,.")


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _closed(name: str, place: tuple[str, str]) -> errors.PermissionDenied:
    prefix, _, sensitivity = name.rpartition("/")
    if prefix != f"{_PREFIX}/{place[0]}/{place[1]}":
        return errors.PermissionDenied(
            f"the file is sealed under {name}, which is not a key of generation {place[1]}",
            reason="KEY_FOREIGN",
            help="It is another dataset's or generation's file.",
            metadata={"key": name, "generation": place[1]},
        )
    return errors.PermissionDenied(
        f"there is no lease for column class {sensitivity!r} of generation {place[1]}",
        reason="COLUMN_CLASS_CLOSED",
        help="Read other columns, or ask for that class.",
        metadata={"class": sensitivity, "generation": place[1]},
    )


def _corrupt(why: str, reason: str) -> errors.DataCorrupt:
    return errors.DataCorrupt(
        f"the Parquet file is not read: {why}", reason=reason, help="Run `fed fsck` at the site that stores it."
    )


def _invalid(what: str, why: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(
        f"{what!r} is no column class: {why}",
        reason="COLUMN_CLASS_INVALID",
        help="Write for example pii=email,ssn.",
        violations={"column_classes": why},
    )

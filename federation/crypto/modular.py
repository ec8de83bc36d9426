"""Column classes: Parquet files by Parquet Modular Encryption, each sensitivity class of columns under a DEK of its own.

Of the DEK of a class a master key, in the words of Parquet, is derived. pyarrow makes a fresh key for each column and the
footer, wraps those by a key of the file's writer, and this one is wrapped here, by AES-256-GCM with the master key's name as
associated data:

    fed/<dataset uid>/<generation>/<class>          its name, which the file holds; Parquet's settings split at colons
    base64(nonce[12] | ciphertext | tag[16])        as parquet-java's KeyToolkit.encryptKeyLocally has it, so Spark reads it

Whoever lacks a class's DEK reads all other columns; of the closed ones names and types alone. The footer is encrypted and of
class `default`, and so is each column that no class names. Such a file is no object of a store: it is what a container holds
(`crypto.container`), under the `default` DEK too. For pyarrow takes a plaintext file, or another file of the same key, for the
one that was meant; what comes out of its container is the file that the signed manifest pins, or nothing. Never opens a file
with a plaintext footer: pyarrow 26 aborts the whole process over one.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from federation.core import columns, errors, keys
from federation.core.columns import ColumnClass
from federation.crypto import canonical, layout, wrapping
from federation.crypto.secrets import Secret

MAGIC = b"PARE"
#: Magic, the length of a footer, and magic again: no file of the format is shorter.
FILE_BYTES_MIN = 12
#: Rows of a batch, where nobody says.
BATCH_ROWS = 65_536
#: Bytes of a master key.
MASTER = 32
_PREFIX = "fed"


def identifier(dataset_uid: str, generation: str, sensitivity: str) -> str:
    """The name of a class's master key, as a file holds it."""
    layout.uid(dataset_uid)
    layout.identifier(generation, "generation")
    return f"{_PREFIX}/{dataset_uid}/{generation}/{columns.name(sensitivity)}"


def master(dek: bytes, dataset_uid: str, generation: str, sensitivity: str) -> bytes:
    """The master key of a class: of its DEK, for this one use, so that whoever has it opens columns and no container."""
    info = canonical.join("fed/parquet-master/v1", dataset_uid, generation, sensitivity)
    return HKDFExpand(hashes.SHA256(), MASTER, info).derive(dek)


class Keyholder:
    """The DEKs of one generation by class, for as long as their lease: what pyarrow asks to wrap and to open keys.

    It is of one process and does not pickle. After `close` it opens nothing more, and pyarrow's own cache is empty. `calls`
    counts what pyarrow has asked.
    """

    def __init__(self, dataset_uid: str, generation: str, deks: Mapping[str, bytes], *, lifetime: timedelta) -> None:
        self._masters = {
            identifier(dataset_uid, generation, name): Secret(master(dek, dataset_uid, generation, name))
            for name, dek in deks.items()
        }
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

    def masters(self) -> Iterator[tuple[str, bytes]]:
        """Name and bytes of each master key, for a reader in another language on this machine."""
        yield from ((name, key.reveal()) for name, key in sorted(self._masters.items()))

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
        ordered = columns.checked(classes)
        unfit = next((name for name in schema.names if not columns.sealable(name) or schema.names.count(name) > 1), None)
        if unfit is not None:
            # A column that is named in no setting would lie there in plaintext.
            raise errors.InvalidArgument(
                f"the column {unfit!r} cannot be sealed by Parquet: it is there twice, or has : ; , . or spaces around it",
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

    def seal(self, path: str, file: BinaryIO, sink: Any, classes: Sequence[ColumnClass]) -> int:
        """Writes a plaintext Parquet file anew, its columns sealed by classes; returns its rows. Refusals name it by `path`.

        InvalidArgument (COLUMN_CLASS_NOT_PARQUET) for a file that is none, (COLUMN_UNKNOWN) for one that lacks a column of a
        class, (COLUMN_NAME_UNSUPPORTED) for one with a column that cannot be sealed.
        """
        try:
            with pq.ParquetFile(file) as source, self.writer(source.schema_arrow, sink, classes) as target:
                for batch in source.iter_batches(batch_size=BATCH_ROWS):
                    target.write_batch(batch, row_group_size=batch.num_rows)
                return int(source.metadata.num_rows)
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno:
                raise  # the disk's word, not Arrow's
            raise errors.InvalidArgument(
                f"{path} cannot be sealed by columns: {error}",
                reason="COLUMN_CLASS_NOT_PARQUET",
                help="With column classes every file is Parquet; put others into a dataset of their own.",
                violations={"path": path},
            ) from error

    def open(self, file: BinaryIO, classes: Sequence[ColumnClass]) -> ColumnFile:
        """A file that came out of its container, with the classes that its manifest has.

        DataCorrupt (OBJECT_NOT_ENCRYPTED, OBJECT_CORRUPT), before anything is parsed where it is plaintext.
        """
        check(file)
        self._require(keys.DEFAULT)
        try:
            parquet = pq.ParquetFile(file, decryption_properties=self._decryption())
        except (pa.ArrowException, OSError) as error:
            raise _corrupt(f"it does not open with its keys ({type(error).__name__})", "OBJECT_CORRUPT") from error
        closed = {
            column: one.name
            for one in columns.checked(classes)
            if identifier(*self._place, one.name) not in self._masters
            for column in one.columns
        }
        return ColumnFile(parquet, closed, self._place[1])

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
            prefix, _, sensitivity = name.rpartition("/")
            if prefix != f"{_PREFIX}/{self._place[0]}/{self._place[1]}":
                raise errors.PermissionDenied(
                    f"the file is sealed under {name}, which is not a key of generation {self._place[1]}",
                    reason="KEY_FOREIGN",
                    help="It is another dataset's or generation's file.",
                    metadata={"key": name, "generation": self._place[1]},
                )
            raise _closed(sensitivity, self._place[1])
        return self._masters[name].reveal()


class ColumnFile:
    """A file whose closed columns cannot be touched by mistake.

    pyarrow 26 aborts the process when it is asked for the metadata of a column whose key is not held (its statistics, a filter
    on it), which no code can catch. So what pyarrow has opened stays in here, and a column is looked at once it is open.
    """

    def __init__(self, parquet: pq.ParquetFile, closed: Mapping[str, str], generation: str) -> None:
        self.__parquet = parquet
        self._closed = dict(closed)
        self._generation = generation
        #: Names and types of all columns, the closed ones too.
        self.schema: pa.Schema = parquet.schema_arrow
        self.rows: int = parquet.metadata.num_rows

    def __repr__(self) -> str:
        return f"<ColumnFile rows={self.rows} open={', '.join(self.open_columns)}>"

    @property
    def open_columns(self) -> tuple[str, ...]:
        """Names of the columns that can be read, in the file's order."""
        return tuple(name for name in self.schema.names if name not in self._closed)

    def choose(self, wanted: Sequence[str] | None = None) -> list[str]:
        """The columns to read: those that are wanted, or all that are open.

        PermissionDenied (COLUMN_CLASS_CLOSED) names column and class; InvalidArgument (COLUMN_UNKNOWN) for what is not there.
        """
        if wanted is None:
            return list(self.open_columns)
        for column in wanted:
            if column in self._closed:
                raise _closed(self._closed[column], self._generation, column)
            if column not in self.schema.names:
                raise errors.InvalidArgument(
                    f"there is no column {column!r}",
                    reason="COLUMN_UNKNOWN",
                    help=f"Its columns are: {', '.join(self.schema.names)}.",
                    violations={"columns": column},
                )
        return list(wanted)

    def read(self, wanted: Sequence[str] | None = None) -> pa.Table:
        """The columns that are wanted, or all that are open, as one table."""
        chosen = self.choose(wanted)
        with _readable():
            return self.__parquet.read(columns=chosen).select(chosen)

    def batches(self, wanted: Sequence[str] | None = None, *, batch_rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """The same in batches, in the order of the rows."""
        chosen = self.choose(wanted)
        with _readable():
            for batch in self.__parquet.iter_batches(batch_size=batch_rows, columns=chosen):
                yield batch.select(chosen)

    def close(self) -> None:
        """Lets go of the file. Again is harmless."""
        self.__parquet.close(force=True)


class _Client(pe.KmsClient):  # type: ignore[misc]
    """What pyarrow calls."""

    def __init__(self, holder: Keyholder) -> None:
        super().__init__()
        self._holder = holder

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> str:
        return self._holder.wrap(key_bytes, master_key_identifier)

    def unwrap_key(self, wrapped_key: str, master_key_identifier: str) -> bytes:
        return self._holder.unwrap(_text(wrapped_key), _text(master_key_identifier))


def check(file: BinaryIO) -> None:
    """Returns when a file has the magic of an encrypted footer at both ends, and leaves it at its beginning.

    DataCorrupt (OBJECT_NOT_ENCRYPTED) otherwise. Nothing is parsed.
    """
    size = file.seek(0, 2)
    ends = []
    if size >= FILE_BYTES_MIN:
        for at in (size - len(MAGIC), 0):
            file.seek(at)
            ends.append(file.read(len(MAGIC)))
    file.seek(0)
    if ends != [MAGIC, MAGIC]:
        raise _corrupt("it is not Parquet with an encrypted footer", "OBJECT_NOT_ENCRYPTED")


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """What pyarrow finds wrong inside is told as ours; what the file under it says goes through as it is."""
    try:
        yield
    except pa.ArrowException as error:
        raise _corrupt(f"it cannot be read ({type(error).__name__})", "OBJECT_CORRUPT") from error


def _closed(sensitivity: str, generation: str, column: str = "") -> errors.PermissionDenied:
    what = f"column {column!r} is closed: " if column else ""
    return errors.PermissionDenied(
        f"{what}there is no lease for column class {sensitivity!r} of generation {generation}",
        reason="COLUMN_CLASS_CLOSED",
        help="Read other columns, or ask for that class.",
        metadata={"class": sensitivity, "generation": generation} | ({"column": column} if column else {}),
    )


def _corrupt(why: str, reason: str) -> errors.DataCorrupt:
    return errors.DataCorrupt(
        f"the Parquet file is not read: {why}", reason=reason, help="Run `fed fsck` at the site that stores it."
    )

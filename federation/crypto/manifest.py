"""Manifests as bytes: an Arrow IPC stream in path order, named by its SHA-256 and signed by the site that wrote it.

The same manifest always gives the same bytes. Whoever decodes one has compared its digest and checked its signature before:
decoding guards against a faulty writer, not against bytes from anywhere.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from federation.core import columns, errors, ids
from federation.core.columns import ColumnClass
from federation.core.dataset import FileEntry, Manifest
from federation.crypto import arrow, canonical, container, layout, signing

FILES_MAX = 1_000_000
BYTES_MAX = 512 * 1024 * 1024
_BATCH = 65_536
_FORMAT = b"fed/manifest/v1"
_SHA256 = pa.binary(32)
_COLUMNS = pa.schema(
    [
        pa.field("path", pa.utf8(), nullable=False),
        pa.field("file_bytes", pa.int64(), nullable=False),
        pa.field("object_id", pa.utf8(), nullable=False),
        pa.field("generation", pa.utf8(), nullable=False),
        pa.field("object_bytes", pa.int64(), nullable=False),
        pa.field("object_sha256", _SHA256, nullable=False),
        pa.field("commitment", _SHA256, nullable=False),
        pa.field("tag", pa.binary(), nullable=False),
        pa.field("rows", pa.int64(), nullable=False),
    ]
)
_HEX = frozenset({"object_sha256", "commitment", "tag"})


def encode(manifest: Manifest) -> bytes:
    """The manifest's bytes. DataCorrupt (MANIFEST_INVALID) or InvalidArgument (PATH_INVALID) for one no reader would take."""
    _check_count(len(manifest.files))
    files = sorted(manifest.files, key=lambda entry: entry.path)
    _check(manifest.dataset_uid, files)
    metadata = {b"format": _FORMAT, b"dataset_uid": manifest.dataset_uid.encode()}
    if manifest.column_classes:
        metadata[b"column_classes"] = _classes_to_text(columns.checked(manifest.column_classes))
    schema = _COLUMNS.with_metadata(metadata)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, schema) as writer:
        for at in range(0, len(files), _BATCH):
            writer.write_batch(_to_batch(files[at : at + _BATCH], schema))
    return sink.getvalue()


def decode(data: bytes) -> Manifest:
    """The manifest of those bytes; DataCorrupt (MANIFEST_INVALID) when they are none, or name what no writer of ours would."""
    if len(data) > BYTES_MAX:
        raise _invalid(f"it is {len(data)} bytes long, more than {BYTES_MAX}")
    try:
        with arrow.open_stream(data) as reader:
            metadata = reader.schema.metadata or {}
            if metadata.get(b"format") != _FORMAT or not reader.schema.remove_metadata().equals(_COLUMNS):
                raise _invalid("it has another schema")
            files = tuple(_read(reader))
            dataset_uid = metadata.get(b"dataset_uid", b"").decode()
            column_classes = _classes(metadata.get(b"column_classes", b""))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _invalid(f"it is not readable Arrow ({type(error).__name__})") from error
    try:
        _check(dataset_uid, files)
    except errors.InvalidArgument as error:
        raise _invalid(error.message) from error
    return Manifest(dataset_uid=dataset_uid, files=files, column_classes=column_classes)


def digest(data: bytes) -> str:
    """The name of a manifest: SHA-256 of its bytes, hex."""
    return hashlib.sha256(data).hexdigest()


def sign(private: bytes, dataset_uid: str, digest: str) -> str:
    """A site's word, hex, that this is a manifest of that dataset."""
    return signing.sign(private, _statement(dataset_uid, digest)).hex()


def verify(public_hex: str, dataset_uid: str, digest: str, signature_hex: str) -> None:
    """Returns when that site's key signed it for that dataset; DataCorrupt (MANIFEST_INVALID) otherwise."""
    try:
        signing.verify(public_hex, _statement(dataset_uid, digest), bytes.fromhex(signature_hex))
    except (errors.Unauthenticated, ValueError):
        raise _invalid("it is not signed by the site that is said to have written it") from None


def _statement(dataset_uid: str, digest: str) -> bytes:
    return canonical.join("fed/manifest/v1", dataset_uid, digest)


def _classes_to_text(classes: Iterable[ColumnClass]) -> bytes:
    return json.dumps([[each.name, *each.columns] for each in classes], ensure_ascii=False, separators=(",", ":")).encode()


def _classes(text: bytes) -> tuple[ColumnClass, ...]:
    """Column classes as they were written, and in no other way: the same manifest has the same bytes."""
    if not text:
        return ()
    try:
        rows = json.loads(text)
        found = columns.checked(ColumnClass(name=name, columns=tuple(rest)) for name, *rest in rows)
        if _classes_to_text(found) == text:
            return found
    except (ValueError, TypeError, AttributeError, RecursionError, errors.InvalidArgument) as error:
        raise _invalid(f"its column classes are not readable ({type(error).__name__})") from error
    raise _invalid("its column classes are written in another way than ours")


def _to_batch(files: list[FileEntry], schema: pa.Schema) -> pa.RecordBatch:
    columns = []
    for field in _COLUMNS:
        values = [getattr(entry, field.name) for entry in files]
        columns.append(pa.array([bytes.fromhex(value) for value in values] if field.name in _HEX else values, field.type))
    return pa.record_batch(columns, schema=schema)


def _read(reader: pa.RecordBatchReader) -> Iterator[FileEntry]:
    count = 0
    for batch in reader:
        count += batch.num_rows
        _check_count(count)
        batch.validate(full=True)
        if any(column.null_count for column in batch.columns):
            raise _invalid("it has empty cells")
        names = batch.schema.names
        columns = [[value.hex() for value in column] if name in _HEX else column for name, column in batch.to_pydict().items()]
        for row in zip(*columns, strict=True):
            yield FileEntry(**dict(zip(names, row, strict=True)))


def _check(dataset_uid: str, files: Sequence[FileEntry]) -> None:
    layout.uid(dataset_uid)
    layout.identifiers({entry.generation for entry in files}, "generation")
    layout.identifiers([entry.object_id for entry in files], "object id")
    layout.sha256s([entry.object_sha256 for entry in files], "object digest")
    layout.sha256s([entry.commitment for entry in files], "commitment")
    layout.sha256s([entry.tag for entry in files if entry.tag], "tag")
    last = ""
    folders: set[str] = set()
    for entry in files:
        path = ids.relative_path(entry.path)
        if path <= last:
            raise _invalid(f"the path {path!r} is there twice or out of order")
        last = path
        folders.update(_folders(path))
        possible = 0 <= entry.file_bytes <= container.FILE_BYTES_MAX
        if entry.rows < -1 or not possible or container.object_bytes(entry.file_bytes) != entry.object_bytes:
            raise _invalid(f"the sizes of {path!r} do not fit each other")
    clash = min(folders.intersection(entry.path for entry in files), default=None) if folders else None
    if clash is not None:
        raise _invalid(f"{clash!r} is both a file and a folder")


def _folders(path: str) -> Iterator[str]:
    """All folders that a path lies in: `a/b/c` gives `a/b` and `a`."""
    while path := path.rpartition("/")[0]:
        yield path


def _check_count(files: int) -> None:
    if files > FILES_MAX:
        raise _invalid(f"it lists more than {FILES_MAX} files")


def _invalid(why: str) -> errors.DataCorrupt:
    return errors.DataCorrupt(f"the manifest is not valid: {why}", reason="MANIFEST_INVALID")

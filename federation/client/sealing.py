"""Files whose columns are sealed by classes, between this machine and a gateway: sealed before they leave, opened here alone.

It loads pyarrow, so it is imported by whoever moves such a file and by nobody else.
"""

from __future__ import annotations

import tempfile
from typing import IO, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from federation.core import errors
from federation.crypto import modular
from federation.wire import data

#: A sealed file is in memory up to here, then in an unnamed temporary file: its columns are sealed there too.
_SPOOL_BYTES = 64 << 20


def send(writer: data.VersionWriter, path: str, file: BinaryIO) -> None:
    """Seals a Parquet file's columns by the writer's classes and writes it.

    InvalidArgument (COLUMN_CLASS_NOT_PARQUET) for a file that is none, (COLUMN_UNKNOWN) for one that lacks a column of a class.
    """
    assert writer.keyholder is not None  # a writer of column classes has their keys
    try:
        with pq.ParquetFile(file) as source, tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as sealed:
            with writer.keyholder.writer(source.schema_arrow, sealed, writer.column_classes) as target:
                for batch in source.iter_batches(batch_size=modular.BATCH_ROWS):
                    target.write_batch(batch, row_group_size=batch.num_rows)
            sealed.seek(0)
            writer.put_file(path, cast("BinaryIO", sealed), source.metadata.num_rows)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise  # the disk's word, not Arrow's
        raise errors.InvalidArgument(
            f"{path} cannot be sealed by columns: {error}",
            reason="COLUMN_CLASS_NOT_PARQUET",
            help="With column classes every file is Parquet; put others into a dataset of their own.",
            violations={"path": path},
        ) from error


def receive(opened: data.OpenedVersion, path: str, target: IO[bytes]) -> None:
    """Writes the columns of a file that are open as plain Parquet."""
    source = opened.columns(path)
    chosen = source.choose()
    whole = len(chosen) == len(source.schema.names)
    # What pandas has noted there of its columns would name some that are not here.
    schema = pa.schema([source.schema.field(name) for name in chosen], metadata=source.schema.metadata if whole else None)
    with pq.ParquetWriter(target, schema) as writer:
        for batch in source.batches(chosen):
            writer.write_batch(batch, row_group_size=batch.num_rows)

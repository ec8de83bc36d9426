"""Files whose columns are sealed by classes, brought home: opened on this machine alone.

It loads pyarrow, so it is imported by whoever moves such a file and by nobody else. `wire.data.VersionWriter` seals them.
"""

from __future__ import annotations

from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from federation.wire import data


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

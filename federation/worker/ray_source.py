"""Ray Data's source of inputs whose columns are sealed by classes. Each worker opens them with a lease of its own.

No key goes through Ray: tasks carry the run's connection, the names of files, and those of columns.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import pyarrow as pa
import ray.data
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask

from federation.wire import data
from federation.worker import environment, failures, session


class Columns(Datasource):
    """Chosen columns of files of one input; `sizes` are the files' bytes."""

    def __init__(
        self,
        connection: environment.Connection,
        alias: str,
        columns: Sequence[str],
        paths: Sequence[str],
        sizes: Sequence[int],
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._connection = connection
        self._alias = alias
        self._columns = tuple(columns)
        self._paths = tuple(paths)
        self._sizes = tuple(sizes)

    def __repr__(self) -> str:
        return f"<Columns {self._alias} {', '.join(self._columns)}>"

    def estimate_inmemory_data_size(self) -> int | None:
        """Bytes of the files, with their closed columns."""
        return sum(self._sizes)

    def get_read_tasks(
        self,
        parallelism: int,
        per_task_row_limit: int | None = None,
        data_context: object = None,  # noqa: ARG002 - Ray's signature
    ) -> list[ReadTask]:
        """As many tasks as are asked for, each of some of the files; no more than there are files."""
        count = max(1, min(parallelism, len(self._paths)))
        return [self._task(first, count, per_task_row_limit) for first in range(count)]

    def _task(self, first: int, count: int, row_limit: int | None) -> ReadTask:
        mine = self._paths[first::count]
        return ReadTask(
            functools.partial(_blocks, self._connection, self._alias, mine, self._columns),
            BlockMetadata(num_rows=None, size_bytes=sum(self._sizes[first::count]), exec_stats=None, input_files=mine),
            per_task_row_limit=row_limit,
        )


def _blocks(connection: environment.Connection, alias: str, paths: Sequence[str], columns: Sequence[str]) -> Iterator[pa.Table]:
    opened = session.of(connection).columns(alias)
    for path in paths:
        with failures.shaped():
            for batch in opened.columns(path).batches(columns):
                yield pa.Table.from_batches([batch])


def dataset(
    of: environment.Connection, alias: str, opened: data.OpenedVersion, paths: Sequence[str], columns: Sequence[str]
) -> ray.data.Dataset:
    """A Ray dataset of those columns, which are open."""
    sizes = [opened.entry(path).file_bytes for path in paths]
    found: ray.data.Dataset = ray.data.read_datasource(Columns(of, alias, columns, paths, sizes))
    return found

"""How small the smallest group of an aggregate is, counted by this site in the files themselves before they become a version.

An output that names its count column is opened here, with the keys that this site wrapped for it, and that column alone is
looked at, by a process that may die of it. What comes of it is a number in the version: the least count of all rows of all
files. It proves that no row says less. It does not prove that the code which wrote the column counted well, nor that other
columns, or two aggregates beside each other, tell nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from federation import ports
from federation.agent import airlock, journal
from federation.core import dataset, errors, units
from federation.crypto import container, layout


class Counter:
    """Counts for one site."""

    def __init__(self, *, store: ports.ObjectStore, keys: ports.KeyConnector, book: journal.Journal) -> None:
        self._store = store
        self._keys = keys
        self._book = book
        self._glass = airlock.Airlock()

    def close(self) -> None:
        """Ends the process that looks into files."""
        self._glass.close()

    def smallest(self, row: journal.WriteRow, column: str) -> int:
        """The least value of a column over all files of a completed write.

        FailedPrecondition (GROUPS_UNPROVEN) where that cannot be told: a file is no Parquet file, is too large to be looked
        into, was not written by this run, has no such column of whole numbers, or a null in it; or there is no row at all.
        """
        dek = self._keys.unwrap(row.key)
        counts = list(self._counts(row, column, dek, self._book.objects(row.write)))
        if not counts:
            raise _unproven(row, "it has no rows")
        return min(counts)

    def _counts(self, row: journal.WriteRow, column: str, dek: bytes, entries: Iterable[dataset.FileEntry]) -> Iterator[int]:
        for entry in entries:
            if entry.generation != row.generation:
                raise _unproven(row, f"{entry.path} was written before this run")
            if entry.file_bytes > airlock.LOOK_BYTES_MAX:
                raise _unproven(row, f"{entry.path} is larger than {units.size(airlock.LOOK_BYTES_MAX)}")
            found = self._glass.least(column, self._plain(row, entry, dek))
            if found is None:
                raise _unproven(row, f"{entry.path} is no Parquet file with a column {column!r} of whole numbers without nulls")
            if found.rows:
                yield found.least

    def _plain(self, row: journal.WriteRow, entry: dataset.FileEntry, dek: bytes) -> bytes:
        key = layout.object_key(row.dataset_uid, row.generation, entry.object_id)
        reader = container.RangedReader(
            dek,
            container.context(row.dataset_uid, row.generation, entry.object_id),
            object_bytes=entry.object_bytes,
            commitment=entry.commitment,
            fetch=lambda offset, length: self._store.read(key, offset, length),
        )
        return reader.read_at(0, entry.file_bytes)


def _unproven(row: journal.WriteRow, why: str) -> errors.FailedPrecondition:
    return errors.FailedPrecondition(
        f"how large the groups of the output {row.alias} are cannot be told: {why}",
        reason="GROUPS_UNPROVEN",
        help="Write Parquet files, each with the column that `count=` names: how many people are behind each row.",
        metadata={"output": row.alias},
    )

"""The record's tables out and in: each as it was at one of its Delta versions, with the log that leads there.

A table that is written and cared for meanwhile is no trouble: what one version names stays for hours after it was replaced.
Only a log that is cleaned up in that very moment makes it begin again with a newer version.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from federation.adapters import records_opening, records_tables
from federation.adapters.records_delta import DeltaRecords
from federation.adapters.records_files import Place
from federation.core import errors
from federation.core.backup import TableCopy

_TRIES = 5
_PIECE = 1024 * 1024
_COMMIT = re.compile(r"_delta_log/(\d{20})\.(json|checkpoint\.parquet)")


@dataclass(frozen=True, kw_only=True)
class Pinned:
    """A table at one of its versions: where it is, and the files that make it, by path."""

    copy: TableCopy
    paths: tuple[str, ...]


def tables(place: Place) -> tuple[str, ...]:
    """The tables that are there."""
    return tuple(name for name in records_tables.TABLES if place.list(name, "_delta_log/"))


def pin(records: DeltaRecords, place: Place, table: str) -> Pinned:
    """The newest version of a table, and all files that it needs; Unavailable where its log changes too fast."""
    for _ in range(_TRIES):
        handle = records.table(table)
        version, position = handle.version(), records.position_of(handle)
        data = pa.table(handle.get_add_actions()).column("path").to_pylist()
        log = _log(place.list(table, "_delta_log/"), version)
        if log is not None:
            return Pinned(copy=TableCopy(table=table, version=version, position=position), paths=(*data, *log))
    raise errors.Unavailable(f"the log of {table} changes faster than it can be copied", help="Try again.")


def pieces(place: Place, table: str, path: str) -> Iterator[bytes]:
    """The bytes of a file of a table."""
    with place.open(table, path) as file:
        while piece := file.read(_PIECE):
            yield bytes(piece)


def put(place: Place, table: str, path: str, content: Iterator[bytes]) -> None:
    """Writes a file of a table that is being restored, durably."""
    records_opening.check_paths([path], place.uri(table))
    with place.create(table, path) as file:
        for piece in content:
            file.write(piece)


def _log(paths: list[str], version: int) -> tuple[str, ...] | None:
    """The entries of a log from its newest checkpoint up to a version; None where some of them are gone."""
    found: dict[str, set[int]] = {"json": set(), "checkpoint.parquet": set()}
    for path in paths:
        if match := _COMMIT.fullmatch(path):
            found[match[2]].add(int(match[1]))
    checkpoints = [at for at in found["checkpoint.parquet"] if at <= version]
    begin = max(checkpoints, default=-1)
    needed = range(begin + 1, version + 1)
    if not all(at in found["json"] for at in needed) or (begin < 0 and 0 not in found["json"]):
        return None
    names = [f"_delta_log/{at:020}.json" for at in sorted(found["json"]) if begin <= at <= version]
    return (*names, *([f"_delta_log/{begin:020}.checkpoint.parquet"] if begin >= 0 else ()))

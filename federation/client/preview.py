"""The first rows of a version: of one file, by the ranges that they need, through a person's own grant and lease."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Collection
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, cast

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from federation.core import errors, units
from federation.core.statistics import ColumnStatistics, FileStatistics
from federation.wire import counting, data

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from federation.core.dataset import FileEntry
    from federation.wire.readahead import Source

ROWS_MAX = 10_000
#: What the beginning of a file of text may take, if its rows are long.
_BEGINNING_BYTES = 64 * 1024
_BEGINNING_BYTES_MAX = 4 * 1024 * 1024
#: How much of a column's pages is fetched at once.
_PAGES_BYTES = 128 * 1024
MASK = "•••"


class Tally(counting.InputCounts):
    """How many bytes were received. A person has no run to tell them to."""

    def __init__(self) -> None:
        self.received = 0

    def whole(self, ask_seconds: int, size: int) -> None:  # noqa: ARG002 - as the counts of a run
        """An answer came whole."""
        self.received += size

    def aborted(self, ask_seconds: int, size: int, unreceived: int, *, retry: bool = False) -> None:  # noqa: ARG002
        """An answer ended early."""
        self.received += size

    def cached(self, size: int) -> None:
        """Nothing was received."""

    def file_closed(self) -> None:
        """Nothing is waited for."""


def preview(
    opened: data.OpenedVersion,
    tally: Tally,
    *,
    rows: int,
    columns: Collection[str] = (),
    path: str = "",
    sensitive: Collection[str] = (),
) -> pa.Table:
    """At most `rows` rows of a file: the one at `path`, or the first that has rows.

    `sensitive` columns are masked: they are told as columns, and none of their values is. The table's metadata say of which
    file (`fed.file`) of which version (`fed.version`) they are, which columns were masked (`fed.masked`, JSON), whether there
    are more rows (`fed.more`), and how many bytes were received (`fed.received_bytes`): those are egress.
    FailedPrecondition (PREVIEW_UNSUPPORTED) for what has no rows, and (PREVIEW_INVALID) for what is not what its name says.
    """
    if not 1 <= rows <= ROWS_MAX:
        raise errors.InvalidArgument(
            f"a preview of {rows} rows", reason="ROWS_INVALID", help=f"Ask for 1 to {ROWS_MAX:,}; `fed dataset get` brings all."
        )
    entry = opened.entry(path) if path else _first(opened)
    suffix = _suffix(entry)
    if suffix not in _READERS:
        raise _unsupported(opened, f"{entry.path} has no rows that can be shown")
    if suffix in _TEXTS and sensitive:
        raise errors.FailedPrecondition(
            f"{entry.path} is plain text, in which the sensitive columns {', '.join(sorted(sensitive))} cannot be masked",
            reason="PREVIEW_SENSITIVE",
            help="Whoever decides over the dataset may see it with --show-sensitive.",
            metadata={"version": opened.version, "path": entry.path},
        )
    try:
        found, more = _READERS[suffix](opened.exactly(entry.path), rows, tuple(columns), _roots(sensitive))
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise _invalid(opened, entry, error) from error
    found, masked = _masked(_chosen(found, columns, entry.path), _roots(sensitive))
    told = {
        "fed.version": opened.version,
        "fed.file": entry.path,
        "fed.masked": json.dumps(masked),
        "fed.more": json.dumps(more),
        "fed.received_bytes": str(tally.received),
    }
    return found.replace_schema_metadata(told)


def statistics(opened: data.OpenedVersion, tally: Tally, path: str, sensitive: Collection[str] = ()) -> FileStatistics:
    """What the footer of the Parquet file at `path` says of its columns; of `sensitive` ones no value.

    FailedPrecondition (STATISTICS_MISSING) for what has no such footer, (PREVIEW_INVALID) for what is not what its name says.
    """
    entry = opened.entry(path)
    if _READERS.get(_suffix(entry)) is not _parquet or opened.manifest.column_classes:
        why = "its columns are sealed by classes" if opened.manifest.column_classes else "only Parquet has them"
        raise errors.FailedPrecondition(
            f"{path} of {opened.version} has no statistics that can be read: {why}",
            reason="STATISTICS_MISSING",
            help=f"Its first rows may be shown: fed dataset preview {opened.version} --file {path}",
            metadata={"version": opened.version, "path": path},
        )
    try:
        source = pa.PythonFile(_Ranges(opened.exactly(path)))
        with pyarrow.parquet.ParquetFile(source, pre_buffer=False, buffer_size=_PAGES_BYTES) as file:
            footer, roots = file.metadata, _roots(sensitive)
            columns = tuple(_column(file, number, roots) for number in range(footer.num_columns))
            rows, groups = footer.num_rows, footer.num_row_groups
    except pa.ArrowException as error:
        raise _invalid(opened, entry, error) from error
    return FileStatistics(
        version=opened.version, path=path, rows=rows, row_groups=groups, columns=columns, received_bytes=tally.received
    )


def _column(file: pyarrow.parquet.ParquetFile, number: int, roots: frozenset[str]) -> ColumnStatistics:
    name, footer = file.schema.column(number).path, file.metadata
    root = name.partition(".")[0]
    kind = file.schema_arrow.field(root).type if name == root else None
    chunks = [footer.row_group(group).column(number) for group in range(footer.num_row_groups)]
    told = [chunk.statistics for chunk in chunks if chunk.statistics is not None]
    every = len(told) == len(chunks)
    masked = root in roots or name in roots
    # pyarrow gives the bounds of half-precision numbers as bytes, which are in no order of numbers.
    least, greatest = _bounds(told) if every and not masked and kind != pa.float16() else ("", "")
    return ColumnStatistics(
        column=name,
        type=str(kind or file.schema.column(number).physical_type.lower()),
        stored_bytes=sum(chunk.total_compressed_size for chunk in chunks),
        nulls=sum(each.null_count for each in told) if every and all(each.has_null_count for each in told) else None,
        least=least,
        greatest=greatest,
        masked=masked,
    )


def _bounds(told: list[pyarrow.parquet.Statistics]) -> tuple[str, str]:
    """Least and greatest value of all row groups; '' for both where a group tells none and has more than nulls."""
    bounded = [each for each in told if each.has_min_max]
    if not bounded or any(each.num_values for each in told if not each.has_min_max):
        return "", ""
    return _value(min(each.min for each in bounded)), _value(max(each.max for each in bounded))


def _value(item: object) -> str:
    return item.hex() if isinstance(item, bytes) else str(item)


def _first(opened: data.OpenedVersion) -> FileEntry:
    """The first file with rows in columns, else the first of text. What is hidden or a marker is neither."""
    seen = [entry for entry in opened.manifest.files if not any(part[:1] in "._" for part in entry.path.split("/"))]
    for known in (_TABLES, _TEXTS):
        for entry in seen:
            if entry.file_bytes and _suffix(entry) in known:
                return entry
    kinds = ", ".join(sorted({_suffix(entry) or "without a suffix" for entry in opened.manifest.files})) or "none"
    raise _unsupported(opened, f"it has no file with rows; it has {len(opened.manifest.files):,} files ({kinds})")


def _suffix(entry: FileEntry) -> str:
    return PurePosixPath(entry.path).suffix.lower()


def _unsupported(opened: data.OpenedVersion, why: str) -> errors.FailedPrecondition:
    return errors.FailedPrecondition(
        f"{opened.version} cannot be previewed: {why}",
        reason="PREVIEW_UNSUPPORTED",
        help=f"Rows are shown of {', '.join(sorted(_READERS))}, not compressed as a whole. `fed dataset get` brings the files.",
        metadata={"version": opened.version},
    )


def _invalid(opened: data.OpenedVersion, entry: FileEntry, error: Exception) -> errors.FailedPrecondition:
    return errors.FailedPrecondition(
        f"{entry.path} of {opened.version} cannot be read as {_suffix(entry)[1:]}: {error}",
        reason="PREVIEW_INVALID",
        help="Name another file with --file, or bring it with `fed dataset get` and look.",
        metadata={"version": opened.version, "path": entry.path},
    )


# Reading: each takes the file, how many rows, which columns, and which of them will be masked; and gives the rows
# and whether there are more

Rows = tuple[pa.Table, bool]


def _parquet(source: Source, rows: int, columns: tuple[str, ...], masked: frozenset[str]) -> Rows:
    """By pages: neither whole row groups nor columns that are not shown are fetched."""
    with pyarrow.parquet.ParquetFile(pa.PythonFile(_Ranges(source)), pre_buffer=False, buffer_size=_PAGES_BYTES) as file:
        names = [name for name in file.schema_arrow.names if not columns or name in columns]
        wanted = [name for name in names if name not in masked]
        count = min(rows, file.metadata.num_rows)
        found = _batches(file, count, wanted) if wanted and count else file.schema_arrow.empty_table().select(wanted)
        blank = pa.nulls(count, pa.string())
        return pa.table({name: found[name] if name in wanted else blank for name in names}), file.metadata.num_rows > rows


def _batches(file: pyarrow.parquet.ParquetFile, count: int, names: list[str]) -> pa.Table:
    batches: list[pa.RecordBatch] = []
    for batch in file.iter_batches(batch_size=count, columns=names, use_threads=False):
        batches.append(batch)
        if sum(each.num_rows for each in batches) >= count:
            break
    return pa.Table.from_batches(batches).slice(0, count)


def _csv(source: Source, rows: int, *_: object, delimiter: str = ",") -> Rows:
    parse = pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    return _begun(source, rows, lambda text: pyarrow.csv.read_csv(io.BytesIO(text), parse_options=parse))


def _tsv(source: Source, rows: int, *_: object) -> Rows:
    return _csv(source, rows, delimiter="\t")


def _json_lines(source: Source, rows: int, *_: object) -> Rows:
    return _begun(source, rows, lambda text: pyarrow.json.read_json(io.BytesIO(text)))


def _text(source: Source, rows: int, *_: object) -> Rows:
    def lines(text: bytes) -> pa.Table:
        return pa.table({"line": pa.array(text.decode("utf-8", "replace").splitlines(), pa.string())})

    return _begun(source, rows, lines)


def _begun(source: Source, rows: int, parse: Callable[[bytes], pa.Table]) -> Rows:
    """The first rows of a file of lines: of its beginning, of ever more of it until there are enough.

    A beginning is cut at the end of a line. That may be within a value, with which a reader then fails.
    """
    size = min(_BEGINNING_BYTES, source.size)
    while True:
        text, whole = _beginning(source, size), size == source.size
        last = whole or size >= _BEGINNING_BYTES_MAX
        found: pa.Table | None = None
        try:
            found = parse(text if whole else text[: text.rfind(b"\n") + 1])
        except pa.ArrowException:
            if last:
                raise
        if found is not None and (whole or found.num_rows > rows or (last and found.num_rows)):
            return found.slice(0, rows), found.num_rows > rows or not whole
        if last:
            raise pa.ArrowInvalid(f"no row ends within the first {units.size(size)}")
        size = min(4 * size, source.size, _BEGINNING_BYTES_MAX)


def _beginning(source: Source, size: int) -> bytes:
    buffer = bytearray(size)
    return bytes(buffer[: source.read_into(0, memoryview(buffer))])


Reader = Callable[["Source", int, tuple[str, ...], frozenset[str]], Rows]
_TABLES: dict[str, Reader] = {
    ".parquet": _parquet,
    ".pq": _parquet,
    ".csv": _csv,
    ".tsv": _tsv,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
}
_TEXTS: dict[str, Reader] = {".txt": _text, ".text": _text, ".log": _text, ".md": _text}
_READERS: dict[str, Reader] = {**_TABLES, **_TEXTS}


class _Ranges(io.RawIOBase):
    """A source as a file that fetches what it is asked for and nothing ahead of it."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._source.size}[whence]
        return self._position

    def readinto(self, buffer: Buffer, /) -> int:
        with memoryview(buffer) as view, view.cast("B") as target:
            length = max(0, min(len(target), self._source.size - self._position))
            count = self._source.read_into(self._position, target[:length]) if length else 0
        self._position += count
        return count

    def size(self) -> int:
        """Bytes of the file."""
        return self._source.size


# What is shown


def _chosen(found: pa.Table, columns: Collection[str], path: str) -> pa.Table:
    missing = [name for name in columns if name not in found.column_names]
    if missing:
        raise errors.InvalidArgument(
            f"{path} has no column {missing[0]!r}",
            reason="COLUMN_UNKNOWN",
            help=f"It has {', '.join(found.column_names)}." if found.column_names else "It has none of those that were named.",
            violations={"columns": f"{missing[0]!r} is not there"},
        )
    return found.select(list(columns)) if columns else found


def _roots(sensitive: Collection[str]) -> frozenset[str]:
    """The columns of which nothing is shown: of one that holds a sensitive path, nothing at all."""
    return frozenset({name.partition(".")[0] for name in sensitive} | set(sensitive))


def _masked(found: pa.Table, roots: frozenset[str]) -> tuple[pa.Table, list[str]]:
    masked = [name for name in found.column_names if name in roots]
    for name in masked:
        blank = pa.array([MASK] * found.num_rows, pa.string())
        found = cast("pa.Table", found.set_column(found.column_names.index(name), name, blank))
    return found, masked

"""What every catalog adapter agrees on: how a value becomes a row, and the words in which a refusal is told. Holds no data."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, TypeVar

from federation import ports
from federation.core import errors, kinds, records
from federation.core.events import TABLE_OF_KIND

T = TypeVar("T")

#: A blob is kept, and streamed, in pieces of this size.
CHUNK_BYTES = 1 << 20
#: Values of one remembered kind: some tens of megabytes of them at the most.
REMEMBERED = 8192
#: No listing returns more than this; whoever wants more pages.
LIMIT_MAX = 10_000
#: The largest position there can be, so that a cursor from outside never overflows a column.
POSITION_MAX = 2**63 - 1
#: The most facts, and bytes, of one event.
ROWS_MAX = 100_000
ROWS_BYTES_MAX = 16 << 20
#: Facts that may wait to be carried to the record, unless settings say otherwise.
BACKLOG_FACTS_MAX = 10_000_000
#: When whoever was refused for the backlog may try again.
BACKLOG_RETRY_SECONDS = 5.0
#: Events that one call trims at most.
TRIM_MAX = 1000
_SPOOL_BYTES = 8 << 20
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A value as it is stored: `columns` are those of its kind, `body` is its JSON."""

    key: str
    parent: str
    columns: Mapping[str, str]
    etag: str
    body: str


def kind_of(cls: type) -> kinds.Kind:
    """How values of the class are stored; TypeError for a class that the catalog does not store."""
    try:
        return kinds.KINDS[cls]
    except KeyError:
        raise TypeError(f"the catalog does not store {cls.__name__}; add it to core.kinds.KINDS") from None


@functools.cache
def _has_etag(cls: type) -> bool:
    return any(field.name == "etag" for field in dataclasses.fields(cls))


def stamped(value: T, ids: ports.Ids) -> T:
    """The value as it will be stored: with a new etag if it has one."""
    cls: type = type(value)
    if not _has_etag(cls):
        return value
    return dataclasses.replace(value, etag=ids.new("e"))  # type: ignore[type-var]


def to_row(value: Any) -> Row:
    """The row of a value."""
    kind = kind_of(type(value))
    return Row(
        key=text(kind.key(value)),
        parent=text(kind.parent(value)),
        columns={name: text(column(value)) for name, column in (kind.columns or {}).items()},
        etag=getattr(value, "etag", ""),
        body=text(records.dumps(value)),
    )


def to_value(cls: type[T], body: str) -> T:
    """The value that a row's body holds; DataCorrupt when it holds none.

    Values of kinds that are read again and again are remembered by their very text, so that what has not changed is the same
    object as before. They never change, so nothing can be stale.
    """
    kind: type = cls
    value: T = _remembered(kind)(body) if kind_of(cls).remembered else _loaded(cls, body)
    return value


def to_values(cls: type[T], bodies: Iterable[str]) -> tuple[T, ...]:
    """`to_value` of each."""
    kind: type = cls
    load = _remembered(kind) if kind_of(cls).remembered else functools.partial(_loaded, kind)
    return tuple(map(load, bodies))


@functools.cache
def _remembered(cls: type) -> Callable[[str], Any]:
    """`_loaded` of one kind, with a memory of its own: a scan of one kind must not drive out another."""
    return functools.lru_cache(REMEMBERED)(functools.partial(_loaded, cls))


def _loaded(cls: type[T], body: str) -> T:
    try:
        return records.loads(cls, body)
    except (TypeError, ValueError) as error:
        raise errors.DataCorrupt(
            f"a stored {cls.__name__} does not load: {error}",
            reason="RECORD_INVALID",
            help="The catalog was written by another release or damaged; restore it, or run the release that wrote it.",
        ) from error


def text(value: str) -> str:
    """The text, if every database can hold it: no NUL, no lone surrogate."""
    try:
        value.encode()
    except UnicodeEncodeError:
        legal = False
    else:
        legal = "\x00" not in value
    if not legal:
        raise errors.InvalidArgument(
            f"{value[:80]!r} is not storable text", reason="TEXT_INVALID", help="Send valid UTF-8 without NUL."
        )
    return value


def checked_where(cls: type, where: Mapping[str, str | tuple[str, ...]] | None) -> Mapping[str, str | tuple[str, ...]]:
    """The filter, if all its columns are the kind's; InvalidArgument (COLUMN_UNKNOWN) otherwise."""
    known = kind_of(cls).columns or {}
    for column in where or {}:
        if column not in known:
            raise errors.InvalidArgument(
                f"{cls.__name__} cannot be filtered by {column!r}",
                reason="COLUMN_UNKNOWN",
                help=f"Filter by one of: {', '.join(sorted(known)) or 'none'}.",
            )
    for value in (where or {}).values():
        for one in (value,) if isinstance(value, str) else value:
            text(one)
    return dict(where or {})


def checked_limit(limit: int) -> int:
    """The limit, if it is from 1 to LIMIT_MAX. Refused and not clipped: a short page would be taken for the last one."""
    if not 1 <= limit <= LIMIT_MAX:
        raise errors.InvalidArgument(
            f"a listing of {limit} is not possible",
            reason="LIMIT_INVALID",
            help=f"Ask for 1 to {LIMIT_MAX} and go on from the last key.",
        )
    return limit


def checked_findable(cls: type) -> None:
    """TypeError for a class whose values are found by no terms."""
    if kind_of(cls).terms is None:
        raise TypeError(f"{cls.__name__} is found by no terms; give its row of core.kinds.KINDS some")


def checked_rows(rows: int, data: bytes) -> int:
    """How many facts one event holds, if an event can hold them: whoever reads it has all of it in memory."""
    if not 1 <= rows <= ROWS_MAX or len(data) > ROWS_BYTES_MAX:
        raise errors.InvalidArgument(
            f"an event of {rows} rows in {len(data)} bytes is not possible",
            reason="ROWS_INVALID",
            help=f"Emit 1 to {ROWS_MAX} rows at once, in at most {ROWS_BYTES_MAX} bytes.",
        )
    return rows


def check_backlog(kind: str, revision: int, lease: kinds.CommitterLease | None, facts_max: int) -> None:
    """ResourceExhausted (RECORD_BACKLOG) for more facts in bulk while the record is too far behind the log.

    What waits lies in the log, on the disk, and so must not grow for ever. Single facts are never refused: they are the proof
    of something that has happened.
    """
    carried = lease.carried if lease else 0
    if revision - carried >= facts_max:
        raise errors.ResourceExhausted(
            f"{revision - carried} events wait to be carried to table {TABLE_OF_KIND[kind]}; {facts_max} may",
            reason="RECORD_BACKLOG",
            help="Send them again later. If it stays, see in the server's log why the tables cannot be written.",
            metadata={"table": TABLE_OF_KIND[kind], "waiting": str(revision - carried)},
            retry_seconds=BACKLOG_RETRY_SECONDS,
        )


def check_floor(after: int, floor: int) -> None:
    """OutOfRange (EVENTS_TRIMMED) for a reader that would miss events without knowing it."""
    if after < floor:
        raise errors.OutOfRange(
            f"the log begins after position {floor}, so it cannot be read from {after} on",
            reason="EVENTS_TRIMMED",
            help=f"Read the present state, then the log from {floor} on or later; what was before is in the record's tables.",
            metadata={"floor": str(floor), "after": str(after)},
        )


def bounded(sizes: Iterable[tuple[int, int]], facts_max: int, bytes_max: int) -> int:
    """How many events, of so many facts and bytes each, fit into the bounds; one at least, 0 of none. A bound of 0 is none."""
    facts = taken_bytes = count = 0
    for rows, size in sizes:
        facts, taken_bytes = facts + rows, taken_bytes + size
        if count and ((facts_max and facts > facts_max) or (bytes_max and taken_bytes > bytes_max)):
            break
        count += 1
    return count


def taken(cls: type, key: str) -> errors.AlreadyExists:
    """The refusal of an insert under a key that is taken."""
    return errors.AlreadyExists(
        f"{cls.__name__} {key!r} exists already",
        help="Choose another name, or change the one that is there.",
        metadata={"key": key},
    )


def absent(cls: type, key: str) -> errors.NotFound:
    """The refusal of a change of what is not there."""
    return errors.NotFound(f"{cls.__name__} {key!r} is not there", metadata={"key": key})


def stale(cls: type, key: str) -> errors.Conflict:
    """The refusal of a change that was made from an older state."""
    return errors.Conflict(
        f"{cls.__name__} {key!r} has been changed by somebody else",
        help="Read it again and redo the change.",
        metadata={"key": key},
    )


def recorded(key: str, known_hash: str, answer: bytes, request_hash: str) -> bytes:
    """The answer to replay, if the request is the one that it was given to."""
    if known_hash != request_hash:
        raise errors.InvalidArgument(
            f"request id {key!r} was used before for another request",
            reason="REQUEST_ID_REUSED",
            help="Use a new request id for each new request; repeat one only with the same request.",
            metadata={"request_id": key},
        )
    return answer


def remembered(key: str) -> errors.AlreadyExists:
    """The refusal of a second answer to one request."""
    return errors.AlreadyExists(f"an answer to request {key!r} is recorded already", metadata={"request_id": key})


def read_only() -> errors.FailedPrecondition:
    """The refusal of a change inside `read`."""
    return errors.FailedPrecondition("this transaction only reads", reason="READ_ONLY", help="Make changes inside write().")


def closed() -> errors.Unavailable:
    """The refusal of any call after `close`."""
    return errors.Unavailable("the catalog is closed", reason="CATALOG_CLOSED")


def must_wait() -> errors.Unavailable:
    """The refusal of a glance that would have to wait."""
    return errors.Unavailable("the catalog cannot be looked at without waiting", reason="MUST_WAIT")


def nested() -> RuntimeError:
    """A mistake of the caller: a write inside a write would wait for itself."""
    return RuntimeError("write() inside write(): pass the transaction on instead")


def blob_absent(digest: str) -> errors.NotFound:
    """The refusal to stream a blob that is not there."""
    return errors.NotFound(f"no blob has the digest {digest!r}", reason="BLOB_MISSING", metadata={"digest": digest})


@contextmanager
def spooled(digest: str, chunks: Iterable[bytes]) -> Iterator[tuple[IO[bytes], int]]:
    """The chunks in a temporary file, and how many bytes they are; InvalidArgument (DIGEST_MISMATCH) if not of the digest.

    A slow sender fills a file of its own here, so that the store's one writer never waits for a network.
    """
    if not _DIGEST.fullmatch(digest):
        raise errors.InvalidArgument(f"{digest!r} is not a SHA-256 in lower-case hex", reason="DIGEST_INVALID")
    found = hashlib.sha256()
    with tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES) as file:
        for chunk in chunks:
            found.update(chunk)
            file.write(chunk)
        if found.hexdigest() != digest:
            raise errors.InvalidArgument(
                f"the bytes have the digest {found.hexdigest()}, not {digest}",
                reason="DIGEST_MISMATCH",
                help="They changed on the way or while they were read: send them again.",
                metadata={"digest": digest, "found": found.hexdigest()},
            )
        size = file.tell()
        file.seek(0)
        yield file, size


def pieces(file: IO[bytes]) -> Iterator[bytes]:
    """A file in pieces of CHUNK_BYTES."""
    while piece := file.read(CHUNK_BYTES):
        yield piece

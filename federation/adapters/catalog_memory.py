"""The catalog in memory, with the promises of the one in SQL: for tests, simulations and first steps. Nothing outlives it."""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, TypeVar

from federation import ports
from federation.adapters import catalog_rows
from federation.adapters.catalog_rows import Row
from federation.core import records, terms
from federation.core.events import TABLE_OF_KIND, Event
from federation.core.kinds import CommitterLease

T = TypeVar("T")
_NOTHING: Mapping[str, Row] = MappingProxyType({})


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Terms:
    """What a value is found by, and its number."""

    number: int
    terms: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _State:
    """One revision of everything but events and blobs. Replaced whole by a commit, never changed."""

    tables: Mapping[type, Mapping[str, Row]] = dataclasses.field(default_factory=dict)
    terms: Mapping[type, Mapping[str, _Terms]] = dataclasses.field(default_factory=dict)
    requests: Mapping[tuple[str, str], tuple[str, bytes, datetime]] = dataclasses.field(default_factory=dict)
    revision: int = 0


class MemoryCatalog:
    """A `ports.Catalog` that forgets. Writers take turns; a reader sees the state as it was when it began."""

    def __init__(self, clock: ports.Clock, ids: ports.Ids, *, backlog_facts_max: int = catalog_rows.BACKLOG_FACTS_MAX) -> None:
        self._clock = clock
        self._ids = ids
        self._backlog_facts_max = backlog_facts_max
        self._turn = threading.Lock()
        self._grown = threading.Condition()
        self._trimming = threading.Lock()
        self._writer = 0
        self._state = _State()
        self._events: list[Event] = []  # appended to, or replaced when trimmed; a state's revision says how many it has
        self._floor = 0
        self._blobs: dict[str, bytes] = {}
        self._closed = False

    def write(self, work: Callable[[ports.Transaction], T], *, actor: str = "", request_id: str = "") -> T:
        if self._writer == threading.get_ident():
            raise catalog_rows.nested()
        with self._turn:
            self._open()
            self._writer = threading.get_ident()
            try:
                return self._run(work, actor, request_id)
            finally:
                self._writer = 0

    def read(self, work: Callable[[ports.Transaction], T]) -> T:
        self._open()
        return work(_Transaction(self._state, self._clock, self._ids, "", "", writable=False))

    def glance(self, work: Callable[[ports.Transaction], T]) -> T:
        return self.read(work)

    def events(
        self,
        after: int,
        *,
        limit: int = 1000,
        kinds: Iterable[str] = (),
        without: Iterable[str] = (),
        facts_max: int = 0,
        bytes_max: int = 0,
    ) -> tuple[Event, ...]:
        self._open()
        wanted, unwanted = frozenset(kinds), frozenset(without)
        with self._trimming:
            events, revision = self._events, self._state.revision
            catalog_rows.check_floor(after, self._floor)
        first = bisect.bisect_right(events, after, key=lambda event: event.position)
        committed = itertools.takewhile(lambda event: event.position <= revision, itertools.islice(events, first, None))
        chosen = (event for event in committed if event.kind not in unwanted and (not wanted or event.kind in wanted))
        found = tuple(itertools.islice(chosen, catalog_rows.checked_limit(limit)))
        return found[: catalog_rows.bounded(((event.rows, event.size) for event in found), facts_max, bytes_max)]

    def revision(self) -> int:
        self._open()
        return self._state.revision

    def wait(self, after: int, seconds: float) -> int:
        with self._grown:
            self._grown.wait_for(lambda: self._closed or self._state.revision > after, seconds)
        return self.revision()

    def floor(self) -> int:
        self._open()
        return self._floor

    def trim(self, until: int, before: datetime) -> int:
        with self._turn:
            self._open()
            oldest = itertools.islice(self._events[:-1], catalog_rows.TRIM_MAX)
            old = tuple(itertools.takewhile(lambda event: event.position <= until and event.time < before, oldest))
            if old:
                with self._trimming:
                    self._events, self._floor = self._events[len(old) :], old[-1].position
            return len(old)

    def forget(self, before: datetime) -> int:
        with self._turn:
            self._open()
            known = self._state.requests
            old = [at for at, (_, _, time) in known.items() if time < before][: catalog_rows.TRIM_MAX]
            kept = {at: row for at, row in known.items() if at not in set(old)}
            self._state = dataclasses.replace(self._state, requests=kept)
            return len(old)

    def put_blob(self, digest: str, chunks: Iterable[bytes]) -> int:
        self._open()
        with catalog_rows.spooled(digest, chunks) as (file, size):
            self._blobs[digest] = file.read()
            return size

    def get_blob(self, digest: str) -> Iterator[bytes]:
        self._open()
        if digest not in self._blobs:
            raise catalog_rows.blob_absent(digest)
        blob = self._blobs[digest]
        return (blob[start : start + catalog_rows.CHUNK_BYTES] for start in range(0, len(blob), catalog_rows.CHUNK_BYTES))

    def blob_bytes(self, digest: str) -> int | None:
        self._open()
        blob = self._blobs.get(digest)
        return None if blob is None else len(blob)

    def close(self) -> None:
        with self._grown:
            self._closed = True
            self._grown.notify_all()

    def _run(self, work: Callable[[ports.Transaction], T], actor: str, request_id: str) -> T:
        tx = _Transaction(
            self._state, self._clock, self._ids, actor, request_id, writable=True, backlog_facts_max=self._backlog_facts_max
        )
        result = work(tx)
        self._events.extend(tx.emitted)
        with self._grown:
            self._state = tx.state()
            self._grown.notify_all()
        return result

    def _open(self) -> None:
        if self._closed:
            raise catalog_rows.closed()


class _Transaction:
    """A `ports.Transaction` over one state. Copies a table when it first changes it; dropped, it leaves nothing."""

    def __init__(
        self,
        state: _State,
        clock: ports.Clock,
        ids: ports.Ids,
        actor: str,
        request_id: str,
        *,
        writable: bool,
        backlog_facts_max: int = 0,
    ) -> None:
        self.now = clock.now()
        self.actor = actor
        self.request_id = request_id
        self.emitted: list[Event] = []
        self._base = state
        self._ids = ids
        self._can_write = writable
        self._backlog_facts_max = backlog_facts_max
        self._changed: dict[type, dict[str, Row]] = {}
        self._terms: dict[type, dict[str, _Terms]] = {}
        self._requests: dict[tuple[str, str], tuple[str, bytes, datetime]] = {}

    def state(self) -> _State:
        """The state after this transaction."""
        requests = self._base.requests
        return _State(
            tables={**self._base.tables, **self._changed} if self._changed else self._base.tables,
            terms={**self._base.terms, **self._terms} if self._terms else self._base.terms,
            requests={**requests, **self._requests} if self._requests else requests,
            revision=self.revision(),
        )

    def get(self, cls: type[T], key: str) -> T | None:
        row = self._rows(cls).get(catalog_rows.text(key))
        return None if row is None else catalog_rows.to_value(cls, row.body)

    def insert(self, value: T) -> T:
        stored, row, rows = self._prepared(value)
        if row.key in rows:
            raise catalog_rows.taken(type(value), row.key)
        rows[row.key] = row
        self._index(stored, row.key)
        return stored

    def replace(self, value: T, *, etag: str = "") -> T:
        stored, row, rows = self._prepared(value)
        self._matching(type(value), row.key, etag)
        rows[row.key] = row
        self._index(stored, row.key)
        return stored

    def delete(self, cls: type, key: str, *, etag: str = "") -> None:
        rows = self._writable(cls)
        self._matching(cls, key, etag)
        del rows[key]
        if catalog_rows.kind_of(cls).terms:
            del self._indexed(cls)[key]

    def find(self, cls: type[T], query: terms.Query, *, before: int = 0, limit: int = 1000) -> tuple[tuple[int, T], ...]:
        catalog_rows.checked_findable(cls)
        catalog_rows.checked_limit(limit)
        known = self._terms.get(cls, self._base.terms.get(cls, {}))
        found = ((row.number, key) for key, row in known.items() if terms.holds(query, row.terms))
        chosen = sorted((each for each in found if not before or each[0] < before), reverse=True)[:limit]
        rows = self._rows(cls)
        return tuple((number, catalog_rows.to_value(cls, rows[key].body)) for number, key in chosen)

    def list(
        self,
        cls: type[T],
        *,
        parent: str | tuple[str, ...] = "",
        where: Mapping[str, str | tuple[str, ...]] | None = None,
        keys: tuple[str, ...] = (),
        after: str = "",
        limit: int = 1000,
        newest_first: bool = False,
    ) -> tuple[T, ...]:
        wanted = {name: _several(value) for name, value in catalog_rows.checked_where(cls, where).items()}
        parents = _several(parent) if parent else ()
        catalog_rows.checked_limit(limit)
        rows = self._rows(cls)
        names = sorted(rows.keys() & set(keys) if keys else rows, reverse=newest_first)
        if after:
            names = [key for key in names if (key < after if newest_first else key > after)]
        chosen = (
            row
            for row in map(rows.__getitem__, names)
            if (not parents or row.parent in parents) and all(row.columns[name] in any_of for name, any_of in wanted.items())
        )
        return tuple(catalog_rows.to_value(cls, row.body) for row in itertools.islice(chosen, limit))

    def count(self, cls: type, *, where: Mapping[str, str | tuple[str, ...]]) -> int:
        wanted = {name: _several(value) for name, value in catalog_rows.checked_where(cls, where).items()}
        rows = self._rows(cls).values()
        return sum(all(row.columns[name] in any_of for name, any_of in wanted.items()) for row in rows)

    def emit(self, kind: str, name: str, body: Any) -> int:
        return self._emit(kind, name, body=records.dumps(body, telling=True), data=b"", rows=1)

    def emit_rows(self, kind: str, name: str, data: bytes, rows: int) -> int:
        self._check_writable()
        if kind in TABLE_OF_KIND:
            lease = self.get(CommitterLease, TABLE_OF_KIND[kind])
            catalog_rows.check_backlog(kind, self.revision(), lease, self._backlog_facts_max)
        return self._emit(kind, name, body="", data=data, rows=catalog_rows.checked_rows(rows, data))

    def replay(self, key: str, request_hash: str) -> bytes | None:
        known = self._requests.get((self.actor, key)) or self._base.requests.get((self.actor, key))
        return None if known is None else catalog_rows.recorded(key, known[0], known[1], request_hash)

    def remember(self, key: str, request_hash: str, answer: bytes) -> None:
        self._check_writable()
        at = (self.actor, catalog_rows.text(key))
        if at in self._requests or at in self._base.requests:
            raise catalog_rows.remembered(key)
        self._requests[at] = (request_hash, answer, self.now)

    def _emit(self, kind: str, name: str, *, body: str, data: bytes, rows: int) -> int:
        self._check_writable()
        event = Event(
            position=self.revision() + rows,
            time=self.now,
            kind=catalog_rows.text(kind),
            name=catalog_rows.text(name),
            actor=self.actor,
            request_id=self.request_id,
            body=catalog_rows.text(body),
            rows=rows,
            data=data,
        )
        self.emitted.append(event)
        return event.position

    def revision(self) -> int:
        return self.emitted[-1].position if self.emitted else self._base.revision

    def _prepared(self, value: T) -> tuple[T, Row, dict[str, Row]]:
        rows = self._writable(type(value))
        stored = catalog_rows.stamped(value, self._ids)
        return stored, catalog_rows.to_row(stored), rows

    def _rows(self, cls: type) -> Mapping[str, Row]:
        catalog_rows.kind_of(cls)
        # Not `or`: a table that this transaction emptied is empty.
        return self._changed[cls] if cls in self._changed else self._base.tables.get(cls, _NOTHING)

    def _writable(self, cls: type) -> dict[str, Row]:
        self._check_writable()
        catalog_rows.kind_of(cls)
        if cls not in self._changed:
            self._changed[cls] = dict(self._base.tables.get(cls, _NOTHING))
        return self._changed[cls]

    def _index(self, value: Any, key: str) -> None:
        found = catalog_rows.kind_of(type(value)).terms
        if found:
            known = self._indexed(type(value))
            number = known[key].number if key in known else 1 + max((row.number for row in known.values()), default=0)
            known[key] = _Terms(number=number, terms=found(self.get, value))

    def _indexed(self, cls: type) -> dict[str, _Terms]:
        if cls not in self._terms:
            self._terms[cls] = dict(self._base.terms.get(cls, {}))
        return self._terms[cls]

    def _matching(self, cls: type, key: str, etag: str) -> None:
        row = self._rows(cls).get(catalog_rows.text(key))
        if row is None:
            raise catalog_rows.absent(cls, key)
        if etag and row.etag != etag:
            raise catalog_rows.stale(cls, key)

    def _check_writable(self) -> None:
        if not self._can_write:
            raise catalog_rows.read_only()


def _several(wanted: str | tuple[str, ...]) -> tuple[str, ...]:
    return (wanted,) if isinstance(wanted, str) else wanted

"""Heads of the record's tables, signed by the catalog: what was in a table then cannot be taken out of it unseen any more."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from federation import ports
from federation.core import chain, errors
from federation.core.events import ABOUT_HEADS, AUDIT, HEAD_KIND, TABLE_OF_KIND, TABLES, Event
from federation.crypto import heads, signing
from federation.services import scan

#: A table that has grown gets a new head after this long, or after so many rows: what came later can be cut unseen until then.
HEAD_SECONDS = 60
HEAD_ROWS = 100_000
#: The catalog keeps one head of each table for this long, and the newest one; `audit` has them all.
KEPT_SECONDS = 3600


class HeadKeeper:
    """Signs the heads of tables as they grow: the committer says what it has carried, and a start finds what is unsigned."""

    def __init__(
        self, catalog: ports.Catalog, sink: ports.RecordSink, private: bytes, *, seconds: float = HEAD_SECONDS
    ) -> None:
        self._catalog = catalog
        self._sink = sink
        self._private = private
        self._pause = timedelta(seconds=seconds)
        #: Table -> rows that no head covers yet. None: not looked yet.
        self._unsigned: dict[str, int] | None = None
        self._lock = threading.Lock()

    def carried(self, table: str, events: Iterable[Event]) -> None:
        """Notes that a table has grown."""
        grown = sum(event.rows for event in events if event.kind not in ABOUT_HEADS)
        if grown and self._unsigned is not None:
            self._note(table, grown)

    def run_once(self) -> int:
        """Signs the heads that are due; returns how many."""
        if self._unsigned is None:
            self._unsigned = {table: 1 for table in TABLES if self._is_behind(table)}
        told = dict(self._unsigned)  # it grows meanwhile: tables are carried by threads of their own
        if not told:
            return 0
        due = self._catalog.read(lambda tx: [table for table, rows in told.items() if self._is_due(tx, table, rows)])
        if not due:
            return 0
        found = [self._sink.head(table) for table in due]
        self._catalog.write(lambda tx: [keep(tx, self._private, head) for head in found], actor="server")
        for table in due:
            self._note(table, -told[table])
        return len(due)

    def _note(self, table: str, rows: int) -> None:
        with self._lock:
            unsigned = self._unsigned or {}
            left = unsigned.pop(table, 0) + rows
            self._unsigned = unsigned | ({table: left} if left > 0 else {})

    def _is_due(self, tx: ports.Transaction, table: str, rows: int) -> bool:
        known = _newest(tx, table)
        return rows >= HEAD_ROWS or not known or known[0].time + self._pause <= tx.now

    def _is_behind(self, table: str) -> bool:
        """Whether a table has rows that no head covers yet; rows about heads themselves do not count."""
        position = self._sink.head(table).position
        known = self._catalog.read(lambda tx: _newest(tx, table))
        signed = known[0].position if known else 0
        if table != AUDIT or position <= signed or signed < self._catalog.floor():
            return position > signed
        others = self._catalog.events(signed, limit=1, without=(*TABLE_OF_KIND, *ABOUT_HEADS))
        return bool(others) and others[0].position <= position


def require_table(name: str) -> None:
    """InvalidArgument (TABLE_UNKNOWN) for what is no table of the record."""
    if name not in TABLES:
        raise errors.InvalidArgument(
            f"there is no table {name!r}",
            reason="TABLE_UNKNOWN",
            help=f"Use one of: {', '.join(TABLES)}.",
            violations={"table": f"must be one of {', '.join(TABLES)}"},
        )


def keep(tx: ports.Transaction, private: bytes, head: chain.Head) -> chain.SignedHead:
    """Signs a head and stores it; a table that is not further than its newest head gets no other one."""
    known = _newest(tx, head.table)
    if known and known[0].position >= head.position:
        return known[0]
    if len(known) > 1 and known[0].time - known[1].time < timedelta(seconds=KEPT_SECONDS):
        tx.delete(chain.SignedHead, key(known[0]))
    signed = tx.insert(heads.sign(private, head, tx.now))
    tx.emit(HEAD_KIND, f"recordHeads/{signed.table}/{signed.position}", signed)
    return signed


def key(head: chain.SignedHead) -> str:
    """The key that a head is stored under: heads of a table sort by position."""
    return f"{head.table}/{head.position:020d}"


def stored(tx: ports.Transaction, table: str) -> tuple[chain.SignedHead, ...]:
    """The heads of a table that the catalog keeps."""
    return tuple(scan.every(tx, chain.SignedHead, parent=table))


def verify(
    reader: ports.RecordReader, table: str, kept: Iterable[chain.SignedHead], keys: Iterable[str]
) -> Iterator[chain.Verification]:
    """Follows a table's chain; yields what was found so far, again and again, and at last what was found.

    Heads are those that were `kept`, and of those that the table of audit holds the last of each hour: a head vouches for all
    rows before it, so the others would only tell more closely where something is wrong. They count if one of `keys`, public
    keys of catalogs that the caller trusts, has signed them.
    """
    found = _Heads(table, frozenset(keys))
    for head in kept:
        found.take(head, all_of_them=True)
    for head in reader.heads(table):
        found.take(head, all_of_them=False)
    walk = chain.Walk(table, found.chosen())
    for batch in reader.links(table):
        walk.take(batch)
        yield walk.so_far()
    yield walk.result(strange_heads=found.strange, forged=found.forged)


class _Heads:
    """Chooses the heads that a walk compares with: those of trusted keys, and of many only one for each hour."""

    def __init__(self, table: str, trusted: frozenset[str]) -> None:
        self.strange = 0
        self.forged: list[chain.SignedHead] = []
        self._table = table
        self._trusted = trusted
        self._chosen: set[chain.SignedHead] = set()
        self._hourly: dict[datetime, chain.SignedHead] = {}

    def take(self, head: chain.SignedHead, *, all_of_them: bool) -> None:
        if head.table != self._table:
            return
        if head.key not in self._trusted:
            self.strange += 1
        elif not heads.is_genuine(head):
            self.forged = [*self.forged, head][: chain.FINDINGS_MAX]
        elif all_of_them:
            self._chosen.add(head)
        else:
            hour = head.time.replace(minute=0, second=0, microsecond=0)
            self._hourly[hour] = max(head, self._hourly.get(hour, head), key=key)

    def chosen(self) -> frozenset[chain.SignedHead]:
        return frozenset({*self._chosen, *self._hourly.values()})


def public(private: bytes) -> str:
    """The public key (hex) of a private one, as heads name their signer."""
    return signing.public_hex(private)


def _newest(tx: ports.Transaction, table: str) -> tuple[chain.SignedHead, ...]:
    return tx.list(chain.SignedHead, parent=table, newest_first=True, limit=2)

"""The record's rows as a hash chain: each row's link covers the row and all before it. Pure and plain: the reference.

Defined exactly in docs/record.md, with vectors, so that anybody can verify a table with a tool of their own. In short: a row's
canonical form is its columns that are not null, by name, each name and value behind its length in 4 bytes; `day` (it follows
from another column) and `chain` itself are left out. The link of a row is SHA-256 of the link before and its canonical form.
Leaving out what is null lets a column be added later without changing the link of any row from before.

What writes and reads tables by the ten thousand rows has the same form from arrays (`adapters/records_chain.py`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import struct
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

#: Columns that no link covers: the day follows from the row's time, which is covered, and a link cannot cover itself.
UNCHAINED = frozenset({"day", "chain"})
#: How far back a break is compared with earlier links, to tell rows that were put in from a row that was changed.
_WINDOW = 1024
#: How many findings are told of one table.
FINDINGS_MAX = 100
_NULL = b"\xff\xff\xff\xff"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def genesis(table: str) -> bytes:
    """The link before a table's first row: every table has its own, so that none passes for another."""
    return hashlib.sha256(b"".join(_framed(part.encode()) for part in ("fed/record/v1", table))).digest()


def link(previous: bytes, row: bytes) -> bytes:
    """The link of a row, from the link before it and its canonical form."""
    return hashlib.sha256(previous + row).digest()


def links(previous: bytes, rows: Iterable[bytes]) -> list[bytes]:
    """The links of rows that follow each other."""
    made = []
    sha256 = hashlib.sha256
    for row in rows:
        previous = sha256(previous + row).digest()
        made.append(previous)
    return made


def canonical(row: Mapping[str, Any]) -> bytes:
    """A row's canonical form, from its columns by name; the values are those that Python has for Delta's types.

    Also that of a struct inside a row. TypeError for a value that no column holds.
    """
    told = sorted((name.encode(), value) for name, value in row.items() if value is not None and name not in UNCHAINED)
    return b"".join(_framed(name) + _framed(_value(value)) for name, value in told)


def _framed(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _value(value: Any) -> bytes:  # noqa: PLR0911 - one return for each kind of value
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    if isinstance(value, bool):
        return b"\x01" if value else b"\x00"
    if isinstance(value, int):
        return value.to_bytes(8, "big", signed=True)
    if isinstance(value, float):
        return struct.pack(">d", value)
    if isinstance(value, Decimal):
        return _unscaled(value).to_bytes(16, "big", signed=True)
    if isinstance(value, datetime):
        return ((value - _EPOCH) // _MICROSECOND).to_bytes(8, "big", signed=True)
    if isinstance(value, date):
        return (value - _EPOCH.date()).days.to_bytes(4, "big", signed=True)
    if isinstance(value, Mapping):
        return canonical(value)
    if isinstance(value, list | tuple):
        return b"".join(_NULL if item is None else _framed(_value(item)) for item in value)
    raise TypeError(f"no column of the record holds {type(value).__name__}")


def _unscaled(value: Decimal) -> int:
    """The integer that a decimal column stores: the digits without the point, all places of the column's scale among them."""
    sign, digits, _ = value.as_tuple()
    number = int("".join(map(str, digits)))
    return -number if sign else number


@dataclass(frozen=True, kw_only=True)
class Head:
    """How far a table had come: the position of its last row, how many rows it had, and the link of the last one."""

    table: str
    position: int
    rows: int
    chain: bytes


@dataclass(frozen=True, kw_only=True)
class SignedHead:
    """A head as the catalog remembers it: with the time, and the catalog's signature, so that it can be kept anywhere.

    `chain` is the link, `key` the catalog's public key and `signature` its word, all hex; `crypto/heads.py` signs and checks.
    """

    table: str
    position: int
    rows: int
    chain: str
    time: datetime
    key: str
    signature: str


class Wrong(StrEnum):
    """What can be wrong with a table. The value is the reason that people see."""

    #: A row does not follow from the one before: it was changed, or rows between the two were cut.
    ROW_BROKEN = "ROW_BROKEN"
    #: Rows stand between two that follow from each other: they were put in.
    ROWS_INSERTED = "ROWS_INSERTED"
    #: Two rows have one position, or their order is not that of positions.
    ORDER_WRONG = "ORDER_WRONG"
    #: A row without a link after rows that have one.
    LINK_MISSING = "LINK_MISSING"
    #: A signed head says another link or another number of rows than the table has there: the table was written anew.
    HEAD_DIFFERS = "HEAD_DIFFERS"
    #: The table ends before a signed head, or has no row where one says that the last one was.
    ROWS_CUT = "ROWS_CUT"
    #: A row lies in the partition of another day than its time is of: who reads by day does not find it.
    DAY_WRONG = "DAY_WRONG"
    #: A file of the table is missing or cannot be read.
    FILE_DAMAGED = "FILE_DAMAGED"
    #: A head that names the catalog's key is not signed by it.
    HEAD_FORGED = "HEAD_FORGED"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong: somewhere after `after_position`, where all was right, and at `position` at the latest."""

    reason: str
    after_position: int
    position: int
    detail: str


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What was found of one table.

    `rows` were read, up to `last_position`; those before `chained_from` (0: none is chained) are older than the chain, and not
    proven. Of `proven_rows` a signed head vouches, without a gap up to `proven_position`; rows after a break may be proven too.
    `consistent_position` is up to where each row follows from the one before. `heads` were compared, `strange_heads` set aside
    because another key signed them. `findings` are in order of position, the first ones of very many.
    """

    table: str
    rows: int = 0
    last_position: int = 0
    chained_from: int = 0
    proven_rows: int = 0
    proven_position: int = 0
    consistent_position: int = 0
    heads: int = 0
    strange_heads: int = 0
    findings: tuple[Finding, ...] = ()

    @property
    def intact(self) -> bool:
        """Whether nothing is wrong. Without a head nothing is proven either: `proven_position` says how far."""
        return not self.findings


@dataclass(frozen=True, kw_only=True)
class Links:
    """Rows in order of position, as a verifier takes them: their canonical forms beside the links that the table has.

    A link is None for a row from before the chain. `damage` is what kept rows from being read here.
    """

    positions: Sequence[int]
    rows: Sequence[bytes]
    links: Sequence[bytes | None]
    damage: tuple[Finding, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Step:
    """Where a walk stood after a row: its link and position, how many rows there were, how many of them in the segment."""

    link: bytes
    position: int = 0
    rows: int = 0
    segment: int = 0


class Walk:
    """Follows a table's chain from its first row, and compares it with signed heads. Holds no rows.

    A row that does not follow is a finding, and the walk goes on from the link that the table has there: if a later head
    agrees, that link was the true one, and the rows of the segment between are proven.
    """

    def __init__(self, table: str, heads: Iterable[SignedHead] = ()) -> None:
        self._table = table
        self._heads = deque(sorted({(head.position, head.rows, head.chain) for head in heads}))
        self._at = _Step(link=genesis(table))
        self._recent: deque[_Step] = deque(maxlen=_WINDOW)
        self._chained_from = self._proven_rows = self._proven_position = self._consistent = 0
        self._compared = 0
        self._agreed = 0  # position of the last head that agreed
        self._surplus = 0  # rows that are there and should not be, less those that are missing, as far as told
        self._differs = False  # the last head did not agree: those after it follow from the same cause
        self._findings: list[Finding] = []
        self._damage: list[Finding] = []  # what could not be read further on, the first of it last

    def take(self, batch: Links) -> None:
        """The next rows of the table."""
        self._damage = sorted((*self._damage, *batch.damage), key=lambda found: found.after_position, reverse=True)
        for position, row, stored in zip(batch.positions, batch.rows, batch.links, strict=True):
            if self._heads and self._heads[0][0] < position:
                self._pass(position)
            while self._damage and self._damage[-1].after_position < position:
                self._findings.append(self._damage.pop())
            if position <= self._at.position:
                self._note(Wrong.ORDER_WRONG, position, f"position {position} comes after {self._at.position}", position - 1)
            self._recent.append(self._at)
            self._at = self._after(position, row, stored)
            if not self._findings:
                self._consistent = position
            while self._heads and self._heads[0][0] == position:
                self._compare(*self._heads.popleft())

    def so_far(self) -> Verification:
        """What was found of the rows that were taken."""
        return self._verification(strange_heads=0)

    def result(self, *, strange_heads: int = 0, forged: Iterable[SignedHead] = ()) -> Verification:
        """What was found, once all rows were taken."""
        self._findings += self._damage
        self._pass(None)
        for head in forged:
            told = f"the head at position {head.position} names the catalog's key and is not signed by it"
            self._note(Wrong.HEAD_FORGED, head.position, told)
        return self._verification(strange_heads=strange_heads)

    def _verification(self, *, strange_heads: int) -> Verification:
        ordered = sorted(self._findings, key=lambda found: (found.position, found.after_position))
        return Verification(
            table=self._table,
            rows=self._at.rows,
            last_position=self._at.position,
            chained_from=self._chained_from,
            proven_rows=self._proven_rows,
            proven_position=self._proven_position,
            consistent_position=self._consistent,
            heads=self._compared,
            strange_heads=strange_heads,
            findings=tuple(ordered[:FINDINGS_MAX]),
        )

    def _after(self, position: int, row: bytes, stored: bytes | None) -> _Step:
        """The step to a row; a row that does not follow is noted."""
        before = self._at
        if stored is None:
            if self._chained_from:
                self._note(Wrong.LINK_MISSING, position, f"the row at {position} has no link, though rows before it have one")
            return _Step(link=before.link, position=position, rows=before.rows + 1)
        self._chained_from = self._chained_from or position
        if link(before.link, row) == stored:
            return _Step(link=stored, position=position, rows=before.rows + 1, segment=before.segment + 1)
        earlier = self._followed(row, stored)
        if earlier is None:
            told = f"the row at {position} was changed, or rows between {before.position} and {position} were cut"
            self._note(Wrong.ROW_BROKEN, position, told)
            return _Step(link=stored, position=position, rows=before.rows + 1)
        self._surplus += before.rows - earlier.rows
        # What does not follow among the rows that were put in has this one cause.
        self._findings = [
            found for found in self._findings if found.reason != Wrong.ROW_BROKEN or found.position <= earlier.position
        ]
        told = f"the row at {position} follows from that at {earlier.position}: what stands between them was put in"
        self._note(Wrong.ROWS_INSERTED, position, told, earlier.position)
        return _Step(link=stored, position=position, rows=before.rows + 1, segment=earlier.segment + 1)

    def _followed(self, row: bytes, stored: bytes) -> _Step | None:
        """The row further back that a row follows from: those between were put in."""
        if len(self._findings) >= FINDINGS_MAX:
            return None  # so much is wrong that it needs no finer word, and the search would take its time at each row
        return next((step for step in reversed(self._recent) if link(step.link, row) == stored), None)

    def _pass(self, position: int | None) -> None:
        """Heads that say a last row where the table has none: before the row at `position`, or, for None, beyond its end."""
        passed = None
        while self._heads and (position is None or self._heads[0][0] < position):
            passed = self._heads.popleft()
            self._compared += 1
        if passed is None:
            return
        at, rows, _ = passed
        if position is None:
            told = f"the table ends at {self._at.position}, but a signed head says that it had {rows:,} rows up to {at}"
        else:
            told = f"there is no row at {at}, though a signed head says that the {rows:,}th was there"
        self._note(Wrong.ROWS_CUT, at, told)

    def _compare(self, position: int, rows: int, told: str) -> None:
        """A head that was taken at the row where the walk stands."""
        self._compared += 1
        self._recent.clear()  # whatever is found later lies behind this head
        if told != self._at.link.hex():
            if not self._differs:
                between = f"rows between {self._agreed} and {position} are not those that the catalog signed"
                self._note(Wrong.HEAD_DIFFERS, position, between, self._agreed)
            self._differs = True
            self._at = dataclasses.replace(self._at, segment=0)
            return
        untold, self._surplus = self._at.rows - rows - self._surplus, self._at.rows - rows
        if untold > 0:
            self._note(Wrong.ROWS_INSERTED, position, f"{untold:,} rows too many up to {position}", self._agreed)
        if untold < 0:
            self._note(Wrong.ROWS_CUT, position, f"{-untold:,} rows are missing up to {position}", self._agreed)
        self._proven_rows += self._at.segment
        if not self._findings:
            self._proven_position = position
        self._at = dataclasses.replace(self._at, segment=0)
        self._agreed, self._differs = position, False

    def _note(self, reason: Wrong, position: int, detail: str, after: int | None = None) -> None:
        if len(self._findings) >= FINDINGS_MAX:
            return
        after = self._at.position if after is None else after
        self._findings.append(Finding(reason=str(reason), after_position=after, position=position, detail=detail))

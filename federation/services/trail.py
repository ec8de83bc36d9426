"""The trail of audit, newest first: the log as far as it reaches back, then the Delta table, with no gap and nothing twice.

The table is asked day by day from the newest, so that a page costs what a day holds and not what a decade does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import date

from federation import ports
from federation.core import errors, trail
from federation.core.events import AUDIT, TABLE_OF_KIND, Event
from federation.core.trail import AuditRow, Selection
from federation.services.seam import seam

#: Rows of the table that are looked at together.
CHUNK = 500
_COLUMNS = "position, time, kind, name, actor, request_id, body, body_sha256"
_ELSEWHERE = tuple(TABLE_OF_KIND)


def note(tx: ports.Transaction, method: str, text: str) -> None:
    """Tells that whoever acts asks something of the record. In a transaction before the answer: who asked is always known."""
    tx.emit(trail.QUERIED_KIND, "record", trail.queried(method, text))


def newest(
    catalog: ports.Catalog,
    engine: ports.RecordEngine | None,
    selection: Selection = trail.EVERYTHING,
    *,
    before: int = 0,
    limit: int = 50,
) -> tuple[AuditRow, ...]:
    """The newest selected entries, at most `limit`, of positions below `before` (0: all)."""
    upto = seam(catalog, engine, AUDIT, without=_ELSEWHERE)
    kept: deque[AuditRow] = deque(maxlen=limit)
    for event in tail(catalog, upto):
        if before and event.position >= before:
            break
        row = trail.of_event(event)
        if selection.has(row):
            kept.append(row)
    found = list(reversed(kept))
    if engine is not None and upto and len(found) < limit:
        end = min(upto + 1, before) if before else upto + 1
        for row in _stored(engine, selection, end):
            found.append(row)
            if len(found) == limit:
                break
    return tuple(found)


def every(
    catalog: ports.Catalog, engine: ports.RecordEngine | None, selection: Selection = trail.EVERYTHING
) -> Iterator[AuditRow]:
    """All selected entries, oldest first."""
    upto = seam(catalog, engine, AUDIT, without=_ELSEWHERE)
    if engine is not None and upto:
        yield from reversed(list(_stored(engine, selection, upto + 1)))
    yield from filter(selection.has, map(trail.of_event, tail(catalog, upto)))


def get(catalog: ports.Catalog, engine: ports.RecordEngine | None, position: int) -> AuditRow:
    """The entry at a position; NotFound where there is none: not every fact of the log is one of audit's."""
    if position > max(catalog.floor(), 0):
        found = catalog.events(position - 1, limit=1, without=_ELSEWHERE)
        if found and found[0].position == position:
            return trail.of_event(found[0])
    if engine is not None:
        for row in _rows(engine, f"position = {position}", 1):
            return row
    raise errors.NotFound(
        f"there is no audit entry at {position}",
        help="`fed audit list` shows those that there are; ledger, lineage and decisions have tables of their own.",
        metadata={"position": str(position)},
    )


def tail(catalog: ports.Catalog, after: int) -> Iterator[Event]:
    """The events of audit in the log after a position, in order."""
    while events := catalog.events(after, without=_ELSEWHERE):
        yield from events
        after = events[-1].position


def _stored(engine: ports.RecordEngine, selection: Selection, end: int) -> Iterator[AuditRow]:
    """The selected rows of the table below a position, newest first."""
    wanted = selection.sql()
    for day in _days(engine, selection):
        below = end
        while True:
            rows = _rows(engine, f"day = DATE '{day}' AND position < {below} AND {wanted}", CHUNK)
            yield from filter(selection.has, rows)
            if len(rows) < CHUNK:
                break
            below = rows[-1].position


def _days(engine: ports.RecordEngine, selection: Selection) -> list[date]:
    """The days of which the table has rows, newest first: known from the names of its folders."""
    try:
        found = engine.query(f"SELECT DISTINCT day FROM {AUDIT} WHERE {selection.days_sql()} ORDER BY day DESC")  # noqa: S608
    except errors.NotFound:
        return []
    return list(found.column("day").to_pylist())


def _rows(engine: ports.RecordEngine, condition: str, limit: int) -> list[AuditRow]:
    sql = f"SELECT {_COLUMNS} FROM {AUDIT} WHERE {condition} ORDER BY position DESC LIMIT {limit}"  # noqa: S608 - values are quoted
    try:
        found = engine.query(sql)
    except errors.NotFound:
        return []
    return [trail.of_columns(row) for row in found.to_pylist()]

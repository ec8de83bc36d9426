"""The one log: every change of the catalog, in order, written in the change's own transaction.

It is the change log, the outbox of the record's tables (audit among them), and later Watch. `position` is the catalog's
revision.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict

#: Kinds of event that have a table of the record to themselves. All others are carried to AUDIT.
TABLE_OF_KIND = {
    "ledger.entry": "egress_ledger",
    "usage.counted": "egress_usage",
    "lineage.run": "lineage_runs",
    "lineage.edge": "lineage_edges",
    "placement.decided": "placement_decisions",
    "bill.lines": "bill_lines",
}
AUDIT = "audit"
#: The record's tables, in the order in which they are carried.
TABLES = (*dict.fromkeys(TABLE_OF_KIND.values()), AUDIT)
#: The kind that tells of a signed head. It does not make a new head of `audit` due: else one would follow another for ever.
HEAD_KIND = "record.head"


class Kinds(TypedDict, total=False):
    """Which kinds of event are wanted, or those that are not."""

    kinds: tuple[str, ...]
    without: tuple[str, ...]


def kinds_of(table: str) -> Kinds:
    """Which kinds of event a table of the record takes, as `EventLog.events` is asked for them."""
    kinds = tuple(kind for kind, of in TABLE_OF_KIND.items() if of == table)
    return {"kinds": kinds} if kinds else {"without": tuple(TABLE_OF_KIND)}


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """How far somebody who follows the log has come: everything up to `position` is dealt with."""

    name: str
    position: int = 0
    etag: str = ""


@dataclass(frozen=True, kw_only=True)
class Event:
    """One fact, or many of one kind. `kind` is `dataset.created`, `ledger.entry` and so on, `name` the resource.

    One fact is `body`, JSON of the value after. Many are `data`, in the bytes in which their table takes them (see
    `adapters/records_tables.py`): they have the positions `position - rows + 1` to `position`, in order.
    """

    position: int
    time: datetime
    kind: str
    name: str
    actor: str
    request_id: str
    body: str
    rows: int = 1
    data: bytes = b""

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return len(self.body) + len(self.data)

"""The one log: every change of the catalog, in order, written in the change's own transaction.

It is the change log, the outbox of ledger and lineage, and later Watch and audit. `position` is the catalog's revision.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

#: Kinds of event that the committer carries to Delta, with the table that each goes to.
TABLE_OF_KIND = {
    "ledger.entry": "egress_ledger",
    "lineage.run": "lineage_runs",
    "lineage.edge": "lineage_edges",
    "bill.lines": "bill_lines",
}


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

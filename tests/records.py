"""Facts of ledger and lineage, and events that carry them, for tests of what the committer moves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from federation import ports
from federation.core import bill, lineage, metering, records
from federation.core.events import Event

TIME = datetime(2026, 11, 22, 23, 30, 59, 123456, tzinfo=UTC)


def entry(number: int = 1, **changes: Any) -> metering.LedgerEntry:
    """A ledger entry; entries are a minute apart, so that they fall on several days."""
    time = TIME + timedelta(minutes=number)
    values = {
        "entry": f"e-{number:026}",
        "grant": f"g-{number:026}",
        "time": time,
        "month": f"{time:%Y-%m}",
        "namespace": "sales",
        "dataset": "flights",
        "version": 1,
        "alias": "flights",
        "job": "j-1",
        "run": "r-1",
        "attempt": 1,
        "principal": "users/alice",
        "source_site": "eu-1",
        "source_region": "aws:eu-central-1",
        "destination_site": "us-1",
        "destination_region": "aws:us-east-1",
        "bytes": 1_000_000 + number,
        "unsettled_bytes": 0,
        "requests": 3,
        "charge_micros": 20_000 + number,
        "estimate_bytes": 1_000_000,
        "estimate_micros": 20_000,
        "avoided_micros": None,
        "month_to_date_bytes": 0,
        "price_source": "test",
    }
    return metering.LedgerEntry(**values | changes)


def run_fact(run: str = "r-1", **changes: Any) -> lineage.RunFact:
    """A run that succeeded."""
    values = {
        "run": run,
        "job": "j-1",
        "attempt": 1,
        "label": "",
        "kind": "BATCH",
        "site": "us-1",
        "region": "aws:us-east-1",
        "principal": "users/alice",
        "state": "SUCCEEDED",
        "reason": "",
        "start_time": None,
        "end_time": TIME,
    }
    return lineage.RunFact(**values | changes)


def edge(run: str = "r-1", direction: str = "in", **changes: Any) -> lineage.Edge:
    """What a run read."""
    values = {
        "run": run,
        "direction": direction,
        "alias": "flights",
        "node": "sales/flights@1",
        "manifest_digest": "0" * 64,
        "site": "eu-1",
        "source_region": "aws:eu-central-1",
        "destination_region": "aws:us-east-1",
        "bytes": 1_000_000,
        "time": TIME,
    }
    return lineage.Edge(**values | changes)


def bill_line(line: int = 1, **changes: Any) -> bill.BillLine:
    """A line of a bill for a gigabyte from Ohio to Frankfurt."""
    values = {
        "bill": "aws-111122223333-2026-11",
        "version": 1,
        "line": line,
        "account": "111122223333",
        "usage_type": "USE2-EUC1-AWS-Out-Bytes",
        "kind": bill.LineKind.USAGE,
        "source_region": "aws:us-east-2",
        "destination_region": "aws:eu-central-1",
        "resource": "",
        "start_time": datetime(2026, 11, 22, 23, tzinfo=UTC),
        "end_time": datetime(2026, 11, 23, tzinfo=UTC),
        "usage_bytes": 10**9,
        "cost_picos": 20_000_000_000,
    }
    return bill.BillLine(**values | changes)


def event(position: int, kind: str = "ledger.entry", body: Any = None) -> Event:
    """The event at a position; without a body it is of a ledger entry of the same number."""
    text = records.dumps(entry(position) if body is None else body)
    return Event(position=position, time=TIME, kind=kind, name=f"n{position}", actor="", request_id="", body=text)


def emit_entries(catalog: ports.Catalog, *numbers: int) -> None:
    """Emits ledger entries of these numbers, in one transaction."""

    def emit(tx: ports.Transaction) -> None:
        for number in numbers:
            tx.emit("ledger.entry", f"entries/{number}", entry(number))

    catalog.write(emit)

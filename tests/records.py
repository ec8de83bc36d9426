"""Facts of ledger and lineage, and events that carry them, for tests of what the committer moves."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

from federation import ports
from federation.adapters import records_tables
from federation.core import bill, decision, job, lineage, metering, records
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


def usage_record(**changes: Any) -> metering.UsageRecord:
    """What a gateway counted in an hour."""
    values = {
        "grant": "g-1",
        "hour_time": metering.hour(TIME),
        "counter": metering.Counter.GATEWAY,
        "namespace": "sales",
        "dataset": "flights",
        "version": 1,
        "alias": "flights",
        "job": "j-1",
        "run": "r-1",
        "transfer": "",
        "source_site": "eu-1",
        "source_region": "aws:eu-central-1",
        "destination_site": "us-1",
        "destination_region": "aws:us-east-1",
        "bytes": 1_000_000,
        "aborted_bytes": 7,
        "responses": 3,
        "aborted_responses": 1,
        "retries": 0,
        "cached_bytes": 5,
        "unreceived_bytes": 2,
    }
    return metering.UsageRecord(**values | changes)


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


def placed_job(**changes: Any) -> job.Job:
    """A job with one input, placed at one of two sites, with a third rejected."""
    spec = job.InputSpec(alias="flights", dataset="sales/flights", version=1)
    item = job.InputPlan(
        alias="flights",
        dataset="sales/flights",
        version=1,
        way=job.Way.REMOTE,
        source_site="eu-1",
        source_region="aws:eu-central-1",
        destination_region="aws:us-east-1",
        bytes=10**6,
        egress_micros=20_000,
        baseline_micros=50_000,
    )
    first = job.Candidate(
        site="us-1", region="aws:us-east-1", inputs=(item,), compute_micros=100, egress_micros=20_000, locality=0.25
    )
    plan = job.Plan(
        revision=7,
        decide_time=TIME,
        ranked=(first, dataclasses.replace(first, site="us-2", compute_micros=150)),
        rejections=(job.Rejection(site="ap-1", reason="RESIDENCY", detail="it is in JP"),),
        baseline_site="us-1",
        baseline_egress_micros=50_000,
    )
    request = job.JobRequest(namespace="sales", inputs=(spec,), principal="users/alice")
    values = {"job": "j-1", "request": request, "plan": plan, "attempt": 1, "run": "jobs/j-1/runs/1"}
    return job.Job(**values | changes)


def decided(**changes: Any) -> decision.Decision:
    """The decision that placed it."""
    placed = placed_job()
    made = decision.decide(
        placed,
        placed.plan,
        decision.Outcome.PLACED,
        decision="d-1",
        supersedes="",
        time=TIME,
        rate_card=3,
        residency={"sales/flights": ("EU", "US")},
    )
    return dataclasses.replace(made, **changes)


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


def batch(position: int, rows: int) -> Event:
    """The event of many ledger entries, numbered by their positions, whose last position this is."""
    data = records_tables.pack("ledger.entry", [entry(number) for number in range(position - rows + 1, position + 1)])
    values = {"time": TIME, "kind": "ledger.entry", "name": "batch", "actor": "", "request_id": "", "body": ""}
    return Event(position=position, rows=rows, data=data, **values)


def emit_entries(catalog: ports.Catalog, *numbers: int) -> None:
    """Emits ledger entries of these numbers, in one transaction."""

    def emit(tx: ports.Transaction) -> None:
        for number in numbers:
            tx.emit("ledger.entry", f"entries/{number}", entry(number))

    catalog.write(emit)

"""Bills, budgets, reports and exports over the wire and at the command line, from a delivery's file to FOCUS."""

from __future__ import annotations

import csv
import json
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from pyarrow import parquet

from connectors.bills import aws
from federation.cli import exits
from federation.client import bills
from federation.core import bill, budget, errors, metering
from federation.core.bill import Period
from federation.services import ledger
from federation.v1 import bills_pb2
from tests import records
from tests.conformance import test_bills
from tests.wire import edge as edges
from tests.wire.typing_fed import Fed, typing

OHIO, FRANKFURT = "aws:us-east-2", "aws:eu-central-1"
NOVEMBER = datetime(2026, 11, 3, 4, 5, tzinfo=UTC)


def entry(number: int, **changes: Any) -> metering.LedgerEntry:
    """A gigabyte (of 2^30 bytes) from Ohio to Frankfurt, charged two cents."""
    values = {
        "source_region": OHIO,
        "destination_region": FRANKFURT,
        "bytes": 2**30,
        "charge_micros": 20_000,
        "time": NOVEMBER,
        "avoided_micros": 0,
    }
    return records.entry(
        number, **{"month": "2026-11", "payer": "research", "principal": f"users/u{number}", **values, **changes}
    )


def enter(edge: edges.Edge, *entries: metering.LedgerEntry) -> None:
    """Entries into the ledger of a server."""
    for one in entries:
        edge.catalog.write(lambda tx, one=one: ledger.post(tx, one))  # type: ignore[misc]


def delivery(folder: Path, *rows: list[str], name: str = "cur.csv") -> Path:
    """A report as a file."""
    path = folder / name
    path.write_text(test_bills.as_text(test_bills.NEW, rows))
    return path


def two_gigabytes(cost: str = "0.05") -> list[str]:
    """What the provider says of the same link: two gigabytes."""
    return test_bills.row("USE2-EUC1-AWS-Out-Bytes", "2", cost)


@pytest.fixture
def fed(edge: edges.Edge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fed:
    """Runs a command line of `fed` against the server, as its administrator."""
    return typing(edge, monkeypatch, tmp_path)


def test_a_bill_is_imported_and_reconciled_by_the_client(edge: edges.Edge, tmp_path: Path) -> None:
    """Imported twice it is one; reconciled twice it posts once; a trial posts nothing."""
    client = edge.client()
    enter(edge, entry(1), entry(2))
    for _ in range(2):
        with bills.read(aws.AwsBills(), [delivery(tmp_path, two_gigabytes())]) as (delivered,):
            found = client.import_bill(delivered)
    assert (found.bill, found.version, found.deliveries, found.lines) == ("aws-111122223333-2026-11", 1, 1, 1)
    assert client.get_bill(found.bill) == found
    assert list(client.list_bills(filter='month = "2026-11"')) == [found]
    tried = client.reconcile_bills("2026-11", validate_only=True)
    assert (tried.correction_micros, tried.entries, tried.period) == (10_000, 2, Period.MONTH)
    assert client.summarize_costs("month")[1].charge_micros == 40_000
    assert client.reconcile_bills("2026-11").correction_micros == 10_000
    assert client.reconcile_bills("2026-11").entries == 0
    rows, total = client.summarize_costs("month")
    assert (total.charge_micros, total.correction_micros, total.entries) == (50_000, 10_000, 4)
    assert rows[0].keys == ("2026-11",)


def test_a_delivery_that_was_cut_off_is_refused(edge: edges.Edge, tmp_path: Path) -> None:
    """The bill stays what it was; and nobody but an administrator brings bills."""
    client = edge.client()
    with bills.read(aws.AwsBills(), [delivery(tmp_path, two_gigabytes(), two_gigabytes("0.07"))]) as (delivered,):
        with pytest.raises(errors.PermissionDenied):
            edge.client("user").import_bill(delivered)
        pieces = list(delivered.pieces())
        delivered.pieces = lambda: iter(pieces[:-1])  # type: ignore[method-assign]
        with pytest.raises(errors.InvalidArgument) as caught:
            client.import_bill(delivered)
    assert caught.value.reason == "DIGEST_MISMATCH"
    assert client.get_bill("aws-111122223333-2026-11").version == 0
    with pytest.raises(errors.NotFound):
        client.reconcile_bills("2026-11")
    with pytest.raises(errors.PermissionDenied):
        edge.call("Bills.ReconcileBills", bills_pb2.ReconcileBillsRequest(month="2026-11", provider="aws"), who="user")


def test_budgets_live_over_the_wire(edge: edges.Edge) -> None:
    """Made, read, listed, changed and ended; shown with what the month has made of them."""
    client = edge.client()
    made = client.create_budget(
        budget.Budget(budget="cap", scope="all", limit_micros=10**6, alert_percents=(100, 50), hard=True)
    )
    assert (made.alert_percents, made.hard, made.principal) == ((50, 100), True, "users/admin")
    enter(edge, entry(1, time=datetime.now(UTC), month=made.month))
    assert edge.client("user").get_budget("cap").spent_micros == 20_000
    changed = client.update_budget(budget.Budget(budget="cap", scope="all", limit_micros=40_000), ("limit_micros",))
    assert (changed.limit_micros, changed.hard, changed.alert_percents) == (40_000, True, (50, 100))
    assert [row.budget for row in client.list_budgets()] == ["cap"]
    with pytest.raises(errors.PermissionDenied):
        edge.client("user").delete_budget("cap")
    client.delete_budget("cap")
    assert list(client.list_budgets()) == []


def test_an_alert_is_told_in_the_servers_log(edge: edges.Edge, caplog: pytest.LogCaptureFixture) -> None:
    """The sweep finds it within seconds."""
    client = edge.client()
    client.create_budget(budget.Budget(budget="cap", scope="all", limit_micros=40_000, alert_percents=(50,)))
    with caplog.at_level("WARNING", "federation.api.background"):
        enter(edge, entry(1, time=datetime.now(UTC), month=f"{datetime.now(UTC):%Y-%m}"))
        deadline = datetime.now(UTC) + timedelta(seconds=60)
        while "budget.alert of budgets/cap" not in caplog.text and datetime.now(UTC) < deadline:
            time.sleep(0.05)
    assert client.get_budget("cap").alerted_percents == (50,)
    assert '"percent":50' in caplog.text


def test_a_month_from_the_bill_to_focus_at_the_command_line(fed: Fed, edge: edges.Edge, tmp_path: Path) -> None:
    """Import, look, reconcile, report with a picture, charge back, export: every sum is the ledger's."""
    enter(edge, entry(1), entry(2), entry(3, destination_region=OHIO, charge_micros=0, avoided_micros=30_000))
    file = delivery(tmp_path, two_gigabytes())
    assert "aws-111122223333-2026-11" in fed("bill", "import", file).stdout
    assert json.loads(fed("bill", "list", "-o", "json").stdout)[0]["version"] == 1
    assert "covered" in fed("bill", "show", "aws-111122223333-2026-11").stdout
    fed("bill", "import", file, "--account", "999", code=exits.USAGE)
    assert "would be posted" in fed("bill", "reconcile", "--month", "2026-11", "--dry-run").stdout
    told = fed("bill", "reconcile", "--month", "2026-11").stdout
    assert "$0.05 explained by runs, $0.00 unallocated; $0.01 in 2 corrections posted" in told
    assert json.loads(fed("bill", "reconcile", "--month", "2026-11", "-o", "json").stdout)["entries"] == 0

    picture = tmp_path / "report.svg"
    report = fed("cost", "report", "--by", "link", "--from", "2026-11-01", "--plot", picture).stdout
    assert "locality saved $0.02" in report  # thirty thousand micro-dollars, less what the corrections cost more
    assert ET.parse(picture).getroot().tag.endswith("svg")
    assert json.loads(fed("cost", "report", "--to", "2026-11-01", "-o", "json").stdout)["total"]["entries"] == 0

    assert "users/u1" in fed("cost", "chargeback", "--month", "2026-11").stdout
    for ending in ("csv", "json", "parquet"):
        fed("cost", "chargeback", "--month", "2026-11", "--file", tmp_path / f"back.{ending}")
    with (tmp_path / "back.csv").open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert {row["principal"]: row["charge_usd"] for row in rows} == {
        "users/u1": "0.025000",
        "users/u2": "0.025000",
        "users/u3": "0.000000",
    }
    assert sum(parquet.read_table(tmp_path / "back.parquet")["charge_usd"].to_pylist()) == Decimal("0.05")
    assert sum(Decimal(row["charge_usd"]) for row in json.loads((tmp_path / "back.json").read_text())) == Decimal("0.05")
    fed("cost", "chargeback", "--month", "2026-11", "--file", tmp_path / "back.xlsx", code=exits.USAGE)

    export = tmp_path / "november.parquet"
    fed("cost", "export", "--focus", "1.4", "--month", "2026-11", export)
    table = parquet.read_table(export)
    assert sum(table["BilledCost"].to_pylist()) == Decimal("0.05")
    assert table["ChargeClass"].to_pylist().count("Correction") == 2
    answer = fed("cost", "export", "--focus", "1.2", "--format", "csv", "--to", "2026-11-04", tmp_path / "n.csv")
    assert "3 rows of FOCUS 1.2" in answer.stderr


def test_budgets_at_the_command_line(fed: Fed) -> None:
    """From making one to ending it."""
    fed("budget", "create", "cap", "--namespace", "sales", "--month-usd", "500", "--alert", "50,80%,100", "--hard")
    assert "namespaces/sales" in fed("budget", "list").stdout
    fed("budget", "update", "cap", "--month-usd", "800", "--soft")
    shown = json.loads(fed("budget", "show", "cap", "-o", "json").stdout)
    assert (shown["limit_micros"], shown["hard"], shown["alert_percents"]) == (800_000_000, False, [50, 80, 100])
    fed("budget", "update", "cap", code=exits.USAGE)
    fed("budget", "create", "both", "--all", "--namespace", "sales", "--month-usd", "1", code=exits.USAGE)
    fed("budget", "create", "odd", "--all", "--month-usd", "1", "--alert", "half", code=exits.USAGE)
    fed("budget", "create", "odd", "--namespace", "nowhere", "--month-usd", "1", code=exits.NOT_FOUND)
    fed("budget", "delete", "cap")
    fed("budget", "show", "cap", code=exits.NOT_FOUND)


def test_a_forecast_says_what_it_does_not_know(fed: Fed, edge: edges.Edge) -> None:
    """Without a ledger there is none; with a month of days there is."""
    assert "0 full days are known" in fed("cost", "forecast").stdout
    now = datetime.now(UTC)
    days = [now - timedelta(days=n) for n in range(1, 31)]
    enter(edge, *(entry(n, time=day, month=f"{day:%Y-%m}") for n, day in enumerate(days, 1)))
    told = json.loads(fed("cost", "forecast", "-o", "json").stdout)
    assert (told["method"], told["days"]) == ("WEEKDAYS", 30)
    assert told["low_micros"] <= told["expected_micros"] <= told["high_micros"]
    assert "expected at its end" in fed("cost", "forecast", "--filter", 'payer = "research"').stdout
    assert bill.period_of(int(now.timestamp()), Period.MONTH) == told["month"]

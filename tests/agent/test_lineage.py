"""Lineage of a real run: what it read, at which cost and which columns, and what it made, from its process to every answer."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from federation.agent import journal
from federation.core import errors, job, lineage
from tests.agent.federation import Federation, launch

SUMS = """
import federation, pyarrow as pa
orders = federation.inputs["orders"].arrow(columns=["price", "qty"]).to_table()
total = sum(p * q for p, q in zip(orders["price"].to_pylist(), orders["qty"].to_pylist()))
federation.outputs["sums"].columns({"total": ["orders.price", "orders.qty"]})
federation.outputs["sums"].write_table(pa.table({"total": [total]}))
"""


@pytest.fixture
def ran(fed: Federation, tmp_path: Path) -> job.Job:
    """Orders, put in the US, summed up there by a job that reads two of their three columns."""
    folder = tmp_path / "orders"
    folder.mkdir()
    table = pa.table({"price": [1, 2], "qty": [3, 4], "customer": ["ada", "bob"]})
    pa.parquet.write_table(table, folder / "orders.parquet")
    fed.put("sales/orders", folder, "us-1")
    done = fed.run(
        sys.executable,
        "-c",
        SUMS,
        inputs=(job.InputSpec(alias="orders", dataset="sales/orders"),),
        outputs=(job.OutputSpec(alias="sums", dataset="ml/sums", kind="MODEL"),),
    )
    assert (done.state, done.detail) == (job.JobState.SUCCEEDED, "")
    return done


def test_edges_have_bytes_money_rows_and_columns(fed: Federation, ran: job.Job) -> None:
    """Of the read what the meter counted; of the output its schema and from what it says to be made; the put before all."""
    graph = fed.client.get_lineage("ml/sums@1", direction="upstream")
    read, made = sorted((edge for edge in graph.edges if edge.run == ran.run), key=lambda edge: edge.direction)
    entry = next(each for each in fed.client.list_ledger_entries() if each.run == ran.run)
    assert (read.bytes, read.charge_micros, read.rows) == (entry.bytes, entry.charge_micros, 2)
    assert read.bytes > 0
    assert read.columns == ("price", "qty")
    assert (made.columns, made.rows) == (("total",), 1)
    assert made.column_map == tuple(lineage.ColumnSource(column="total", source=f"orders.{name}") for name in ("price", "qty"))
    assert dict(fed.client.get_version("ml/sums@1").columns) == {"total": "int64"}
    assert [run.kind for run in graph.runs if run.run.startswith(lineage.PUTS)] == ["PUT"]
    assert graph.complete
    assert {(info.node, info.kind) for info in graph.nodes} == {("ml/sums@1", "MODEL"), ("sales/orders@1", "DATA")}


def test_every_question_has_its_answer_over_the_wire(fed: Federation, ran: job.Job) -> None:
    """Which models saw it, what its erasure would cost, why it is bound; and the index agrees with the record."""
    (seen,) = fed.client.find_models("sales/orders@1").models
    assert (seen.model, seen.way, seen.columns) == ("ml/sums@1", ("sales/orders@1", ran.run, "ml/sums@1"), ("price", "qty"))
    told = fed.client.explain_erasure("sales/orders@1")
    assert [(each.node, each.kind, each.remakable) for each in told.affected] == [("ml/sums@1", "MODEL", False)]
    assert told.sites == ("us-1",)
    assert fed.client.explain_residency("ml/sums").residency == ()
    check = fed.client.check_lineage_index(rebuild=True)
    assert (check.same, check.rebuilt, check.edges) == (True, True, 4)
    pieces = fed.client.get_lineage("ml/sums", edges_max=1)
    assert (len(pieces.edges), pieces.complete) == (1, False)
    rest = fed.client.get_lineage("ml/sums", continuation=pieces.continuation)
    assert pieces.edges + rest.edges == fed.client.get_lineage("ml/sums").edges


def test_a_report_of_what_the_run_does_not_have_is_refused(held: Federation, tmp_path: Path) -> None:
    """Aliases of its own alone, and not more columns than can be told."""
    (tmp_path / "a.csv").write_bytes(b"x\n1\n")
    held.put("sales/flights", tmp_path / "a.csv", "us-1")
    launcher = launch(held, "us-1", inputs=(job.InputSpec(alias="x", dataset="sales/flights"),))
    for report in (
        lineage.LineageReport(inputs=(lineage.InputColumns(alias="y", whole=True),)),
        lineage.LineageReport(outputs=(lineage.OutputColumns(alias="x"),)),
        lineage.LineageReport(inputs=(lineage.InputColumns(alias="x", columns=tuple(f"c{n}" for n in range(1001))),)),
    ):
        with pytest.raises(errors.InvalidArgument) as caught:
            launcher.gateway.report_lineage(report)
        assert caught.value.reason == "COLUMN_MAP_INVALID"
    launcher.gateway.report_lineage(lineage.LineageReport(inputs=(lineage.InputColumns(alias="x", columns=("c",)),)))
    assert held.places["us-1"].book.report(launcher.row.run).input("x").columns == ("c",)


def test_what_processes_tell_is_kept_until_the_run_is_closed(tmp_path: Path) -> None:
    """Put together, over a restart of the agent; then forgotten."""
    path, run = tmp_path / "journal.sqlite", "jobs/j-1/runs/1"
    book = journal.Journal(path)
    book.add_report(run, lineage.LineageReport(inputs=(lineage.InputColumns(alias="a", columns=("x",)),)))
    book.add_report(run, lineage.LineageReport(inputs=(lineage.InputColumns(alias="a", columns=("y",)),)))
    book.close()
    again = journal.Journal(path)
    assert again.report(run).input("a").columns == ("x", "y")
    again.close_run(run)
    assert again.report(run) == lineage.UNTOLD
    again.close()

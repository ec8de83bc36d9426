"""docs/record.md says what the code says: every column, the chain with its vectors, and its query."""

from __future__ import annotations

import dataclasses
import json
import re
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from federation.adapters import records_docs, records_tables
from federation.core import chain
from federation.crypto import heads
from tests import records

FILE = Path(__file__).parents[2] / "docs" / "record.md"
PAGE = FILE.read_text()


def block(language: str) -> str:
    """The one block of code of that language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


def test_every_column_stands_in_the_page_as_it_is(tmp_path: Path):
    """`make record-docs` writes them anew; doing it changes nothing."""
    again = tmp_path / "record.md"
    again.write_text(PAGE)
    records_docs.main(again)
    assert again.read_text() == PAGE, "run `make record-docs`"
    for table in records_tables.TABLES:
        assert f"### `{table}`" in PAGE


def test_every_column_has_a_meaning_and_money_time_and_sizes_a_unit():
    """A number whose unit is not told is a wrong number one day."""
    for each in records_docs.columns():
        assert each.meaning.endswith("."), each
        if each.column.endswith(("_micros", "_usd", "_bytes", "_seconds", "time")) or each.column == "bytes":
            assert each.unit, each


def test_the_vectors_are_what_the_code_gives():
    """Canonical form, links and the statement of a head, byte by byte."""
    told = json.loads(block("json"))
    link = chain.genesis(told["table"])
    assert link.hex() == told["genesis"]
    for row in told["rows"]:
        form = chain.canonical({name: value(**column) for name, column in row["columns"].items()})
        link = chain.link(link, form)
        assert (form.hex(), link.hex()) == (row["canonical"], row["chain"])
    head = dict(told["head"])
    statement = head.pop("statement")
    signed = chain.SignedHead(**head | {"time": datetime.fromisoformat(head["time"])})
    assert signed.chain == link.hex()
    assert heads.statement(signed).hex() == statement
    assert heads.is_genuine(signed)


def value(type: str, value: Any) -> Any:  # noqa: A002 - the page's words
    """A value of the page as Python has it."""
    if value is None:
        return None
    if type.startswith("decimal"):
        return Decimal(value)
    return datetime.fromisoformat(value) if type == "timestamp" else value


def test_every_reason_is_explained():
    """A verifier's word that nobody explains is of no use to an auditor."""
    for reason in chain.Wrong:
        assert f"| `{reason}` |" in PAGE


def test_its_query_gives_estimate_and_charge_of_each_run():
    """With corrections in it: sums over all rows are right without a word about them."""
    entry = records.entry(1, run="jobs/j-1/runs/1", charge_micros=70)
    more = dataclasses.replace(entry, entry="l-1-c", corrects=entry.entry, charge_micros=-20)
    placement_decisions = records_tables.to_arrow(  # noqa: F841 - DuckDB finds it by its name
        "placement_decisions", [records.event(1, "placement.decided", records.decided())]
    )
    egress_ledger = records_tables.to_arrow(  # noqa: F841 - likewise
        "egress_ledger", [records.event(2, body=entry), records.event(3, body=more)]
    )
    assert duckdb.sql(block("sql")).fetchall() == [("j-1", "jobs/j-1/runs/1", 20_000, 50)]


@pytest.mark.parametrize("column", ["candidates", "rejections", "inputs"])
def test_lists_of_structs_are_read_by_name_in_sql(column: str):
    """DuckDB unnests them without a word about JSON."""
    rows = records_tables.to_arrow(  # noqa: F841 - DuckDB finds it by its name
        "placement_decisions", [records.event(1, "placement.decided", records.decided())]
    )
    fields = {"candidates": "site, objective_micros", "rejections": "site, reason", "inputs": "dataset, residency[1]"}
    expected = {
        "candidates": [("us-1", 20_100), ("us-2", 20_150)],
        "rejections": [("ap-1", "RESIDENCY")],
        "inputs": [("sales/flights", "EU")],
    }
    told = duckdb.sql(
        f"SELECT {fields[column]} FROM (SELECT unnest({column}, recursive := false) AS each FROM rows), (SELECT each.*)"
    )
    assert told.fetchall() == expected[column]

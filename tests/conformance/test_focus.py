"""The export is FOCUS as others check it: 1.2 by the FinOps Foundation's validator, 1.4 by an independent linter."""

from __future__ import annotations

import csv
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from federation.client import focus_file
from federation.core import bill, errors, focus, metering
from tests import focus_tools, records

#: Version 1.2 has two rules on one column: null fails this one, and any value fails InvoiceId-C-004-C. Nothing satisfies both.
UNSATISFIABLE = {"InvoiceId-C-005-C"}


def ledger() -> list[metering.LedgerEntry]:
    """All that a ledger may hold: remote, local, free, to the internet, by a person, by a transfer, corrected, unsettled."""
    line = records.entry(1, run="jobs/j-1/runs/1", payer="research", label="train", account="111122223333", avoided_micros=-3)
    share = bill.Share(entry=line.entry, period="2026-11", bytes=line.bytes, of_bytes=3 * line.bytes, micros=5)
    return [
        line,
        records.entry(2, destination_region="aws:eu-central-1", charge_micros=0, payer="sales", avoided_micros=20_000),
        records.entry(
            3, destination_region="internet", destination_site="", job="", run="", alias="", attempt=0, payer="sales"
        ),
        records.entry(4, source_region="gcp:europe-west1", transfer="t-1", job="", run="", payer="sales", unsettled_bytes=5),
        records.entry(5, bytes=0, charge_micros=0, requests=0, payer=""),
        records.entry(6, bytes=9 * 10**9, charge_micros=180_000, payer="it's", source_region="azure:westeurope"),
        metering.correction(line, time=line.time),
        bill.correction(line, share, number=1, diff_micros=-1_200, bills="aws-1-2026-11", source="bill", time=line.time),
    ]


def written(folder: Path, version: str, kind: str) -> Path:
    """The ledger as a file."""
    path = folder / f"focus.{kind}"
    assert focus_file.write(ledger(), path, version, kind, focus.Terms()) == len(ledger())
    return path


@pytest.mark.timeout(900)  # the first time the tool is installed
@pytest.mark.parametrize("kind", focus_file.FORMATS)
def test_version_12_passes_the_foundations_validator(tmp_path: Path, kind: str) -> None:
    """Every rule but the one that nothing can satisfy."""
    try:
        failed, passed = focus_tools.validate_12(written(tmp_path, "1.2", kind))
    except focus_tools.Missing as missing:
        pytest.skip(str(missing))
    assert set(failed) == UNSATISFIABLE, failed
    assert passed >= 190


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", focus_file.FORMATS)
def test_version_14_passes_the_linter(tmp_path: Path, kind: str) -> None:
    """Structure and meaning; and it does find what is wrong."""
    path = written(tmp_path, "1.4", kind)
    try:
        said = focus_tools.lint_14(path)
    except focus_tools.Missing as missing:
        pytest.skip(str(missing))
    assert said.startswith("0 "), said
    assert "SEMANTIC_VALID" in said
    if kind == "csv":
        path.write_text(path.read_text().replace(",USD,", ",XXQ,"))
        assert not focus_tools.lint_14(path).startswith("0 ")


@pytest.mark.parametrize("version", focus.VERSIONS)
def test_parquet_has_decimals_and_csv_the_same_figures(tmp_path: Path, version: str) -> None:
    """decimal128(38, 12), times in UTC; and the sum is the ledger's to the micro-dollar, in both."""
    table = parquet.read_table(written(tmp_path, version, "parquet"))
    assert table.schema.field("BilledCost").type == pa.decimal128(38, 12)
    assert table.schema.field("ChargePeriodStart").type == pa.timestamp("us", tz="UTC")
    assert table.schema.names == [column.name for column in focus.columns(version)]
    with written(tmp_path, version, "csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    total = Decimal(sum(entry.charge_micros for entry in ledger())).scaleb(-6)
    assert sum(table.column("BilledCost").to_pylist()) == sum(Decimal(row["BilledCost"]) for row in rows) == total
    assert [row["x_LedgerEntryId"] for row in rows] == table.column("x_LedgerEntryId").to_pylist()


def test_what_breaks_off_leaves_what_was_there(tmp_path: Path) -> None:
    """A file is whole or not there."""
    path = written(tmp_path, "1.4", "csv")
    before = path.read_bytes()

    def broken():
        yield from ledger()[:2]
        raise errors.Unavailable("gone", reason="GONE")

    with pytest.raises(errors.Unavailable):
        focus_file.write(broken(), path, "1.4", "csv", focus.Terms())
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == [path.name]
    with pytest.raises(errors.InvalidArgument, match="parquet, csv"):
        focus_file.write([], path, "1.4", "xlsx", focus.Terms())


def test_an_empty_ledger_is_a_file_with_columns(tmp_path: Path) -> None:
    """Nothing happened, and that is said."""
    for kind in focus_file.FORMATS:
        assert focus_file.write([], tmp_path / f"none.{kind}", "1.4", kind, focus.Terms()) == 0
    assert parquet.read_table(tmp_path / "none.parquet").num_rows == 0
    assert (tmp_path / "none.csv").read_text().startswith("BilledCost,")

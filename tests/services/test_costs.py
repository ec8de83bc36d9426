"""Sums and streams of the ledger: the same whether its rows are in Delta, in the log, or some here and some there."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from federation import frames
from federation.adapters.catalog_memory import MemoryCatalog
from federation.adapters.engine_embedded import DeltaFusionEngine
from federation.adapters.records_delta import DeltaRecords
from federation.adapters.system import SystemClock, UlidIds
from federation.core import errors, metering
from federation.services import costs
from federation.services import seam as seams
from federation.services.committer import Committer
from tests import records

COUNT = 260
CARRIED = 200


def made(number: int) -> metering.LedgerEntry:
    """Entries that differ in all that they can be summed by; every fifth is local, every seventh a correction from a bill."""
    return records.entry(
        number,
        namespace=("sales", "it's")[number % 2],
        dataset=f"d{number % 3}",
        job=f"j-{number % 4}",
        label=("train", "")[number % 2],
        payer=("research", "ops", "")[number % 3],
        principal=f"users/u{number % 5}",
        source_site=f"eu-{number % 2}",
        destination_region="aws:eu-central-1" if number % 5 == 0 else "aws:us-east-1",
        avoided_micros=None if number % 4 == 0 else 100 - number,
        unsettled_bytes=number % 2,
        bill="aws-1-2026-11" if number % 7 == 0 else "",
        charge_micros=number if number % 7 else -number,
    )


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[MemoryCatalog, DeltaFusionEngine]:
    """A log of which two hundred entries are in Delta."""
    root = str(tmp_path_factory.mktemp("tables"))
    catalog = MemoryCatalog(SystemClock(), UlidIds())

    def emit(first: int, last: int) -> None:
        for number in range(first, last + 1):
            catalog.write(lambda tx, number=number: tx.emit("ledger.entry", f"l-{number}", made(number)))  # type: ignore[misc]

    emit(1, CARRIED)
    Committer(catalog, DeltaRecords(root)).run_once()
    emit(CARRIED + 1, COUNT)
    return catalog, DeltaFusionEngine(root)


SELECTIONS = (
    costs.EVERYTHING,
    costs.Selection(where={"namespace": "it's", "label": "train"}),
    costs.Selection(where={"payer": ""}),
    costs.Selection(from_time=datetime(2026, 11, 23, 0, 30, tzinfo=UTC), to_time=datetime(2026, 11, 23, 3, 1, tzinfo=UTC)),
    costs.Selection(where={"month": "2027-01"}),
)


@pytest.mark.parametrize("by", [*metering.SUMMARY_KEYS, "payer,principal", "day, link"])
def test_the_engine_and_the_log_sum_to_the_same(scene, by):
    """In Delta up to its position and in the log from there on: as if all of it were summed here, for every key."""
    catalog, engine = scene
    for selection in SELECTIONS:
        wanted = [line for line in map(made, range(1, COUNT + 1)) if selection.has(line)]
        rows, total = costs.summarize(catalog, engine, by, selection)
        assert rows == metering.summarize(wanted, by)
        assert total == metering.total(wanted)
        assert metering.together(rows) == total


def test_the_position_is_the_tables(scene):
    """What is after it is read from the log; without tables all is."""
    catalog, engine = scene
    assert (seams.position(engine, costs.TABLE), seams.position(None, costs.TABLE)) == (CARRIED, 0)
    assert len(list(costs.tail(catalog, CARRIED))) == COUNT - CARRIED


def test_before_the_first_row_there_is_only_the_log(scene, tmp_path: Path):
    """A table that is not there yet is no trouble."""
    catalog, _ = scene
    engine = DeltaFusionEngine(str(tmp_path))
    assert seams.position(engine, costs.TABLE) == 0
    assert costs.summarize(catalog, engine, "month")[1].entries == COUNT


@pytest.mark.parametrize("selection", SELECTIONS)
def test_an_export_has_each_entry_once_in_order_in_small_pieces(scene, selection, monkeypatch):
    """Cut by day and position, and the log after it: whatever the pieces, the entries are the same."""
    catalog, engine = scene
    monkeypatch.setattr(costs, "PIECE", 40)
    monkeypatch.setattr(costs, "MESSAGE", 16)
    tables = [frames.unpack(metering.LedgerEntry, data) for data in costs.export(catalog, engine, selection)]
    assert all(0 < table.num_rows <= 16 for table in tables)
    found = [line for table in tables for line in frames.values(metering.LedgerEntry, table)]
    assert found == [line for line in map(made, range(1, COUNT + 1)) if selection.has(line)]


class Trimmed(MemoryCatalog):
    """A catalog whose log begins late: up to its floor all is in the tables."""

    gone = 0

    def floor(self):
        return self.gone

    def events(self, after, **how):
        if after < self.gone:
            raise errors.OutOfRange("trimmed", reason="EVENTS_TRIMMED", metadata={"floor": str(self.gone)})
        return super().events(after, **how)


def test_a_log_that_was_trimmed_behind_the_tables_misses_nothing(tmp_path: Path):
    """Other facts came after the table's last entry, and were trimmed: the log is read from where it begins."""
    catalog = Trimmed(SystemClock(), UlidIds())
    lines = [made(number) for number in range(1, 9)]
    for line in lines[:5]:
        catalog.write(lambda tx, line=line: tx.emit("ledger.entry", line.entry, line))  # type: ignore[misc]
    for number in range(20):
        catalog.write(lambda tx, number=number: tx.emit("site.updated", f"sites/{number}", made(1)))  # type: ignore[misc]
    Committer(catalog, DeltaRecords(str(tmp_path))).run_once()
    catalog.gone = catalog.revision()
    for line in lines[5:]:
        catalog.write(lambda tx, line=line: tx.emit("ledger.entry", line.entry, line))  # type: ignore[misc]
    engine = DeltaFusionEngine(str(tmp_path))
    assert seams.seam(catalog, engine, costs.TABLE, costs.KIND) == catalog.gone > seams.position(engine, costs.TABLE)
    assert costs.summarize(catalog, engine, "job")[1] == metering.total(lines)
    exported = [frames.unpack(metering.LedgerEntry, data) for data in costs.export(catalog, engine)]
    assert [line for table in exported for line in frames.values(metering.LedgerEntry, table)] == lines


def test_many_entries_in_one_event_are_entries_like_others():
    """The log holds them packed; sums and exports do not mind."""
    catalog = MemoryCatalog(SystemClock(), UlidIds())
    lines = [made(number) for number in range(1, 6)]
    catalog.write(lambda tx: tx.emit_rows("ledger.entry", "many", frames.pack(metering.LedgerEntry, lines), len(lines)))
    assert list(costs.tail(catalog, 0)) == lines
    assert costs.summarize(catalog, None, "job")[1] == metering.total(lines)


def test_an_unknown_key_is_refused_by_name(scene):
    """Also among others."""
    catalog, engine = scene
    with pytest.raises(errors.InvalidArgument) as caught:
        costs.summarize(catalog, engine, "payer,mood")
    assert caught.value.reason == "SUMMARY_KEY_UNKNOWN"


def test_every_key_is_said_in_sql_too():
    """And every figure; and nothing can be narrowed to that no entry has."""
    assert set(costs.KEYS_SQL) == set(metering.SUMMARY_KEYS)
    assert set(costs._FIGURES_SQL) == set(metering.FIGURES)
    assert set(costs.FIELDS) <= {field.name for field in frames.schema(metering.LedgerEntry)}

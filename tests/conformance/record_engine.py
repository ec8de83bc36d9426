"""Every promise of `ports.RecordEngine`, each as one function over a `Record`: for every engine that there is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset
import pytest
from deltalake import DeltaTable

from federation import ports
from federation.adapters.records_delta import DeltaRecords
from federation.adapters.records_links import DeltaReader
from federation.core import analyses, errors
from federation.services import heads
from tests import records

LEDGER = "egress_ledger"
BILLS = "bill_lines"
TABLES = (LEDGER, "lineage_runs", "lineage_edges", BILLS)

BILL = pa.schema(
    [
        pa.field("bill", pa.string(), nullable=False),
        pa.field("line", pa.int64(), nullable=False),
        pa.field("cost_usd", pa.decimal128(38, 12)),
        pa.field("tags", pa.map_(pa.string(), pa.string())),
        pa.field("columns", pa.list_(pa.struct([("source", pa.string()), ("share", pa.int64())]))),
    ]
)


@dataclass
class Record:
    """The record's tables in a folder, the committer that fills them, and the engine under test."""

    root: Path
    engine: ports.RecordEngine
    sink: DeltaRecords = field(init=False)
    position: int = 0

    def __post_init__(self) -> None:
        self.sink = DeltaRecords(str(self.root))

    def post(self, *entries: dict[str, object]) -> None:
        """Commits ledger entries, each in a commit of its own."""
        for changes in entries:
            self.position += 1
            self.sink.append(LEDGER, (records.event(self.position, body=records.entry(self.position, **changes)),))

    def table(self, name: str = LEDGER) -> DeltaTable:
        """A look at a table that is not the engine's."""
        return DeltaTable(str(self.root / name))

    def rows(self, name: str = LEDGER) -> list[dict[str, object]]:
        """A table's rows as pyarrow reads them, in an order of their own."""
        return sorted(self.table(name).to_pyarrow_table().to_pylist(), key=repr)

    def make_bills(self, **properties: str) -> None:
        """An empty table that is not append-only."""
        DeltaTable.create(str(self.root / BILLS), BILL, configuration={f"delta.{k}": v for k, v in properties.items()})


def bill(count: int, usd: str) -> pa.Table:
    """The first lines of a bill, each at that cost."""
    lines = [
        {
            "bill": "b-1",
            "line": line,
            "cost_usd": Decimal(usd),
            "tags": [("team", "sales")],
            "columns": [{"source": "a", "share": line}],
        }
        for line in range(count)
    ]
    return pa.Table.from_pylist(lines, schema=BILL)


def sums_are_exact_and_hold_their_corrections(record: Record) -> None:
    """Money is summed as decimals and as micro-dollars; a correction is a row, so a sum holds it."""
    record.post(
        {"charge_micros": 1},
        {"charge_micros": 2**40},
        {"charge_micros": -(2**39), "corrects": "e-2", "bytes": 0},
        {"namespace": "ml", "charge_micros": 7, "avoided_micros": 5},
    )
    ml, sales = record.engine.query(analyses.CHARGEBACK).to_pylist()
    assert (sales["namespace"], sales["month"], sales["entries"]) == ("sales", "2026-11", 3)
    assert (sales["charge_micros"], sales["corrections_micros"]) == (1 + 2**39, -(2**39))
    assert sales["charge_usd"] == Decimal(1 + 2**39).scaleb(-6)
    assert (ml["charge_micros"], ml["avoided_micros"], ml["corrections_micros"]) == (7, 5, 0)


def analyses_answer_on_every_engine(record: Record) -> None:
    """Each of them is SQL that the engine takes, in the columns that it names."""
    record.post({})
    record.sink.append("lineage_edges", (records.event(1, "lineage.edge", records.edge()),))
    assert record.engine.query(analyses.LINKS).column("requests").to_pylist() == [3]
    (read,) = record.engine.query(analyses.VERSIONS).to_pylist()
    assert (read["node"], read["runs"], read["first_time"]) == ("sales/flights@1", 1, records.TIME)


def columns_have_the_same_types_everywhere(record: Record) -> None:
    """Text is string, times are microseconds in UTC, money is decimal, a day is a date."""
    record.post({})
    found = record.engine.query(f"SELECT entry, time, charge_usd, day, bytes FROM {LEDGER}")
    assert found.schema.types == [pa.string(), pa.timestamp("us", tz="UTC"), pa.decimal128(38, 12), pa.date32(), pa.int64()]
    assert found.column("time").to_pylist() == [records.entry(1).time]


def a_limit_is_kept(record: Record) -> None:
    """So many rows and no more, fewer where there are fewer."""
    record.post(*[{}] * 5)
    assert [record.engine.query(f"SELECT * FROM {LEDGER}", limit=most).num_rows for most in (1, 3, 9)] == [1, 3, 5]
    assert record.engine.query(f"SELECT * FROM {LEDGER} WHERE entry = 'none'", limit=3).num_rows == 0


REFUSED = (
    f"INSERT INTO {LEDGER} SELECT * FROM {LEDGER}",
    f"WITH twice AS (SELECT * FROM {LEDGER}) INSERT INTO {LEDGER} SELECT * FROM twice",
    f"DELETE FROM {LEDGER}",
    f"COPY {LEDGER} TO '{{folder}}/stolen.csv'",
    f"EXPLAIN ANALYZE COPY {LEDGER} TO '{{folder}}/stolen.csv'",
    "CREATE EXTERNAL TABLE other STORED AS CSV LOCATION '/etc/passwd'",
    f"SELECT 1; DROP TABLE {LEDGER}",
    f"SELECT * INTO copied FROM {LEDGER}",
    "SET datafusion.runtime.memory_limit = '100G'",
    "SELECT reflect('java.lang.System', 'exit', 1)",
    f"SELECT TRANSFORM (entry) USING 'cat' AS (x) FROM {LEDGER}",
    "",
)


def what_is_no_query_is_refused_and_changes_nothing(record: Record) -> None:
    """Whatever its words are: no row, no file, no table more."""
    record.post({})
    before = record.table().version()
    for sql in REFUSED:
        with pytest.raises(errors.InvalidArgument) as refused:
            record.engine.query(sql.format(folder=record.root))
        assert refused.value.reason == "SQL_NOT_A_QUERY", sql
    assert record.table().version() == before
    assert not list(record.root.rglob("stolen*"))


def what_is_not_there_is_said_by_name(record: Record) -> None:
    """A column, a table of ours that is empty yet, a file that somebody names, a sum that cannot be made."""
    record.post({})
    wrong = (
        f"SELECT nothing FROM {LEDGER}",
        "SELECT * FROM elsewhere",
        f"SELECT * FROM delta.`{record.root}/{LEDGER}`",
        f"SELECT * FROM '{record.root}/{LEDGER}'",
        f"SELECT CAST(entry AS INT) FROM {LEDGER}",
    )
    for sql in wrong:
        with pytest.raises(errors.InvalidArgument) as refused:
            record.engine.query(sql)
        assert refused.value.reason == "SQL_INVALID", sql
    with pytest.raises(errors.NotFound, match="lineage_runs") as missing:
        record.engine.query("SELECT * FROM lineage_runs")
    assert missing.value.reason == "TABLE_MISSING"


def a_compaction_changes_no_row_and_appending_goes_on(record: Record) -> None:
    """Fewer files, the same rows and position, a table that every engine reads as before; committer and proof never notice."""
    record.post(*[{"namespace": f"n{number % 3}"} for number in range(8)])
    before, position = record.rows(), record.sink.position(LEDGER)
    files = len(record.table().file_uris())
    done = record.engine.compact(LEDGER)
    after = record.table()
    assert (done.files_removed, done.files_added, done.version) == (files, len(after.file_uris()), after.version())
    assert done.files_added < files
    assert done.bytes_removed > 0
    assert (record.rows(), record.sink.position(LEDGER)) == (before, position)
    record.post({})
    assert len(record.rows()) == 9
    stays_plain(record)
    again = record.engine.compact(LEDGER, order_by=("namespace", "source_region"))
    assert again.files_removed > 0
    assert len(record.rows()) == 9
    for wrong in ("nothing", "day"):
        with pytest.raises(errors.InvalidArgument, match=wrong) as refused:
            record.engine.compact(LEDGER, order_by=(wrong,))
        assert refused.value.reason == "COLUMN_UNKNOWN"
    record.post({})
    assert record.sink.position(LEDGER) == 10
    stays_plain(record)
    *_, proof = heads.verify(DeltaReader(str(record.root)), LEDGER, (), ())
    assert (proof.findings, proof.rows, proof.consistent_position) == ((), 10, 10)


def stays_plain(record: Record, name: str = LEDGER) -> None:
    """Reader version 1, writer version 4 at most."""
    protocol = record.table(name).protocol()
    assert protocol.min_reader_version == 1
    assert protocol.min_writer_version <= 4
    assert not protocol.writer_features


def a_table_beyond_the_protocol_is_not_touched(record: Record) -> None:
    """What only newer engines can read is refused, before it is made worse."""
    record.make_bills(enableDeletionVectors="true")
    for change in (lambda: record.engine.compact(BILLS), lambda: record.engine.merge(BILLS, bill(1, "1"), ("bill", "line"))):
        with pytest.raises(errors.FailedPrecondition) as refused:
            change()
        assert refused.value.reason == "PROTOCOL_TOO_NEW"
    assert record.table(BILLS).version() == 0


def a_merge_inserts_replaces_and_lets_be(record: Record) -> None:
    """The same bill twice is the same bill; a new state of it replaces the old one."""
    record.make_bills()
    keys = ("bill", "line")
    first = record.engine.merge(BILLS, bill(3, "1"), keys)
    again = record.engine.merge(BILLS, bill(3, "1"), keys)
    newer = record.engine.merge(BILLS, bill(4, "2.000000000001"), keys)
    assert [(done.rows_inserted, done.rows_updated) for done in (first, again, newer)] == [(3, 0), (0, 0), (1, 3)]
    assert record.rows(BILLS) == sorted(bill(4, "2.000000000001").to_pylist(), key=repr)
    total = record.engine.query(f"SELECT SUM(cost_usd) AS cost FROM {BILLS}").column("cost").to_pylist()
    assert total == [4 * Decimal("2.000000000001")]
    stays_plain(record, BILLS)


def a_merge_that_is_not_clear_is_refused(record: Record) -> None:
    """Two rows of one key, a key that is null or no column, columns too few; and a table whose rows never change."""
    record.make_bills()
    keyless = bill(1, "1").set_column(1, "line", pa.array([None], pa.int64()))
    wrong = (
        (pa.concat_tables([bill(1, "1"), bill(1, "2")]), ("bill", "line")),
        (bill(1, "1"), ("bill", "nothing")),
        (bill(1, "1"), ()),
        (bill(1, "1").drop_columns(["tags"]), ("bill", "line")),
        (keyless, ("bill", "line")),
    )
    for rows, keys in wrong:
        with pytest.raises(errors.InvalidArgument) as refused:
            record.engine.merge(BILLS, rows, keys)
        assert refused.value.reason == "MERGE_INVALID"
    assert record.table(BILLS).version() == 0
    record.post({})
    with pytest.raises(errors.FailedPrecondition) as final:
        record.engine.merge(LEDGER, record.table().to_pyarrow_table(), ("entry",))
    assert final.value.reason == "TABLE_APPEND_ONLY"


def an_export_is_new_whole_and_elsewhere(record: Record) -> None:
    """Parquet and CSV that others read back; never over something, never into the record."""
    record.post(*[{"namespace": f"n{number}"} for number in range(4)])
    sql = f"SELECT namespace, bytes, charge_usd, time FROM {LEDGER} ORDER BY namespace"
    out = record.root.parent / "exports"
    out.mkdir()
    for name in ("parquet", "csv"):
        path = out / f"ledger.{name}"
        done = record.engine.export(sql, str(path), name)  # type: ignore[arg-type]
        assert (done.rows, done.path) == (4, str(path))
        assert done.bytes
        back = pyarrow.dataset.dataset(path, format=name).to_table()
        assert sorted(back.column("namespace").to_pylist()) == ["n0", "n1", "n2", "n3"]
        assert sum(Decimal(str(usd)) for usd in back.column("charge_usd").to_pylist()) == Decimal("0.080010")
        with pytest.raises(errors.AlreadyExists) as taken:
            record.engine.export(sql, str(path), name)  # type: ignore[arg-type]
        assert taken.value.reason == "EXPORT_EXISTS"
    for path in (record.root / LEDGER / "more.parquet", out / ".." / "tables" / "more.parquet"):
        with pytest.raises(errors.InvalidArgument) as inside:
            record.engine.export(sql, str(path), "parquet")
        assert inside.value.reason == "EXPORT_INTO_RECORD"
    with pytest.raises(errors.InvalidArgument):
        record.engine.export(f"SELECT nothing FROM {LEDGER}", str(out / "none.csv"), "csv")
    assert sorted(path.name for path in out.iterdir()) == ["ledger.csv", "ledger.parquet"]


PROMISES: tuple[Callable[[Record], None], ...] = (
    sums_are_exact_and_hold_their_corrections,
    analyses_answer_on_every_engine,
    columns_have_the_same_types_everywhere,
    a_limit_is_kept,
    what_is_no_query_is_refused_and_changes_nothing,
    what_is_not_there_is_said_by_name,
    a_compaction_changes_no_row_and_appending_goes_on,
    a_table_beyond_the_protocol_is_not_touched,
    a_merge_inserts_replaces_and_lets_be,
    a_merge_that_is_not_clear_is_refused,
    an_export_is_new_whole_and_elsewhere,
)

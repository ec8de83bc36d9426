"""Spark keeps every promise of the engine's port, refuses to commit where it could overwrite, and reads what others write.

One JVM costs half a minute and a gigabyte, so all that needs it is one test, with a subtest for each promise: no scheduler of
tests can spread it over several JVMs. Without Java, or Delta Lake's jars, which are fetched once, it says so and is skipped.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from federation import config
from federation.core import errors, maintenance
from federation.ports import EngineSetup
from tests.conformance import column_classes, interoperability, record_engine, s3server
from tests.conformance.record_engine import BILLS, LEDGER, TABLES, Record
from tests.conformance.test_record_engine import S3_OPTIONS

PAGE = Path(__file__).parents[2] / "docs" / "interoperability.md"
#: A small driver that compiles little: these tables have a few rows.
_SETTINGS = {
    "spark.driver.extraJavaOptions": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xss4m",
    "spark.sql.shuffle.partitions": "1",
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.default.parallelism": "1",
    "spark.sql.codegen.wholeStage": "false",
}


def setup() -> EngineSetup:
    """How Spark is had here; skips the test, and says why, where it cannot be."""
    made = pytest.importorskip("connectors.engines.spark_setup").SparkSetup(
        env=os.environ, cache=config.cache_path() / "jars", s3=True
    )
    missing = [part for part in made.check() if part.part in ("java", "pyspark", "delta-spark") and not part.version]
    if missing:
        pytest.skip("; ".join(f"{part.part}: {part.to_do}" for part in missing))
    try:
        made.fetch()
    except errors.Unavailable as error:
        pytest.skip(error.message)
    return made


@dataclass
class Lease:
    """Stands for the committer's lease: notes who held the committer off which table, and when."""

    held: list[str] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)

    @contextmanager
    def alone(self, table: str) -> Iterator[None]:
        """Holds off every other writer of the table."""
        self.held.append(table)
        self.taken.append(table)
        try:
            yield
        finally:
            self.held.remove(table)


@pytest.mark.timeout(1800)
def test_spark_keeps_its_promises_and_mixes_with_the_others(
    tmp_path: Path, subtests: pytest.Subtests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each promise of the port; then where it may commit; then the matrix of writers and readers, on files and in S3."""
    monkeypatch.chdir(tmp_path)
    made, lease = setup(), Lease()
    how: dict[str, Any] = {
        "tables": TABLES,
        "master": "local[2]",
        "memory_bytes": 1024**3,
        "settings": _SETTINGS | {"spark.driver.extraClassPath": column_classes.compiled(tmp_path)},
        "alone": lease.alone,
    }
    first = made.engine(str(tmp_path / "first"), {}, **how)
    try:
        for number, promise in enumerate(record_engine.PROMISES):
            root = tmp_path / f"r{number}" / "tables"
            engine = made.engine(str(root), {}, **how)
            with subtests.test(promise.__name__):
                promise(Record(root=root, engine=engine))
        with subtests.test("a query is given up at its time"):
            gives_up(first)
        with subtests.test("column classes are read both ways"):
            if not how["settings"]["spark.driver.extraClassPath"]:
                pytest.skip("javac is not installed")
            column_classes.are_read_both_ways(first._session(), tmp_path / "classes")
        with subtests.test("it commits only while the committer is held off"):
            record = Record(root=tmp_path / "held", engine=made.engine(str(tmp_path / "held"), {}, **how))
            commits_only_alone(record, lease, made.engine(str(record.root), {}, **how | {"alone": None}))
        with subtests.test("a new table of Spark's is one for everyone"):
            new_tables_are_plain(first, tmp_path / "new")
        with s3server.apart() as endpoint:
            options = S3_OPTIONS | {"AWS_ENDPOINT_URL": endpoint}
            bucket = s3server.bucket(endpoint, f"b-{secrets.token_hex(4)}")
            in_s3 = made.engine(f"{bucket}/tables", options, **how)
            with subtests.test("in S3 it reads, and never commits"):
                reads_in_s3_and_never_commits(in_s3, f"{bucket}/tables", options)
            with subtests.test("the matrix"):
                matrix_is_as_written_down(first, in_s3, tmp_path / "matrix", bucket, options)
    finally:
        first.close()


def gives_up(engine: Any) -> None:
    """What takes too long is cancelled, and the next query is answered."""
    with pytest.raises(errors.DeadlineExceeded) as slow:
        engine.query("SELECT SUM(id) AS s FROM range(100000000000)", seconds=2)
    assert slow.value.reason == "QUERY_TOO_SLOW"
    assert engine.query("SELECT 1 AS one", seconds=60).to_pylist() == [{"one": 1}]


def commits_only_alone(record: Record, lease: Lease, unheld: Any) -> None:
    """Its look whether a commit is there and its putting of its own are two steps on files: without the lease it is refused."""
    lease.taken.clear()
    record.post({}, {})
    record.make_bills()
    for change in (lambda: unheld.compact(LEDGER), lambda: unheld.merge(BILLS, record_engine.bill(1, "1"), ("bill", "line"))):
        with pytest.raises(errors.FailedPrecondition) as refused:
            change()
        assert refused.value.reason == "ENGINE_MAY_NOT_COMMIT"
    assert (record.table().version(), record.table(BILLS).version()) == (2, 0)
    record.engine.compact(LEDGER)
    record.engine.merge(BILLS, record_engine.bill(1, "1"), ("bill", "line"))
    assert (lease.taken, lease.held) == ([LEDGER, BILLS], [])


def new_tables_are_plain(engine: Any, path: Path) -> None:
    """The session's settings keep new tables from features that delta-rs does not take."""
    engine._session().range(3).write.format("delta").save(str(path))
    found = record_engine.DeltaTable(str(path))
    maintenance.check_protocol(
        "new", found.protocol().min_reader_version, found.protocol().min_writer_version, found.metadata().configuration
    )
    assert found.to_pyarrow_table().num_rows == 3


def reads_in_s3_and_never_commits(engine: Any, root: str, options: dict[str, str]) -> None:
    """Its guard of commits in S3 is a lock inside one JVM, so it only reads what delta-rs appends to, and writes elsewhere."""
    sink = record_engine.DeltaRecords(root, options)
    for position in (1, 2):
        sink.append(LEDGER, (record_engine.records.event(position),))
    assert engine.query(f"SELECT SUM(charge_micros) AS c FROM {LEDGER}").to_pylist() == [{"c": 40_003}]
    with pytest.raises(errors.FailedPrecondition) as refused:
        engine.compact(LEDGER)
    assert refused.value.reason == "ENGINE_MAY_NOT_COMMIT"
    elsewhere = f"{root.rpartition('/')[0]}/exports/ledger"
    assert engine.export(f"SELECT * FROM {LEDGER}", elsewhere, "parquet").rows == 2
    with pytest.raises(errors.AlreadyExists):
        engine.export(f"SELECT * FROM {LEDGER}", elsewhere, "parquet")
    for inside in (f"{root}/{LEDGER}/more", f"{root}/more".replace("s3:", "s3a:")):
        with pytest.raises(errors.InvalidArgument):
            engine.export(f"SELECT * FROM {LEDGER}", inside, "parquet")
    sink.append(LEDGER, (record_engine.records.event(3),))
    assert sink.position(LEDGER) == 3


def matrix_is_as_written_down(on_files: Any, in_s3: Any, root: Path, bucket: str, options: dict[str, str]) -> None:
    """docs/interoperability.md shows the very table that comes out here, and no table leaves the protocol that all can read."""
    files = interoperability.Matrix(place="file", spark=on_files._session(), root=str(root))
    files.spark.conf.set("spark.sql.runSQLOnFiles", "true")
    interoperability.fill_files(files)
    remote = interoperability.Matrix(
        place="S3",
        spark=in_s3._session(),
        root=f"{bucket}/matrix",
        options=options,
        hadoop_root=f"{bucket.replace('s3:', 's3a:')}/matrix",
    )
    remote.spark.conf.set("spark.sql.runSQLOnFiles", "true")
    interoperability.fill_s3(remote)
    told = interoperability.markdown(files.cells + remote.cells)
    assert told in PAGE.read_text(), told
    for matrix in (files, remote):
        for table in ("of-delta-rs", "of-Spark"):
            reader_version, writer_version = matrix.protocol(table)
            assert (reader_version, writer_version <= 4) == (1, True)
